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

from engine.diffusion.prompts import DESCRIPTORS, NEGATIVE, join, source_prompt, target_prompt
from engine.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["target", "uncond", "source", "reference"]
"""What an estimate is for: a prompt at x_t, or ("reference") the source prompt at the noised unedited image."""

Use = Literal["image", "edit", "illusion", "job"]

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


def bridge(psi_source: Tensor, psi_target: Tensor) -> Tensor:
    """The full bridge: descend on psi_src - psi_tgt, where psi decodes one noisy image along the probability-flow ODE.

    For a single step psi_tgt - psi_src = -(sigma / alpha) (eps_tgt - eps_src), so this points as `calibrated` does.
    """
    return psi_source - psi_target


@dataclass(frozen=True)
class Estimates:
    """What a direction is made of: the noise estimates of one step, [B, ...] each, and the numbers of its settings.

    of             by role
    noise          n, the noise in x_t
    early          bool [B], t below NFSD_SWITCH of the schedule
    particle       the score of the images being made, where the method learns it
    scale          the method's strength
    source_weight  w2 of CSD at this step
    """

    of: Mapping[Role, Tensor]
    noise: Tensor
    early: Tensor
    scale: float
    source_weight: float
    particle: Tensor | None = None

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
    def particles(self) -> Tensor:
        """eps_lora; ValueError where the caller gave no score of the images."""
        if self.particle is None:
            raise ValueError("this method needs `particles`, a score of the images being made")
        return self.particle


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
    y_src          what its source prompt says: the descriptors of a poor image, or NFSD's negative words
    particles      it learns a score of the images being made: the prior must be an `AdaptablePrior`
    bridge         it ends with steps along the full bridge
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
    y_src: Literal["descriptors", "negative"] = "descriptors"
    particles: bool = False
    bridge: bool = False

    def roles(self, scale: float) -> tuple[Role, ...]:
        """The estimates of a step at this scale."""
        return ("target",) if self.lean and scale == 1.0 else self.needs

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
"""Name -> method. NFSD's "source" is its negative prompt."""


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
    return join(NEGATIVE) if METHODS[name].y_src == "negative" else source_prompt(prompt, view, descriptors)
