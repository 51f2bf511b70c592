"""The methods of score distillation: each one pure function of noise estimates, and one entry of `METHODS`.

A new method is a function and an entry here; command lines, settings, jobs and benchmarks derive their choices from the table.
Nothing in this file loads torch, so that a list of choices costs nothing.

u is the unconditional estimate, c (target) the one for the target prompt, src the one for the source prompt, n the noise in x_t;
all have a common shape [B, ...] and belong to the same x_t and t. Gradients *descend*: an image moves against the direction
that is returned. Equations: "Rethinking Score Distillation as a Bridge Between Image Distributions", arXiv 2406.09417, unless
said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.diffusion.prompts import DESCRIPTORS, NEGATIVE, from_the_front, join, source_prompt, target_prompt
from engine.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["target", "uncond", "source", "reference", "later"]
"""What an estimate is for: a prompt at x_t, ("reference") the source prompt at the noised unedited image, or ("later") the target
prompt at a slightly later timestep with the same noise."""

Use = Literal["image", "edit", "illusion", "job"]
EVERYWHERE: tuple[Use, ...] = ("image", "edit", "illusion", "job")

LATER = 0.1
"""ASD's t+ lies this share of t - t_low above t."""

NFSD_SWITCH = 0.2
"""Below this fraction of the schedule (t < 200 of 1,000) NFSD takes u for the denoising part."""

SMALL_SIDE = 128
"""Priors of at most this many pixels see pixels and not a wide latent space: published strengths burn their images out
(measured in docs/guidance.md)."""


