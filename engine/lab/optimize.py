"""Images by optimizing latents under a prior: the loop that all image tools share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, Prior, referred
from engine.diffusion.prompts import check_prompt, join
from engine.diffusion.schedule import sequence_timesteps
from engine.guidance.methods import source_text
from engine.guidance.pf_ode import BridgeSettings, GuidedPrompt, bridge_direction, sample
from engine.guidance.served import refuse_unserved
from engine.guidance.step import ConditionPair, distill_latents, draw_noise
from engine.guidance.two_stage import TwoStage
from engine.guidance.vsd import LoraParticles, LoraSettings
from engine.lab.recipes import Recipe
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


@dataclass(frozen=True)
class Run:
    """What every step of a run needs: the prior, the numbers, chance, and who watches."""

    prior: Prior
    recipe: Recipe
    generator: torch.Generator
    watch: RunMonitor

    @classmethod
    def start(
        cls, prior: Prior, recipe: Recipe, generator: torch.Generator, reporter: Reporter, watch: RunMonitor | None, prompts: ConditionPair
    ) -> Run:
        """A run that tells the user at once what the prior will not understand of the prompts."""
        for note in prompts.notes:
            reporter.note(note)
        return cls(prior, recipe, generator, watch or RunMonitor(reporter, prior))


def text_to_image(
    prior: Prior,
    texts: Sequence[str],
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    sources: Sequence[str] | None = None,
    control: Tensor | None = None,
    watch: RunMonitor | None = None,
) -> Tensor:
    """One image [N, 3, S, S] in 0..1 for each text, all in one batch.

    sources   what the images look like on the way; None builds them from the texts, see `methods.source_text`
    control   [N, C, S, S] for a `ControlledPrior`: how the surface of each image looks
    """
    checked = [check_prompt(text) for text in texts]
    given = [source_text(recipe.method, text) for text in checked] if sources is None else list(sources)
    prompts = ConditionPair(referred(prior, prior.embed(checked)).under(control), prior.embed(given).under(control))
    run = Run.start(prior, recipe, generator, reporter, watch, prompts)
    noise = initial_noise(prior, len(checked), generator)
    latents = run_sampler(run, noise, prompts.target) if recipe.entry.samples else run_plan(run, recipe.spread * noise, prompts)
    with torch.no_grad():
        return prior.decode(latents)


def initial_noise(prior: Prior, count: int, generator: torch.Generator) -> Tensor:
    """Standard normal latents [count, ...] of the prior's shape, on the device where it encodes to."""
    with torch.no_grad():
        like = prior.encode(torch.full((1, 3, prior.image_size, prior.image_size), 0.5, device=prior.device))
    return torch.randn((count, *like.shape[1:]), generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


def run_sampler(run: Run, noise: Tensor, target: Conditions, from_time: int | None = None) -> Tensor:
    """DDIM with `recipe.steps` intervals."""
    done, recipe = 0, run.recipe

    def shown(estimate: Tensor) -> None:
        nonlocal done
        done += 1
        run.watch.step("sampling", done, recipe.steps, estimate, {})

    return sample(run.prior, noise, GuidedPrompt(target, recipe.scale), recipe.steps, from_time=from_time, on_step=shown)


def run_plan(run: Run, start: Tensor, prompts: ConditionPair, plan: TwoStage | None = None, reference: Tensor | None = None) -> Tensor:
    """Latents [N, ...] after all stages of a plan, the recipe's own if none is given, from `start`; `reference` for DDS."""
    plan = plan or run.recipe.plan()
    refuse_unserved(run.prior, plan)
    particles = None
    if run.recipe.entry.particles:
        particles = LoraParticles(run.prior, LoraSettings(learning_rate=run.recipe.lora_rate), run.generator)
    try:
        latents = descend(run, start, prompts, plan, particles, reference)
    finally:
        if particles is not None:
            particles.close()
    return finish_by_bridge(run, latents, prompts) if run.recipe.entry.bridge else latents


def descend(
    run: Run, start: Tensor, prompts: ConditionPair, plan: TwoStage, particles: LoraParticles | None = None, reference: Tensor | None = None
) -> Tensor:
    """Adam on the latents along the plan's directions. The loss is a mean over the batch; the sum is what each image sees."""
    prior, recipe, generator = run.prior, run.recipe, run.generator
    latents = start.detach().clone().requires_grad_()
    adam = torch.optim.AdamW([latents], lr=recipe.rate, betas=(0.9, 0.99), eps=1e-15, weight_decay=recipe.decay)
    second = with_suffix(prior, prompts, recipe.suffix)
    kept = draw_noise(latents, generator, recipe.shared_noise) if recipe.entry.held else None
    noise = None if kept is None else lambda _: kept
    starts = torch.rand(len(latents), generator=generator, device=generator.device).to(latents.device) if recipe.sequence else None
    for step in range(plan.steps):
        stage, settings = plan.at(step)
        t = None if starts is None else sequence_timesteps(prior.schedule, step, starts, settings.t_low, settings.t_high)
        loss, figures = distill_latents(
            prior,
            latents,
            second if stage == 2 else prompts,
            settings,
            generator,
            reference=reference,
            particles=particles,
            noise=noise,
            timesteps=t,
        )
        adam.param_groups[0]["lr"] = recipe.rate * (1 + (recipe.rate_end - 1) * step / max(plan.steps - 1, 1))
        adam.zero_grad(set_to_none=True)
        (loss * len(latents)).backward()
        adam.step()
        run.watch.step(f"stage {stage}", step + 1, plan.steps, latents, figures)
    return latents.detach()


def with_suffix(prior: Prior, prompts: ConditionPair, suffix: str) -> ConditionPair:
    """The conditions of stage 2, whose target prompts say more."""
    if not suffix:
        return prompts
    told = prior.embed([join(text, suffix) for text in prompts.target.prompts])
    return replace(prompts, target=referred(prior, told).beside(prompts.target))


def finish_by_bridge(run: Run, latents: Tensor, prompts: ConditionPair) -> Tensor:
    """Rounds of one whole step along psi_src - psi_tgt (arXiv 2406.09417, section 3), after the single-step directions."""
    recipe = run.recipe
    assert prompts.source is not None
    source, target = GuidedPrompt(prompts.source), GuidedPrompt(prompts.target, recipe.bridge_scale)
    settings = BridgeSettings(recipe.bridge_steps, recipe.bridge_reach)
    for number in range(recipe.bridge_rounds):
        direction = bridge_direction(run.prior, latents, source, target, settings)
        latents = latents - direction
        run.watch.step("bridge", number + 1, recipe.bridge_rounds, latents, {"gradient": float(direction.square().mean().sqrt())})
    return latents
