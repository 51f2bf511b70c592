"""What a job does when memory runs out in a step: it asks for less, says so, and takes the step again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from engine.distillation import Distillation, Step
from engine.memory import out_of_memory
from engine.room import smaller


class BackOff:
    """Takes the steps of a distillation. Where memory runs out, it first asks for what changes nothing but time, then for coarser steps.

    note  is told in a sentence what was given up
    """

    def __init__(self, distillation: Distillation, note: Callable[[str], None]) -> None:
        self._distillation = distillation
        self._note = note
        self._measures = _measures(distillation)

    def step(self) -> Step:
        """`Distillation.step`. JobError once there is nothing more to give up."""
        while True:
            told = None
            try:
                return self._distillation.step()
            except (RuntimeError, MemoryError) as error:
                told = out_of_memory(error)
                if told is None:
                    raise
                error.__traceback__ = None  # its frames hold what the step had made
            measure = next(self._measures, None)
            if measure is None:
                raise told
            self._give_back()
            self._note(f"{told.message} {measure} The job goes on from step {self._distillation.taken}.")

    def _give_back(self) -> None:
        self._distillation.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _measures(distillation: Distillation) -> Iterator[str]:
    """One after another takes effect as it is asked for, and says what it is; in the order of what they cost."""
    prior: Any = distillation.prior  # some of what it may have is not every prior's
    numbers = distillation.hyperparameters
    if hasattr(prior, "at_once"):
        items = prior.at_once or 4 * numbers.views
        while items > 1:
            items = prior.at_once = max(items // 4, 1)
            yield f"The model now looks at {items} item{'s' * (items > 1)} at a time: slower, with the same result."
    vae: Any = getattr(prior, "vae", None)
    if getattr(vae, "_supports_gradient_checkpointing", False) and not vae.is_gradient_checkpointing:
        prior.compute_twice(True)
        yield "The encoder now keeps less and computes it twice: slower, with the same result."
    if prior.device.type == "cuda" and prior.dtype == torch.float32 and hasattr(prior, "unet"):
        prior.unet.to(torch.float16)
        yield "The model now computes in half precision."
    if numbers.supersample > 1:
        distillation.hyperparameters = replace(distillation.hyperparameters, supersample=1)
        yield "Views are now rendered without supersampling: their outlines are rougher."
    while distillation.hyperparameters.views > 1:
        views = distillation.hyperparameters.views // 2
        distillation.hyperparameters = replace(distillation.hyperparameters, views=views)
        yield f"Each step now looks at {views} view{'s' * (views > 1)}: results are less even from all sides."
    while hasattr(prior, "look_at") and (less := smaller(prior.image_size, prior.own_size)) < prior.image_size:
        prior.look_at(less)
        yield f"The model now sees pictures of {prior.image_size} pixels: coarser detail."
