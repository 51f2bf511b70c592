"""Noise that belongs to places on a surface, so that all views of a place see the same noise (consistent flow distillation).

Yan et al. 2025 keep one noise through a run and anchor it on the surface. Here it is a function: space is cut into small cells,
each has its own standard normal numbers by a hash of its place, and a latent pixel sums those of the distinct cells that it
shows, divided by the square root of their number: exactly standard normal, and independent of every pixel that shows none of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CELL = 0.01
"""Side of a cell in engine units: below the spacing of a 512-pixel view of an object 1.6 long from the usual distance."""

MULTIPLIERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""Odd 64-bit constants of splitmix64 (Steele et al. 2014), as signed integers."""


def surface_noise(points: Tensor, covered: Tensor, size: int, channels: int, seed: int, cell: float = CELL) -> Tensor:
    """Noise [B, channels, size, size] of the surface that B views see; where they see none, noise of the pixel and the view.

    points   [B, S, S, 3] the place that each sample sees, engine units; S a multiple of `size`
    covered  bool [B, S, S]
    seed     another seed, another noise
    """
    count, side = points.shape[:2]
    if side % size:
        raise ValueError(f"{side} samples a side for {size} pixels; expected a multiple")
    pixel = _latent_pixel(count, side, size, points.device)
    cells = torch.floor(points.double() / cell).long().view(-1, 3)
    names = _hash(cells[:, 0], seed)
    for axis in (1, 2):
        names = _hash(cells[:, axis] ^ names, seed)
    # a pixel that sees no surface has one cell of its own
    names = torch.where(covered.flatten(), names, _hash(pixel, seed + 1))
    pairs = torch.stack([pixel, names], dim=1).unique(dim=0)
    values = _normal(pairs[:, 1], channels)
    total = torch.zeros(count * size * size, channels, dtype=values.dtype, device=points.device).index_add_(0, pairs[:, 0], values)
    number = torch.bincount(pairs[:, 0], minlength=len(total)).clamp(min=1)
    noise = total / number.sqrt()[:, None]
    return noise.view(count, size, size, channels).permute(0, 3, 1, 2).float()


def _latent_pixel(count: int, side: int, size: int, device: torch.device) -> Tensor:
    """For each sample of B views, row by row, the number of the latent pixel that it lies in; int64 [B * side * side]."""
    step = torch.arange(side, device=device) // (side // size)
    inside = step[:, None] * size + step
    return (torch.arange(count, device=device)[:, None, None] * size * size + inside).flatten()


def _hash(values: Tensor, seed: int) -> Tensor:
    """int64 -> int64, each bit of which depends on all bits of the value (splitmix64's finalizer)."""
    mixed = values * MULTIPLIERS[0] + seed
    for shift, multiplier in ((30, MULTIPLIERS[1]), (27, MULTIPLIERS[2])):
        mixed = (mixed ^ _shifted(mixed, shift)) * multiplier
    return mixed ^ _shifted(mixed, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """A shift to the right that brings in zeros."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _normal(names: Tensor, channels: int) -> Tensor:
    """Standard normal numbers float64 [N, channels], a function of the names alone (Box & Muller 1958)."""
    channel = torch.arange(channels, device=names.device)
    first, second = (_uniform(_hash(names[:, None] ^ _hash(2 * channel + which, 0), which)) for which in (0, 1))
    return (-2 * first.log()).sqrt() * torch.cos(2 * math.pi * second)


def _uniform(values: Tensor) -> Tensor:
    """int64 -> float64 in (0, 1), by the upper 53 bits."""
    return (_shifted(values, 11).double() + 0.5) / 2**53
