"""Rotation-overlay illusions: two printed images, one turned on top of the other, show another picture at each quarter turn.

View k = tanh(3 * base * rot90^k(rotator)), k = 0..3, one prompt each (arXiv 2406.09417, section 5; Burgert et al. 2023).
Both images are small networks on Fourier features of the pixel's place (Tancik et al. 2020), so that they can be
optimized at the prior's size and printed larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.diffusion.prior import Prior, referred
from engine.diffusion.prompts import check_prompt
from engine.errors import InputError
from engine.guidance.methods import method_named, source_text
from engine.guidance.served import refuse_unserved
from engine.guidance.step import ConditionPair, distill
from engine.lab.optimize import Run, RunMonitor
from engine.lab.recipes import Recipe
from engine.reporting import Reporter

VIEWS = 4
OVERLAY_GAIN = 3.0


class FourierImage(nn.Module):
    """An image as a function of the place: random Fourier features, two hidden layers, colours in 0..1.

    features  pairs of sine and cosine
    detail    deviation of the random frequencies, in cycles across the image
    """

    def __init__(self, generator: torch.Generator, features: int = 96, width: int = 128, detail: float = 6.0) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", 2 * math.pi * detail * torch.randn(2, features, generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            self.layers = nn.Sequential(nn.Linear(2 * features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, size: int) -> Tensor:
        """[1, 3, size, size] in 0..1, sampled at pixel centres of the unit square."""
        places = (torch.arange(size, device=self.frequencies.device) + 0.5) / size
        rows, columns = torch.meshgrid(places, places, indexing="ij")
        phases = torch.stack([columns, rows], dim=-1).view(-1, 2) @ self.frequencies
        colours = torch.sigmoid(self.layers(torch.cat([phases.sin(), phases.cos()], dim=1)))
        return colours.T.reshape(1, 3, size, size)


def overlay(base: Tensor, rotator: Tensor, turns: int) -> Tensor:
    """tanh(3 * base * rot90^turns(rotator)) for images [B, 3, S, S] in 0..1; turns are counter-clockwise."""
    return torch.tanh(OVERLAY_GAIN * base * torch.rot90(rotator, turns, dims=(2, 3)))


@dataclass(frozen=True)
class Illusion:
    """base, rotator [3, S, S] to print, and the four views [4, 3, S, S]; all in 0..1."""

    base: Tensor
    rotator: Tensor
    views: Tensor


def make_illusion(
    prior: Prior,
    prompts: Sequence[str],
    recipe: Recipe,
    generator: torch.Generator,
    reporter: Reporter,
    *,
    size: int = 256,
    watch: RunMonitor | None = None,
) -> Illusion:
    """Optimizes both images for the four prompts, a random view a step.

    recipe  `rate` is that of the networks
    size    of the result; the optimization itself looks at the prior's image size
    InputError unless there are four prompts, and for a method that makes no illusions.
    """
    if len(prompts) != VIEWS:
        raise InputError(
            "bad_setting",
            f"An illusion has {VIEWS} views and needs as many prompts, got {len(prompts)}.",
            'Write --prompts "a" "b" "c" "d".',
        )
    method_named(recipe.method, "illusion")
    texts = [check_prompt(prompt) for prompt in prompts]
    pair = ConditionPair(referred(prior, prior.embed(texts)), prior.embed([source_text(recipe.method, text) for text in texts]))
    run = Run.start(prior, recipe, generator, reporter, watch, pair)
    base, rotator = (FourierImage(generator).to(prior.device) for _ in range(2))
    optimize_views(run, base, rotator, pair)
    with torch.no_grad():
        printed = base(size), rotator(size)
        views = torch.cat([overlay(*printed, turns) for turns in range(VIEWS)])
    return Illusion(printed[0][0], printed[1][0], views)


def optimize_views(run: Run, base: FourierImage, rotator: FourierImage, prompts: ConditionPair) -> None:
    """The loop over random views; Adam on both networks."""
    prior, plan = run.prior, run.recipe.plan()
    refuse_unserved(prior, plan)
    adam = torch.optim.Adam([*base.parameters(), *rotator.parameters()], lr=run.recipe.rate, betas=(0.9, 0.99))
    for step in range(plan.steps):
        stage, settings = plan.at(step)
        turns = int(torch.randint(VIEWS, (1,), generator=run.generator))
        view = overlay(base(prior.image_size), rotator(prior.image_size), turns)
        loss, figures = distill(prior, view, prompts.select([turns]), settings, run.generator)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        with torch.no_grad():
            run.watch.step(f"stage {stage}", step + 1, plan.steps, prior.encode(view), figures)
