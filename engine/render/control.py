"""What a prior that sees the surface is shown of a view: a picture of the surface itself, without any colour."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.camera import Cameras
from engine.render.base import Rasterizer
from engine.render.shading import RenderedViews, render_views

SURFACE_CHANNELS = ("normal", "mask", "depth")
"""What `control_of` needs of `engine.render.shading.render_views`."""

MASK = 3
"""The channel of a control that tells the covered share of each pixel."""


@torch.no_grad()
def control_of(views: RenderedViews, cameras: Cameras) -> Tensor:
    """The control pictures of views rendered with SURFACE_CHANNELS: float32 [B, 5, S, S], detached; zeros where nothing is seen.

    The unit normal in eye axes (x right, y up, z towards the camera; always facing it), blended with 0 at silhouettes; the covered
    share of the pixel; and how far the surface is in front of the origin, in engine units within -1..1, times that share.
    """
    assert views.normal is not None and views.mask is not None and views.depth is not None
    normal = torch.einsum("bij,bjhw->bihw", cameras.view[:, :3, :3].to(views.normal), views.normal.detach())
    normal = torch.where(normal[:, 2:] < 0, -normal, normal)
    mask = views.mask.detach()
    origin = -cameras.view[:, 2, 3].to(mask).view(-1, 1, 1, 1)
    nearness = (origin * mask - views.depth.detach()).clamp(-1.0, 1.0)
    return torch.cat([normal, mask, nearness], dim=1)


@torch.no_grad()
def geometry_control(rasterizer: Rasterizer, vertices: Tensor, faces: Tensor, cameras: Cameras, size: int, supersample: int = 2) -> Tensor:
    """`control_of` a surface (vertices [V, 3] engine space, faces int32 [F, 3]) seen by B cameras: float32 [B, 5, size, size]."""
    views = render_views(rasterizer, vertices, faces, cameras, size, None, supersample=supersample, want=SURFACE_CHANNELS)
    return control_of(views, cameras)
