"""How strongly an encoder answers: the factor by which a difference of pictures comes back from a step through it and its transpose.

A gradient g in the latents reaches the pixels as J^T g. Where g = J d stands for a wanted difference of pictures d, that is J^T J d,
about k d with k = |J d|^2 / |d|^2: 0.02 to 0.1 for Stable Diffusion's encoder, in whose latents four numbers of unit variance stand for
192 pixels. Divided by k the gradient is a difference of pictures again, so that every weight beside the guidance means what it means
under a prior of pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

PICTURES = 3
NUDGE = 0.05
"""Of pictures in -1..1: small enough for an encoder to be nearly linear, large enough for half precision."""
FINEST = 2
"""Latents for each node of the smooth differences along a side."""


@torch.no_grad()
def encoder_gain(encode: Callable[[Tensor], Tensor], size: int, latents: int, device: torch.device) -> float:
    """k of `encode`, which takes pictures [1, 3, size, size] in -1..1, each a coloured thing before white as a render is."""
    generator = torch.Generator().manual_seed(0)
    away = torch.linspace(-1, 1, size).square()
    thing = ((away[:, None] + away[None]) < 0.5).float()
    nodes = max(latents // FINEST, 2)
    found = []
    for _ in range(PICTURES):
        inside = _smooth(torch.rand(1, 3, 4, 4, generator=generator) * 2 - 1, size)
        picture = (thing * inside + (1 - thing)) * (1 - 2 * NUDGE)
        nudge = NUDGE * _smooth(torch.randn(1, 3, nodes, nodes, generator=generator), size).clamp(-2, 2) * thing
        answer = encode((picture + nudge).to(device)).float() - encode((picture - nudge).to(device)).float()
        found.append(float(answer.square().sum() / (2 * nudge).square().sum()))
    return sum(found) / len(found)


def _smooth(nodes: Tensor, size: int) -> Tensor:
    return functional.interpolate(nodes, size=(size, size), mode="bicubic", align_corners=True)
