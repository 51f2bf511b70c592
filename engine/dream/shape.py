"""From a cloud to a mesh with colours: the level of its density whose outline is the one that the cloud shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras, fixed_ring
from engine.dream.cloud import REACH, Cloud, Ground, gradient, sample
from engine.dream.rays import look
from engine.errors import JobError
from engine.export import remove_loose_parts, smooth
from engine.isosurface.dmtet import TetGrid
from engine.mesh import Mesh
from engine.render.base import Rasterizer
from engine.render.shading import render_views

LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Densities (per engine unit) that the surface may be drawn at."""
ROUGH_LEVEL = 2.0
"""That at which a cloud is shown while it is dreamt."""
OUTLINE_SIZE, OUTLINE_VIEWS, OUTLINE_SAMPLES = 64, 6, 96
FARTHEST = 4.0
"""Steps of the grid at which the distance to the surface is held: further away the density says nothing about it."""
SMOOTHING = 10  # rounds of Taubin smoothing
COLOUR_REACH, COLOUR_SAMPLES = 0.12, 16
"""How far (engine units) outside and inside of the surface its colour is looked for."""


def mesh_of(cloud: Cloud, ground: Ground, rasterizer: Rasterizer, resolution: int = 64) -> tuple[Mesh, float]:
    """The surface of the cloud in engine space, closed, with sRGB colours; and how much of the outlines of both agree (intersection over
    union, 0..1). JobError where no level of the density has a surface."""
    grid = TetGrid.make(resolution, cloud.blob.device)
    cameras = fixed_ring(OUTLINE_VIEWS, elevation=20.0, distance=3.2).to(cloud.blob.device)
    with torch.no_grad():
        shown = _outline(cloud, ground, cameras)
        found = [surface for level in LEVELS if (surface := _surface(cloud, grid, level)) is not None]
        if not found:
            raise JobError("empty_surface", "The cloud that was dreamt has no surface.", "Give more steps, or another seed or prompt.")
        scores = [_agreement(surface, shown, cameras, rasterizer) for surface in found]
        best = int(np.argmax(scores))
        mesh = remove_loose_parts(found[best])
        mesh = mesh.with_vertices(smooth(mesh, SMOOTHING))
        colours = surface_colours(cloud, torch.from_numpy(mesh.vertices).to(cloud.blob.device)).cpu().numpy()
    return replace(mesh, colours=colours), scores[best]


@torch.no_grad()
def rough_mesh(cloud: Cloud, grid: TetGrid) -> Mesh | None:
    """The surface of a cloud as it is now, in engine space, with sRGB colours, to be looked at; None where it has none yet."""
    mesh = _surface(cloud, grid, ROUGH_LEVEL)
    if mesh is None:
        return None
    return replace(mesh, colours=surface_colours(cloud, torch.from_numpy(mesh.vertices).to(cloud.blob.device)).cpu().numpy())


def signed_distance(density: Tensor, level: float) -> Tensor:
    """About the distance [R, R, R] to where the density [R, R, R] is `level`, in steps of its grid, negative inside: first order, the
    logarithm's difference over its slope, as density falls off like an exponential; held at FARTHEST."""
    fall = functional.avg_pool3d(density[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0].clamp(min=1e-6).log()
    slope = gradient(fall).square().sum(0).sqrt().clamp(min=0.05)
    return ((math.log(level) - fall) / slope).clamp(-FARTHEST, FARTHEST)


def _surface(cloud: Cloud, grid: TetGrid, level: float) -> Mesh | None:
    """The mesh at a level of the density; None where there is none."""
    distance = sample(signed_distance(cloud.density(), level)[None], grid.points)[:, 0]
    outside = grid.points.norm(dim=1) > REACH
    vertices, faces = grid.surface(torch.where(outside, FARTHEST, distance))
    return Mesh(vertices.cpu().numpy(), faces.cpu().numpy()) if len(faces) else None


def _outline(cloud: Cloud, ground: Ground, cameras: Cameras) -> Tensor:
    """What the cloud covers, [B, 1, S, S]."""
    return look(cloud, ground, cameras, torch.ones(len(cameras), 3, device=cameras.device), OUTLINE_SIZE, OUTLINE_SAMPLES).opacity


def _agreement(mesh: Mesh, shown: Tensor, cameras: Cameras, rasterizer: Rasterizer) -> float:
    """Intersection over union of the mesh's outlines and those shown."""
    vertices, faces = torch.from_numpy(mesh.vertices).to(shown), torch.from_numpy(mesh.faces).to(shown.device)
    mask = render_views(rasterizer, vertices, faces, cameras, OUTLINE_SIZE, None, want=("mask",)).mask
    return float(torch.minimum(mask, shown).sum() / torch.maximum(mask, shown).sum().clamp(min=1e-6))


def surface_colours(cloud: Cloud, points: Tensor) -> Tensor:
    """sRGB [N, 3] of points [N, 3] on the cloud's surface: what a ray sees that comes straight at each from outside."""
    volume = cloud.volume()
    inward = -functional.normalize(sample(volume[4:], points), dim=1)
    depth = torch.linspace(-COLOUR_REACH, COLOUR_REACH, COLOUR_SAMPLES, device=points.device)
    found = sample(volume[:4], (points[:, None] + depth[:, None] * inward[:, None]).reshape(-1, 3)).view(len(points), -1, 4)
    thick = found[..., 0] * (2 * COLOUR_REACH / COLOUR_SAMPLES)
    weight = torch.exp(thick - thick.cumsum(1)) * (1 - torch.exp(-thick)) + 1e-6
    return (weight[..., None] * found[..., 1:].sigmoid()).sum(1) / weight.sum(1, keepdim=True)
