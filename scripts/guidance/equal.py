"""Every method at equal evaluations: one table with bootstrap intervals, written between its marks in docs/guidance.md."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from engine.formats.files import write_atomically
from scripts.guidance.captions import read_reals, records_of
from scripts.guidance.intervals import REDRAWS
from scripts.guidance.judge import Judge, Score
from scripts.guidance.report import asked, draw_sheet
from scripts.guidance.rows import BUDGET, EQUAL, TRAVEL
from scripts.guidance.store import Store
from scripts.metrics import KID, NETWORK

BEGIN, END = "<!-- written by scripts.guidance.bench equal -->", "<!-- end of what scripts.guidance.bench equal writes -->"
TRAINED = 440
"""Training renders that the classifier of kinds learns from, at most."""


def write_equal(arguments: argparse.Namespace, store: Store, kinds: tuple[str, ...]) -> Path:
    """Judges the rows that are there and puts their table into docs/guidance.md."""
    done = {name: found for name in EQUAL if (found := store.load(name, EQUAL[name])) is not None}
    if not done:
        raise store.nothing(EQUAL)
    count = min(len(found.pictures) for found in done.values())
    size = next(iter(done.values())).pictures.shape[1]
    records = records_of(arguments.data, kinds)
    held_out, trained = read_reals(arguments.data, records, size, True), read_reals(arguments.data, records, size, False, TRAINED)
    judge = Judge(held_out.pictures, trained.pictures, trained.kinds)
    lines = [heading(store, count, len(held_out.pictures)), columns()]
    real = judge.score(held_out.pictures, held_out.kinds)
    lines.append(f"| held-out renders | | | | | {' | '.join(looks(real))} | |")
    base: Score | None = None
    for name, found in done.items():
        score = judge.score(found.pictures[:count], *asked(store, count))
        base = base or score
        numbers, seconds = EQUAL[name].recipe, found.seconds / len(found.pictures)
        distances = (score.kernel.text(0, 1e3), score.above(base).text(0, 1e3))
        cells = (EQUAL[name].label, f"{numbers.steps}", f"{numbers.evaluations()}", *distances, *looks(score), f"{seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    sheet = arguments.docs / "images" / "guidance_equal.jpg"
    draw_sheet(store, EQUAL, sheet)
    lines.append(f"\n![the first captions by every method at equal evaluations](images/{sheet.name})")
    return put(arguments.docs / "guidance.md", "\n".join(lines) + "\n")


def looks(score: Score) -> tuple[str, str, str]:
    """Right kind in %, saturation and sharpness, with their intervals."""
    return score.kinds.text(0, 100), score.saturation.text(2), score.sharpness.text(1)


def heading(store: Store, count: int, held_out: int) -> str:
    """What was run and how."""
    return f"""
## Every method at equal evaluations

`python -m scripts.guidance.bench --data FOLDER --captions {len(store.items)} --chunk {store.chunk} run --rows equal_...`, then `... equal`;
prior `{store.model}`. {count} captions that no training picture has, one image each, equal seeds. Each row spends at most {BUDGET}
evaluations of the network on an image, inversion and training passes counted, with steps x rate = {TRAVEL:g}. KID and the share
of images of the right kind in %: pooled features of {NETWORK} against {held_out} held-out renders, with the middle 95 % of
{REDRAWS} bootstrap draws over the images. Intervals that overlap tell no two methods apart; the difference from the first row is drawn
in pairs, caption by caption, and is told apart from nothing where its interval holds 0. Times are of the processor.
"""


def columns() -> str:
    """The first two lines of the table."""
    names = ("method", "steps", "evaluations", KID, "above the first row's", "right kind, %", "saturation", "sharpness", "s an image")
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


def put(path: Path, text: str) -> Path:
    """Replaces what stands between the marks, or appends it with its marks."""
    content = path.read_text(encoding="utf-8") if path.is_file() else ""
    block = f"{BEGIN}\n{text}\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    content = pattern.sub(lambda _: block, content) if pattern.search(content) else f"{content.rstrip()}\n\n{block}\n"
    write_atomically(path, content.encode())
    return path
