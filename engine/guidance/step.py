"""One step of score distillation: images in, a loss out whose gradient is w(t) times the chosen direction.

All conditions of a step go to the prior in one batch. `engine.guidance.methods` says which noise estimates each method needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional

from engine.diffusion.prior import Conditions, Prior
from engine.diffusion.schedule import MIN_LEVEL, NoiseSchedule, sample_timesteps
from engine.errors import InputError
from engine.guidance.methods import LATER, METHODS, NFSD_SWITCH, Estimates, Inversion, Method, Role, method_named
from engine.guidance.pf_ode import GuidedPrompt, invert

Weighting = Literal["sigma2", "x0", "one"]

OF_THE_PROMPT: tuple[Role, ...] = ("target", "source", "later")
"""Roles whose estimate depends on what is asked of the image."""

NoiseSource = Callable[[Tensor], Tensor]
"""Latents [B, ...] -> standard normal noise of their shape."""


@dataclass(frozen=True)
class GuidanceSettings:
    """How a step is made. InputError for values that cannot work.

    method          a name of `METHODS`
    scale           its strength (s of SDS and its kin, w of calibrated, w1 of CSD); None = the method's own
    source_weight   w2 of CSD; None = as strong as `scale`
    t_low, t_high   range of timesteps, as fractions of the schedule; (0.02, 0.98) of 1,000 is 20..979
    weighting       w(t): "sigma2" = 1 - alpha_bar (the paper's), "one", or "x0" = sigma / alpha (of velocities sigma / (alpha +
                    sigma)), under which eps - n becomes the difference between the image and the prior's clean estimate, bounded at
                    every level; `distill` brings it to the pixels as a difference of images (`Prior.precondition`)
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
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
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
        """The noise estimates of a step."""
        return self.entry.roles(self.strength)

    @property
    def evaluations(self) -> int:
        """Evaluations of the prior for a step of one image; a training pass counts as three."""
        return self.entry.evaluations(self.strength)


class ParticleScore(Protocol):
    """VSD's estimate of the score of the images being made: predicts at x_t, then learns from the noise that was used."""

    def predict(self, latents: Tensor, x_t: Tensor, t: Tensor, conditions: Conditions, schedule: NoiseSchedule) -> Tensor: ...

    def learn(self, noise: Tensor) -> float:
        """One step of its own training on the last prediction; returns the loss."""
        ...


