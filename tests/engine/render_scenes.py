"""Small scenes with known answers for the rendering tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sphere(rings: int, radius: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """A latitude-longitude sphere, outward faces: vertices [V, 3], faces int32 [F, 3] with F = 4 * rings * (rings - 1)."""
    columns = 2 * rings
    polar = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[1:-1]
    around = torch.arange(columns, dtype=torch.float64) * (2 * math.pi / columns)
    grid = torch.stack(
        [
            polar.sin()[:, None] * around.cos(),
            polar.sin()[:, None] * around.sin(),
            polar.cos()[:, None].expand(-1, columns),
        ],
        dim=-1,
    ).reshape(-1, 3)
    poles = torch.tensor([[0, 0, 1.0], [0, 0, -1.0]], dtype=torch.float64)
    vertices = (torch.cat([grid, poles]) * radius).to(dtype)
    north, south = len(vertices) - 2, len(vertices) - 1
    faces = []
    for j in range(columns):
        k = (j + 1) % columns
        faces.append((north, j, k))
        faces.append((south, (rings - 2) * columns + k, (rings - 2) * columns + j))
        for i in range(rings - 2):
            a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + j, (i + 1) * columns + k
            faces += [(a, c, d), (a, d, b)]
    return vertices, torch.tensor(faces, dtype=torch.int32)


def flat(points: list[tuple[float, float]], depth: float = 0.0, w: float = 1.0) -> Tensor:
    """Clip-space positions [1, V, 4] of points given after division, all with one z/w and w."""
    return torch.tensor([[[x * w, y * w, depth * w, w] for x, y in points]])


def random_clip(generator: torch.Generator, views: int, faces: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Random separate triangles in front of a perspective camera: pos [views, 3 * faces, 4], tri [faces, 3]."""
    centre = torch.rand(views, faces, 1, 3, generator=generator) * 1.6 - 0.8
    corner = centre + (torch.rand(views, faces, 3, 3, generator=generator) - 0.5) * 0.9
    w = 2.0 + corner[..., 2:]
    pos = torch.cat([corner[..., :2] * w, (corner[..., 2:] * 0.8) * w, w], dim=-1).reshape(views, faces * 3, 4)
    return pos.to(dtype), torch.arange(faces * 3, dtype=torch.int32).view(-1, 3)


def pixel_to_clip(x: float, size: int) -> float:
    """The clip-space coordinate of a position in pixels, pixel i having its centre at i."""
    return (2.0 * x + 1.0) / size - 1.0


def leaf(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of the values in `dtype` that collects a gradient of its own."""
    return tensor.detach().to(dtype, copy=True).requires_grad_()
