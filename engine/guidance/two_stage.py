"""The two-stage schedule: SDS brings shape and layout, then the direction is calibrated to what the image looks like.

arXiv 2406.09417, section 4: in 2D 500 steps of SDS at s = 40, then w = 25 up to step 2,500; in 3D 20,000 steps of SDS at
s = 100, then 5,000 with w = 1. The optimizer's state is kept across the switch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.errors import InputError
from engine.guidance.methods import annealed
from engine.guidance.step import GuidanceSettings


@dataclass(frozen=True)
class TwoStage:
    """Settings by step.

    steps           all steps
    switch          first step of stage 2; 0 skips stage 1, `steps` skips stage 2
    first, second   the stages' settings
    t_high_end      the highest timestep falls linearly from each stage's t_high to this over all steps; None = constant
    anneal          CSD's source weight falls linearly to 0 over this share of its stage's steps
    """

    steps: int
    switch: int
    first: GuidanceSettings
    second: GuidanceSettings
    t_high_end: float | None = None
    anneal: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.switch <= self.steps:
            raise InputError(
                "bad_setting",
                f"{self.steps} steps with a switch at {self.switch}; expected 0 <= switch <= steps.",
                "Choose at least one step.",
            )

    def at(self, step: int) -> tuple[int, GuidanceSettings]:
        """(stage 1 or 2, its settings) at a step counted from 0."""
        if step < self.switch:
            stage, settings, since, length = 1, self.first, step, self.switch
        else:
            stage, settings, since, length = 2, self.second, step - self.switch, self.steps - self.switch
        weight = settings.strength if settings.source_weight is None else settings.source_weight
        t_high = settings.t_high
        if self.t_high_end is not None:
            t_high += step / max(self.steps - 1, 1) * (self.t_high_end - t_high)
        return stage, replace(settings, t_high=t_high, source_weight=annealed(weight, since, max(round(self.anneal * length), 1)))


def paper_2d(steps: int = 2500, switch: int = 500) -> TwoStage:
    """The paper's 2D schedule."""
    return TwoStage(steps, switch, GuidanceSettings("sds", 40.0), GuidanceSettings("calibrated", 25.0))


def paper_3d(steps: int = 25_000, switch: int = 20_000) -> TwoStage:
    """The paper's 3D schedule."""
    return TwoStage(steps, switch, GuidanceSettings("sds", 100.0), GuidanceSettings("calibrated", 1.0))
