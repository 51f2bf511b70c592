"""One step of score distillation: images in, a loss out whose gradient is w(t) times the chosen direction.

All conditions of a step go to the prior in one batch. The method table says which noise estimates each method needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, Prior
from engine.diffusion.schedule import MIN_LEVEL, NoiseSchedule, sample_timesteps
from engine.errors import InputError
from engine.guidance import directions

Method = Literal["sds", "calibrated", "anchored", "nfsd", "csd", "vsd", "dds"]
Weighting = Literal["sigma2", "x0", "one"]
Role = Literal["target", "uncond", "source", "reference"]


@dataclass(frozen=True)
class GuidanceSettings:
    """How a step is made. InputError for values that cannot work.

    method          see `METHODS`
    guidance_scale  s of SDS, NFSD, VSD and anchored
    weight          w of calibrated; w1 of CSD
    source_weight   w2 of CSD, which falls to 0 over the first `anneal_steps` steps
    t_low, t_high   range of timesteps, as fractions of the schedule; (0.02, 0.98) of 1,000 is 20..979
    weighting       w(t): "sigma2" = 1 - alpha_bar (the paper's), "one", or "x0" = sigma / alpha, under which eps - n
                    becomes the difference between the image and the prior's clean estimate, bounded at every level; where the
                    prior's encoder is linear, `distill` brings it to the pixels as a difference of images (`precondition`)
    stratified      timesteps of a batch spread over the range (each still uniform)
    shared_noise    one noise image for the whole batch
    """

    method: Method = "sds"
    guidance_scale: float = 40.0
    weight: float = 25.0
    source_weight: float = 40.0
    anneal_steps: int = 500
    t_low: float = 0.02
    t_high: float = 0.98
    weighting: Weighting = "sigma2"
    stratified: bool = True
    shared_noise: bool = False

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError("method", f"There is no guidance method '{self.method}'.", f"Choose one of {', '.join(get_args(Method))}.")
        if self.weighting not in get_args(Weighting):
            raise InputError("weighting", f"There is no weighting '{self.weighting}'.", f"Choose one of {', '.join(get_args(Weighting))}.")
        for name in ("guidance_scale", "weight", "source_weight"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(
                    name, f"{name} is {getattr(self, name)}; expected a finite number.", "Leave it out for the method's own value."
                )
        if not 0.0 <= self.t_low < self.t_high <= 1.0:
            raise InputError(
                "timesteps",
                f"Timesteps from {self.t_low} to {self.t_high}; expected 0 <= low < high <= 1.",
                "Leave them out for 0.02 to 0.98.",
            )


class ParticleScore(Protocol):
    """VSD's estimate of the score of the images being made: predicts at x_t, then learns from the noise that was used."""

    def predict(self, latents: Tensor, x_t: Tensor, t: Tensor, conditions: Conditions, schedule: NoiseSchedule) -> Tensor: ...

    def learn(self, noise: Tensor) -> float:
        """One step of its own training on the last prediction; returns the loss."""
        ...


@dataclass(frozen=True)
class Estimates:
    """Noise estimates of one step by role, the sampled noise [B, ...], and which items are early (t < 200 of 1,000)."""

    of: dict[Role, Tensor]
    noise: Tensor
    early: Tensor
    particle: Tensor | None
    step: int


@dataclass(frozen=True)
class MethodEntry:
    """The estimates that a method needs (the prior's evaluations a step) and its direction."""

    needs: tuple[Role, ...]
    direction: Callable[[Estimates, GuidanceSettings], Tensor]


def _sds(e: Estimates, s: GuidanceSettings) -> Tensor:
    return directions.sds(e.of.get("uncond", e.of["target"]), e.of["target"], e.noise, s.guidance_scale)


def _calibrated(e: Estimates, s: GuidanceSettings) -> Tensor:
    return directions.calibrated(e.of["target"], e.of["source"], s.weight)


def _anchored(e: Estimates, s: GuidanceSettings) -> Tensor:
    return directions.anchored(e.of["target"], e.of.get("source", e.of["target"]), e.noise, s.guidance_scale)


def _nfsd(e: Estimates, s: GuidanceSettings) -> Tensor:
    return directions.nfsd(e.of["uncond"], e.of["target"], e.of["source"], e.early, s.guidance_scale)


def _csd(e: Estimates, s: GuidanceSettings) -> Tensor:
    source_weight = directions.annealed(s.source_weight, e.step, s.anneal_steps)
    return directions.csd(e.of["uncond"], e.of["target"], e.of["source"], s.weight, source_weight)


def _vsd(e: Estimates, s: GuidanceSettings) -> Tensor:
    assert e.particle is not None
    return directions.vsd(e.of["uncond"], e.of["target"], e.particle, s.guidance_scale)


def _dds(e: Estimates, s: GuidanceSettings) -> Tensor:
    return s.weight * directions.dds(e.of["target"], e.of["reference"])


METHODS: dict[Method, MethodEntry] = {
    "sds": MethodEntry(("target", "uncond"), _sds),
    "calibrated": MethodEntry(("target", "source"), _calibrated),
    "anchored": MethodEntry(("target", "source"), _anchored),
    "nfsd": MethodEntry(("target", "uncond", "source"), _nfsd),
    "csd": MethodEntry(("target", "uncond", "source"), _csd),
    "vsd": MethodEntry(("target", "uncond"), _vsd),
    "dds": MethodEntry(("target", "reference"), _dds),
}
"""NFSD's "source" is its negative prompt; DDS's "reference" is the source prompt at the noised reference image."""


def roles_needed(settings: GuidanceSettings) -> tuple[Role, ...]:
    """Estimates of a step. At scale 1, cfg(u, c, 1) = c: SDS and anchored then ask for the target alone."""
    if settings.guidance_scale == 1.0 and settings.method in ("sds", "anchored"):
        return ("target",)
    return METHODS[settings.method].needs


def distill(
    prior: Prior,
    images: Tensor,
    target: Conditions,
    source: Conditions | None,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    particles: ParticleScore | None = None,
    step: int = 0,
) -> tuple[Tensor, dict[str, float]]:
    """(loss, figures) for images [B, 3, H, W] in 0..1; the gradient at the prior's latents is w(t) * direction / B.

    target, source  one condition for all images, or one for each (view words)
    source          y_src; NFSD's negative prompt; None for SDS and VSD
    particles       VSD's score of the images themselves
    step            how many steps went before, for annealed weights
    figures         "t" mean timestep, "gradient" root mean square of w(t) * direction, and "particle_loss" with VSD
    """
    latents = prior.encode(images, generator)
    if settings.weighting == "x0" and latents.requires_grad and hasattr(prior, "precondition"):
        latents.register_hook(prior.precondition)
    return distill_latents(prior, latents, target, source, settings, generator, particles=particles, step=step)


def distill_latents(
    prior: Prior,
    latents: Tensor,
    target: Conditions,
    source: Conditions | None,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    reference: Tensor | None = None,
    particles: ParticleScore | None = None,
    step: int = 0,
    timesteps: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """As `distill` for latents [B, ...].

    reference  the latents of the unedited images, for DDS
    timesteps  int64 [B] chosen by the caller; None draws them by the settings
    """
    clean = latents.detach()
    count = clean.shape[0]
    t = timesteps
    if t is None:
        t = sample_timesteps(prior.schedule, count, settings.t_low, settings.t_high, generator, settings.stratified, clean.device)
    noise = draw_noise(clean, generator, settings.shared_noise)
    x_t = prior.schedule.add_noise(clean, noise, t)
    of = predict_roles(prior, roles_needed(settings), clean, x_t, t, noise, target, source, reference)
    particle = None
    if settings.method == "vsd":
        if particles is None:
            raise ValueError("VSD needs `particles`, its score of the images being made")
        particle = particles.predict(clean, x_t, t, target.expand(count), prior.schedule)
    early = t < directions.NFSD_SWITCH * len(prior.schedule)
    direction = METHODS[settings.method].direction(Estimates(of, noise, early, particle, step), settings)
    gradient = timestep_weight(prior.schedule, t, clean, settings.weighting) * direction
    figures = {"t": float(t.float().mean()), "gradient": float(gradient.square().mean().sqrt())}
    if settings.method == "vsd" and particles is not None:
        figures["particle_loss"] = particles.learn(noise)
    return surrogate(latents, gradient), figures


def predict_roles(
    prior: Prior,
    roles: tuple[Role, ...],
    clean: Tensor,
    x_t: Tensor,
    t: Tensor,
    noise: Tensor,
    target: Conditions,
    source: Conditions | None,
    reference: Tensor | None,
) -> dict[Role, Tensor]:
    """The noise estimates by role, [B, ...] each, from one call of the prior."""
    count = clean.shape[0]
    inputs, conditions = [], []
    for role in roles:
        inputs.append(x_t)
        if role == "target":
            conditions.append(target.expand(count))
        elif role == "uncond":
            conditions.append(prior.embed([""]).expand(count))
        else:
            if source is None:
                raise InputError("source", "This guidance method needs a source prompt.", "Give one, or use the method sds.")
            conditions.append(source.expand(count))
        if role == "reference":
            if reference is None:
                raise InputError("init", "Editing by delta denoising needs the unedited image.", "Give it with --init.")
            inputs[-1] = prior.schedule.add_noise(reference, noise, t)
    answer = prior.predict_noise(torch.cat(inputs), t.repeat(len(roles)), Conditions.cat(conditions))
    return dict(zip(roles, answer.chunk(len(roles)), strict=True))


def draw_noise(like: Tensor, generator: torch.Generator, shared: bool) -> Tensor:
    """Standard normal noise of `like`'s shape; shared: the same for every item."""
    shape = like.shape[1:] if shared else like.shape
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
    return noise.expand(like.shape) if shared else noise


def timestep_weight(schedule: NoiseSchedule, t: Tensor, like: Tensor, weighting: Weighting) -> Tensor:
    """w(t) for t [B], shaped to multiply `like`."""
    alpha, sigma = schedule.levels(t, like)
    if weighting == "sigma2":
        return sigma**2
    return torch.ones_like(sigma) if weighting == "one" else sigma / alpha.clamp(min=MIN_LEVEL)


def surrogate(latents: Tensor, gradient: Tensor) -> Tensor:
    """1/2 |z - stop_grad(z - g)|^2 / B, whose gradient in z is g / B."""
    goal = (latents - gradient).detach()
    return 0.5 * (latents - goal).square().sum() / latents.shape[0]
