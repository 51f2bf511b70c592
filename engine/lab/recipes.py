"""How each method makes an image: which guidance in which step, how fast, and how it ends. Hyperparameters come from here."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from engine.diffusion.prompts import DESCRIPTORS, NEGATIVE, join, source_prompt
from engine.errors import InputError
from engine.guidance.step import GuidanceSettings
from engine.guidance.two_stage import TwoStage

ImageMethod = Literal["ddim", "sds", "nfsd", "csd", "vsd", "calibrated", "anchored", "bridge"]
Preset = Literal["draft", "standard", "paper"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one run. InputError for values that cannot work.

    method         "ddim" samples, all others optimize latents; "calibrated", "anchored" and "bridge" have two stages
    steps, rate    Adam's; the optimizer's state is kept across the switch
    rate_end       the rate falls linearly to this share of itself over all steps; 1 = constant
    switch         share of the steps in stage 1 (SDS)
    first_scale    s of stage 1
    scale          s of the method itself: SDS, NFSD, VSD, anchored; and of DDIM
    weight         w of calibrated and bridge (Adam makes it almost irrelevant in 2D), w1 of CSD
    source_weight  w2 of CSD; falls to 0 over the first `anneal` share of the steps
    spread         the latents start as normal noise with this deviation
    t_low, t_high, t_high_end   range of timesteps as shares of the schedule; the upper end falls to t_high_end (None = constant)
    stratified, shared_noise, weighting   see GuidanceSettings
    sequence       timesteps of each image follow a low-discrepancy sequence over the steps, see `sequence_timesteps`
    bridge_rounds, bridge_steps, bridge_reach, bridge_scale   the finishing stage of "bridge": rounds of one full step on
                   psi_src - psi_tgt, intervals of the ODE each way, its highest timestep, guidance on the way back
    lora_rate      VSD's adapter
    """

    method: ImageMethod = "calibrated"
    steps: int = 500
    rate: float = 0.02
    rate_end: float = 1.0
    switch: float = 0.4
    first_scale: float = 40.0
    scale: float = 7.5
    weight: float = 25.0
    source_weight: float = 25.0
    anneal: float = 0.2
    spread: float = 1.0
    t_low: float = 0.02
    t_high: float = 0.98
    t_high_end: float | None = None
    stratified: bool = True
    shared_noise: bool = False
    sequence: bool = False
    weighting: Literal["sigma2", "x0", "one"] = "sigma2"
    bridge_rounds: int = 1
    bridge_steps: int = 12
    bridge_reach: float = 0.6
    bridge_scale: float = 1.0
    lora_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.method not in get_args(ImageMethod):
            raise InputError("method", f"There is no method '{self.method}'.", f"Choose one of {', '.join(get_args(ImageMethod))}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(
                    field.name, f"{field.name} is {value}; expected a finite number.", "Leave it out for the method's own value."
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
                raise InputError(name, f"{name} is {getattr(self, name)}; expected {low} to {high}.", "Choose a value in that range.")

    def guidance(self, method: str, scale: float) -> GuidanceSettings:
        """Settings of one stage."""
        return GuidanceSettings(
            method,  # type: ignore[arg-type]
            guidance_scale=scale,
            weight=self.weight,
            source_weight=self.source_weight,
            anneal_steps=max(round(self.anneal * self.steps), 1),
            t_low=self.t_low,
            t_high=self.t_high,
            weighting=self.weighting,
            stratified=self.stratified,
            shared_noise=self.shared_noise,
        )

    def plan(self) -> TwoStage:
        """Guidance by step."""
        first = self.guidance("sds", self.first_scale)
        if self.method in ("calibrated", "anchored", "bridge"):
            second = self.guidance("anchored" if self.method == "anchored" else "calibrated", self.scale)
            return TwoStage(self.steps, round(self.switch * self.steps), first, second, self.t_high_end)
        only = first if self.method in ("sds", "ddim") else self.guidance(self.method, self.scale)
        return TwoStage(self.steps, self.steps, only, only, self.t_high_end)


PRESETS: dict[Preset, dict[str, Any]] = {
    "draft": {"steps": 100, "rate": 0.05},
    "standard": {"steps": 500, "rate": 0.02},
    "paper": {"steps": 2500, "rate": 0.01, "switch": 0.2, "stratified": False},
}
"""Steps and rate; "paper" is the published protocol in 2D."""

METHOD_DEFAULTS: dict[ImageMethod, dict[str, Any]] = {
    "ddim": {"scale": 7.5},
    "sds": {},
    "nfsd": {"scale": 7.5},
    "csd": {"weight": 40.0, "source_weight": 40.0},
    "vsd": {"scale": 7.5},
    "calibrated": {},
    "anchored": {},
    "bridge": {},
}
"""What differs from `Recipe`'s own values: each paper's scale."""


SMALL_SIDE = 128
SMALL_PRIOR: dict[str, Any] = {
    "first_scale": 7.5,
    "scale": 7.5,
    "weight": 1.0,
    "source_weight": 1.0,
    "spread": 0.3,
    "rate": 0.06,
    "rate_end": 0.1,
}
"""For priors of at most SMALL_SIDE pixels, which see pixels and not a wide latent space (measured in docs/guidance.md): the
published scales burn such images out, and in a short run Adam still remembers stage 1, so that w matters."""


def for_prior(numbers: Recipe, image_size: int, given: Collection[str] = ()) -> Recipe:
    """The numbers as they suit a prior of this size; those in `given` were chosen by the user and stay."""
    if image_size > SMALL_SIDE or numbers.method == "ddim":
        return numbers
    changes = {name: value for name, value in SMALL_PRIOR.items() if name not in given}
    if numbers.method == "csd":
        changes |= {name: 7.5 for name in ("weight", "source_weight") if name not in given}
    return replace(numbers, **changes)


def recipe(method: str, preset: str = "standard", **changes: Any) -> Recipe:
    """The numbers of a method under a preset, single ones changed (None = unchanged). InputError for an unknown one."""
    if preset not in PRESETS:
        raise InputError("preset", f"There is no preset '{preset}'.", f"Choose one of {', '.join(PRESETS)}.")
    if method not in METHOD_DEFAULTS:
        raise InputError("method", f"There is no method '{method}'.", f"Choose one of {', '.join(METHOD_DEFAULTS)}.")
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise InputError("setting", f"There is no setting '{unknown[0]}'.", f"Choose among {', '.join(sorted(known))}.")
    base = Recipe(method, **PRESETS[preset], **METHOD_DEFAULTS[method])  # type: ignore[arg-type]
    return replace(base, **{name: value for name, value in changes.items() if value is not None})


def source_for(method: str, prompt: str, source: str | None = None, descriptors: str = DESCRIPTORS) -> str:
    """The source prompt that a method compares with: NFSD's negative prompt, else y_src; the user's own if given."""
    if source is not None:
        return source
    return join(NEGATIVE) if method == "nfsd" else source_prompt(prompt, descriptors=descriptors)
