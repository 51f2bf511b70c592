"""What a prior that sees the geometry is shown of a view: a picture of the surface itself, without any colour."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.camera import Cameras
from engine.render.base import Rasterizer
from engine.render.shading import render_views

CONTROL_CHANNELS = 5
"""Eye-space normal x, y, z; mask; nearness."""


@torch.no_grad()
def geometry_control(rasterizer: Rasterizer, vertices: Tensor, faces: Tensor, cameras: Cameras, size: int, supersample: int = 2) -> Tensor:
    """The control pictures of a surface seen by B cameras: float32 [B, 5, size, size], detached; zeros where nothing is seen.

    vertices, faces  [V, 3] engine space and int32 [F, 3]; the object is around the origin
    channels         the unit normal in eye axes (x right, y up, z towards the camera; always facing it), blended with 0 at
                     silhouettes; the covered share of the pixel; and how far the surface is in front of the origin, in engine
                     units within -1..1, times that share
    """
    wanted = ("normal", "mask", "depth")
    seen = render_views(rasterizer, vertices, faces, cameras, size, None, supersample=supersample, want=wanted, two_sided=True)
    assert seen.normal is not None and seen.mask is not None and seen.depth is not None
    normal = torch.einsum("bij,bjhw->bihw", cameras.view[:, :3, :3].to(seen.normal), seen.normal)
    origin = -cameras.view[:, 2, 3].to(seen.mask).view(-1, 1, 1, 1)
    nearness = (origin * seen.mask - seen.depth).clamp(-1.0, 1.0)
    return torch.cat([normal, seen.mask, nearness], dim=1)
