"""The table and the pictures of `scripts.bench.sketch_to_real`: what its judges say of what is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.render.base import Rasterizer
from scripts import metrics
from scripts.bench import held_out
from scripts.guidance.intervals import REDRAWS, Figure, bootstrap, mean_of, weighted_kid

SHOWN_VIEW = 0
MEASURES = ("chamfer", "normal", "outline", "genus", "colour", "strayed", "seconds")
BASE = "surface prior, two-stage"
"""The row that the others are compared with, asset by asset."""
HEAD = (
    "| style | row | n | Chamfer, % | normals, degrees | outline, IoU | genus off by | colour, CIE76 | kind recognized, % | "
    f"{metrics.KID} | from the sketch, % | seconds |"
)
COMPARED_HEAD = f"| style | row, less {BASE} | colour, CIE76 | kind recognized, % | {metrics.KID} |"


@dataclass(frozen=True)
class Judge:
    """What tells kinds and distances: a network, a probe and features of true pictures."""

    network: metrics.FeatureNetwork
    probe: metrics.RidgeProbe
    real: np.ndarray


@dataclass(frozen=True)
class Judged:
    """A row's assets: their figures (none of the truth), the share of each one's pictures that are recognized, [N], and KID by how
    often each asset counts."""

    figures: list[dict[str, Any]]
    recognized: np.ndarray
    kid: Figure

    @classmethod
    def of(cls, found: Sequence[tuple[dict[str, Any], np.ndarray]], kinds: Sequence[str], judge: Judge, told: bool = True) -> Judged:
        """Of figures and pictures [V, P, P, 3] of each asset, and the assets' kinds; `told` whether the figures are a row's."""
        features = judge.network.features(np.concatenate([lit for _, lit in found]))
        views = len(features) // len(found)
        right = np.array([guess == wanted for guess, wanted in zip(judge.probe.predict(features), np.repeat(kinds, views), strict=True)])
        kid = weighted_kid(features, judge.real)
        figures = [figures for figures, _ in found] if told else []
        return cls(figures, right.reshape(-1, views).mean(1), lambda weights: kid(np.repeat(weights, views)))

    def all_of(self, measure: str) -> np.ndarray:
        """A measure of every asset, [N]; empty for the truth."""
        return np.array([one[measure] for one in self.figures])

    def line(self, style: str, row: str) -> str:
        """Means over the assets, and what the judges say; KID's draws are centred: an asset drawn twice is like itself."""
        mean = {name: float(self.all_of(name).mean()) if self.figures else float("nan") for name in MEASURES}
        count = len(self.recognized)
        judged = [mean_of(self.recognized).text(factor=100), bootstrap(count, self.kid, centred=True).text(factor=1000)]
        colour = mean_of(self.all_of("colour")).text(1) if self.figures else ""
        cells = [style, row, str(count), *(_number(mean[name]) for name in MEASURES[:4]), colour, *judged]
        return f"| {' | '.join([*cells, _number(mean['strayed']), _number(mean['seconds'])])} |"

    def less(self, base: Judged, style: str, row: str) -> str:
        """The differences from another row of the same assets, drawn in pairs."""
        kid = bootstrap(len(self.recognized), lambda weights: self.kid(weights) - base.kid(weights))
        colour, recognized = mean_of(self.all_of("colour") - base.all_of("colour")), mean_of(self.recognized - base.recognized)
        return f"| {style} | {row} | {colour.text(1)} | {recognized.text(factor=100)} | {kid.text(factor=1000)} |"


def path_of(out: Path, name: str, style: str, row: str) -> Path:
    """Of a result in a bench's folder, without its suffix."""
    return out / name / f"{style} - {row}".replace(" ", "_").replace(",", "")


def report(
    out: Path, rasterizer: Rasterizer, names: Sequence[str], styles: Sequence[str], rows: Sequence[str], references: Sequence[str]
) -> str:
    """The tables in Markdown of all assets that have every row of a style; also writes them and the pictures beside the results."""
    network = metrics.FeatureNetwork()
    real = _references(out, rasterizer, references)
    features = network.features(real["lit"])
    judge = Judge(network, metrics.RidgeProbe(features, real["kinds"].tolist()), features)
    halves = metrics.kid(features[::2], features[1::2])
    lines, compared = _table(HEAD), _table(COMPARED_HEAD)
    for style in styles:
        done = [name for name in names if all(path_of(out, name, style, row).with_suffix(".json").exists() for row in rows)]
        if not done:
            continue
        truth = [_read(out / name / "truth") for name in done]
        kinds = [said["kind"] for said, _ in truth]
        lines.append(Judged.of(truth, kinds, judge, told=False).line(style, "the truth"))
        judged = {row: Judged.of([_read(path_of(out, name, style, row)) for name in done], kinds, judge) for row in rows}
        lines += [one.line(style, row) for row, one in judged.items()]
        if BASE in judged:
            compared += [one.less(judged[BASE], style, row) for row, one in judged.items() if row != BASE]
        write_sheet(out, done, style, rows, out / f"{style.replace(' ', '_')}.jpg")
    lines += ["", *compared] if len(compared) > 2 else []
    lines.append(f"\n{len(references)} true assets to compare with; {metrics.KID} of two halves of their pictures {1000 * halves:.1f}.")
    lines.append(f"In brackets: the middle 95 % of {REDRAWS} bootstrap draws over the assets; differences are drawn asset by asset.")
    text = "\n".join(lines)
    (out / "table.md").write_text(text + "\n", "utf-8")
    return text


def _table(head: str) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1)]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _read(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Figures and lit pictures uint8 [V, P, P, 3]."""
    with np.load(path.with_suffix(".npz")) as stored:
        return json.loads(path.with_suffix(".json").read_text("utf-8")), stored["lit"]


def _references(out: Path, rasterizer: Rasterizer, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Pictures of the true assets to compare with and their kinds, one a picture; drawn once."""
    path = out / "references.npz"
    if path.exists():
        with np.load(path) as stored:
            if stored["names"].tolist() == list(names):
                return {"lit": stored["lit"], "kinds": stored["kinds"]}
    lit, kinds = [], []
    for name in names:
        made = held_out.asset(name)
        lit.append(held_out.pictures_of_asset(rasterizer, made).lit)
        kinds += [made.kind] * held_out.VIEWS
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, lit=np.concatenate(lit), kinds=np.array(kinds), names=np.array(list(names)))
    return {"lit": np.concatenate(lit), "kinds": np.array(kinds)}


def write_sheet(out: Path, names: Sequence[str], style: str, rows: Sequence[str], path: Path) -> None:
    """A line of pictures for each asset: every row, and the truth at the end."""
    lines = []
    for name in names:
        pictures = [_read(path_of(out, name, style, row))[1] for row in rows] + [_read(out / name / "truth")[1]]
        lines.append(np.concatenate([lit[SHOWN_VIEW] for lit in pictures], axis=1))
    Image.fromarray(np.concatenate(lines)).save(path, quality=88)
