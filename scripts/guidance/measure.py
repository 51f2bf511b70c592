"""What a method costs beside SDS, and how fast the bridge's solvers converge on a prior."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from engine.diffusion.prior import Prior
from engine.guidance.methods import METHODS, source_text
from engine.guidance.pf_ode import BridgeSettings, GuidedPrompt, bridge_ends
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents
from engine.guidance.vsd import LoraParticles, LoraSettings
from engine.lab.optimize import initial_noise

REFERENCE_STEPS = 96


def step_costs(prior: Prior, captions: Sequence[str], methods: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time of one whole step (estimates, direction, backward, Adam, VSD's training) an image, in each of `rounds`."""
    generator = torch.Generator().manual_seed(0)
    target = prior.embed(captions)
    prompts = {method: ConditionPair(target, prior.embed([source_text(method, caption) for caption in captions])) for method in methods}
    latents = initial_noise(prior, len(captions), generator).requires_grad_()
    adam = torch.optim.Adam([latents], lr=1e-3)
    particles = LoraParticles(prior, LoraSettings(), generator) if any(METHODS[method].particles for method in methods) else None
    taken: dict[str, list[float]] = {method: [] for method in methods}
    try:
        for number in range(rounds + 1):
            for method in methods:
                settings = GuidanceSettings(method, 7.5)
                started = time.process_time()
                loss, _ = distill_latents(prior, latents, prompts[method], settings, generator, particles=particles)
                adam.zero_grad(set_to_none=True)
                loss.backward()
                adam.step()
                if number:  # the first round warms up
                    taken[method].append((time.process_time() - started) / len(captions))
    finally:
        if particles is not None:
            particles.close()
    return taken


@torch.no_grad()
def bridge_errors(
    prior: Prior, captions: Sequence[str], steps: Sequence[int] = (6, 12, 24), reach: float = 0.6
) -> dict[str, dict[str, list[float]]]:
    """Mean squares of the distance of each caption's psi_tgt from that of many Heun steps, by solver and intervals; latents are DDIM
    samples' size."""
    target = GuidedPrompt(prior.embed(captions))
    source = GuidedPrompt(prior.embed([source_text("calibrated", caption) for caption in captions]))
    latents = 0.5 * initial_noise(prior, len(captions), torch.Generator().manual_seed(0)).clamp(-1, 1)
    exact = bridge_ends(prior, latents, source, target, BridgeSettings(REFERENCE_STEPS, reach, "heun"))[1]
    errors: dict[str, dict[str, list[float]]] = {}
    for solver in ("ddim", "heun"):
        errors[solver] = {}
        for count in steps:
            end = bridge_ends(prior, latents, source, target, BridgeSettings(count, reach, solver))[1]  # type: ignore[arg-type]
            errors[solver][str(count)] = (end - exact).square().flatten(1).mean(1).tolist()
    return errors
