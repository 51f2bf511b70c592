"""Changing a given image: a painting made real, SDEdit as its baseline, and delta denoising."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.diffusion.prior import Prior, referred
from engine.diffusion.prompts import check_prompt, painting_source
from engine.errors import InputError
from engine.guidance.methods import METHODS, method_named
from engine.guidance.step import ConditionPair
from engine.guidance.two_stage import TwoStage
from engine.lab.optimize import Run, RunMonitor, initial_noise, run_plan, run_sampler
from engine.lab.recipes import Recipe
from engine.reporting import Reporter


@dataclass(frozen=True)
class Edit:
    """What is to become of an image.

    prompt    what it should show
    source    what it shows now, y_src; None = the prompt and ", painting"
    strength  the highest timestep, as a share of the schedule: how much of the layout may change; None = the method's own
    """

    prompt: str
    source: str | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if self.strength is not None and not 0.05 <= self.strength <= 1.0:
            raise InputError(
                "bad_setting", f"The strength is {self.strength}; expected 0.05 to 1.", "Take 0.3 for small changes, 0.8 for large ones."
            )


def edit_image(
    prior: Prior,
    init: Tensor,
    edit: Edit,
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    control: Tensor | None = None,
    watch: RunMonitor | None = None,
) -> Tensor:
    """Images [N, 3, S, S] in 0..1: `init` [N, 3, H, W] in 0..1 changed by the recipe's method.

    SDEdit samples down from the noised image (Meng et al. 2021). Delta denoising notices at each step only what differs from
    the unedited image, noised alike (Hertz et al. 2023). All others move the image from y_src to the prompt by their second
    stage alone (arXiv 2406.09417, section 5: painting to real).
    control  [1, C, S, S] for a `ControlledPrior`: how the image's surface looks
    InputError for a method that does not edit, and where delta denoising is not told what the image shows.
    """
    entry = method_named(recipe.method, "edit")
    check_source(recipe.method, edit.source)
    text = check_prompt(edit.prompt)
    source = None if entry.samples else prior.embed([edit.source or painting_source(text)]).under(control)
    prompts = ConditionPair(referred(prior, prior.embed([text])).under(control), source)
    run = Run.start(prior, recipe, generator, reporter, watch, prompts)
    with torch.no_grad():
        latents = prior.encode(init, generator)
    strength = edit.strength or entry.edit_strength
    latents = sdedit(run, latents, prompts, strength) if entry.samples else second_stage(run, latents, prompts, strength)
    with torch.no_grad():
        return prior.decode(latents)


def check_source(method: str, source: str | None) -> None:
    """InputError for delta denoising without a description of the unedited image."""
    if "reference" in METHODS[method].needs and not (source or "").strip():
        raise InputError(
            "bad_setting", "Delta denoising needs to know what the picture shows now.", 'Give it with --source, e.g. --source "a red mug".'
        )


def second_stage(run: Run, latents: Tensor, prompts: ConditionPair, strength: float) -> Tensor:
    """Latents [N, ...] moved by the method alone, at timesteps up to `strength`."""
    settings = run.recipe.guidance(run.recipe.method, run.recipe.scale)
    settings = replace(settings, t_low=min(run.recipe.t_low, strength / 2), t_high=strength)
    plan = TwoStage(run.recipe.steps, 0, settings, settings, run.recipe.t_high_end, run.recipe.anneal)
    return run_plan(run, latents, prompts, plan, reference=latents)


def sdedit(run: Run, latents: Tensor, prompts: ConditionPair, strength: float) -> Tensor:
    """Latents [N, ...] noised to `strength` of the schedule, then sampled down under the prompt."""
    schedule = run.prior.schedule
    last = max(round(strength * len(schedule)) - 1, 1)
    noise = initial_noise(run.prior, len(latents), run.generator)
    noisy = schedule.add_noise(latents, noise, torch.full((len(latents),), last, device=latents.device))
    return run_sampler(run, noisy, prompts.target, from_time=last)
