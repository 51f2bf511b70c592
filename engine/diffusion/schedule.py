"""The noise schedule of a diffusion model: levels, noising, timestep sampling and the one place where predictions are converted.

Notation (variance preserving): x_t = alpha_t x_0 + sigma_t n with alpha_t^2 = alpha_bar_t and sigma_t^2 = 1 - alpha_bar_t
(Ho et al. 2020, eq. 4). Timesteps are integers 0 .. T-1, 0 being almost clean.

A flow-matching model (Lipman et al. 2022; Stable Diffusion 3) knows (1 - s) x_0 + s n, which is x_t / (alpha_t + sigma_t) at
s = sigma_t / (alpha_t + sigma_t): scaled so, it answers for the same x_t as every other model, and whatever is written here in noise
estimates holds for it. Under the weight sigma / alpha = s / (1 - s) a difference of its noise estimates, (1 - s)(v_tgt - v_src), is
s (v_tgt - v_src).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from engine.errors import ModelError

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
"""What a network answers with: the noise, the velocity alpha n - sigma x_0 (Salimans & Ho 2022), x_0 itself, or the velocity n - x_0 of a
straight path."""

MIN_LEVEL = 1e-4
"""Smallest alpha or sigma that a conversion divides by; schedules with zero terminal SNR reach 0."""


def as_prediction(name: str) -> Prediction:
    """`name` from the configuration of a scheduler with a table of noise levels as a `Prediction`; ModelError for an unknown kind."""
    told = [kind for kind in get_args(Prediction) if kind != "flow"]
    if name not in told:
        raise ModelError(
            "model_config",
            f"The model's scheduler says prediction_type '{name}'; expected one of {', '.join(told)}.",
            "Choose a model of the classes Stable Diffusion 1.x, 2.x, XL or 3.",
        )
    return name  # type: ignore[return-value]


GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class NoiseSchedule:
    """alphas_cumprod  float [T], alpha_bar at each timestep, falling from about 1 to about 0."""

    alphas_cumprod: Tensor

    def __len__(self) -> int:
        return int(self.alphas_cumprod.shape[0])

    def levels(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Integer t [B] -> (alpha, sigma), each [B, 1, ...] with as many axes as `like`, in its dtype and on its device."""
        bar = self.alphas_cumprod.to(like.device)[t.to(like.device)].to(like.dtype)
        shape = (-1,) + (1,) * (like.dim() - 1)
        return bar.sqrt().view(shape), (1 - bar).sqrt().view(shape)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t n for clean and noise [B, ...] and t [B]."""
        alpha, sigma = self.levels(t, clean)
        return alpha * clean + sigma * noise

    def to_epsilon(self, output: Tensor, x_t: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """A network's output [B, ...] at x_t [B, ...] and t [B] -> its noise estimate. The only conversion there is.

        From v = alpha n - sigma x_0 follows n = alpha v + sigma x_t; from x_0 follows n = (x_t - alpha x_0) / sigma; from v = n - x_0
        follows n = (x_t + alpha v) / (alpha + sigma).
        """
        if prediction == "epsilon":
            return output
        alpha, sigma = self.levels(t, x_t)
        if prediction == "v_prediction":
            return alpha * output + sigma * x_t
        if prediction == "flow":
            return (x_t + alpha * output) / (alpha + sigma)
        return (x_t - alpha * output) / sigma.clamp(min=MIN_LEVEL)

    def to_velocity(self, epsilon: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """A noise estimate [B, ...] at x_t [B, ...] and t [B] -> the velocity n - x_0 of the straight path through both: the reverse of
        `to_epsilon`, v = ((alpha + sigma) eps - x_t) / alpha."""
        alpha, sigma = self.levels(t, x_t)
        return ((alpha + sigma) * epsilon - x_t) / alpha.clamp(min=MIN_LEVEL)

    def on_the_straight_path(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t [B, ...] at t [B] as a flow-matching model knows it, (1 - s) x_0 + s n, and its s in 0..1, float32 [B]."""
        alpha, sigma = self.levels(t, x_t.float())
        return (x_t / (alpha + sigma).to(x_t.dtype)), (sigma / (alpha + sigma)).flatten()

    def clean_estimate(self, x_t: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """x_0 = (x_t - sigma eps) / alpha (Song et al. 2021, eq. 9)."""
        alpha, sigma = self.levels(t, x_t)
        return (x_t - sigma * epsilon) / alpha.clamp(min=MIN_LEVEL)

    def bounds(self, low: float, high: float) -> tuple[int, int]:
        """Fractions of the schedule -> first and last integer timestep, both included; (0.02, 0.98) of 1,000 is 20..979."""
        last = len(self) - 1
        first = min(max(round(low * len(self)), 0), last)
        return first, min(max(round(high * len(self)) - 1, first), last)


def checked_schedule(alphas_cumprod: Tensor, device: torch.device) -> NoiseSchedule:
    """A scheduler's table of alpha_bar, float [T], read where it is and then put on `device`; ModelError unless it falls within 1..0."""
    if not (bool(alphas_cumprod.isfinite().all()) and float(alphas_cumprod.min()) >= 0 and float(alphas_cumprod.max()) <= 1) or bool(
        (alphas_cumprod.diff() > 0).any()
    ):
        raise ModelError(
            "model_config",
            f"The noise levels of the model's scheduler are none: alpha_bar must fall from about 1 to about 0, got "
            f"{float(alphas_cumprod[0]):g} to {float(alphas_cumprod[-1]):g} with {float(alphas_cumprod.min()):g} as the least.",
            "Correct its betas in scheduler/scheduler_config.json, or download or export the whole folder again.",
        )
    return NoiseSchedule(alphas_cumprod.to(device))


def cosine_schedule(steps: int = 1000, offset: float = 0.008, dtype: torch.dtype = torch.float64) -> NoiseSchedule:
    """Nichol & Dhariwal 2021, eq. 17, with alpha_bar kept within 1e-4 .. 0.9999."""
    fraction = (torch.arange(steps, dtype=torch.float64) + 1) / steps
    bar = torch.cos((fraction + offset) / (1 + offset) * math.pi / 2) ** 2 / math.cos(offset / (1 + offset) * math.pi / 2) ** 2
    return NoiseSchedule(bar.clamp(1e-4, 0.9999).to(dtype))


def straight_schedule(steps: int, shift: float) -> NoiseSchedule:
    """Of a flow-matching model: `steps` levels s = shift u / (1 + (shift - 1) u) at u = 1 / steps .. 1 (Esser et al. 2024, eq. 23)."""
    even = (torch.arange(steps, dtype=torch.float64) + 1) / steps
    s = shift * even / (1 + (shift - 1) * even)
    return NoiseSchedule(((1 - s) ** 2 / ((1 - s) ** 2 + s**2)).float())


def sample_timesteps(
    schedule: NoiseSchedule, count: int, low: float, high: float, generator: torch.Generator, stratified: bool, device: torch.device
) -> Tensor:
    """int64 [count] on `device`, uniform over the fractions low..high of the schedule.

    Stratified: the range is cut into `count` equal parts and one timestep drawn from each, in random order, so that every
    batch covers all noise levels; each single timestep is still uniform.
    """
    first, last = schedule.bounds(low, high)
    draws = torch.rand(count, generator=generator, device=generator.device)
    if stratified:
        draws = (torch.randperm(count, generator=generator, device=generator.device) + draws) / count
    return (first + (draws * (last - first + 1)).long().clamp(max=last - first)).to(device)


def sequence_timesteps(schedule: NoiseSchedule, step: int, starts: Tensor, low: float, high: float) -> Tensor:
    """int64 [B]: timesteps that cover low..high evenly over the *steps* of each item, whatever their number.

    starts  [B] in 0..1, a random offset an item; step k adds k times the golden ratio, modulo 1 (a low-discrepancy
            sequence), so that a short optimization meets all noise levels and not a random sample of them
    """
    first, last = schedule.bounds(low, high)
    share = (starts.double() + step * GOLDEN) % 1.0
    return first + (share * (last - first + 1)).long().clamp(max=last - first)
