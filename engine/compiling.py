"""torch.compile of a job's model, by a setting: at the first step of each stage, told before and after, and left alone where it fails."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from engine.distillation import Distillation, Step

BACKEND: Any = "inductor"
"""What torch hands the network to."""


def compiler_for(device: torch.device) -> str | None:
    """What torch would compile a model with on a device; None where it has nothing there."""
    if device.type == "cuda":
        return "triton" if importlib.util.find_spec("triton") else None
    named = os.environ.get("CXX", "")
    return next((name for name in (named, "g++", "clang++", "cl") if name and shutil.which(name)), None)


class Steps(Protocol):
    """What takes the steps of a distillation, as `engine.back_off.BackOff` does."""

    def step(self) -> Step: ...


class CompiledSteps:
    """Takes the steps of a distillation whose model's network torch compiles at the first step of a stage.

    Whatever else asks the model, and a step that asks it in another shape, such as one that backed off, gets the network as it is.

    note  is told before the first step, after it, and where nothing could be compiled
    """

    def __init__(self, steps: Steps, distillation: Distillation, note: Callable[[str], None]) -> None:
        prior: Any = distillation.prior  # what it has is not every prior's
        self._steps, self._distillation, self._prior, self._note = steps, distillation, prior, note
        self._plain = getattr(prior, "unet", None)
        self._compiled = None if self._plain is None else torch.compile(self._plain, dynamic=False, backend=BACKEND)
        self._stage = 0  # for which it was compiled last
        note(
            f"The model '{prior.name}' has no network that torch could compile."
            if self._plain is None
            else "torch compiles the model at the first step: that takes a minute or more, for which Cancel waits."
        )

    def step(self) -> Step:
        """The next step."""
        if self._compiled is None:
            return self._steps.step()
        first, began = self._distillation.stage != self._stage, time.perf_counter()
        try:
            step = self._taken(first)
        except RuntimeError as error:
            if not first:
                raise
            self._compiled = None
            said = str(getattr(error, "inner_exception", error)).strip().splitlines() or [type(error).__name__]
            self._note(f"torch could not compile the model ({said[0]}); it computes as it is.")
            return self._steps.step()
        if self._stage == 0:
            self._note(f"The first step, with its compilation, took {time.perf_counter() - began:.0f} s.")
        self._stage = step.stage
        return step

    def _taken(self, first: bool) -> Step:
        """A step that asks the compiled network, and whether it may be compiled for it."""
        try:
            with torch.compiler.set_stance("default" if first else "eager_on_recompile"):
                self._prior.unet = self._compiled
                return self._steps.step()
        finally:
            self._prior.unet = self._plain
