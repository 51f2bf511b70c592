"""nvdiffrast against the Warp back end on CUDA: the same buffers, pictures and gradients."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch
from torch import Tensor

from engine.camera import fixed_ring
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.shading import render_views

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
needs_nvdiffrast = pytest.mark.skipif(importlib.util.find_spec("nvdiffrast") is None, reason="the package nvdiffrast is not installed")


def torus(device: str) -> tuple[Tensor, Tensor]:
    """A torus of 1,152 faces."""
    rings, sides = 36, 16
    u = torch.arange(rings)[:, None] * (2 * math.pi / rings)
    v = torch.arange(sides)[None] * (2 * math.pi / sides)
    tube = 0.55 + 0.22 * v.cos()
    vertices = torch.stack([tube * u.cos(), tube * u.sin(), 0.22 * v.sin().expand(rings, -1)], dim=-1).view(-1, 3)
    corner = torch.arange(rings * sides).view(rings, sides)
    right, up = corner.roll(-1, dims=0), corner.roll(-1, dims=1)
    both = corner.roll((-1, -1), dims=(0, 1))
    faces = torch.cat([torch.stack([corner, right, both], -1).view(-1, 3), torch.stack([corner, both, up], -1).view(-1, 3)])
    return vertices.to(device), faces.int().to(device)


def picture(rasterizer: Rasterizer, device: str) -> tuple[Tensor, Tensor]:
    """rgb [2, 3, 64, 64] and the gradient of a loss to the vertices."""
    vertices, faces = torus(device)
    vertices.requires_grad_()
    cameras = fixed_ring(2, elevation=35.0).to(device)
    views = render_views(rasterizer, vertices, faces, cameras, 64, lambda p: (p + 1) / 2, want=("rgb",))
    weight = torch.rand(views.rgb.shape, generator=torch.Generator().manual_seed(0)).to(device)
    (views.rgb * weight).sum().backward()
    return views.rgb.detach().cpu(), vertices.grad.cpu()


def test_warp_on_cuda_matches_warp_on_the_cpu() -> None:
    (rgb, grad), (expected, expected_grad) = (picture(select_rasterizer(d, "warp"), d) for d in ("cuda", "cpu"))
    assert ((rgb - expected).abs().amax(dim=1) < 2e-3).float().mean() > 0.995
    assert torch.nn.functional.cosine_similarity(grad.flatten(), expected_grad.flatten(), dim=0) > 0.99


@needs_nvdiffrast
def test_nvdiffrast_matches_warp_in_buffers() -> None:
    vertices, faces = torus("cuda")
    pos = fixed_ring(2, elevation=35.0).to("cuda").clip(vertices)
    ours, theirs = (select_rasterizer("cuda", name).rasterize(pos, faces, (128, 128))[0] for name in ("warp", "nvdiffrast"))
    same = ours[..., 3] == theirs[..., 3]
    # nvdiffrast snaps vertices to 1/16 of a pixel, this back end to 1/256
    assert same.float().mean() > 0.99
    torch.testing.assert_close(ours[same], theirs[same], atol=1e-3, rtol=0)


@needs_nvdiffrast
def test_nvdiffrast_matches_warp_in_interpolation_and_texture() -> None:
    vertices, faces = torus("cuda")
    pos = fixed_ring(1).to("cuda").clip(vertices)
    warp, other = (select_rasterizer("cuda", name) for name in ("warp", "nvdiffrast"))
    rast, _ = warp.rasterize(pos, faces, (64, 64))
    torch.testing.assert_close(warp.interpolate(vertices, rast, faces)[0], other.interpolate(vertices, rast, faces)[0], atol=1e-5, rtol=0)
    generator = torch.Generator().manual_seed(0)
    tex, uv = torch.rand(1, 8, 16, 3, generator=generator).cuda(), (torch.rand(1, 32, 32, 2, generator=generator) * 3 - 1).cuda()
    for filter_mode in ("linear", "nearest"):
        for boundary_mode in ("wrap", "clamp"):
            ours, theirs = (r.texture(tex, uv, filter_mode, boundary_mode) for r in (warp, other))
            assert ((ours - theirs).abs() < 1e-2).float().mean() > 0.99, (filter_mode, boundary_mode)


@needs_nvdiffrast
def test_nvdiffrast_matches_warp_in_pictures_and_gradients() -> None:
    (rgb, grad), (expected, expected_grad) = (picture(select_rasterizer("cuda", name), "cuda") for name in ("nvdiffrast", "warp"))
    assert ((rgb - expected).abs().amax(dim=1) < 0.02).float().mean() > 0.98
    assert torch.nn.functional.cosine_similarity(grad.flatten(), expected_grad.flatten(), dim=0) > 0.9
