"""Pictures of one surface from several views, brought to agree: each place takes the mean of what all views show there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras
from engine.render.base import Rasterizer
from engine.render.surface_ops import vertex_normals

HIDDEN_BEHIND = 0.04
"""A place is seen by a view whose nearest surface there is at most this much nearer, engine units."""

LEAST_WEIGHT = 0.05
"""Of a view's own picture, however slantingly it sees the place."""


@dataclass(frozen=True)
class SeenSurface:
    """What B views see, pixel by pixel, row 0 at the top.

    points   [B, S, S, 3] in engine space, 0 where nothing is seen
    normals  [B, S, S, 3] unit vectors in engine space
    covered  bool [B, S, S]
    """

    points: Tensor
    normals: Tensor
    covered: Tensor
    cameras: Cameras

    def facing(self) -> Tensor:
        """The cosine between normal and direction to the camera, 0 for what looks away, [B, S, S]."""
        towards = functional.normalize(self.cameras.eye[:, None, None].to(self.points) - self.points, dim=-1)
        return (self.normals * towards).sum(-1).clamp(min=0) * self.covered


@torch.no_grad()
def see_surface(
    rasterizer: Rasterizer, vertices: Tensor, faces: Tensor, cameras: Cameras, size: int, two_sided: bool = False
) -> SeenSurface:
    """What B cameras see of vertices [V, 3] (engine space) and faces int32 [F, 3], `size` pixels a side; two_sided: normals are those of
    the side that is seen."""
    rast, _ = rasterizer.rasterize(cameras.clip(vertices), faces, (size, size))
    attributes = torch.cat([vertices, vertex_normals(vertices, faces)], dim=1).contiguous()
    values, _ = rasterizer.interpolate(attributes, rast, faces)
    values, covered = values.flip(1), rast.flip(1)[..., 3] > 0  # rasterizers begin at the bottom row
    points, normals = values[..., :3], functional.normalize(values[..., 3:], dim=-1)
    if two_sided:
        towards = cameras.eye[:, None, None].to(points) - points
        normals = torch.where((normals * towards).sum(-1, keepdim=True) < 0, -normals, normals)
    return SeenSurface(points, normals, covered, cameras)


@torch.no_grad()
def fuse_views(pictures: Tensor, seen: SeenSurface, trust: Tensor | None = None) -> Tensor:
    """Pictures [B, C, S, S] whose covered pixels are the mean over all views that see the place, weighed by how squarely they see it.

    trust  [B, 1, S, S] in 0..1, what each pixel counts beside; None for 1
    """
    covered = seen.covered[:, None].to(pictures)
    trusted = covered if trust is None else trust * covered
    own_weight = (seen.facing().square() + LEAST_WEIGHT) * trusted[:, 0].clamp(min=1e-3)
    depth = _distance(seen.cameras, seen.points)[:, None] * covered
    layers = torch.cat([pictures * trusted, trusted, depth], dim=1)
    fused = pictures.clone()
    for view in range(len(pictures)):
        here = seen.covered[view]
        points, normals = seen.points[view][here], seen.normals[view][here]
        weights = own_weight[view][here]
        total = pictures[view][:, here] * weights
        for other in range(len(pictures)):
            if other != view:
                colours, shares = _as_seen_by(seen.cameras.select([other]), points, normals, layers[other])
                total, weights = total + colours * shares, weights + shares
        fused[view][:, here] = total / weights
    return fused


def _as_seen_by(camera: Cameras, points: Tensor, normals: Tensor, layers: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [C, N] that another view shows at points [N, 3] with normals [N, 3], and what they count [N]: 0 where it sees none."""
    clip = camera.clip(points)[0]
    where = (clip[:, :2] / clip[:, 3:].clamp(min=1e-6)) * torch.tensor([1.0, -1.0], device=points.device)
    grid = where.view(1, 1, -1, 2)
    inside = (where.abs().amax(1) < 1) & (clip[:, 3] > 0)
    nearest = functional.grid_sample(layers[None, -1:], grid, mode="nearest", padding_mode="border", align_corners=False)[0, 0, 0]
    visible = inside & (nearest > 0) & (_distance(camera, points[None])[0] < nearest + HIDDEN_BEHIND)
    taken = functional.grid_sample(layers[None, :-1], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0, :, 0]
    towards = functional.normalize(camera.eye.to(points) - points, dim=1)
    facing = (normals * towards).sum(1).clamp(min=0)
    return taken[:-1] / taken[-1].clamp(min=1e-3), facing.square() * visible * taken[-1]


def _distance(cameras: Cameras, points: Tensor) -> Tensor:
    """How far points [B, ..., 3] are from each camera along its viewing direction, [B, ...]."""
    axis = cameras.view.to(points)[:, 2]
    flat = points.reshape(len(points), -1, 3)
    return -(torch.einsum("bnc,bc->bn", flat, axis[:, :3]) + axis[:, 3:]).view(points.shape[:-1])
