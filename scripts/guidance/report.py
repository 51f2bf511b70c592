"""docs/guidance.md: the table beside the paper's figures, ablations, costs, pictures, and what they say."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from engine.formats.files import write_atomically
from scripts.guidance.captions import read_reals, records_of
from scripts.guidance.intervals import REDRAWS, bootstrap
from scripts.guidance.judge import Judge, Score
from scripts.guidance.rows import ABLATIONS, BEYOND, MAIN, PAPER, REPORTED, STEPS, Row
from scripts.guidance.store import Store
from scripts.metrics import FID, KID

SHEET_CAPTIONS = 8
THUMBNAIL = 96
MARK = "<!-- written by scripts.guidance.bench report; text below this line is kept -->"


def write(arguments: argparse.Namespace, store: Store, kinds: tuple[str, ...]) -> Path:
    """Judges every row that is there, draws the sheet and writes the document; what a person wrote under the mark stays."""
    path: Path = arguments.docs / "guidance.md"
    measured = [cost_table(store), orders_table(store)]
    scores, reals = judge_rows(arguments.data, store, kinds, arguments.clip)
    sheet = arguments.docs / "images" / "guidance_methods.jpg"
    draw_sheet(store, REPORTED, sheet)
    parts = [head(store, scores), main_table(store, scores, reals), extra_table("What the paper leaves open", BEYOND, store, scores)]
    parts += [extra_table("Ablations", ABLATIONS, store, scores), *measured]
    parts += [f"## Pictures\n\n![the first captions by every method](images/{sheet.name})\n"]
    kept = path.read_text(encoding="utf-8").partition(MARK)[2] if path.is_file() else "\n"
    write_atomically(path, ("\n".join(part for part in parts if part) + "\n" + MARK + kept).encode())
    return path


def judge_rows(data: Path, store: Store, kinds: tuple[str, ...], clip: Path | None = None) -> tuple[dict[str, Score], dict[str, Score]]:
    """Scores of all rows by name, of "calibrated" also on each smaller count of captions as "calibrated:N"; and of real renders."""
    records = records_of(data, kinds)
    done = {name: found for name, row in REPORTED.items() if (found := store.load(name, row)) is not None}
    if not done:
        raise store.nothing(REPORTED)
    size = next(iter(done.values())).pictures.shape[1]
    held_out, trained = read_reals(data, records, size, True), read_reals(data, records, size, False)
    judge = Judge(held_out.pictures, trained.pictures, trained.kinds, clip)
    scores = {name: judge.score(found.pictures, *asked(store, len(found.pictures))) for name, found in done.items()}
    if "calibrated" in done:
        for count in sorted({score.count for score in scores.values()}):
            if count < scores["calibrated"].count:
                scores[f"calibrated:{count}"] = judge.score(done["calibrated"].pictures[:count], *asked(store, count))
    half = len(trained.pictures) // 5
    reals = {"held-out renders (classifier's ceiling)": judge.score(held_out.pictures, held_out.kinds)}
    reals["training renders (floor of the distances)"] = judge.score(trained.pictures[:half], trained.kinds[:half])
    return scores, reals


def asked(store: Store, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds and the captions of the first `count` items."""
    items = store.items[:count]
    return tuple(item.kind for item in items), tuple(item.caption for item in items)