def cfg(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance u + s (c - u): the only definition in this project (Ho & Salimans 2022 with s = w + 1).

    threestudio's SDS uses c + s (c - u), which is this one at scale s + 1: compare with that in mind.
    """
    return uncond + scale * (cond - uncond)


def sds(uncond: Tensor, cond: Tensor, noise: Tensor, scale: float) -> Tensor:
    """Score distillation sampling (Poole et al. 2022, eq. 3): u + s (c - u) - n."""
    return cfg(uncond, cond, scale) - noise


def calibrated(target: Tensor, source: Tensor, weight: float) -> Tensor:
    """The paper's second stage (section 4): w (eps_tgt - eps_src), first order of the bridge from source to target."""
    return weight * (target - source)


def anchored(target: Tensor, source: Tensor, noise: Tensor, scale: float) -> Tensor:
    """src + s (tgt - src) - n: the source takes the place of SDS's unconditional estimate, the sampled noise stays.

    Not of the paper. The calibrated direction has no restoring part, so it drifts away wherever the target is not
    narrower than the source at every level; subtracting n instead ties the image to the data (scale 1 is c - n).
    """
    return cfg(source, target, scale) - noise


def nfsd(uncond: Tensor, cond: Tensor, negative: Tensor, early: Tensor, scale: float) -> Tensor:
    """Noise-free score distillation (Katzir et al. 2023, eq. 8-9): s (c - u) + d, d = u where t is early, else u - eps_neg.

    early  bool [B], t < NFSD_SWITCH of the schedule. (The paper's printed inequality is the other way round.)
    """
    mask = early.view(-1, *([1] * (uncond.dim() - 1)))
    return scale * (cond - uncond) + uncond.where(mask, uncond - negative)


def csd(uncond: Tensor, cond: Tensor, source: Tensor, weight: float, source_weight: float) -> Tensor:
    """Classifier score distillation with a negative prompt (Yu et al. 2023, eq. 10): w1 (c - u) + w2 (u - eps_src)."""
    return weight * (cond - uncond) + source_weight * (uncond - source)


def annealed(weight: float, step: int, steps: int) -> float:
    """A weight that falls linearly to 0 over the first `steps` steps (CSD's w2)."""
    return weight * max(0.0, 1.0 - step / steps) if steps > 0 else 0.0


def vsd(uncond: Tensor, cond: Tensor, particle: Tensor, scale: float) -> Tensor:
    """Variational score distillation (Wang et al. 2023, eq. 9): u + s (c - u) - eps_lora."""
    return cfg(uncond, cond, scale) - particle


def dds(target: Tensor, reference: Tensor, weight: float) -> Tensor:
    """Delta denoising score (Hertz et al. 2023, eq. 4): w (eps(x_t; tgt) - eps(x_ref,t; src)) at the same n and t."""
    return weight * (target - reference)


def ism(uncond: Tensor, cond: Tensor, before: Tensor, scale: float) -> Tensor:
    """Interval score matching (Liang et al. 2023, LucidDreamer, eq. 14): u + s (c - u) - eps(x_s, s; "").

    before  the unconditional estimate at s < t, from which one DDIM step leads to x_t (`pf_ode.invert`)
    """
    return cfg(uncond, cond, scale) - before


def asd(uncond: Tensor, cond: Tensor, later: Tensor, scale: float) -> Tensor:
    """Asynchronous score distillation (Ma et al. 2024, ScaleDreamer, eq. 9): u + s (c - u) - c(x_t+, t+), t+ > t, the same noise.

    The estimate at a later timestep takes the place of VSD's trained score of the images.
    """
    return cfg(uncond, cond, scale) - later


def rfds(uncond: Tensor, cond: Tensor, velocity: Tensor, scale: float) -> Tensor:
    """Rectified flow distillation sampling (Yang et al. 2024, arXiv 2406.03293): v_u + s (v_c - v_u) - (n - x_0), in velocities.

    With x_s = (1 - s) x_0 + s n and eps = x_s + (1 - s) v this is SDS over 1 - s: the same direction under another w(t).
    velocity  n - x_0, that of the path which leads from the image to x_t
    """
    return cfg(uncond, cond, scale) - velocity


def perp_neg(uncond: Tensor, cond: Tensor, negative: Tensor, noise: Tensor, weight: Tensor | float, scale: float) -> Tensor:
    """Perp-Neg in SDS (Armandpour et al. 2023, eq. 8): u + s (p - w (q - <q, p> / |p|^2 p)) - n, p = c - u, q = neg - u.

    Of the negative prompt only what is perpendicular to the prompt is taken away, so that what both share stays.
    weight  w >= 0, one for all or [B]; w = 0 is SDS
    """
    wanted, unwanted = cond - uncond, negative - uncond
    axes = tuple(range(1, cond.dim()))
    shared = (unwanted * wanted).sum(axes, keepdim=True) / wanted.square().sum(axes, keepdim=True).clamp(min=1e-12)
    apart = unwanted - shared * wanted
    away = weight * apart if isinstance(weight, (int, float)) else weight.to(cond).view(-1, *([1] * (cond.dim() - 1))) * apart
    return uncond + scale * (wanted - away) - noise


def view_weight(azimuth: Tensor) -> Tensor:
    """Perp-Neg's weight of the negative "front view" for cameras at azimuth [B] in degrees, 0 = front: 0 there, 1.6 at the side, 2 behind.

    a exp(-b r) + c with the published (4, 0.5, -2.426) between front and side and (1, 0.5, 0.967) between side and back; r falls
    from 1 to 0 over each quarter turn. Of the published pair of negatives this is the one that a second face comes from.
    """
    turned = ((azimuth + 180) % 360 - 180).abs() / 90
    ahead = (4 * (-0.5 * (1 - turned)).exp() - 2.426).clamp(min=0)
    behind = (-0.5 * (2 - turned)).exp() + 0.967
    return ahead.where(turned < 1, behind)


def bridge(psi_source: Tensor, psi_target: Tensor) -> Tensor:
    """The full bridge: descend on psi_src - psi_tgt, where psi decodes one noisy image along the probability-flow ODE.

    For a single step psi_tgt - psi_src = -(sigma / alpha) (eps_tgt - eps_src), so this points as `calibrated` does.
    """
    return psi_source - psi_target


@dataclass(frozen=True)
class Estimates:
    """What a direction is made of: the noise estimates of one step, [B, ...] each, and the numbers of its settings.

    of             by role; velocities n - x_0 for a method in velocities
    noise          n, the noise in x_t
    early          bool [B], t below NFSD_SWITCH of the schedule
    scale          the method's strength
    source_weight  w2 of CSD at this step
    particle       the score of the images being made, where the method learns it
    slope          the estimate from which the last step of an inversion led to x_t
    against        how much each item [B] is to be held off its source prompt
    clean          x_0, the latents of the images
    """

    of: Mapping[Role, Tensor]
    noise: Tensor
    early: Tensor
    scale: float
    source_weight: float
    particle: Tensor | None = None
    slope: Tensor | None = None
    against: Tensor | float = 1.0
    clean: Tensor | None = None

    @property
    def target(self) -> Tensor:
        """c."""
        return self.of["target"]

    @property
    def uncond(self) -> Tensor:
        """u."""
        return self.of["uncond"]

    @property
    def source(self) -> Tensor:
        """src."""
        return self.of["source"]

    @property
    def reference(self) -> Tensor:
        """src at the noised unedited image."""
        return self.of["reference"]

    @property
    def later(self) -> Tensor:
        """c at the later timestep."""
        return self.of["later"]

    @property
    def velocity(self) -> Tensor:
        """n - x_0; ValueError where the caller did not say what the images are."""
        if self.clean is None:
            raise ValueError("this method needs `clean`, the latents of the images")
        return self.noise - self.clean

    @property
    def before(self) -> Tensor:
        """`slope`; ValueError where x_t was not reached by inversion."""
        if self.slope is None:
            raise ValueError("this method needs an x_t that was reached by inversion")
        return self.slope

    @property
    def particles(self) -> Tensor:
        """eps_lora; ValueError where the caller gave no score of the images."""
        if self.particle is None:
            raise ValueError("this method needs `particles`, a score of the images being made")
        return self.particle


@dataclass(frozen=True)
class Inversion:
    """How x_t is reached from the image along the probability-flow ODE, instead of by fresh noise. n is then (x_t - alpha x) / sigma.

    under  whose prompt is followed
    steps  DDIM intervals between timestep 0 and t
    scale  classifier-free guidance on the way; 1 = the prompt alone, negative = away from it
    last   length of the last interval as a share of the schedule; None = as long as the others
    eta    fresh noise at each interval, as a share of DDIM's deviation
    """

    under: Literal["target", "uncond", "source"]
    steps: int
    scale: float = 1.0
    last: float | None = None
    eta: float = 0.0

    @property
    def evaluations(self) -> int:
        """Of the prior, an image."""
        return self.steps * (1 if self.scale == 1.0 else 2)


@dataclass(frozen=True)
class Method:
    """One way of guidance.

    label          for tables and help
    direction      of the estimates; None = the method samples and descends on nothing
    needs          the estimates of a step, one evaluation of the prior each, all in one batch
    scale          its published strength: s of a guidance scale, w of a weighted difference
    uses           which tools offer it
    small_scale    strength for priors of at most SMALL_SIDE pixels; None = `scale`
    edit_strength  the highest timestep on a given picture, as a share of the schedule, if the user does not say
    lean           scale 1 needs the target's estimate alone: cfg(u, c, 1) = c, the others cancel
    stages         2 = stage 1 is SDS, and this is the direction of stage 2
    y_src          what its source prompt says: the descriptors of a poor image, NFSD's negative words, or in 3D ("views") the
                   prompt from the front
    inversion      how x_t is reached; None = by fresh noise
    falling        t falls over the stage from the highest timestep to this share of the schedule; None = t is drawn from a range
    held           each image keeps one noise through the run
    particles      it learns a score of the images being made: the prior must be an `AdaptablePrior`
    bridge         it ends with steps along the full bridge
    flow           its estimates are velocities of a straight path: the prior must be a flow-matching model
    """

    label: str
    direction: Callable[[Estimates], Tensor] | None
    needs: tuple[Role, ...]
    scale: float
    uses: tuple[Use, ...]
    small_scale: float | None = None
    lean: bool = False
    edit_strength: float = 0.6
    stages: int = 1
    y_src: Literal["descriptors", "negative", "views"] = "descriptors"
    inversion: Inversion | None = None
    falling: float | None = None
    held: bool = False
    particles: bool = False
    bridge: bool = False
    flow: bool = False

    def roles(self, scale: float) -> tuple[Role, ...]:
        """The estimates of a step at this scale."""
        return ("target",) if self.lean and scale == 1.0 else self.needs

    def evaluations(self, scale: float) -> int:
        """Evaluations of the prior for a step of one image at this scale; a training pass counts as three."""
        on_the_way = self.inversion.evaluations if self.inversion else 0
        return len(self.roles(scale)) + on_the_way + (3 if self.particles else 0)

    def scale_for(self, image_size: int) -> float:
        """The strength for a prior of this many pixels a side."""
        return self.scale if self.small_scale is None or image_size > SMALL_SIDE else self.small_scale

    @property
    def samples(self) -> bool:
        """Whether it samples instead of optimizing."""
        return self.direction is None

    @property
    def edits_only(self) -> bool:
        """Whether it cannot do without a picture to start from."""
        return "edit" in self.uses and "image" not in self.uses


METHODS: dict[str, Method] = {
    "calibrated": Method(
        "calibrated, two-stage",
        lambda e: calibrated(e.target, e.source, e.scale),
        ("target", "source"),
        scale=25.0,
        uses=("image", "edit", "illusion", "job"),
        stages=2,
    ),
    "anchored": Method(
        "anchored, two-stage",
        lambda e: anchored(e.target, e.source, e.noise, e.scale),
        ("target", "source"),
        scale=7.5,
        uses=("image", "edit", "illusion", "job"),
        lean=True,
        stages=2,
    ),
    "sds": Method(
        "SDS",
        lambda e: sds(e.uncond, e.target, e.noise, e.scale),
        ("target", "uncond"),
        scale=40.0,
        small_scale=7.5,
        uses=("image", "illusion", "job"),
        lean=True,
    ),
    "nfsd": Method(
        "NFSD",
        lambda e: nfsd(e.uncond, e.target, e.source, e.early, e.scale),
        ("target", "uncond", "source"),
        scale=7.5,
        uses=("image", "job"),
        y_src="negative",
    ),
    "csd": Method(
        "CSD",
        lambda e: csd(e.uncond, e.target, e.source, e.scale, e.source_weight),
        ("target", "uncond", "source"),
        scale=40.0,
        small_scale=7.5,
        uses=("image", "job"),
    ),
    "perp_neg": Method(
        "Perp-Neg",
        lambda e: perp_neg(e.uncond, e.target, e.source, e.noise, e.against, e.scale),
        ("target", "uncond", "source"),
        scale=40.0,
        small_scale=7.5,
        uses=("image", "job"),
        y_src="views",
    ),
    "asd": Method(
        "ASD",
        lambda e: asd(e.uncond, e.target, e.later, e.scale),
        ("target", "uncond", "later"),
        scale=7.5,
        uses=("image", "illusion", "job"),
    ),
    "ism": Method(
        "ISM",
        lambda e: ism(e.uncond, e.target, e.before, e.scale),
        ("target", "uncond"),
        scale=7.5,
        uses=("image", "illusion", "job"),
        inversion=Inversion("uncond", 4, last=0.05),
    ),
    "sdi": Method(
        "SDI",
        lambda e: sds(e.uncond, e.target, e.noise, e.scale),
        ("target", "uncond"),
        scale=7.5,
        uses=("image", "job"),
        inversion=Inversion("target", 10, scale=-7.5, eta=0.3),
        falling=0.25,
    ),
    "cfd": Method(
        "CFD",
        lambda e: sds(e.uncond, e.target, e.noise, e.scale),
        ("target", "uncond"),
        scale=7.5,
        uses=("image", "job"),
        falling=0.02,
        held=True,
    ),
    "rfds": Method(
        "RFDS",
        lambda e: rfds(e.uncond, e.target, e.velocity, e.scale),
        ("target", "uncond"),
        scale=100.0,
        small_scale=7.5,
        uses=("image", "job"),
        lean=True,
        flow=True,
    ),
    "inverted": Method(
        "calibrated at an inverted x_t, two-stage",
        lambda e: calibrated(e.target, e.source, e.scale),
        ("target", "source"),
        scale=25.0,
        uses=EVERYWHERE,
        stages=2,
        inversion=Inversion("source", 5),
    ),
    "vsd": Method(
        "VSD",
        lambda e: vsd(e.uncond, e.target, e.particles, e.scale),
        ("target", "uncond"),
        scale=7.5,
        uses=("image",),
        particles=True,
    ),
    "dds": Method(
        "delta denoising",
        lambda e: dds(e.target, e.reference, e.scale),
        ("target", "reference"),
        scale=1.0,
        uses=("edit",),
        edit_strength=0.98,
    ),
    "bridge": Method(
        "two-stage + full bridge",
        lambda e: calibrated(e.target, e.source, e.scale),
        ("target", "source"),
        scale=25.0,
        uses=("image", "edit"),
        stages=2,
        bridge=True,
    ),
    "ddim": Method("DDIM", None, ("target", "uncond"), scale=7.5, uses=("image",), lean=True),
    "sdedit": Method("SDEdit", None, ("target", "uncond"), scale=7.5, uses=("edit",), lean=True),
}
"""Name -> method.

SDI (Lukoianov et al. 2024, eq. 11) is SDS with the noise that inverts the image under its prompt. CFD (Yan et al. 2025, eq. 9) is
SDS along one noise: each seed follows a path of its own, as in DSD (Xu et al. 2024); `surface_noise` anchors that noise in 3D.
"inverted" is of this project: the calibrated direction at the x_t that the image inverts to under y_src, on the very path that the
bridge takes, instead of at a random one. Nothing of it is left to chance; the error of taking the bridge in one step stays.
NFSD's and Perp-Neg's "source" is a negative prompt.
"""


def methods_for(*uses: Use) -> tuple[str, ...]:
    """Names of the methods that serve any of these uses, in the table's order."""
    return tuple(name for name, method in METHODS.items() if set(uses) & set(method.uses))


def method_named(name: str, *uses: Use) -> Method:
    """The entry of a name; InputError with the choices if there is none, or none for any of these uses (no uses = all)."""
    choices = methods_for(*uses) if uses else tuple(METHODS)
    if name not in choices:
        what = f" for {' or '.join(uses)}s" if uses and name in METHODS else ""
        raise InputError("bad_setting", f"There is no method '{name}'{what}.", f"Choose one of {', '.join(choices)}.")
    return METHODS[name]


def source_text(name: str, prompt: str, view: str = "", given: str | None = None, descriptors: str = DESCRIPTORS) -> str:
    """y_src, what a method compares the prompt with.

    view         in 3D, the words for the background and for where the camera stands
    given        the user's own description, which goes before every other
    descriptors  of a poor image, added to the prompt
    """
    if given:
        return target_prompt(given, view)
    told = METHODS[name].y_src
    if told == "views" and view:
        return target_prompt(prompt, from_the_front(view))
    return source_prompt(prompt, view, descriptors) if told == "descriptors" else join(NEGATIVE)
