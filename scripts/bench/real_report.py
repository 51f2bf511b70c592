"""The table and the pictures of `scripts.bench.sketch_to_real`: what its judges say of what is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from scripts import metrics
from scripts.bench import held_out

if TYPE_CHECKING:
    from scripts.bench.sketch_to_real import Bench

SHOWN_VIEW = 0
MEASURES = ("chamfer", "normal", "outline", "genus", "colour", "strayed", "seconds")
HEAD = (
    "| style | row | n | Chamfer, % | normals, degrees | outline, IoU | genus off by | colour, CIE76 | kind recognized | "
    f"{metrics.KID} | from the sketch, % | seconds |"
)


def report(bench: Bench, names: Sequence[str], styles: Sequence[str], rows: Sequence[str], references: Sequence[str]) -> str:
    """The table in Markdown of all assets that have every row of a style; also writes it and the pictures beside the results."""
    network = metrics.FeatureNetwork()
    real = _references(bench, references)
    features = network.features(real["lit"])
    probe = metrics.RidgeProbe(features, real["kinds"].tolist())
    halves = metrics.kid(features[::2], features[1::2])
    lines = [HEAD, "|" + "---|" * (HEAD.count("|") - 1)]
    for style in styles:
        done = [name for name in names if all(bench.path(name, style, row).with_suffix(".json").exists() for row in rows)]
        if not done:
            continue
        truth = [_read(bench.out / name / "truth") for name in done]
        lines.append(_line(style, "the truth", [], truth, truth, network, probe, features))
        for row in rows:
            found = [_read(bench.path(name, style, row)) for name in done]
            lines.append(_line(style, row, [figures for figures, _ in found], found, truth, network, probe, features))
        write_sheet(bench, done, style, rows, bench.out / f"{style.replace(' ', '_')}.jpg")
    lines.append(f"\n{len(references)} true assets to compare with; {metrics.KID} of two halves of their pictures {1000 * halves:.1f}.")
    text = "\n".join(lines)
    (bench.out / "table.md").write_text(text + "\n", "utf-8")
    return text


def _line(
    style: str,
    row: str,
    figures: list[dict[str, Any]],
    found: Sequence[tuple[dict[str, Any], np.ndarray]],
    truth: Sequence[tuple[dict[str, Any], np.ndarray]],
    network: metrics.FeatureNetwork,
    probe: metrics.RidgeProbe,
    real: np.ndarray,
) -> str:
    """One row of the table: means over the assets, and what the judges say of their pictures."""
    features = network.features(np.concatenate([lit for _, lit in found]))
    wanted = [said["kind"] for said, lit in truth for _ in lit]
    share, kid = metrics.share_right(probe.predict(features), wanted), 1000 * metrics.kid(features, real)
    mean = {name: float(np.mean([one[name] for one in figures])) if figures else float("nan") for name in MEASURES}
    cells = [style, row, str(len(found)), *(_number(mean[name]) for name in MEASURES[:5])]
    return f"| {' | '.join([*cells, f'{share:.0%}', f'{kid:.0f}', _number(mean['strayed']), _number(mean['seconds'])])} |"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _read(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Figures and lit pictures uint8 [V, P, P, 3]."""
    with np.load(path.with_suffix(".npz")) as stored:
        return json.loads(path.with_suffix(".json").read_text("utf-8")), stored["lit"]


def _references(bench: Bench, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Pictures of the true assets to compare with and their kinds, one a picture; drawn once."""
    path = bench.out / "references.npz"
    if path.exists():
        with np.load(path) as stored:
            if stored["names"].tolist() == list(names):
                return {"lit": stored["lit"], "kinds": stored["kinds"]}
    lit, kinds = [], []
    for name in names:
        made = held_out.asset(name)
        lit.append(held_out.pictures_of_asset(bench.rasterizer, made).lit)
        kinds += [made.kind] * held_out.VIEWS
    bench.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, lit=np.concatenate(lit), kinds=np.array(kinds), names=np.array(list(names)))
    return {"lit": np.concatenate(lit), "kinds": np.array(kinds)}


def write_sheet(bench: Bench, names: Sequence[str], style: str, rows: Sequence[str], path: Path) -> None:
    """A line of pictures for each asset: every row, and the truth at the end."""
    lines = []
    for name in names:
        pictures = [_read(bench.path(name, style, row))[1] for row in rows] + [_read(bench.out / name / "truth")[1]]
        lines.append(np.concatenate([lit[SHOWN_VIEW] for lit in pictures], axis=1))
    Image.fromarray(np.concatenate(lines)).save(path, quality=88)
