"""Silhouettes: coverage and its gradient against analytic areas, finite differences and the plain-torch reference."""

from __future__ import annotations

import math

import pytest
import torch
from render_scenes import flat, leaf, pixel_to_clip, random_clip, sphere
from torch import Tensor

from engine.camera import orbit
from engine.render import warp_backend
from engine.render.reference import ReferenceRasterizer
from engine.render.reference import edge_neighbours as reference_neighbours
from engine.render.warp_backend import WarpRasterizer, edge_neighbours

warp, reference = WarpRasterizer(), ReferenceRasterizer()
SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def coverage(pos: Tensor, tri: Tensor, size: int, rasterizer: WarpRasterizer | ReferenceRasterizer = warp) -> Tensor:
    """Antialiased mask [B, H, W]."""
    rast, _ = rasterizer.rasterize(pos, tri, (size, size))
    return rasterizer.antialias((rast[..., 3:] > 0).to(pos.dtype), rast, pos, tri)[..., 0]


def rectangle(left: float, bottom: float, right: float, top: float, size: int, w: float = 1.0) -> Tensor:
    """Clip positions of a rectangle given in pixels (pixel i covers i - 0.5 .. i + 0.5)."""
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    return flat([(pixel_to_clip(x, size), pixel_to_clip(y, size)) for x, y in corners], w=w)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25, 0.49, 0.51, 0.75, 0.9])
def test_coverage_of_a_moving_rectangle_is_its_area(shift: float) -> None:
    """Axis-aligned edges: the blended share is exactly how far the edge lies into the pixel.

    Only the corners differ: a corner pixel gets max-like instead of product coverage, at most 0.25 each.
    """
    mask = coverage(rectangle(3.2 + shift, 4.0, 12.2 + shift, 11.0, 20), SQUARE, 20)[0]
    inner = mask[6:10].sum(dim=1)
    torch.testing.assert_close(inner, torch.full((4,), 9.0), atol=2e-4, rtol=0)


def test_coverage_is_continuous_while_a_rectangle_moves() -> None:
    offsets = torch.linspace(0, 2, 41)
    totals = torch.stack([coverage(rectangle(3.1 + float(x), 4.3, 12.1 + float(x), 11.3, 24), SQUARE, 24).sum() for x in offsets])
    assert (totals - totals.mean()).abs().max() < 0.01, "the area is 9 x 7 pixels wherever the rectangle is (a binary mask jumps by 7)"


@pytest.mark.parametrize("w", [1.0, 2.5])
def test_gradient_of_a_rectangles_area_is_analytic(w: float) -> None:
    """d area / d (right edge) = height, in pixels; the other edges likewise."""
    size = 24
    pos = rectangle(4.3, 5.2, 15.4, 14.7, size, w).requires_grad_()
    coverage(pos, SQUARE, size).sum().backward()
    per_pixel = pos.grad[0] * w * 2 / size  # clip x moves by w * 2 / size for one pixel
    # rows whose centres lie between bottom and top: 6..14 = 9, of a height of 9.5; columns 5..15 = 11 of 11.1
    right, left = per_pixel[[1, 2], 0].sum().item(), per_pixel[[0, 3], 0].sum().item()
    top, bottom = per_pixel[[2, 3], 1].sum().item(), per_pixel[[0, 1], 1].sum().item()
    assert right == pytest.approx(9.0, abs=1e-3) and left == pytest.approx(-9.0, abs=1e-3)
    assert top == pytest.approx(11.0, abs=1e-3) and bottom == pytest.approx(-11.0, abs=1e-3)


