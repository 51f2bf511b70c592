"""The numbers of a dream (`sketchbridge dream`), each described as those of `engine.job_fields` are. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from .errors import InputError
from .fields import Door, Spec, Unit, check

JOB_OPTIONS = (
    "prompt", "source", "descriptors", "preset", "seed", "adherence", "model", "control", "lora", "closing", "faces", "texture_size",
    "maps", "map_format", "packing", "image_files", "device", "overrides",
)  # fmt: skip
"""Settings of `engine.job_fields.JobSettings` that a dream takes; all but prompts, seed, model, LoRAs and device are of its refinement."""

DEFAULTS = {"adherence": 0.2}
"""Of those, where a dream's differ: the refinement may leave a cloud further than an artist's sketch."""

VIEWS = {"elevation_low": -5.0, "elevation_high": 35.0}
"""Where a dream looks from, where nothing else is said: from high above the prior's things are foreshortened, and clouds became cones."""

REFINEMENT = {"isosurface": "tetrahedra"}
"""Overrides of the refinement, where none are given: a cloud has no edges of its own, and its triangles' are not meant."""


def _number(label: str, description: str, low: float, high: float, unit: Unit = Unit.NONE, **more: Any) -> Spec:
    return Spec(label, description, low, high, unit, doors=Door.ENGINE, **more)


@dataclass(frozen=True)
class DreamNumbers:
    """How a cloud is dreamt, before its surface is refined. An instance is checked when it is made.

    Lengths are in engine space, rates are Adam's, times are shares of the noise schedule; a view's `opacity` is how much of its light
    the cloud stops.
    """

    dream_steps: Annotated[int, _number("Dream Steps", "Steps of stage 1 (SDS) of the cloud", 1, 1_000_000, Unit.STEPS)] = 70
    dream_steps2: Annotated[int, _number("Dream Steps 2", "Steps of stage 2 (calibrated) of the cloud", 0, 1_000_000, Unit.STEPS)] = 0
    dream_views: Annotated[int, _number("Dream Views", "Views of a step", 1, 64)] = 4
    dream_grid: Annotated[int, _number("Dream Grid", "Finest level of the cloud along each axis", 8, 256, Unit.CELLS)] = 48
    dream_size: Annotated[int, _number("Dream Size", "Side of the views in rays", 8, 512)] = 32
    dream_samples: Annotated[int, _number("Dream Samples", "Of a ray through the whole cloud", 8, 1024)] = 40
    dream_guidance: Annotated[float, _number("Dream Guidance", "Classifier-free guidance s of the cloud's stage 1", 0, 1000)] = 5.0
    dream_weight2: Annotated[float, _number("Dream Weight 2", "Weight w of the cloud's stage 2", 0, 1000)] = 2.0
    dream_t_low: Annotated[float, _number("Dream Least Noise", "Lowest noise level", 0, 1, Unit.SHARE)] = 0.02
    dream_t_high: Annotated[float, _number("Dream Most Noise", "Highest noise level at the start", 0, 1, Unit.SHARE)] = 0.75
    dream_t_end: Annotated[float, _number("Dream Most Noise at the End", "Highest noise level at the end", 0, 1, Unit.SHARE)] = 0.4
    dream_rate: Annotated[float, _number("Dream Rate", "Learning rate of the coarsest level", 0, 10)] = 0.05
    dream_shaded: Annotated[float, _number("Dream Shaded", "Share of the steps after which views are lit", 0, 1, Unit.SHARE)] = 0.2
    dream_orientation: Annotated[float, _number("Dream Orientation", "Weight against surfaces that face away", 0, 1000)] = 1.0
    dream_opacity: Annotated[float, _number("Dream Opacity", "Weight against cloud that need not be", 0, 1000)] = 0.0
    dream_decision: Annotated[float, _number("Dream Decision", "Weight against pixels half covered, rising", 0, 1000)] = 0.02
    dream_attempts: Annotated[int, _number("Dream Attempts", "Seeds tried while the cloud goes empty or solid", 1, 16)] = 3

    def __post_init__(self) -> None:
        check(self)
        if not self.dream_t_low < min(self.dream_t_high, self.dream_t_end):
            raise InputError(
                "bad_setting",
                f"dream_t_low must be below dream_t_high and dream_t_end, got {self.dream_t_low:g}, {self.dream_t_high:g} and "
                f"{self.dream_t_end:g}.",
                "Leave them out to use the usual ones.",
            )
