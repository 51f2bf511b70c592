"""Changing a given image: a painting made real, SDEdit as its baseline, and delta denoising."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.diffusion.prior import Prior
from engine.diffusion.prompts import check_prompt, painting_source
from engine.errors import InputError
from engine.guidance.step import GuidanceSettings
from engine.guidance.two_stage import TwoStage
from engine.lab.optimize import RunMonitor, descend, finish_by_bridge, initial_noise, run_sampler
from engine.lab.recipes import Recipe
from engine.reporting import Reporter


def check_strength(strength: float) -> float:
    """The share of the schedule that an edit may reach; InputError outside 0.05 .. 1."""
    if not 0.05 <= strength <= 1.0:
        raise InputError("strength", f"The strength is {strength}; expected 0.05 to 1.", "Take 0.3 for small changes, 0.8 for large ones.")
    return strength


def painting_to_real(
    prior: Prior,
    init: Tensor,
    prompt: str,
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    source: str | None = None,
    strength: float = 0.6,
    watch: RunMonitor | None = None,
) -> Tensor:
    """Images [N, 3, S, S] in 0..1: the painting moved from y_src to the prompt by stage 2 alone (arXiv 2406.09417, section 5).

    init      [N, 3, H, W] in 0..1
    source    y_src; None = the prompt and ", painting"
    strength  the highest timestep, as a share of the schedule: how much of the layout may change
    """
    text = check_prompt(prompt)
    told = source or painting_source(text)
    target, given = prior.embed([text]), prior.embed([told])
    _tell(reporter, (*target.notes, *given.notes))
    with torch.no_grad():
        latents = prior.encode(init, generator)
    second = recipe.guidance("anchored" if recipe.method == "anchored" else "calibrated", recipe.scale)
    second = replace(second, t_low=min(recipe.t_low, strength / 2), t_high=check_strength(strength))
    plan = TwoStage(recipe.steps, 0, second, second, recipe.t_high_end)
    watch = watch or RunMonitor(reporter, prior)
    latents = descend(prior, latents, target, given, recipe, plan, generator, watch)
    if recipe.method == "bridge":
        latents = finish_by_bridge(prior, latents, target, given, recipe, watch)
    with torch.no_grad():
        return prior.decode(latents)


def sdedit(
    prior: Prior,
    init: Tensor,
    prompt: str,
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    strength: float = 0.6,
    watch: RunMonitor | None = None,
) -> Tensor:
    """The baseline: the image noised to `strength` of the schedule, then sampled down under the prompt (Meng et al. 2021)."""
    target = prior.embed([check_prompt(prompt)])
    _tell(reporter, target.notes)
    with torch.no_grad():
        latents = prior.encode(init, generator)
    last = max(round(check_strength(strength) * len(prior.schedule)) - 1, 1)
    noise = initial_noise(prior, len(latents), generator)
    noisy = prior.schedule.add_noise(latents, noise, torch.full((len(latents),), last, device=latents.device))
    recipe = replace(recipe, steps=min(recipe.steps, 20))
    latents = run_sampler(prior, noisy, target, recipe, watch or RunMonitor(reporter, prior), from_time=last)
    with torch.no_grad():
        return prior.decode(latents)


def delta_denoising(
    prior: Prior,
    init: Tensor,
    prompt: str,
    source: str | None,
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    strength: float = 0.98,
    watch: RunMonitor | None = None,
) -> Tensor:
    """Images [N, 3, S, S] in 0..1 edited from `source`, what the image shows, to the prompt (Hertz et al. 2023).

    The image and its unedited self are noised alike at each step, so what both prompts agree on cancels.
    """
    if source is None or not source.strip():
        raise InputError(
            "source", "Delta denoising needs to know what the image shows now.", 'Give it with --source, e.g. --source "a red mug".'
        )
    target, given = prior.embed([check_prompt(prompt)]), prior.embed([check_prompt(source)])
    _tell(reporter, (*target.notes, *given.notes))
    with torch.no_grad():
        reference = prior.encode(init, generator)
    settings = GuidanceSettings(
        "dds", weight=1.0, t_low=min(recipe.t_low, strength / 2), t_high=check_strength(strength), weighting=recipe.weighting
    )
    plan = TwoStage(recipe.steps, 0, settings, settings)
    latents = descend(prior, reference, target, given, recipe, plan, generator, watch or RunMonitor(reporter, prior), reference=reference)
    with torch.no_grad():
        return prior.decode(latents)


def _tell(reporter: Reporter, notes: tuple[str, ...]) -> None:
    for note in dict.fromkeys(notes):
        reporter.note(note)