def test_gradient_of_a_moving_square_matches_finite_differences() -> None:
    """A loss that weighs pixels at random, a tilted square, steps small enough that no pixel changes its face."""
    size = 32
    angle, centre = 0.3, torch.tensor([0.07, -0.04])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) @ turn.T + centre
    base = torch.cat([corners * 1.5, torch.full((4, 1), 0.3), torch.full((4, 1), 1.5)], dim=1)[None]
    weight = torch.rand(1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for parameter in ("x", "y", "scale", "w"):
        direction = torch.zeros_like(base)
        if parameter in "xy":
            direction[..., "xy".index(parameter)] = 1.0
        elif parameter == "scale":
            direction[..., :2] = base[..., :2]
        else:
            direction[..., 3] = 1.0
        pos = base.clone().requires_grad_()
        (coverage(pos, SQUARE, size).double() * weight).sum().backward()
        step = 1e-3
        plus, minus = ((coverage(base + s * step * direction, SQUARE, size).double() * weight).sum() for s in (1, -1))
        analytic, numeric = (pos.grad * direction).sum().item(), ((plus - minus) / (2 * step)).item()
        # where a pair begins or stops to be blended within the step (1/60 pixel) the difference jumps a little
        assert analytic == pytest.approx(numeric, rel=0.03, abs=0.05 * size), parameter


@pytest.mark.parametrize("rings", [12, 60, 200])
def test_gradient_of_a_spheres_area_is_analytic_however_fine_the_mesh(rings: int) -> None:
    """Area of the outline of a sphere: pi r^2 by orthographic projection, so d area / d r = 2 pi r, d area / d x = 0.

    With 200 rings (160,000 faces) hundreds of faces share a pixel: looking for silhouette edges among the pixel's own face
    only would lose nearly all of the gradient.
    """
    size, radius = 64, 0.6
    vertices, tri = sphere(rings, 1.0)
    scale = torch.tensor(radius, requires_grad=True)
    shift = torch.zeros(2, requires_grad=True)
    tilt = torch.linalg.matrix_exp(torch.tensor([[0, -0.3, 0.5], [0.3, 0, 0.2], [-0.5, -0.2, 0]]))
    points = vertices @ tilt.T * scale
    pos = torch.cat([points[:, :2] + shift + 0.013, points[:, 2:] * 0.5, torch.ones(len(points), 1)], dim=1)[None]
    mask = coverage(pos, tri, size)
    pixels = size / 2
    polygon = 1.0 - (math.pi / (2 * rings)) ** 2 / 2  # the mesh lies inside of its sphere by up to this share
    area = math.pi * (radius * pixels) ** 2
    assert mask.sum().item() == pytest.approx(area, rel=0.005 + (1 - polygon) * 2)
    mask.sum().backward()
    # the estimate samples the outline once a row or column: about 1 % of noise at 64 pixels
    assert scale.grad.item() == pytest.approx(2 * math.pi * radius * pixels**2, rel=0.03)
    assert shift.grad.abs().max().item() < 0.03 * 2 * math.pi * radius * pixels**2


def test_gradient_of_a_sphere_seen_by_a_camera_matches_finite_differences() -> None:
    vertices, tri = sphere(24, 0.7)
    camera = orbit(30.0, 20.0, 3.0, 40.0)
    size = 96

    def area(scale: Tensor) -> Tensor:
        return coverage(camera.clip(vertices * scale), tri, size).sum(dtype=torch.float64)

    scale = torch.tensor(1.0, requires_grad=True)
    area(scale).backward()
    step = 0.02
    numeric = ((area(torch.tensor(1 + step)) - area(torch.tensor(1 - step))) / (2 * step)).item()
    # over a step of 0.6 pixel the difference averages the sampling noise of both pictures
    assert scale.grad.item() == pytest.approx(numeric, rel=0.02)


def test_smooth_interior_is_left_alone() -> None:
    """Edges between faces that continue each other are no silhouettes: nothing inside the outline is blended."""
    vertices, tri = sphere(30, 0.8)
    pos = orbit(10.0, 35.0, 3.0, 40.0).clip(vertices)
    rast, _ = warp.rasterize(pos, tri, (48, 48))
    color = torch.rand(1, 48, 48, 2, generator=torch.Generator().manual_seed(0))
    blended = warp.antialias(color, rast, pos, tri)
    seen = (rast[..., 3] > 0).float()
    interior = torch.nn.functional.avg_pool2d(seen[:, None], 3, stride=1, padding=1)[:, 0] == 1.0
    assert interior.sum() > 400
    assert torch.equal(blended[interior], color[interior])
    assert not torch.equal(blended, color)


def test_inner_silhouettes_are_blended() -> None:
    """A small square before a large one: the edge between two covered pixels gets its share and its gradient."""
    size = 16
    near, far = rectangle(4.3, 4.2, 9.8, 10.1, size), rectangle(-2, -2, 18, 18, size)
    far[..., 2] = 0.5
    pos = torch.cat([near, far], dim=1).requires_grad_()
    tri = torch.cat([SQUARE, SQUARE + 4])
    rast, _ = warp.rasterize(pos, tri, (size, size))
    color = (rast[..., 3:] <= 2).float()
    out = warp.antialias(color, rast, pos, tri)[0, :, :, 0]
    # pixel 4 ends at 4.5: the square covers 0.2 of it; pixel 10 begins at 9.5: 0.3 of it
    torch.testing.assert_close(out[7], torch.tensor([0.0] * 4 + [0.2] + [1.0] * 5 + [0.3] + [0.0] * 5), atol=1e-4, rtol=0)
    out[7].sum().backward()
    assert pos.grad[0, 1:3, 0].sum().item() * 2 / size == pytest.approx(1.0, abs=1e-3)
    assert pos.grad[0, 4:].abs().max() == 0.0


def test_values_and_gradients_match_the_reference() -> None:
    vertices, tri = sphere(14, 0.8)
    ball = orbit([0.0, 75.0], [10.0, -30.0], 3.0, 40.0).clip(vertices)
    soup, soup_tri = random_clip(torch.Generator().manual_seed(11), 2, 14)
    size = 28
    for positions, faces in ((ball, tri), (soup, soup_tri)):
        rast, _ = warp.rasterize(positions, faces, (size, size))
        generator = torch.Generator().manual_seed(1)
        color, weight = torch.rand(2, size, size, 3, generator=generator), torch.randn(2, size, size, 3, generator=generator)
        results = []
        for rasterizer, dtype in ((warp, torch.float32), (reference, torch.float64)):
            c, p = leaf(color, dtype), leaf(positions, dtype)
            out = rasterizer.antialias(c, rast.to(dtype), p, faces)
            (out * weight.to(dtype)).sum().backward()
            results.append((out.double(), c.grad.double(), p.grad.double()))
        assert (results[0][0] != color.double()).any(dim=-1).sum() > 50, "the scene must have silhouettes"
        for ours, expected in zip(*results, strict=True):
            # pixel positions round at 1e-6 of the image's width, the shares at about 1e-5
            scale = expected.abs().max().clamp(min=1.0)
            torch.testing.assert_close(ours / scale, expected / scale, atol=1e-4, rtol=0)


def test_edge_table_finds_neighbours_boundaries_and_fins() -> None:
    tri = torch.tensor([[0, 1, 2], [2, 1, 3], [1, 2, 4], [5, 6, 7]], dtype=torch.int32)
    # edge 1-2 has three faces: a boundary for all of them
    assert (edge_neighbours(tri) == -1).all()
    pair = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    assert edge_neighbours(pair).tolist() == [[-1, 1, -1], [0, -1, -1]]
    closed = sphere(9)[1]
    table = edge_neighbours(closed)
    assert (table >= 0).all()
    assert torch.equal(table.long(), reference_neighbours(closed))


def test_edge_table_follows_a_face_tensor_that_changes_in_place() -> None:
    rasterizer = WarpRasterizer()
    size = 12
    pos = rectangle(2.3, 2.2, 8.4, 8.7, size)
    tri = SQUARE.clone()
    first = rasterizer.antialias(torch.rand(1, size, size, 1), rasterizer.rasterize(pos, tri, (size, size))[0], pos, tri)
    assert first.shape == (1, size, size, 1)
    tri[1] = torch.tensor([0, 1, 2])
    rast, _ = rasterizer.rasterize(pos, tri, (size, size))
    mask = (rast[..., 3:] > 0).float()
    fresh = WarpRasterizer()
    torch.testing.assert_close(rasterizer.antialias(mask, rast, pos, tri), fresh.antialias(mask, rast, pos, tri))


def test_an_outline_longer_than_the_room_for_it_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(6), 2, 200)
    rast, _ = warp.rasterize(pos, tri, (80, 80))
    colour = torch.rand(2, 80, 80, 3, generator=torch.Generator().manual_seed(7))
    expected = warp.antialias(colour, rast, pos, tri)
    assert int((expected != colour).any(dim=3).sum()) > 2 * 2 * 80 * 80 // 16
    monkeypatch.setattr(warp_backend, "USUAL_PAIRS", 1)
    assert torch.equal(warp.antialias(colour, rast, pos, tri), expected)


def test_antialiasing_nothing_changes_nothing() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(0), 1, 3)
    empty = torch.zeros(1, 6, 6, 4)
    color = torch.rand(1, 6, 6, 3)
    assert torch.equal(warp.antialias(color, empty, pos, tri), color)