@dataclass(frozen=True)
class ConditionPair:
    """What the images should become and what they look like now: one condition for all, or one for each (view words).

    source   y_src; NFSD's negative prompt; None for methods that need none (SDS, VSD)
    against  Perp-Neg: how much each item [B] is to be held off its source; None = 1
    regions  parts of the images with conditions of their own
    """

    target: Conditions
    source: Conditions | None = None
    against: Tensor | None = None
    regions: tuple[Region, ...] = ()

    def select(self, index: list[int]) -> ConditionPair:
        """The conditions at these places, in this order."""
        source = None if self.source is None else self.source.select(index)
        against = None if self.against is None else self.against[index]
        return ConditionPair(self.target.select(index), source, against, tuple(region.select(index) for region in self.regions))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about both, each once."""
        return tuple(dict.fromkeys((*self.target.notes, *(self.source.notes if self.source else ()))))


@dataclass(frozen=True)
class Region:
    """Part of the images: its share of each pixel [B, 1, S, S], S any size, and what is asked there."""

    share: Tensor
    prompts: ConditionPair

    def select(self, index: list[int]) -> Region:
        """Of the items at these places, in this order."""
        return Region(self.share[index], self.prompts.select(index))


@dataclass(frozen=True)
class Noised:
    """Latents `clean` [B, ...] at timesteps t [B] with noise [B, ...]: x_t = alpha_t clean + sigma_t noise.

    slope  the noise estimate that led there, where x_t was reached by inversion
    """

    clean: Tensor
    t: Tensor
    noise: Tensor
    x_t: Tensor
    slope: Tensor | None = None


def distill(
    prior: Prior,
    images: Tensor,
    prompts: ConditionPair,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    particles: ParticleScore | None = None,
    noise: NoiseSource | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """(loss, figures) for images [B, 3, H, W] in 0..1; the gradient at the prior's latents is w(t) * direction / B.

    particles  VSD's score of the images themselves
    noise      the caller's own noise, such as one that belongs to the surface (`surface_noise`); None draws it afresh
    figures    "t" mean timestep, "gradient" root mean square of w(t) * direction, and "particle_loss" with VSD
    """
    refuse_pictures(prior, images)
    latents = prior.encode(images, generator)
    if settings.weighting == "x0" and latents.requires_grad:
        latents.register_hook(prior.precondition)
    return distill_latents(prior, latents, prompts, settings, generator, particles=particles, noise=noise)


def distill_latents(
    prior: Prior,
    latents: Tensor,
    prompts: ConditionPair,
    settings: GuidanceSettings,
    generator: torch.Generator,
    *,
    reference: Tensor | None = None,
    particles: ParticleScore | None = None,
    noise: NoiseSource | None = None,
    timesteps: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """As `distill` for latents [B, ...].

    reference  the latents of the unedited images, for DDS
    timesteps  int64 [B] chosen by the caller; None draws them by the settings
    """
    refuse_latents(prior, latents, reference, timesteps)
    clean = latents.detach()
    t = timesteps
    if t is None:
        t = sample_timesteps(prior.schedule, len(clean), settings.t_low, settings.t_high, generator, settings.stratified, clean.device)
    if settings.entry.inversion is None:
        noised = add_noise(prior.schedule, clean, t, draw_noise(clean, generator, settings.shared_noise) if noise is None else noise(clean))
    else:
        noised = reach(prior, clean, t, prompts, settings.entry.inversion, generator)
    of: dict[Role, Tensor] = predict_roles(prior, settings, noised, prompts, reference)
    if settings.entry.flow:
        of = {role: prior.schedule.to_velocity(estimate, noised.x_t, noised.t) for role, estimate in of.items()}
    particle = None
    if particles is not None and settings.entry.particles:
        conditions = prompts.target.expand(len(noised.t))
        particle = particles.predict(noised.clean, noised.x_t, noised.t, conditions, prior.schedule)
    early = noised.t < NFSD_SWITCH * len(prior.schedule)
    strength = settings.strength
    source_weight = strength if settings.source_weight is None else settings.source_weight
    direction = settings.entry.direction
    assert direction is not None  # GuidanceSettings refuses methods that sample
    against = 1.0 if prompts.against is None else prompts.against
    weight = timestep_weight(prior.schedule, noised.t, noised.clean, settings.weighting, settings.entry.flow)
    gradient = weight * direction(
        Estimates(of, noised.noise, early, strength, source_weight, particle, noised.slope, against, noised.clean)
    )
    figures = {"t": float(noised.t.float().mean()), "gradient": float(gradient.square().mean().sqrt())}
    if particles is not None and particle is not None:
        figures["particle_loss"] = particles.learn(noised.noise)
    return surrogate(latents, gradient), figures


def refuse_pictures(prior: Prior, images: Tensor) -> None:
    """InputError unless images are floating point, [B, 3, H, W], at least one, on the prior's device."""
    if not isinstance(images, Tensor):
        found = f"a {type(images).__name__}"
    elif not images.is_floating_point() or images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
        found = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
    elif images.device.type != prior.device.type:
        found = f"some on {images.device}"
    else:
        return
    raise InputError(
        "bad_setting",
        f"The images must be a tensor of floating point numbers in 0..1, [B, 3, H, W] on {prior.device}, got {found}.",
        "Rendered [B, H, W, 3] becomes that by images.permute(0, 3, 1, 2), and bytes by images.float() / 255.",
    )


def refuse_latents(prior: Prior, latents: Tensor, reference: Tensor | None, timesteps: Tensor | None) -> None:
    """InputError unless latents are floating point, [B, ...], at least one, a reference of their shape, and timesteps int64 [B] of the
    prior's schedule."""
    if not isinstance(latents, Tensor) or not latents.is_floating_point() or latents.dim() < 2 or 0 in latents.shape:
        found = f"{latents.dtype} {list(latents.shape)}" if isinstance(latents, Tensor) else f"a {type(latents).__name__}"
        raise InputError(
            "bad_setting", f"Latents must be a tensor of floating point numbers [B, ...], got {found}.", "Get them from prior.encode."
        )
    if reference is not None and reference.shape != latents.shape:
        raise InputError(
            "bad_setting",
            f"The reference must have the latents' shape {list(latents.shape)}, got {list(reference.shape)}.",
            "Give the latents of the unedited images.",
        )
    if timesteps is None:
        return
    last = len(prior.schedule) - 1
    fits = isinstance(timesteps, Tensor) and timesteps.dtype == torch.long and timesteps.shape == latents.shape[:1]
    if not fits or not 0 <= int(timesteps.min()) <= int(timesteps.max()) <= last:
        raise InputError(
            "bad_setting",
            f"Timesteps must be int64 [{len(latents)}] from 0 to {last}, got {timesteps!r}.",
            "Leave them out to have them drawn by the settings.",
        )


def add_noise(schedule: NoiseSchedule, clean: Tensor, t: Tensor, noise: Tensor) -> Noised:
    """Latents [B, ...] noised to timesteps t int64 [B]."""
    return Noised(clean, t, noise, schedule.add_noise(clean, noise, t))


