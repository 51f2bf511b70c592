"""Travelling along a prior's probability-flow ODE: DDIM sampling, inversion, and the full bridge between two prompts.

In y = x / alpha and lambda = sigma / alpha the ODE is dy/dlambda = eps(alpha y; lambda) (Song et al. 2021, eq. 14). An Euler
step in lambda is a DDIM step; Heun's step averages the slopes at both ends and is one order better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, Prior
from engine.diffusion.schedule import MIN_LEVEL
from engine.errors import InputError
from engine.guidance import methods
from engine.guidance.methods import Inversion

Solver = Literal["ddim", "heun"]


@dataclass(frozen=True)
class GuidedPrompt:
    """A prompt to follow: conditions (one for all, or one an item) and a guidance scale; at scale 1 nothing unconditional is asked."""

    conditions: Conditions
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InputError("bad_setting", f"The guidance scale is {self.scale}; expected a finite number.", "Leave it out for 1.")

    def noise(self, prior: Prior, x_t: Tensor, t: int | Tensor) -> Tensor:
        """u + s (c - u) at x_t [B, ...] and t, one for all or int64 [B], from one call of the prior."""
        count = x_t.shape[0]
        steps = torch.as_tensor(t, device=x_t.device).expand(count)
        wanted = self.conditions.expand(count)
        if self.scale == 1.0:
            return prior.predict_noise(x_t, steps, wanted)
        both = Conditions.cat([prior.embed([""]).beside(wanted), wanted])
        uncond, cond = prior.predict_noise(torch.cat([x_t, x_t]), torch.cat([steps, steps]), both).chunk(2)
        return methods.cfg(uncond, cond, self.scale)


def time_grid(prior: Prior, steps: int, last: int | None = None, first: int = 0) -> list[int]:
    """`steps` + 1 timesteps (fewer where they coincide) rising from `first` to `last`, evenly spaced; None = the noisiest."""
    last = len(prior.schedule) - 1 if last is None else last
    return sorted(set(torch.linspace(first, last, steps + 1, dtype=torch.float64).round().long().tolist()))


def levels(prior: Prior, t: int | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at t, one for all or int64 [B], shaped to multiply `like` [B, ...], neither below MIN_LEVEL."""
    alpha, sigma = prior.schedule.levels(torch.atleast_1d(torch.as_tensor(t)), like)
    return alpha.clamp(min=MIN_LEVEL), sigma.clamp(min=MIN_LEVEL)


def integrate_ode(prior: Prior, x: Tensor, guided: GuidedPrompt, times: Sequence[int], solver: Solver = "ddim") -> Tensor:
    """x [B, ...] at level times[0], moved along the ODE through all times (rising = inversion, falling = decoding)."""
    for t, t_next in pairwise(times):
        alpha, sigma = levels(prior, t, x)
        alpha_next, sigma_next = levels(prior, t_next, x)
        span = sigma_next / alpha_next - sigma / alpha
        slope = guided.noise(prior, x, t)
        end = x / alpha + span * slope
        if solver == "heun":
            end = x / alpha + span * (slope + guided.noise(prior, alpha_next * end, t_next)) / 2
        x = alpha_next * end
    return x


