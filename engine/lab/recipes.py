"""How the laboratory makes an image by a method: how many steps, how fast, which guidance in which step, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from engine.errors import InputError
from engine.guidance.methods import METHODS, SMALL_SIDE, Method, method_named
from engine.guidance.step import GuidanceSettings, Weighting
from engine.guidance.two_stage import TwoStage


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one run. InputError for values that cannot work.

    method         a name of `METHODS`: it samples, or optimizes latents in one stage or two
    steps, rate    Adam's; the optimizer's state is kept across the switch
    rate_end       the rate falls linearly to this share of itself over all steps; 1 = constant
    switch         share of the steps in stage 1 (SDS)
    first_scale    s of stage 1 of two
    scale          strength of the method itself (Adam makes that of a weighted difference almost irrelevant in 2D)
    suffix         added to the target prompt in stage 2 of two
    second_weighting  w(t) in stage 2 of two; None = `weighting`
    source_weight  w2 of CSD, None = `scale`; it falls to 0 over the first `anneal` share of the steps
    spread         the latents start as normal noise with this deviation
    t_low, t_high, t_high_end   range of timesteps as shares of the schedule; the upper end falls to t_high_end (None = constant)
    t_drop         it does so at once after this share of the steps; None = linearly
    decay          AdamW's weight decay
    stratified, shared_noise, weighting   see GuidanceSettings
    sequence       timesteps of each image follow a low-discrepancy sequence over the steps, see `sequence_timesteps`
    bridge_rounds, bridge_steps, bridge_reach, bridge_scale   the finishing stage of "bridge": rounds of one full step on
                   psi_src - psi_tgt, intervals of the ODE each way, its highest timestep, guidance on the way back
    lora_rate      VSD's adapter
    """

    method: str = "calibrated"
    steps: int = 500
    rate: float = 0.02
    rate_end: float = 1.0
    switch: float = 0.4
    first_scale: float = METHODS["sds"].scale
    scale: float = METHODS["calibrated"].scale
    suffix: str = ""
    second_weighting: Weighting | None = None
    source_weight: float | None = None
    anneal: float = 0.2
    spread: float = 1.0
    t_low: float = 0.02
    t_high: float = 0.98
    t_high_end: float | None = None
    t_drop: float | None = None
    decay: float = 0.0
    stratified: bool = True
    shared_noise: bool = False
    sequence: bool = False
    weighting: Weighting = "sigma2"
    bridge_rounds: int = 1
    bridge_steps: int = 12
    bridge_reach: float = 0.6
    bridge_scale: float = 1.0
    lora_rate: float = 1e-3

    def __post_init__(self) -> None:
        method_named(self.method)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(
                    "bad_setting", f"{field.name} is {value}; expected a finite number.", "Leave it out for the method's own value."
                )
        for name, low, high in (
            ("steps", 1, 1_000_000),
            ("rate", 1e-6, 10.0),
            ("rate_end", 0.0, 1.0),
            ("switch", 0.0, 1.0),
            ("bridge_reach", 0.01, 1.0),
            ("spread", 0.0, 10.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(
                    "bad_setting", f"{name} is {getattr(self, name)}; expected {low} to {high}.", "Choose a value in that range."
                )

    @property
    def entry(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    def guidance(self, method: str, scale: float) -> GuidanceSettings:
        """Settings of one stage."""
        return GuidanceSettings(
            method,
            scale,
            source_weight=self.source_weight,
            t_low=self.t_low,
            t_high=self.t_high,
            weighting=self.weighting,
            stratified=self.stratified,
            shared_noise=self.shared_noise,
        )

    def plan(self) -> TwoStage:
        """Guidance by step; a method with one stage has it from the first step to the last."""
        own = self.guidance(self.method, self.scale)
        two = self.entry.stages == 2
        first, switch = (self.guidance("sds", self.first_scale), round(self.switch * self.steps)) if two else (own, self.steps)
        second = own if self.second_weighting is None else replace(own, weighting=self.second_weighting)
        return TwoStage(self.steps, switch, first, second, self.t_high_end, self.anneal, self.t_drop)

    def evaluations(self) -> int:
        """Evaluations of the prior for one image; VSD's training pass counts as three."""
        if self.entry.samples:
            return self.steps * len(self.entry.roles(self.scale))
        plan = self.plan()
        total = sum(plan.at(step)[1].evaluations for step in range(plan.steps))
        if self.entry.bridge:
            total += self.bridge_rounds * self.bridge_steps * (3 if self.bridge_scale == 1.0 else 4)
        return total


PRESETS: dict[str, dict[str, Any]] = {
    "draft": {"steps": 100, "rate": 0.05},
    "standard": {"steps": 500, "rate": 0.02},
    "paper": {"steps": 2500, "rate": 0.01, "switch": 0.2, "stratified": False},
    "code-2d": {
        "steps": 1000, "rate": 0.01, "switch": 0.5, "stratified": False, "decay": 0.01, "first_scale": 40.0,
        "suffix": "detailed high resolution, high quality, sharp",
    },
    "code-3d": {
        "steps": 25_000, "rate": 0.01, "switch": 0.8, "stratified": False, "decay": 0.01, "first_scale": 100.0,
        "second_weighting": "one", "t_high_end": 0.5, "t_drop": 0.2,
    },
}  # fmt: skip
"""Steps, rate and what goes with them. "paper" is the published protocol in 2D. The paper's two released codes differ from it and from
each other: the 2D script takes w(t) = 1 - alpha_bar and s = 40 in both stages, and words of quality in stage 2; the 3D extension
takes s = 100, then the bare difference (w(t) = 1, w = 1), and lowers the highest timestep to 0.5 after a fifth of the steps.
"""

PRESET_SCALES = {"code-2d": 40.0, "code-3d": 1.0}
"""Strength of the calibrated direction under the released codes' presets; every other method keeps its own."""

SAMPLER_STEPS = 20

SMALL_PRIOR: dict[str, Any] = {"spread": 0.3, "rate": 0.06, "rate_end": 0.1}
"""For priors of at most SMALL_SIDE pixels, beside each method's own `small_scale`: in a short run Adam still remembers stage 1."""


def for_prior(numbers: Recipe, image_size: int, given: Collection[str] = ()) -> Recipe:
    """The numbers as they suit a prior of this size; those in `given` were chosen by the user and stay."""
    if image_size > SMALL_SIDE or numbers.entry.samples:
        return numbers
    small = {**SMALL_PRIOR, "scale": numbers.entry.scale_for(image_size), "first_scale": METHODS["sds"].scale_for(image_size)}
    return replace(numbers, **{name: value for name, value in small.items() if name not in given})


def recipe(method: str, preset: str = "standard", **changes: Any) -> Recipe:
    """The numbers of a method under a preset, single ones changed (None = unchanged). InputError for an unknown one."""
    if preset not in PRESETS:
        raise InputError("bad_setting", f"There is no preset '{preset}'.", f"Choose one of {', '.join(PRESETS)}.")
    entry = method_named(method)
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise InputError("unknown_setting", f"There is no setting '{unknown[0]}'.", f"Choose among {', '.join(sorted(known))}.")
    scale = PRESET_SCALES.get(preset, entry.scale) if method == "calibrated" else entry.scale
    base = Recipe(method, scale=scale, **PRESETS[preset])
    if entry.samples:
        base = replace(base, steps=SAMPLER_STEPS)
    return replace(base, **{name: value for name, value in changes.items() if value is not None})