def reach(prior: Prior, clean: Tensor, t: Tensor, prompts: ConditionPair, inversion: Inversion, generator: torch.Generator) -> Noised:
    """Latents [B, ...] carried to timesteps t int64 [B] along the probability-flow ODE; the noise is the one that x_t then holds."""
    conditions = role_conditions(prior, inversion.under, prompts, len(t))
    x_t, slope = invert(prior, clean, t, GuidedPrompt(conditions, inversion.scale), inversion, generator)
    alpha, sigma = prior.schedule.levels(t, clean)
    return Noised(clean, t, (x_t - alpha * clean) / sigma.clamp(min=MIN_LEVEL), x_t, slope)


def role_conditions(prior: Prior, role: Role, prompts: ConditionPair, count: int) -> Conditions:
    """What the prior is told of `count` items for a role; InputError where there is no source prompt and one is needed."""
    target = prompts.target.expand(count)
    if role in ("target", "later"):
        return target
    if role == "uncond":
        return prior.embed([""]).beside(target)
    if prompts.source is None:
        raise InputError("bad_setting", "This guidance method needs a source prompt.", "Give one, or use the method sds.")
    return prompts.source.expand(count)


def predict_roles(
    prior: Prior, settings: GuidanceSettings, noised: Noised, prompts: ConditionPair, reference: Tensor | None
) -> dict[Role, Tensor]:
    """The noise estimates by role, [B, ...] each, from one call of the prior; those that cancel at scale 1 are the target's.

    Where there are regions with prompts of their own, each estimate is theirs in their share of the image.
    """
    count, roles = len(noised.t), settings.roles
    asked: list[tuple[Role, ConditionPair]] = []
    for told in (prompts, *(region.prompts for region in prompts.regions)):
        asked.extend((role, told) for role in roles if told is prompts or role in OF_THE_PROMPT)
    inputs, times, conditions = [], [], []
    for role, pair in asked:
        x_t, t = noised.x_t, noised.t
        if role == "reference":
            if reference is None:
                raise InputError("bad_setting", "Editing by delta denoising needs the unedited image.", "Give it with --init.")
            x_t = prior.schedule.add_noise(reference, noised.noise, t)
        elif role == "later":
            t = later_timesteps(prior.schedule, t, settings.t_low)
            x_t = prior.schedule.add_noise(noised.clean, noised.noise, t)
        inputs.append(x_t)
        times.append(t)
        conditions.append(role_conditions(prior, role, pair, count))
    answers = prior.predict_noise(torch.cat(inputs), torch.cat(times), Conditions.cat(conditions)).chunk(len(asked))
    of = dict(zip(roles, answers, strict=False))
    rest = iter(answers[len(roles) :])
    for region in prompts.regions:
        share = functional.interpolate(region.share.to(noised.x_t), size=noised.x_t.shape[-2:], mode="area")
        for role in roles:
            if role in OF_THE_PROMPT:
                of[role] = torch.lerp(of[role], next(rest), share)
    return {role: of.get(role, of["target"]) for role in settings.entry.needs}


def later_timesteps(schedule: NoiseSchedule, t: Tensor, t_low: float) -> Tensor:
    """ASD's t+ = t + LATER (t - t_low), int64 [B], at least one above t where the schedule goes on."""
    first, last = schedule.bounds(t_low, 1.0)
    return (t + (LATER * (t - first)).round().long().clamp(min=1)).clamp(max=last)


def draw_noise(like: Tensor, generator: torch.Generator, shared: bool) -> Tensor:
    """Standard normal noise of `like`'s shape; shared: the same for every item."""
    shape = like.shape[1:] if shared else like.shape
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
    return noise.expand(like.shape) if shared else noise


def timestep_weight(schedule: NoiseSchedule, t: Tensor, like: Tensor, weighting: Weighting, velocities: bool = False) -> Tensor:
    """w(t) for t [B], shaped to multiply `like`: a direction in noise estimates, or in `velocities`."""
    alpha, sigma = schedule.levels(t, like)
    if weighting == "sigma2":
        return sigma**2
    if weighting == "x0" and velocities:
        return sigma / (alpha + sigma)
    return torch.ones_like(sigma) if weighting == "one" else sigma / alpha.clamp(min=MIN_LEVEL)


def surrogate(latents: Tensor, gradient: Tensor) -> Tensor:
    """1/2 |z - stop_grad(z - g)|^2 / B, whose gradient in z is g / B."""
    goal = (latents - gradient).detach()
    return 0.5 * (latents - goal).square().sum() / latents.shape[0]
