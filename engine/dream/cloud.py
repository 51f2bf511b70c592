"""The cloud that is dreamt: density and colour on dense grids from coarse to fine, and a ground behind it.

A radiance field without a network (after Sun et al. 2022, direct voxel grid optimization): the levels are added up on the finest
grid once a step, and that one volume is sampled along all rays. Coarse levels take up what many views agree on within few steps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

COARSEST = 8
REACH = 0.95
"""Radius of the ball that the cloud may fill, engine units: every camera sees all of it."""

BLOB, BLOB_DENSITY = 0.5, 10.0
"""Radius and raw density at the middle of the ball that a dream begins as (engine units, per engine unit)."""

CHANNELS = 7
"""Of a sampled volume: density, colour, normal."""


class Cloud(nn.Module):
    """Density and sRGB-encoded colour over [-1, 1]^3: the sum of grids with 8, 16, 32 ... `resolution` vertices a side, [4, R, R, R] each,
    indexed z, y, x.

    generator  seeds the noise that the coarser levels begin with, so that each seed has a dream of its own
    """

    blob: Tensor

    def __init__(self, resolution: int, generator: torch.Generator, noise: float = 0.1) -> None:
        super().__init__()
        sizes = [COARSEST * 2**level for level in range(16) if COARSEST * 2**level < resolution] + [resolution]
        levels = [torch.zeros(4, size, size, size) for size in sizes]
        levels[0] += noise * torch.randn(levels[0].shape, generator=generator)
        self.levels = nn.ParameterList(nn.Parameter(level) for level in levels)
        radius = lattice(resolution).norm(dim=-1)
        self.register_buffer("blob", BLOB_DENSITY * (1 - radius / BLOB).where(radius < REACH, -100.0), persistent=False)

    @property
    def resolution(self) -> int:
        """Vertices along each axis of the finest level."""
        return self.levels[-1].shape[-1]

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Optimizer groups, one a level: the coarsest learns at `rate`, each finer one at half of the last."""
        return [{"params": [level], "lr": rate * 2.0**-place} for place, level in enumerate(self.levels)]

    def volume(self) -> Tensor:
        """[7, R, R, R] at the finest grid's vertices: density per engine unit, colour before its sigmoid, and the unit normal, which
        points to where the density falls (0 where it is flat); differentiable."""
        total = self.levels[-1]
        for level in self.levels[:-1]:
            total = total + functional.interpolate(level[None], size=self.blob.shape, mode="trilinear", align_corners=True)[0]
        raw = total[0] + self.blob
        density = functional.softplus(raw)
        return torch.cat([density[None], total[1:], -unit(gradient(density))])

    def density(self) -> Tensor:
        """[R, R, R], without gradient."""
        with torch.no_grad():
            return self.volume()[0]


def lattice(resolution: int) -> Tensor:
    """Positions [R, R, R, 3] of a grid's vertices in -1..1, indexed z, y, x."""
    axis = torch.linspace(-1, 1, resolution)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def gradient(values: Tensor) -> Tensor:
    """Central differences [3, R, R, R], by x, y, z, of values [R, R, R] indexed z, y, x; in units of the grid's step."""
    padded = functional.pad(values[None, None], (1, 1, 1, 1, 1, 1), mode="replicate")[0, 0]
    middle = slice(1, -1)
    return 0.5 * torch.stack([
        padded[middle, middle, 2:] - padded[middle, middle, :-2],
        padded[middle, 2:, middle] - padded[middle, :-2, middle],
        padded[2:, middle, middle] - padded[:-2, middle, middle],
    ])  # fmt: skip


def unit(vectors: Tensor) -> Tensor:
    """[3, ...] at length 1, shorter where there is next to nothing."""
    return vectors / (vectors.square().sum(0, keepdim=True) + 1e-4).sqrt()


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """A volume [C, R, R, R] at points [N, 3] in -1..1 -> [N, C], trilinear."""
    found = functional.grid_sample(volume[None], points.view(1, 1, 1, -1, 3), align_corners=True, padding_mode="border")
    return found.view(len(volume), -1).T


class Ground(nn.Module):
    """What is behind the cloud: the plain colour of a view's words; a tint that depends on how steeply a ray goes; and a round soft shadow
    on a level floor, because the prior's things stand on one, and without it a cloud grows a dark foot or draws it in. All three are
    learnt and bounded: nothing with an outline can be painted here.

    floor   how far below the middle the floor lies, engine units; the middle of the shadow is below the middle of the cloud
    """

    def __init__(self, tint: float = 0.15, shade: float = 0.8) -> None:
        super().__init__()
        self.tint, self.shade = tint, shade
        self.weights = nn.Parameter(torch.zeros(2, 3))
        self.floor = nn.Parameter(torch.tensor(BLOB))
        self.shadow = nn.Parameter(torch.tensor([-1.0, 0.5]))  # strength before its sigmoid, radius

    def forward(self, plain: Tensor, eye: Tensor, directions: Tensor) -> Tensor:
        """plain sRGB [B, 3], eye [B, 3], directions [B, P, 3] of rays -> sRGB [B, P, 3] in 0..1."""
        shift = self.tint * torch.tanh(self.weights[0] + self.weights[1] * directions[..., 2:])
        down = directions[..., 2:].clamp(max=-0.02)
        place = eye[:, None, :2] - directions[..., :2] * (eye[:, None, 2:] + self.floor) / down
        spread = place.square().sum(-1, keepdim=True) / self.shadow[1].clamp(min=0.1).square()
        dark = self.shade * self.shadow[0].sigmoid() * torch.exp(-spread)
        return ((plain[:, None] + shift) * (1 - dark)).clamp(0, 1)


def entropy(share: Tensor) -> Tensor:
    """Of a share in 0..1, in units of one bit: 0 at 0 and 1, 1 at a half."""
    share = share.clamp(1e-4, 1 - 1e-4)
    return -(share * share.log() + (1 - share) * (1 - share).log()) / math.log(2)