def sample(
    prior: Prior,
    start: Tensor,
    guided: GuidedPrompt,
    steps: int = 20,
    *,
    solver: Solver = "ddim",
    from_time: int | None = None,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Latents from noise: deterministic DDIM (Song et al. 2021, eq. 12, eta = 0), the reference of the laboratory.

    start      [B, ...], standard normal, or an image noised to `from_time` (SDEdit)
    steps      intervals; the last one ends in the clean estimate at the lowest timestep
    on_step    sees the clean estimate [B, ...] after each interval
    """
    last = len(prior.schedule) - 1
    if steps < 1 or not (from_time is None or 0 <= from_time <= last):
        raise InputError(
            "bad_setting",
            f"{steps} steps from timestep {from_time}; expected at least one, from a timestep of 0 to {last}.",
            "Leave them out for 20 from the noisiest.",
        )
    refuse_solver(solver)
    times = time_grid(prior, steps - 1, from_time)[::-1] if steps > 1 else [len(prior.schedule) - 1 if from_time is None else from_time]
    x = start
    for t, t_next in pairwise(times):
        x = integrate_ode(prior, x, guided, (t, t_next), solver)
        if on_step is not None:
            on_step(x / prior.schedule.levels(torch.tensor([t_next]), x)[0].clamp(min=MIN_LEVEL))
    steps_of_t = torch.full((x.shape[0],), times[-1], dtype=torch.long, device=x.device)
    return prior.schedule.clean_estimate(x, guided.noise(prior, x, times[-1]), steps_of_t)


def invert(
    prior: Prior, clean: Tensor, t: Tensor, guided: GuidedPrompt, inversion: Inversion, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(x_t, slope): latents [B, ...] carried from timestep 0 to each item's own t int64 [B] by DDIM intervals under a prompt.

    slope  the noise estimate of the last interval, at the level before t (ISM's eps(x_s, s))
    With eta > 0 each interval also adds fresh noise of eta times DDIM's deviation, sqrt((1 - ab_s) / (1 - ab_t) (1 - ab_t / ab_s)).
    """
    share = torch.linspace(0, 1, inversion.steps + 1, dtype=torch.float64, device=t.device)
    times = (share[:, None] * t).round().long()
    if inversion.last is not None:  # intervals as even as they come up to s, then one of fixed length
        before = (t - round(inversion.last * len(prior.schedule))).clamp(min=0)
        share = torch.linspace(0, 1, inversion.steps, dtype=torch.float64, device=t.device)
        times = torch.cat([(share[:, None] * before).round().long(), t[None]])
    x = clean * prior.schedule.levels(times[0], clean)[0]
    slope = torch.zeros_like(clean)
    for now, after in pairwise(times):
        (alpha, sigma), (alpha_after, sigma_after) = levels(prior, now, x), levels(prior, after, x)
        slope = guided.noise(prior, x, now)
        x = alpha_after * (x / alpha + (sigma_after / alpha_after - sigma / alpha) * slope)
        if inversion.eta:
            deviation = sigma / sigma_after * (1 - (alpha_after / alpha) ** 2).clamp(min=0).sqrt()
            fresh = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)
            x = x + inversion.eta * deviation * fresh
    return x, slope


@dataclass(frozen=True)
class BridgeSettings:
    """steps intervals each way between timestep 0 and the fraction `t_max` of the schedule."""

    steps: int = 20
    t_max: float = 1.0
    solver: Solver = "ddim"

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0.0 < self.t_max <= 1.0:
            raise InputError(
                "bad_setting",
                f"A bridge of {self.steps} steps up to {self.t_max} of the schedule; expected at least one, and a share above 0 up to 1.",
                "Leave them out for 20 up to 1.",
            )
        refuse_solver(self.solver)


def refuse_solver(solver: str) -> None:
    """InputError for a name that is none of a `Solver`."""
    if solver not in get_args(Solver):
        raise InputError("bad_setting", f"There is no solver '{solver}'.", f"Choose one of {', '.join(get_args(Solver))}.")


def bridge_ends(
    prior: Prior, latents: Tensor, source: GuidedPrompt, target: GuidedPrompt, settings: BridgeSettings
) -> tuple[Tensor, Tensor]:
    """(psi_src, psi_tgt), clean latents [B, ...]: the image inverted under the source, then decoded under each prompt.

    arXiv 2406.09417, section 3: psi_tgt is where the Schroedinger-like bridge takes the image. The latents count as
    alpha_0 x at timestep 0 both on the way in and on the way out, so that source to source returns them, up to the
    solver's error; psi_src carries that same error and cancels it in `methods.bridge`.
    """
    last = max(round(settings.t_max * len(prior.schedule)) - 1, 1)
    times = time_grid(prior, settings.steps, last)
    first_alpha = prior.schedule.levels(torch.tensor([times[0]]), latents)[0]
    noisy = integrate_ode(prior, latents * first_alpha, source, times, settings.solver)
    back = times[::-1]
    return (
        integrate_ode(prior, noisy, source, back, settings.solver) / first_alpha,
        integrate_ode(prior, noisy, target, back, settings.solver) / first_alpha,
    )


def bridge_direction(prior: Prior, latents: Tensor, source: GuidedPrompt, target: GuidedPrompt, settings: BridgeSettings) -> Tensor:
    """psi_src - psi_tgt [B, ...]: descend on it after the single-step directions have converged."""
    psi_source, psi_target = bridge_ends(prior, latents.detach(), source, target, settings)
    return methods.bridge(psi_source, psi_target)