def head(store: Store, scores: dict[str, Score]) -> str:
    """What was run and how."""
    return f"""# Guidance methods compared

Written by `python -m scripts.guidance.bench` (`run`, `cost`, `orders`, `report`) with the prior `{store.model}`.
Captions: combinations of subject, background and view that no training picture has; one image a caption and method, equal seeds,
batches of {store.chunk}. All optimizing rows take {STEPS} steps of Adam at 0.06 falling to 0.006, from normal noise of deviation 0.3,
with t in 2 % .. 98 % of the schedule and w(t) = 1 - alpha_bar. Two-stage rows switch after 60 % of the steps from SDS to
w = {MAIN["calibrated"].recipe.scale:g} with the paper's descriptors.

FID and KID are of EfficientNet-Lite0's pooled features (ImageNet), not of Inception's, against held-out renders: they compare with
each other and with nothing published. The reference is small, so FID is biased upward and only its order means something; KID is
unbiased. *Right kind*: the share of images that a ridge probe, fitted on the features of training renders, takes for the kind that
was asked. Saturation (HSV) and sharpness (mean absolute Laplacian)
should be those of the real renders.

In brackets stands the middle 95 % of {REDRAWS} bootstrap draws over the images (FID's moved to its value: images drawn twice bias it).
*Above calibrated*: KID minus the calibrated row's on the same captions, drawn in pairs; where its interval holds 0, the two are not
told apart. Times are of the processor.
"""


def line(label: str, score: Score, base: Score | None, *more: str) -> str:
    """One row of a table; `base` is the calibrated row on the same captions, None where there is none."""
    figures = (
        f"{score.count}",
        score.frechet.text(),
        score.kernel.text(0, 1e3),
        "" if base is None else score.above(base).text(0, 1e3),
        score.kinds.text(0, 100),
        score.saturation.text(2),
        score.sharpness.text(1),
    )
    if score.clip_frechet is not None:
        figures += (score.clip_frechet.text(4), "" if score.clip_score is None else score.clip_score.text(4))
    return "| " + " | ".join((label, *figures, *more)) + " |"


def heading(scores: dict[str, Score], *more: str) -> str:
    """The first two lines of a table."""
    clip = ("CLIP-FID", "CLIP score") if any(score.clip_frechet is not None for score in scores.values()) else ()
    columns = ("method", "images", FID, KID, "above calibrated", "right kind, %", "saturation", "sharpness", *clip, *more)
    return "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns)


def main_table(store: Store, scores: dict[str, Score], reals: dict[str, Score]) -> str:
    """The paper's Table 1 on this prior, beside the paper's own figures."""
    lines = ["## Table 1\n", heading(scores, "evaluations", "s an image", "paper: FID / CLIP-FID / min")]
    lines += [line(label, score, None, "", "", "") for label, score in reals.items()]
    for name, row in MAIN.items():
        if name in scores:
            done = store.load(name, row)
            seconds = f"{done.seconds / len(done.pictures):.2f}" if done else ""
            base = same_captions(scores, scores[name].count)
            lines.append(line(row.label, scores[name], base, str(row.recipe.evaluations()), seconds, PAPER[name]))
    missing = [row.label for name, row in MAIN.items() if name not in scores]
    if missing:
        lines.append(f"\nNot run: {', '.join(missing)}.")
    ratio = scores["bridge"].frechet.value / scores["ddim"].frechet.value if {"bridge", "ddim"} <= scores.keys() else None
    if ratio is not None:
        lines.append(f"\n{FID} of two-stage + bridge over DDIM's: {ratio:.2f} (the paper: 1.13; calibrated alone 1.38).")
    return "\n".join(lines) + "\n"


def extra_table(title: str, rows: dict[str, Row], store: Store, scores: dict[str, Score]) -> str:
    """Rows on fewer captions, below the calibrated row on the same captions."""
    there = {name: row for name, row in rows.items() if name in scores}
    if not there:
        return ""
    lines = [f"## {title}\n", heading(scores, "evaluations")]
    for count in sorted({scores[name].count for name in there}):
        base = same_captions(scores, count)
        if base is not None:
            lines.append(line("calibrated, as above", base, base, str(MAIN["calibrated"].recipe.evaluations())))
        lines += [
            line(row.label, scores[name], base, str(row.recipe.evaluations())) for name, row in there.items() if scores[name].count == count
        ]
    return "\n".join(lines) + "\n"


