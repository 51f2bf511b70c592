"""The directions of score distillation, each a pure function of noise estimates of any common shape [B, ...].

u is the unconditional estimate, c (tgt) the one for the target prompt, src the one for the source prompt, n the sampled
noise; all at the same x_t and t. Gradients *descend*: an image moves against the direction that is returned.
Equations: "Rethinking Score Distillation as a Bridge Between Image Distributions", arXiv 2406.09417, unless said otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

NFSD_SWITCH = 0.2
"""Below this fraction of the schedule (t < 200 of 1,000) NFSD takes u for the denoising part."""


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
    return scale * (cond - uncond) + torch.where(mask, uncond, uncond - negative)


def csd(uncond: Tensor, cond: Tensor, source: Tensor, weight: float, source_weight: float) -> Tensor:
    """Classifier score distillation with a negative prompt (Yu et al. 2023, eq. 10): w1 (c - u) + w2 (u - eps_src)."""
    return weight * (cond - uncond) + source_weight * (uncond - source)


def annealed(weight: float, step: int, steps: int) -> float:
    """A weight that falls linearly to 0 over the first `steps` steps (CSD's w2)."""
    return weight * max(0.0, 1.0 - step / steps) if steps > 0 else 0.0


def vsd(uncond: Tensor, cond: Tensor, particle: Tensor, scale: float) -> Tensor:
    """Variational score distillation (Wang et al. 2023, eq. 9): u + s (c - u) - eps_lora."""
    return cfg(uncond, cond, scale) - particle


def dds(target: Tensor, reference: Tensor) -> Tensor:
    """Delta denoising score (Hertz et al. 2023, eq. 4): eps(x_t; tgt) - eps(x_ref,t; src) at the same n and t."""
    return target - reference


def bridge(psi_source: Tensor, psi_target: Tensor) -> Tensor:
    """The full bridge: descend on psi_src - psi_tgt, where psi decodes one noisy image along the probability-flow ODE.

    For a single step psi_tgt - psi_src = -(sigma / alpha) (eps_tgt - eps_src), so this points as `calibrated` does.
    """
    return psi_source - psi_target
