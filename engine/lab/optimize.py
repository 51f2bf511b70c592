"""Images by optimizing latents under a prior: the loop that all image tools share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, Prior
from engine.diffusion.prompts import check_prompt
from engine.diffusion.schedule import sequence_timesteps
from engine.guidance.pf_ode import BridgeSettings, GuidedPrompt, bridge_direction, sample
from engine.guidance.step import distill_latents
from engine.guidance.two_stage import TwoStage
from engine.guidance.vsd import LoraParticles, LoraSettings
from engine.lab.recipes import Recipe, source_for
from engine.pictures import to_bytes
from engine.reporting import Reporter, stop_if_cancelled

PREVIEW_SECONDS = 1.0


@dataclass
class RunMonitor:
    """Tells the reporter how far a run is, shows it previews, and keeps frames of the first image if asked.

    every   a frame is kept each so many steps; 0 = none
    """

    reporter: Reporter
    prior: Prior
    every: int = 0

    def __post_init__(self) -> None:
        self.frames: list[Tensor] = []
        self._started = time.monotonic()
        self._shown = 0.0

    @torch.no_grad()
    def step(self, stage: str, step: int, total: int, latents: Tensor, figures: dict[str, float]) -> None:
        """After step `step` of `total`; raises Cancelled if the user wishes."""
        now = time.monotonic()
        left = (now - self._started) / step * (total - step)
        self.reporter.progress(stage, step, total, left, figures)
        kept = self.every > 0 and (step % self.every == 0 or step in (1, total))
        due = now - self._shown > PREVIEW_SECONDS
        if kept or due:
            image = self.prior.decode(latents[:1].detach())[0].float().cpu()
            if due:
                self._shown = now
                self.reporter.preview(to_bytes(image))
            if kept:
                self.frames.append(image)
        stop_if_cancelled(self.reporter)


def text_to_image(
    prior: Prior,
    prompts: Sequence[str],
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    sources: Sequence[str] | None = None,
    watch: RunMonitor | None = None,
) -> Tensor:
    """One image [N, 3, S, S] in 0..1 for each prompt, all in one batch.

    sources   what the images look like on the way; None builds them from the prompts, see `source_for`
    """
    texts = [check_prompt(prompt) for prompt in prompts]
    given = [source_for(recipe.method, text) for text in texts] if sources is None else list(sources)
    target, source = prior.embed(texts), prior.embed(given)
    for note in dict.fromkeys((*target.notes, *source.notes)):
        reporter.note(note)
    watch = watch or RunMonitor(reporter, prior)
    noise = initial_noise(prior, len(texts), generator)
    if recipe.method == "ddim":
        latents = run_sampler(prior, noise, target, recipe, watch)
    else:
        latents = run_plan(prior, recipe.spread * noise, target, source, recipe, generator, watch)
    with torch.no_grad():
        return prior.decode(latents)


def initial_noise(prior: Prior, count: int, generator: torch.Generator) -> Tensor:
    """Standard normal latents [count, ...] of the prior's shape, on the device where it encodes to."""
    with torch.no_grad():
        like = prior.encode(torch.full((1, 3, prior.image_size, prior.image_size), 0.5, device=prior.alphas_cumprod.device))
    return torch.randn((count, *like.shape[1:]), generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


def run_sampler(prior: Prior, noise: Tensor, target: Conditions, recipe: Recipe, watch: RunMonitor, from_time: int | None = None) -> Tensor:
    """DDIM with `recipe.steps` intervals."""
    done = 0

    def shown(estimate: Tensor) -> None:
        nonlocal done
        done += 1
        watch.step("sampling", done, recipe.steps, estimate, {})

    return sample(prior, noise, GuidedPrompt(target, recipe.scale), recipe.steps, from_time=from_time, on_step=shown)


def run_plan(
    prior: Prior,
    start: Tensor,
    target: Conditions,
    source: Conditions,
    recipe: Recipe,
    generator: torch.Generator,
    watch: RunMonitor,
    plan: TwoStage | None = None,
) -> Tensor:
    """Latents [N, ...] after all stages of the recipe, from `start`."""
    plan = plan or recipe.plan()
    if recipe.method != "vsd":
        latents = descend(prior, start, target, source, recipe, plan, generator, watch)
        return finish_by_bridge(prior, latents, target, source, recipe, watch) if recipe.method == "bridge" else latents
    particles = LoraParticles(prior, LoraSettings(learning_rate=recipe.lora_rate), generator)
    try:
        return descend(prior, start, target, source, recipe, plan, generator, watch, particles)
    finally:
        particles.close()


def descend(
    prior: Prior,
    start: Tensor,
    target: Conditions,
    source: Conditions,
    recipe: Recipe,
    plan: TwoStage,
    generator: torch.Generator,
    watch: RunMonitor,
    particles: LoraParticles | None = None,
    reference: Tensor | None = None,
) -> Tensor:
    """Adam on the latents along the plan's directions. The loss is a mean over the batch; the sum is what each image sees."""
    latents = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([latents], lr=recipe.rate, betas=(0.9, 0.99), eps=1e-15)
    starts = torch.rand(len(latents), generator=generator, device=generator.device).to(latents.device) if recipe.sequence else None
    for step in range(plan.steps):
        stage, settings = plan.at(step)
        t = None if starts is None else sequence_timesteps(prior.schedule, step, starts, settings.t_low, settings.t_high)
        loss, figures = distill_latents(
            prior, latents, target, source, settings, generator, reference=reference, particles=particles, step=step, timesteps=t
        )
        adam.param_groups[0]["lr"] = recipe.rate * (1 + (recipe.rate_end - 1) * step / max(plan.steps - 1, 1))
        adam.zero_grad(set_to_none=True)
        (loss * len(latents)).backward()
        adam.step()
        watch.step(f"stage {stage}", step + 1, plan.steps, latents, figures)
    return latents.detach()


def finish_by_bridge(prior: Prior, latents: Tensor, target: Conditions, source: Conditions, recipe: Recipe, watch: RunMonitor) -> Tensor:
    """Rounds of one whole step along psi_src - psi_tgt (arXiv 2406.09417, section 3), after the single-step directions."""
    settings = BridgeSettings(recipe.bridge_steps, recipe.bridge_reach)
    for number in range(recipe.bridge_rounds):
        direction = bridge_direction(prior, latents, GuidedPrompt(source), GuidedPrompt(target, recipe.bridge_scale), settings)
        latents = latents - direction
        watch.step("bridge", number + 1, recipe.bridge_rounds, latents, {"gradient": float(direction.square().mean().sqrt())})
    return latents


def count_evaluations(recipe: Recipe) -> int:
    """Evaluations of the network for one image, VSD's training pass counted as three; for the laboratory's table."""
    from engine.guidance.step import roles_needed

    if recipe.method == "ddim":
        return recipe.steps * (1 if recipe.scale == 1.0 else 2)
    plan = recipe.plan()
    total = sum(len(roles_needed(plan.at(step)[1])) + (3 if recipe.method == "vsd" else 0) for step in range(plan.steps))
    if recipe.method == "bridge":
        total += recipe.bridge_rounds * recipe.bridge_steps * (3 if recipe.bridge_scale == 1.0 else 4)
    return total
