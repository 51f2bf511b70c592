"""Every method at equal evaluations: one table with bootstrap intervals, written between its marks in docs/guidance.md."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.guidance.captions import read_reals, records_of
from scripts.guidance.report import draw_sheet
from scripts.guidance.rows import BUDGET, EQUAL, TRAVEL
from scripts.guidance.store import Store
from scripts.metrics import KID, NETWORK, FeatureNetwork, RidgeProbe, saturation, share_right, sharpness

BEGIN, END = "<!-- written by scripts.guidance.bench equal -->", "<!-- end of what scripts.guidance.bench equal writes -->"
REDRAWS = 1000
TRAINED = 440
"""Training renders that the classifier of kinds learns from, at most."""


@dataclass(frozen=True)
class Interval:
    """A figure and the middle 95 % of its bootstrap."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 0, factor: float = 1.0) -> str:
        """ "12 (9 .. 15)"."""
        return f"{factor * self.value:.{digits}f} ({factor * self.low:.{digits}f} .. {factor * self.high:.{digits}f})"


def bootstrap(count: int, figure: Callable[[np.ndarray], float], seed: int = 0) -> Interval:
    """A figure of `count` images, given how often each counts (float [count]), with its interval over REDRAWS draws with replacement."""
    rng = np.random.default_rng(seed)
    draws = [figure(np.bincount(rng.integers(0, count, count), minlength=count).astype(float)) for _ in range(REDRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(figure(np.ones(count)), float(low), float(high))


def weighted_kid(made: np.ndarray, real: np.ndarray) -> Callable[[np.ndarray], float]:
    """KID (Binkowski et al. 2018) of features made [N, d] against real [M, d], as a function of the weights of the made ones.

    An image drawn twice is not compared with itself, so that the estimate stays unbiased under the bootstrap.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within, across, reference = kernel(made, made), kernel(made, real).mean(1), kernel(real, real)
    count = len(real)
    constant = (reference.sum() - np.trace(reference)) / (count * (count - 1))
    np.fill_diagonal(within, 0.0)

    def figure(weights: np.ndarray) -> float:
        pairs = weights.sum() ** 2 - np.square(weights).sum()
        return float(weights @ within @ weights / pairs + constant - 2 * (weights @ across) / weights.sum())

    return figure


def write_equal(arguments: argparse.Namespace, store: Store, kinds: tuple[str, ...]) -> Path:
    """Judges the rows that are there and puts their table into docs/guidance.md."""
    done = {name: found for name in EQUAL if (found := store.load(name, EQUAL[name])) is not None}
    if not done:
        raise SystemExit(f"nothing to report yet: use run --rows {' '.join(EQUAL)} first")
    count = min(len(found.pictures) for found in done.values())
    size = next(iter(done.values())).pictures.shape[1]
    records = records_of(arguments.data, kinds)
    held_out, trained = read_reals(arguments.data, records, size, True), read_reals(arguments.data, records, size, False, TRAINED)
    network = FeatureNetwork()
    reference = network.features(held_out.pictures)
    probe = RidgeProbe(network.features(trained.pictures), trained.kinds)
    asked = [item.kind for item in store.items[:count]]
    lines = [heading(store, count, len(held_out.pictures)), columns()]
    ceiling = 100 * share_right(probe.predict(reference), held_out.kinds)
    lines.append(f"| held-out renders | | | | | {ceiling:.0f} | {plain(held_out.pictures)} | |")
    base: Callable[[np.ndarray], float] | None = None
    for name, found in done.items():
        rows = network.features(found.pictures[:count])
        figure = weighted_kid(rows, reference)
        base = base or figure
        distance = bootstrap(count, figure)
        more = bootstrap(count, lambda weights, figure=figure, base=base: figure(weights) - base(weights))
        right = np.array([guess == kind for guess, kind in zip(probe.predict(rows), asked, strict=True)], dtype=float)
        share = bootstrap(count, lambda weights, right=right: float(weights @ right / weights.sum()))
        numbers, seconds = EQUAL[name].recipe, found.seconds / len(found.pictures)
        cells = (
            EQUAL[name].label,
            f"{numbers.steps} | {numbers.evaluations()}",
            f"{distance.text(0, 1e3)} | {more.text(0, 1e3)} | {share.text(0, 100)}",
            f"{plain(found.pictures[:count])} | {seconds:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    sheet = arguments.docs / "images" / "guidance_equal.jpg"
    draw_sheet(store, EQUAL, sheet)
    lines.append(f"\n![the first captions by every method at equal evaluations](images/{sheet.name})")
    return put(arguments.docs / "guidance.md", "\n".join(lines) + "\n")


def plain(pictures: np.ndarray) -> str:
    """Mean saturation and sharpness, two columns."""
    return f"{saturation(pictures).mean():.2f} | {sharpness(pictures).mean():.1f}"


def heading(store: Store, count: int, held_out: int) -> str:
    """What was run and how."""
    return f"""
## Every method at equal evaluations

`python -m scripts.guidance.bench --data FOLDER --captions {len(store.items)} --chunk {store.chunk} run --rows equal_...`, then `... equal`;
prior `{store.model}`. {count} captions that no training picture has, one image each, equal seeds. Each row spends at most {BUDGET}
evaluations of the network on an image, inversion and training passes counted, with steps x rate = {TRAVEL:g}. KID and the share
of images of the right kind in %: pooled features of {NETWORK} against {held_out} held-out renders, with the middle 95 % of
{REDRAWS} bootstrap draws over the images. Intervals that overlap tell no two methods apart; the difference from the first row is drawn
in pairs, caption by caption, and is told apart from nothing where its interval holds 0.
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
    path.write_text(content, encoding="utf-8")
    return path
