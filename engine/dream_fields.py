"""The numbers of a dream (a job of the mode `dream`), each described as those of `engine.job_fields` are.

Standard library only; addon/dream_fields.py is a link to this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from .errors import InputError
from .fields import Door, Spec, Unit, check

JOB_OPTIONS = (
    "prompt", "source", "descriptors", "preset", "seed", "model", "control", "lora", "reference", "closing", "faces", "texture_size",
    "maps", "map_format", "packing", "image_files", "device", "overrides",
)  # fmt: skip
"""Settings of `engine.job_fields.JobSettings` that a dream takes; all but prompts, seed, device, model and what is beside it are of its
refinement. The others keep their defaults: what a panel says of a sketch's colours is of no cloud."""

DREAMING = "dream"
"""The panel's section."""

VIEWS = {"elevation_low": -5.0, "elevation_high": 35.0}
"""Where a dream looks from, where nothing else is said: from high above the prior's things are foreshortened, and clouds became cones."""

OVERHEAD = (55.0, 70.0)
"""Elevations of the views from above, degrees: where the views' words become "overhead view" (`engine.views.OVERHEAD_LIMIT`), and how high
the embedded prior's pictures go."""

REFINEMENT = {"isosurface": "tetrahedra"}
"""Overrides of the refinement, where none are given: a cloud has no edges of its own, and its triangles' are not meant."""


def _number(label: str, description: str, low: float, high: float, unit: Unit = Unit.NONE, **more: Any) -> Spec:
    """It travels under `JobSettings.dream`; the panel shows those that have a section."""
    doors = Door.WIRE | Door.ENGINE | Door.BLENDER | (Door.PANEL if more.get("section") else Door(0))
    return Spec(label, description, low, high, unit, doors=doors, **more)


@dataclass(frozen=True)
class DreamNumbers:
    """How a cloud is dreamt, before its surface is refined. An instance is checked when it is made.

    Lengths are in engine space, rates are Adam's, times are shares of the noise schedule; a view's `opacity` is how much of its light
    the cloud stops.
    """

    dream_steps: Annotated[
        int, _number("Dream Steps", "Steps of stage 1 (SDS) of the cloud", 1, 1_000_000, Unit.STEPS, section=DREAMING)
    ] = 70
    dream_steps2: Annotated[int, _number("Dream Steps 2", "Steps of stage 2 (calibrated) of the cloud", 0, 1_000_000, Unit.STEPS)] = 0
    dream_views: Annotated[int, _number("Dream Views", "Views of a step", 1, 64)] = 4
    dream_overhead: Annotated[int, _number("Dream Views From Above", "How many of a step's views look down, for what is open", 0, 64)] = 0
    dream_grid: Annotated[int, _number("Dream Grid", "Finest level of the cloud along each axis", 8, 256, Unit.CELLS, section=DREAMING)] = (
        48
    )
    dream_size: Annotated[int, _number("Dream Size", "Side of the views in rays", 8, 512)] = 32
    dream_samples: Annotated[int, _number("Dream Samples", "Of a ray through the whole cloud", 8, 1024)] = 40
    dream_guidance: Annotated[
        float, _number("Dream Guidance", "Classifier-free guidance s of the cloud's stage 1", 0, 1000, section=DREAMING)
    ] = 5.0
    dream_weight2: Annotated[float, _number("Dream Weight 2", "Weight w of the cloud's stage 2", 0, 1000)] = 2.0
    dream_t_low: Annotated[float, _number("Dream Least Noise", "Lowest noise level", 0, 1, Unit.SHARE)] = 0.02
    dream_t_high: Annotated[float, _number("Dream Most Noise", "Highest noise level at the start", 0, 1, Unit.SHARE)] = 0.75
    dream_t_end: Annotated[float, _number("Dream Most Noise at the End", "Highest noise level at the end", 0, 1, Unit.SHARE)] = 0.4
    dream_rate: Annotated[float, _number("Dream Rate", "Learning rate of the coarsest level", 0, 10)] = 0.05
    dream_shaded: Annotated[float, _number("Dream Shaded", "Share of the steps after which views are lit", 0, 1, Unit.SHARE)] = 0.2
    dream_orientation: Annotated[float, _number("Dream Orientation", "Weight against surfaces that face away", 0, 1000)] = 1.0
    dream_opacity: Annotated[float, _number("Dream Opacity", "Weight against cloud that need not be", 0, 1000)] = 0.0
    dream_decision: Annotated[float, _number("Dream Decision", "Weight against pixels half covered, rising", 0, 1000)] = 0.02
    dream_attempts: Annotated[
        int, _number("Dream Attempts", "Seeds tried while the cloud goes empty or solid", 1, 16, section=DREAMING)
    ] = 3
    dream_adherence: Annotated[
        float,
        _number("Dream Adherence", "How closely its refinement follows the cloud: 0 free, 1 close", 0, 1, Unit.SHARE, section=DREAMING),
    ] = 0.2

    def __post_init__(self) -> None:
        check(self)
        if self.dream_overhead > self.dream_views:
            raise InputError(
                "bad_setting",
                f"dream_overhead must be at most dream_views, got {self.dream_overhead} of {self.dream_views} views.",
                "Give fewer views from above, or raise dream_views.",
            )
        if not self.dream_t_low < min(self.dream_t_high, self.dream_t_end):
            raise InputError(
                "bad_setting",
                f"dream_t_low must be below dream_t_high and dream_t_end, got {self.dream_t_low:g}, {self.dream_t_high:g} and "
                f"{self.dream_t_end:g}.",
                "Leave them out to use the usual ones.",
            )
