"""The two-stage schedule: SDS brings shape and layout, then the direction is calibrated to what the image looks like.

arXiv 2406.09417, section 4: in 2D 500 steps of SDS at s = 40, then w = 25 up to step 2,500; in 3D 20,000 steps of SDS at
s = 100, then 5,000 with w = 1. The optimizer's state is kept across the switch.
`engine.lab.recipes.PRESETS` has these numbers and those of the paper's two released codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral

from engine.errors import InputError
from engine.guidance.methods import annealed
from engine.guidance.step import GuidanceSettings

WINDOW = 0.02
"""Width, as a share of the schedule, of the range that a falling timestep is drawn from."""


@dataclass(frozen=True)
class TwoStage:
    """Settings by step.

    steps           all steps
    switch          first step of stage 2; 0 skips stage 1, `steps` skips stage 2
    first, second   the stages' settings
    t_high_end      the highest timestep falls from each stage's t_high to this; None = constant
    t_drop          it does so at once, after this share of all steps; None = linearly over all of them
    anneal          CSD's source weight falls linearly to 0 over this share of its stage's steps
    """

    steps: int
    switch: int
    first: GuidanceSettings
    second: GuidanceSettings
    t_high_end: float | None = None
    anneal: float = 0.2
    t_drop: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.steps, Integral) or self.steps < 1 or not 0 <= self.switch <= self.steps:
            raise InputError(
                "bad_setting",
                f"{self.steps} steps with a switch at {self.switch}; expected 0 <= switch <= steps.",
                "Choose at least one step, a whole number.",
            )
        lowest = max(self.first.t_low, self.second.t_low)
        if self.t_high_end is not None and not lowest < self.t_high_end <= 1.0:
            raise InputError(
                "bad_setting",
                f"The highest timestep falls to {self.t_high_end}; expected a share above t_low = {lowest:g} and at most 1.",
                "Leave t_high_end out and it stays.",
            )
        for name, share in (("anneal", self.anneal), ("t_drop", 0.0 if self.t_drop is None else self.t_drop)):
            if not 0.0 <= share <= 1.0:
                raise InputError("bad_setting", f"{name} is {share}; expected a share of the steps, 0 to 1.", "Leave it out.")

    def at(self, step: int) -> tuple[int, GuidanceSettings]:
        """(stage 1 or 2, its settings) at a step counted from 0."""
        if step < self.switch:
            stage, settings, since, length = 1, self.first, step, self.switch
        else:
            stage, settings, since, length = 2, self.second, step - self.switch, self.steps - self.switch
        weight = settings.strength if settings.source_weight is None else settings.source_weight
        t_low, t_high = settings.t_low, self._highest(settings.t_high, step)
        if settings.entry.falling is not None:
            share = since / max(length - 1, 1)
            t_high = settings.t_high + share * (max(min(settings.entry.falling, settings.t_high), t_low + WINDOW) - settings.t_high)
            t_low = max(t_low, t_high - WINDOW)
        source_weight = annealed(weight, since, max(round(self.anneal * length), 1))
        return stage, replace(settings, t_low=t_low, t_high=t_high, source_weight=source_weight)

    def _highest(self, t_high: float, step: int) -> float:
        """The highest timestep at a step of a stage that begins with `t_high`."""
        if self.t_high_end is None:
            return t_high
        if self.t_drop is not None:
            return t_high if step < self.t_drop * self.steps else self.t_high_end
        return t_high + step / max(self.steps - 1, 1) * (self.t_high_end - t_high)
