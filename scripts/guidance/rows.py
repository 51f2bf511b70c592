"""The rows of the comparison: recipes with the same steps and rate, and which question each one answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.diffusion.prompts import DESCRIPTORS
from engine.guidance.methods import METHODS, SMALL_SIDE, methods_for
from engine.lab.recipes import Recipe, recipe

STEPS = 50
SHARED = {"steps": STEPS, "rate": 0.06, "rate_end": 0.1, "spread": 0.3, "switch": 0.6}
"""For a small prior: few steps, so a high rate that falls; all optimizing rows share them."""


@dataclass(frozen=True)
class Row:
    """One way to make an image for each caption.

    label        in the table
    share        of the captions that it is run on: 1 in the main table, less in ablations
    descriptors  what the source prompt adds
    """

    label: str
    recipe: Recipe
    share: float = 1.0
    descriptors: str = DESCRIPTORS


def _row(label: str, method: str, share: float = 1.0, descriptors: str = DESCRIPTORS, **changes: object) -> Row:
    scales = {"scale": METHODS[method].scale_for(SMALL_SIDE), "first_scale": METHODS["sds"].scale_for(SMALL_SIDE)}
    return Row(label, recipe(method, "draft", **{**SHARED, **scales, **changes}), share, descriptors)


MAIN: dict[str, Row] = {
    "ddim": _row("DDIM, 20 steps, s = 7.5", "ddim", steps=20),
    "sds": _row("SDS, s = 7.5", "sds"),
    "calibrated": _row("calibrated, two-stage", "calibrated"),
    "bridge": _row("two-stage + full bridge", "bridge"),
    "nfsd": _row("NFSD", "nfsd"),
    "csd": _row("CSD", "csd"),
    "vsd": _row("VSD", "vsd"),
}
"""The paper's Table 1."""

BEYOND: dict[str, Row] = {
    "anneal": _row("calibrated, highest t falls from 0.98 to 0.4", "calibrated", 0.32, t_high_end=0.4),
    "sequence": _row("calibrated, t spread evenly over the steps", "calibrated", 0.32, sequence=True),
    "shared_noise": _row("calibrated, one noise for the batch", "calibrated", 0.32, shared_noise=True),
    "half_steps": _row("calibrated, half the steps at 1.5 x the rate", "calibrated", 0.32, steps=STEPS // 2, rate=0.09),
    "anchored": _row("anchored second stage, s = 3", "anchored", 0.32, scale=3.0),
    "sds_bridge": _row("SDS alone + full bridge", "bridge", 0.32, switch=1.0),
}
"""What the paper leaves open."""

ABLATIONS: dict[str, Row] = {
    "stage2_alone": _row("stage 2 alone", "calibrated", 0.32, switch=0.0),
    "switch_early": _row("switch after 30 % of the steps", "calibrated", 0.32, switch=0.3),
    "switch_late": _row("switch after 85 % of the steps", "calibrated", 0.32, switch=0.85),
    "weight_low": _row("w = 1", "calibrated", 0.32, scale=1.0),
    "weight_high": _row("w = 100", "calibrated", 0.32, scale=100.0),
    "three_descriptors": _row('descriptors "oversaturated, smooth, blurry"', "calibrated", 0.32, "oversaturated, smooth, blurry"),
    "one_descriptor": _row('descriptor "painting"', "calibrated", 0.32, "painting"),
}
"""The paper's ablations."""

BUDGET = 200
"""Evaluations of the prior that each row of the comparison at equal evaluations may spend on an image."""

TRAVEL = 3.0
"""Steps times rate: few steps are longer ones, so that every row can go as far."""


def _equal(method: str) -> Row:
    """A method with as many steps as the budget pays for."""

    def cost(steps: int) -> int:
        return _row("", method, steps=steps).recipe.evaluations()

    steps = max(count for count in range(1, BUDGET + 1) if count == 1 or cost(count) <= BUDGET)
    changes: dict[str, Any] = {} if METHODS[method].samples else {"rate": TRAVEL / steps}
    return _row(METHODS[method].label, method, steps=steps, **changes)


EQUAL: dict[str, Row] = {f"equal_{method}": _equal(method) for method in methods_for("image") if not METHODS[method].flow}
"""Every method that makes images and that every prior can serve, at equal evaluations."""

REPORTED: dict[str, Row] = MAIN | BEYOND | ABLATIONS
"""The rows of the report."""

ROWS: dict[str, Row] = REPORTED | EQUAL

PAPER: dict[str, str] = {
    "ddim": "49.12 / 16.56 / 0.05",
    "sds": "86.02 / 28.39 / 4.48",
    "nfsd": "91.70 / 29.25 / 7.20",
    "csd": "89.96 / 27.07 / 6.21",
    "vsd": "59.22 / 18.86 / 16.02",
    "calibrated": "67.89 / 20.31 / 4.48",
    "bridge": "55.65 / - / -",
}
"""arXiv 2406.09417: COCO-5k zero-shot FID / CLIP-FID / minutes a sample, with Stable Diffusion."""
