"""One step of score distillation: images in, a loss out whose gradient is w(t) times the chosen direction.

All conditions of a step go to the prior in one batch. `engine.guidance.methods` says which noise estimates each method needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, Prior
from engine.diffusion.schedule import MIN_LEVEL, NoiseSchedule, sample_timesteps
from engine.errors import InputError
from engine.guidance.methods import METHODS, NFSD_SWITCH, Estimates, Method, Role, method_named

Weighting = Literal["sigma2", "x0", "one"]


@dataclass(frozen=True)
class GuidanceSettings:
    """How a step is made. InputError for values that cannot work.

    method          a name of `METHODS`
    scale           its strength (s of SDS and its kin, w of calibrated, w1 of CSD); None = the method's own
    source_weight   w2 of CSD; None = as strong as `scale`
    t_low, t_high   range of timesteps, as fractions of the schedule; (0.02, 0.98) of 1,000 is 20..979
    weighting       w(t): "sigma2" = 1 - alpha_bar (the paper's), "one", or "x0" = sigma / alpha, under which eps - n
                    becomes the difference between the image and the prior's clean estimate, bounded at every level; `distill`
                    brings it to the pixels as a difference of images (`Prior.precondition`)
    stratified      timesteps of a batch spread over the range (each still uniform)
    shared_noise    one noise image for the whole batch
    """

    method: str = "sds"
    scale: float | None = None
    source_weight: float | None = None
    t_low: float = 0.02
    t_high: float = 0.98
    weighting: Weighting = "sigma2"
    stratified: bool = True
    shared_noise: bool = False

    def __post_init__(self) -> None:
        if method_named(self.method).samples:
            raise InputError("bad_setting", f"'{self.method}' samples and gives no direction.", "Choose a method that optimizes.")
        if self.weighting not in get_args(Weighting):
            raise InputError(
                "bad_setting", f"There is no weighting '{self.weighting}'.", f"Choose one of {', '.join(get_args(Weighting))}."
            )
        for name, value in (("scale", self.scale), ("source_weight", self.source_weight)):
            if value is not None and not math.isfinite(value):
                raise InputError("bad_setting", f"{name} is {value}; expected a finite number.", "Leave it out for the method's own value.")
        if not 0.0 <= self.t_low < self.t_high <= 1.0:
            raise InputError(
                "bad_setting",
                f"Timesteps from {self.t_low} to {self.t_high}; expected 0 <= low < high <= 1.",
                "Leave them out for 0.02 to 0.98.",
            )

    @property
    def entry(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def strength(self) -> float:
        """`scale`, or the method's own."""
        return self.entry.scale if self.scale is None else self.scale

    @property
    def roles(self) -> tuple[Role, ...]:
        """The noise estimates of a step: so many evaluations of the prior an image."""
        return self.entry.roles(self.strength)


class ParticleScore(Protocol):
    """VSD's estimate of the score of the images being made: predicts at x_t, then learns from the noise that was used."""

    def predict(self, latents: Tensor, x_t: Tensor, t: Tensor, conditions: Conditions, schedule: NoiseSchedule) -> Tensor: ...

    def learn(self, noise: Tensor) -> float:
        """One step of its own training on the last prediction; returns the loss."""
        ...


@dataclass(frozen=True)
class ConditionPair:
    """What the images should become and what they look like now: one condition for all, or one for each (view words).

    source  y_src; NFSD's negative prompt; None for methods that need none (SDS, VSD)
    """

    target: Conditions
    source: Conditions | None = None

    def select(self, index: list[int]) -> ConditionPair:
        """The conditions at these places, in this order."""
        return ConditionPair(self.target.select(index), None if self.source is None else self.source.select(index))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about both, each once."""
        return tuple(dict.fromkeys((*self.target.notes, *(self.source.notes if self.source else ()))))


@dataclass(frozen=True)
class Noised:
    """Latents `clean` [B, ...] at timesteps t [B] with noise [B, ...]: x_t = alpha_t clean + sigma_t noise."""

    clean: Tensor
    t: Tensor
    noise: Tensor
    x_t: Tensor


def distill(
    prior: Prior,
    images: Tensor,
    prompts: ConditionPair,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    particles: ParticleScore | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """(loss, figures) for images [B, 3, H, W] in 0..1; the gradient at the prior's latents is w(t) * direction / B.

    particles  VSD's score of the images themselves
    figures    "t" mean timestep, "gradient" root mean square of w(t) * direction, and "particle_loss" with VSD
    """
    latents = prior.encode(images, generator)
    if settings.weighting == "x0" and latents.requires_grad:
        latents.register_hook(prior.precondition)
    return distill_latents(prior, latents, prompts, settings, generator, particles=particles)


def distill_latents(
    prior: Prior,
    latents: Tensor,
    prompts: ConditionPair,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    reference: Tensor | None = None,
    particles: ParticleScore | None = None,
    timesteps: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """As `distill` for latents [B, ...].

    reference  the latents of the unedited images, for DDS
    timesteps  int64 [B] chosen by the caller; None draws them by the settings
    """
    noised = add_noise(prior.schedule, latents.detach(), settings, generator, timesteps)
    of = predict_roles(prior, settings, noised, prompts, reference)
    particle = None
    if particles is not None and settings.entry.particles:
        conditions = prompts.target.expand(len(noised.t))
        particle = particles.predict(noised.clean, noised.x_t, noised.t, conditions, prior.schedule)
    early = noised.t < NFSD_SWITCH * len(prior.schedule)
    strength = settings.strength
    source_weight = strength if settings.source_weight is None else settings.source_weight
    direction = settings.entry.direction
    assert direction is not None  # GuidanceSettings refuses methods that sample
    gradient = timestep_weight(prior.schedule, noised.t, noised.clean, settings.weighting) * direction(
        Estimates(of, noised.noise, early, strength, source_weight, particle)
    )
    figures = {"t": float(noised.t.float().mean()), "gradient": float(gradient.square().mean().sqrt())}
    if particles is not None and particle is not None:
        figures["particle_loss"] = particles.learn(noised.noise)
    return surrogate(latents, gradient), figures


def add_noise(
    schedule: NoiseSchedule, clean: Tensor, settings: GuidanceSettings, generator: torch.Generator, timesteps: Tensor | None = None
) -> Noised:
    """Latents [B, ...] noised to timesteps drawn by the settings, or to those given (int64 [B])."""
    t = timesteps
    if t is None:
        t = sample_timesteps(schedule, len(clean), settings.t_low, settings.t_high, generator, settings.stratified, clean.device)
    noise = draw_noise(clean, generator, settings.shared_noise)
    return Noised(clean, t, noise, schedule.add_noise(clean, noise, t))


def predict_roles(
    prior: Prior, settings: GuidanceSettings, noised: Noised, prompts: ConditionPair, reference: Tensor | None
) -> dict[Role, Tensor]:
    """The noise estimates by role, [B, ...] each, from one call of the prior; those that cancel at scale 1 are the target's."""
    count, roles = len(noised.t), settings.roles
    inputs, conditions = [], []
    for role in roles:
        inputs.append(noised.x_t)
        if role == "target":
            conditions.append(prompts.target.expand(count))
        elif role == "uncond":
            conditions.append(prior.embed([""]).expand(count).under(prompts.target.expand(count).control))
        else:
            if prompts.source is None:
                raise InputError("bad_setting", "This guidance method needs a source prompt.", "Give one, or use the method sds.")
            conditions.append(prompts.source.expand(count))
        if role == "reference":
            if reference is None:
                raise InputError("bad_setting", "Editing by delta denoising needs the unedited image.", "Give it with --init.")
            inputs[-1] = prior.schedule.add_noise(reference, noised.noise, noised.t)
    answer = prior.predict_noise(torch.cat(inputs), noised.t.repeat(len(roles)), Conditions.cat(conditions))
    of = dict(zip(roles, answer.chunk(len(roles)), strict=True))
    return {role: of.get(role, of["target"]) for role in settings.entry.needs}


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
