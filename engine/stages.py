"""The stages of a job: what `Progress` names, and what people read. Standard library only."""

from __future__ import annotations

import enum


class Stage(enum.Enum):
    """The stages of a job in the order in which they run; a texture job leaves out SDF and FIT,
    and only a dream has DREAM before them. The value is what `Progress` carries.

    label  for people
    """

    CHECK = "check", "Checking the sketch"
    LOAD = "load model", "Loading the model"
    DREAM = "dream", "Dreaming a cloud"
    SDF = "sdf", "Distance field"
    FIT = "fit", "Fitting the sketch"
    STAGE1 = "stage 1", "Stage 1: shape and colour"
    STAGE2 = "stage 2", "Stage 2: calibrated detail"
    FINISH = "finish", "Finishing: all views together"
    EXPORT = "export", "Unwrapping and baking"

    label: str

    def __new__(cls, value: str, label: str) -> Stage:
        member = object.__new__(cls)
        member._value_, member.label = value, label
        return member


def stage_label(stage: str) -> str:
    """A stage by its name on the wire, in words for people."""
    known = {each.value: each.label for each in Stage}
    return known.get(stage, stage.capitalize())