def same_captions(scores: Mapping[str, Score], count: int) -> Score | None:
    """The calibrated row's score on the first `count` captions, where it has been run on them."""
    return next((scores[name] for name in (f"calibrated:{count}", "calibrated") if name in scores and scores[name].count == count), None)


def cost_table(store: Store) -> str:
    """Relative cost, if it was measured."""
    rounds: dict[str, list[float]] | None = store.measured("cost.json")
    if rounds is None:
        return ""
    published = {"sds": "1", "calibrated": "1.00", "nfsd": "1.61", "csd": "1.39", "vsd": "3.58"}
    lines = [
        "## Cost of a step relative to SDS\n",
        f"Processor time, median of {len(rounds['sds'])} rounds taken in turn in one process (least and most of a round); batch of 8.\n",
        "| method | here | paper |",
        "|---|---|---|",
    ]
    for method, seconds in rounds.items():
        ratios = np.array(seconds) / np.array(rounds["sds"])
        lines.append(f"| {method} | {np.median(ratios):.2f} ({ratios.min():.2f} .. {ratios.max():.2f}) | {published.get(method, '')} |")
    return "\n".join(lines) + "\n"


def orders_table(store: Store) -> str:
    """Errors of the bridge's solvers, if they were measured."""
    errors: dict[str, dict[str, list[float]]] | None = store.measured("orders.json")
    if errors is None:
        return ""
    steps = list(next(iter(errors.values())))
    count = len(next(iter(errors.values()))[steps[0]])
    lines = [
        "## The bridge's solvers on this prior\n",
        f"Distance of psi_tgt from that of 96 Heun intervals, {count} captions. Heun takes two evaluations an interval.\n",
    ]
    lines += ["| solver | " + " | ".join(f"{count} intervals" for count in steps) + " | order |", "|---|" + "---|" * (len(steps) + 1)]
    for solver, by_steps in errors.items():
        squares = {name: np.array(by_steps[name]) for name in steps}
        cells = [bootstrap(count, partial(root_mean, squares[name])).text(3) for name in steps]
        ends = squares[steps[0]], squares[steps[-1]], np.log(int(steps[-1]) / int(steps[0]))
        lines.append(f"| {solver} | " + " | ".join(cells) + f" | {bootstrap(count, partial(order, *ends)).text(1)} |")
    return "\n".join(lines) + "\n"


def root_mean(squares: np.ndarray, weights: np.ndarray) -> float:
    """Root of the weighted mean of squares [N]."""
    return float(np.sqrt(weights @ squares / weights.sum()))


def order(coarse: np.ndarray, fine: np.ndarray, halvings: float, weights: np.ndarray) -> float:
    """The power of an interval's length with which the error falls, from squares [N] to others; `halvings`: the logarithm of how many
    times as many intervals those had."""
    return float(np.log(root_mean(coarse, weights) / root_mean(fine, weights)) / halvings)


def draw_sheet(store: Store, rows: Mapping[str, Row], path: Path) -> None:
    """The first captions down the rows' methods, labelled."""
    done = {name: found for name, row in rows.items() if (found := store.load(name, row)) is not None}
    label, height = 250, THUMBNAIL + 4
    sheet = Image.new("RGB", (label + SHEET_CAPTIONS * height, 40 + len(done) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for column, item in enumerate(store.items[:SHEET_CAPTIONS]):
        pen.multiline_text((label + column * height, 2), "\n".join(wrapped(item.caption.removeprefix("a photo of "), 17)), fill="black")
    for place, (name, found) in enumerate(done.items()):
        pen.multiline_text((4, 44 + place * height), "\n".join(wrapped(rows[name].label, 38)), fill="black")
        for column, picture in enumerate(found.pictures[:SHEET_CAPTIONS]):
            small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
            sheet.paste(small, (label + column * height, 42 + place * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=82)


def wrapped(text: str, width: int) -> list[str]:
    """At most three lines of about `width` letters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:3]
