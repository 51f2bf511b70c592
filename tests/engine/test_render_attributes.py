"""Interpolation of attributes and texture sampling: values, gradients, parity with the reference."""

from __future__ import annotations

import pytest
import torch
from render_scenes import leaf, random_clip
from torch import Tensor

from engine.errors import InputError
from engine.render.reference import ReferenceRasterizer
from engine.render.warp_backend import WarpRasterizer

warp, reference = WarpRasterizer(), ReferenceRasterizer()
SIZE = 16


def rastered() -> tuple[Tensor, Tensor, Tensor]:
    pos, tri = random_clip(torch.Generator().manual_seed(3), 2, 10)
    return pos, tri, warp.rasterize(pos, tri, (SIZE, SIZE))[0]


def test_interpolation_weighs_the_vertices_as_the_buffer_says() -> None:
    tri = torch.tensor([[2, 0, 1]], dtype=torch.int32)
    rast = torch.tensor([[[[0.2, 0.3, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]])
    attr = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    out, out_da = warp.interpolate(attr, rast, tri)
    torch.testing.assert_close(out[0, 0, 0], 0.2 * attr[2] + 0.3 * attr[0] + 0.5 * attr[1])
    assert (out[0, 0, 1] == 0).all()
    assert out_da.shape == (1, 1, 2, 0)


@pytest.mark.parametrize("batched", [False, True])
def test_interpolation_and_its_gradients_match_the_reference(batched: bool) -> None:
    pos, tri, rast = rastered()
    generator = torch.Generator().manual_seed(0)
    shape = (2, pos.shape[1], 5) if batched else (pos.shape[1], 5)
    attr = torch.randn(shape, generator=generator)
    weight = torch.randn(2, SIZE, SIZE, 5, generator=generator)
    results = []
    for rasterizer, dtype in ((warp, torch.float32), (reference, torch.float64)):
        a, r = leaf(attr, dtype), leaf(rast, dtype)
        out, _ = rasterizer.interpolate(a, r, tri)
        (out * weight.to(dtype)).sum().backward()
        results.append((out.double(), a.grad.double(), r.grad.double()[..., :2]))
    for ours, expected in zip(*results, strict=True):
        # sums of some hundred float32 products
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)


def test_interpolation_gradients_match_finite_differences() -> None:
    _, tri, rast = rastered()
    generator = torch.Generator().manual_seed(1)
    attr = torch.randn(30, 3, generator=generator).requires_grad_()
    weight = torch.randn(2, SIZE, SIZE, 3, generator=generator)
    direction = torch.randn(30, 3, generator=generator)
    (warp.interpolate(attr, rast, tri)[0] * weight).sum().backward()
    with torch.no_grad():
        plus, minus = ((warp.interpolate(attr + s * direction, rast, tri)[0] * weight).double().sum() for s in (0.5, -0.5))
    # linear in the attributes: only float32 rounding remains
    assert (attr.grad * direction).sum().item() == pytest.approx((plus - minus).item(), rel=1e-4, abs=1e-3)


def test_whole_chain_from_positions_to_attributes_matches_the_reference() -> None:
    pos, tri, rast = rastered()
    generator = torch.Generator().manual_seed(5)
    attr = torch.randn(30, 4, generator=generator)
    same = (reference.rasterize(pos.double(), tri, (SIZE, SIZE))[0][..., 3] == rast[..., 3])[..., None]
    weight = torch.randn(2, SIZE, SIZE, 4, generator=generator) * same
    grads = []
    for rasterizer, dtype in ((warp, torch.float32), (reference, torch.float64)):
        p = leaf(pos, dtype)
        out, _ = rasterizer.interpolate(attr.to(dtype), rasterizer.rasterize(p, tri, (SIZE, SIZE))[0], tri)
        (out * weight.to(dtype)).sum().backward()
        grads.append(p.grad.double())
    scale = grads[1].abs().max()
    torch.testing.assert_close(grads[0] / scale, grads[1] / scale, atol=1e-4, rtol=0)


def test_linear_texture_reproduces_texels_at_their_centres_and_averages_between() -> None:
    tex = torch.rand(1, 4, 8, 3, generator=torch.Generator().manual_seed(0))
    v, u = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(8) + 0.5) / 8, indexing="ij")
    centres = torch.stack([u, v], dim=-1)[None].contiguous()
    torch.testing.assert_close(warp.texture(tex, centres), tex)
    torch.testing.assert_close(warp.texture(tex, centres, filter_mode="nearest"), tex)
    half_way = centres + torch.tensor([0.5 / 8, 0.0])
    torch.testing.assert_close(warp.texture(tex, half_way), (tex + tex.roll(-1, dims=2)) / 2)
    clamped = warp.texture(tex, half_way, boundary_mode="clamp")
    torch.testing.assert_close(clamped[:, :, -1], tex[:, :, -1])


@pytest.mark.parametrize("filter_mode", ["linear", "nearest"])
@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp"])
@pytest.mark.parametrize("textures", [1, 2])
def test_texture_and_its_gradients_match_the_reference(filter_mode: str, boundary_mode: str, textures: int) -> None:
    generator = torch.Generator().manual_seed(2)
    tex = torch.randn(textures, 5, 7, 3, generator=generator)
    uv = torch.rand(2, 9, 11, 2, generator=generator) * 3 - 1
    weight = torch.randn(2, 9, 11, 3, generator=generator)
    results = []
    for rasterizer, dtype in ((warp, torch.float32), (reference, torch.float64)):
        t, c = leaf(tex, dtype), leaf(uv, dtype)
        out = rasterizer.texture(t, c, filter_mode, boundary_mode)
        (out * weight.to(dtype)).sum().backward()
        grad_uv = torch.zeros_like(c) if c.grad is None else c.grad
        results.append((out.double(), t.grad.double(), grad_uv.double()))
    for ours, expected in zip(*results, strict=True):
        # uv * size rounds at 1e-6 of a texel; slopes between texels reach 7 * 5
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-5)


def test_texture_gradient_to_uv_matches_finite_differences() -> None:
    generator = torch.Generator().manual_seed(8)
    tex = torch.randn(1, 6, 6, 2, generator=generator)
    cell = torch.randint(0, 6, (1, 5, 5, 2), generator=generator)
    uv = ((cell + 0.6 + 0.3 * torch.rand(1, 5, 5, 2, generator=generator)) / 6).requires_grad_()
    direction = torch.randn(1, 5, 5, 2, generator=generator)
    warp.texture(tex, uv).sum().backward()
    step = 1e-2
    with torch.no_grad():
        plus, minus = (warp.texture(tex, uv + s * step * direction / 6 / 10).double().sum() for s in (1, -1))
    # bilinear within one texel: the symmetric difference is exact up to float32 rounding over the step
    assert (uv.grad * direction).sum().item() / 60 == pytest.approx((plus - minus).item() / (2 * step), rel=5e-3, abs=5e-3)


def test_unknown_modes_and_shapes_are_refused() -> None:
    tex, uv = torch.zeros(1, 2, 2, 1), torch.zeros(1, 2, 2, 2)
    with pytest.raises(InputError, match="trilinear"):
        warp.texture(tex, uv, filter_mode="trilinear")
    with pytest.raises(InputError, match="uv"):
        warp.texture(tex, uv[..., :1])
    with pytest.raises(InputError, match="attr"):
        warp.interpolate(torch.zeros(3, 2, 1), torch.zeros(1, 2, 2, 4), torch.zeros(1, 3, dtype=torch.int32))
