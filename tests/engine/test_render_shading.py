"""Pictures of known objects: orientation, colour, light, background, depth, normals, and gradients to shape and colour."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from render_scenes import leaf, sphere
from torch import Tensor
from torch.nn import functional

from engine.camera import fixed_ring, orbit
from engine.errors import InputError
from engine.render.images import linear_to_srgb, srgb_to_linear
from engine.render.reference import ReferenceRasterizer
from engine.render.shading import Light, render_views, sample_light
from engine.render.surface_ops import surface_at, to_image, vertex_normals
from engine.render.warp_backend import WarpRasterizer

warp = WarpRasterizer()


def plain(value: float) -> Callable[[Tensor], Tensor]:
    """A colour function that gives every point one grey."""
    return lambda points: torch.full_like(points, value)


def normals_by_torch(vertices: Tensor, faces: Tensor) -> Tensor:
    corners = vertices[faces.long()]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = torch.zeros_like(vertices).index_add(0, faces.long().view(-1), across.repeat_interleave(3, dim=0))
    return functional.normalize(summed, dim=1)


def test_vertex_normals_of_a_sphere_are_radial_and_match_plain_torch() -> None:
    vertices, faces = sphere(20, 0.7)
    normals = vertex_normals(vertices, faces)
    # area weighting on a latitude-longitude sphere tilts normals by the order of its step squared, (pi / 20)^2
    assert (functional.normalize(vertices, dim=1) * normals).sum(dim=1).min() > 1 - (math.pi / 20) ** 2 / 2
    bumpy = vertices * (1 + 0.2 * torch.sin(9 * vertices).sum(dim=1, keepdim=True))
    weight = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0))
    ours, expected = leaf(bumpy, torch.float32), leaf(bumpy, torch.float64)
    (vertex_normals(ours, faces) * weight).sum().backward()
    (normals_by_torch(expected, faces) * weight).sum().backward()
    torch.testing.assert_close(vertex_normals(bumpy, faces).double(), normals_by_torch(bumpy.double(), faces), atol=1e-5, rtol=0)
    scale = expected.grad.abs().max()
    torch.testing.assert_close(ours.grad.double() / scale, expected.grad / scale, atol=1e-4, rtol=0)


def test_vertices_without_faces_get_zero_normals_and_no_gradient() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], requires_grad=True)
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2]], dtype=torch.int32))
    torch.testing.assert_close(normals, torch.tensor([[0.0, 0, 1]] * 3 + [[0.0, 0, 0]]))
    normals.sum().backward()
    assert vertices.grad.isfinite().all() and (vertices.grad[3] == 0).all()


def test_surface_at_covered_pixels_matches_interpolation_of_everything() -> None:
    vertices, faces = sphere(10, 0.8)
    normals = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(1))
    pos = fixed_ring(2).clip(vertices)
    rast = warp.rasterize(pos, faces, (20, 20))[0]
    pixels = torch.nonzero(rast[..., 3].reshape(-1) > 0)[:, 0]
    weight = torch.randn(2, len(pixels), 3, generator=torch.Generator().manual_seed(2))
    results = []
    for fused in (True, False):
        v, n, r = leaf(vertices, torch.float32), leaf(normals, torch.float32), leaf(rast, torch.float32)
        if fused:
            points, unit = surface_at(pixels, r, faces, v, n)
        else:
            both = ReferenceRasterizer().interpolate(torch.cat([v, n], dim=1), r, faces)[0].view(-1, 6)[pixels]
            points, unit = both[:, :3], functional.normalize(both[:, 3:], dim=1)
        (points * weight[0] + unit * weight[1]).sum().backward()
        results.append((points, unit, v.grad, n.grad, r.grad[..., :2]))
    for ours, expected in zip(*results, strict=True):
        # sums of tens of float32 products, divided by lengths of about 0.1 and more
        torch.testing.assert_close(ours, expected, atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_to_image_averages_and_turns_the_rows_around(factor: int) -> None:
    buffer = torch.randn(2, 6, 12, 5, generator=torch.Generator().manual_seed(0))
    expected = functional.avg_pool2d(buffer.permute(0, 3, 1, 2), factor).flip(2)
    torch.testing.assert_close(to_image(buffer, factor), expected)


def test_front_view_shows_world_up_at_the_top_and_world_right_at_the_right() -> None:
    vertices, faces = sphere(16, 0.8)
    views = render_views(warp, vertices, faces, orbit(0.0, 0.0, 3.0, 40.0), 32, lambda points: (points + 1) / 2)
    image = views.rgb[0]
    assert image[2, 8, 16] > image[2, 24, 16] + 0.2, "+Z (blue) must be at the top"
    assert image[0, 16, 24] > image[0, 16, 8] + 0.2, "+X (red) must be at the right"
    assert image[1, 16, 16] < 0.3, "the front faces -Y"


def test_flat_colours_and_backgrounds_arrive_exactly() -> None:
    vertices, faces = sphere(16, 0.8)
    background = torch.tensor([[0.2, 0.5, 0.9], [1.0, 0.0, 0.3]])
    views = render_views(warp, vertices, faces, fixed_ring(2), 24, plain(0.6), background=background, supersample=2, want=("rgb", "mask"))
    inside, outside = (views.mask == 1).expand(-1, 3, -1, -1), views.mask == 0
    assert inside.any() and outside.any()
    # sRGB there and back in float32
    torch.testing.assert_close(views.rgb[inside], torch.full_like(views.rgb[inside], 0.6), atol=1e-5, rtol=0)
    for view in range(2):
        empty = views.rgb[view][:, outside[view, 0]]
        torch.testing.assert_close(empty, background[view][:, None].expand_as(empty), atol=1e-5, rtol=0)
    white = render_views(warp, vertices, faces, fixed_ring(1), 24, plain(0.6))
    torch.testing.assert_close(white.rgb[0, :, 0, 0], torch.ones(3), atol=1e-5, rtol=0)


def test_silhouette_pixels_mix_in_linear_light() -> None:
    vertices, faces = sphere(24, 0.8)
    views = render_views(warp, vertices, faces, fixed_ring(1), 24, plain(0.0), background=torch.ones(1, 3))
    torch.testing.assert_close(views.rgb[:, :1], linear_to_srgb(1 - views.mask), atol=1e-5, rtol=0)


def test_light_follows_lamberts_law_in_linear_space() -> None:
    vertices, faces = sphere(60, 0.8)
    camera = orbit(0.0, 0.0, 3.0, 40.0)
    towards = functional.normalize(torch.tensor([[0.3, -1.0, 0.5]]), dim=1)
    views = render_views(warp, vertices, faces, camera, 48, plain(0.7), Light(towards, 0.25), want=("rgb", "normal", "albedo", "mask"))
    inside = views.mask[0, 0] == 1
    cosine = (views.normal[0] * towards[0][:, None, None]).sum(dim=0).clamp(min=0)
    expected = linear_to_srgb(srgb_to_linear(torch.tensor(0.7)) * (0.25 + 0.75 * cosine))
    torch.testing.assert_close(views.rgb[0, 0][inside], expected[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(views.albedo[0, 0][inside], torch.full_like(expected[inside], 0.7), atol=1e-5, rtol=0)
    facing = views.rgb[0, 0][inside].max()
    assert facing.item() == pytest.approx(0.7, abs=0.002), "a surface that faces the light shows its albedo"


def test_normals_and_depth_of_a_sphere_are_analytic() -> None:
    vertices, faces = sphere(90, 0.8)
    camera = orbit(50.0, 25.0, 3.0, 40.0)
    views = render_views(warp, vertices, faces, camera, 49, None, want=("normal", "depth", "mask"))
    assert set(views.channels) == {"normal", "depth", "mask"}
    # the polygons' chords lie at most r (1 - cos(pi / 180)) = 1.2e-4 inside of the sphere
    assert views.depth[0, 0, 24, 24].item() == pytest.approx(2.2, abs=3e-4)
    torch.testing.assert_close(views.normal[0, :, 24, 24], functional.normalize(camera.eye[0], dim=0), atol=2e-3, rtol=0)
    inside = views.mask[0, 0] == 1
    torch.testing.assert_close(views.normal[0].norm(dim=0)[inside], torch.ones(int(inside.sum())), atol=1e-5, rtol=0)
    assert (views.normal[0][:, views.mask[0, 0] == 0] == 0).all() and (views.depth[0, 0][views.mask[0, 0] == 0] == 0).all()


def test_two_sided_normals_face_the_camera_whatever_the_winding() -> None:
    vertices, faces = sphere(20, 0.8)
    cameras = fixed_ring(2)
    inward = faces.flip(1).contiguous()
    good = render_views(warp, vertices, faces, cameras, 24, None, want=("normal",))
    mended = render_views(warp, vertices, inward, cameras, 24, None, want=("normal",), two_sided=True)
    wrong = render_views(warp, vertices, inward, cameras, 24, None, want=("normal",))
    torch.testing.assert_close(mended.normal, good.normal, atol=1e-5, rtol=0)
    torch.testing.assert_close(wrong.normal, -good.normal, atol=1e-5, rtol=0)


def test_colours_are_evaluated_at_covered_points_only_and_only_when_wanted() -> None:
    vertices, faces = sphere(16, 0.8)
    asked: list[Tensor] = []

    def colour(points: Tensor) -> Tensor:
        asked.append(points)
        return torch.full_like(points, 0.5)

    views = render_views(warp, vertices, faces, fixed_ring(2), 16, colour, supersample=2)
    assert len(asked) == 1
    assert len(asked[0]) < 0.6 * 2 * 32 * 32
    radius = asked[0].norm(dim=1)
    assert radius.max() <= 0.8 + 1e-5 and radius.min() > 0.8 * math.cos(math.pi / 16)
    assert views.mask.sum() * 4 == pytest.approx(len(asked[0]), rel=0.05)
    only_mask = render_views(warp, vertices, faces, fixed_ring(2), 16, colour, supersample=2, want=("mask",))
    assert len(asked) == 1
    assert list(only_mask.channels) == ["mask"]
    with pytest.raises(ValueError, match="have no 'rgb', only mask"):
        _ = only_mask.rgb
    torch.testing.assert_close(only_mask.mask, views.mask)


def test_supersampled_coverage_is_nearer_to_the_area() -> None:
    vertices, faces = sphere(60, 0.8)
    camera = fixed_ring(1, elevation=5.0)
    exact = render_views(warp, vertices, faces, camera, 20, None, supersample=16, want=("mask",)).mask
    errors = [
        (render_views(warp, vertices, faces, camera, 20, None, supersample=factor, want=("mask",)).mask - exact).abs().max()
        for factor in (1, 2, 4)
    ]
    assert errors[0] < 0.35 and errors[1] < 0.15 and errors[2] < 0.05


def deformations(vertices: Tensor) -> list[Tensor]:
    """Growing, shifting, and a wavy change of shape."""
    return [vertices, torch.tensor([1.0, 0, 0]).expand_as(vertices), torch.sin(5 * vertices.roll(1, dims=1)) * vertices]


def test_gradient_of_lit_colours_to_the_shape_matches_finite_differences() -> None:
    """Two pixels inside of the outline. (Nearer to it a pixel's slope grows without bound, so finite steps cannot measure it.)"""
    vertices, faces = sphere(30, 0.75)
    cameras = fixed_ring(2, elevation=20.0)
    light = Light(functional.normalize(cameras.eye + torch.tensor([0.5, 0.3, 1.0]), dim=1), 0.4)
    mask = render_views(warp, vertices, faces, cameras, 48, None, want=("mask",)).mask
    inside = (-functional.max_pool2d(-mask, 5, 1, 2) == 1).float()
    weight = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * inside

    def loss(points: Tensor) -> Tensor:
        views = render_views(
            warp,
            points,
            faces,
            cameras,
            48,
            lambda p: torch.sigmoid(3 * p + torch.sin(4 * p.roll(1, dims=1))),
            light,
            None,
            2,
            ("rgb", "normal", "depth"),
        )
        return (weight * (views.rgb + views.normal + views.depth)).sum(dtype=torch.float64)

    for direction in deformations(vertices):
        moved = leaf(vertices, torch.float32)
        loss(moved).backward()
        step = 2e-3
        numeric = ((loss(vertices + step * direction) - loss(vertices - step * direction)) / (2 * step)).item()
        # pixels that change their face within the step, and float32 rounding over the step
        assert (moved.grad * direction).sum().item() == pytest.approx(numeric, rel=0.01, abs=0.3)


def test_gradient_of_silhouettes_to_the_shape_matches_finite_differences() -> None:
    """A flat colour over a background against a random smooth target: only the outlines can move the loss."""
    vertices, faces = sphere(40, 0.75)
    cameras = fixed_ring(2, elevation=20.0)
    background = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.7, 0.5]])
    target = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    target = functional.interpolate(target, size=(48, 48), mode="bicubic")

    def loss(points: Tensor) -> Tensor:
        views = render_views(warp, points, faces, cameras, 48, plain(0.4), None, background, 2, want=("rgb",))
        return (views.rgb - target).square().sum(dtype=torch.float64)

    for direction in deformations(vertices):
        moved = leaf(vertices, torch.float32)
        loss(moved).backward()
        step = 0.01
        numeric = ((loss(vertices + step * direction) - loss(vertices - step * direction)) / (2 * step)).item()
        # the outline is sampled once a row or column of 96: some per cent of noise, of what the vertices pull in absolute terms
        pulls = moved.grad * direction
        assert pulls.sum().item() == pytest.approx(numeric, abs=0.02 * pulls.abs().sum().item())
        assert abs(numeric) > 0.1 * pulls.abs().sum().item(), "the loss must depend on this direction"


def test_gradient_to_the_colour_is_exact() -> None:
    vertices, faces = sphere(16, 0.8)
    grey = torch.tensor([0.4, 0.5, 0.6], requires_grad=True)
    views = render_views(warp, vertices, faces, fixed_ring(2), 16, lambda p: grey.expand_as(p), supersample=2, want=("rgb", "mask"))
    inside = (views.mask == 1).float()
    (views.rgb * inside).sum().backward()
    torch.testing.assert_close(grey.grad, inside.sum().expand(3), rtol=1e-4, atol=0)


def test_reference_and_warp_draw_the_same_picture() -> None:
    vertices, faces = sphere(12, 0.8)
    cameras = fixed_ring(2, elevation=10.0)
    light = sample_light(torch.Generator().manual_seed(1), cameras)
    ours, expected = (
        render_views(r, vertices, faces, cameras, 24, lambda p: (p + 1) / 2, light, None, 1, ("rgb", "mask", "normal", "depth"))
        for r in (warp, ReferenceRasterizer())
    )
    for name in ("rgb", "mask", "normal", "depth"):
        difference = (getattr(ours, name) - getattr(expected, name)).abs().amax(dim=1)
        # snapping to 1/256 pixel may give a pixel on an edge to the neighbouring face
        assert (difference < 2e-3).float().mean() > 0.995, name


def test_sampled_lights_lie_around_the_cameras_and_repeat_with_the_seed() -> None:
    cameras = orbit(torch.linspace(-180, 170, 64), torch.linspace(-80, 80, 64), 3.0, 40.0)
    light = sample_light(torch.Generator().manual_seed(5), cameras, ambient=(0.3, 0.6), spread_deg=45.0)
    torch.testing.assert_close(light.direction.norm(dim=1), torch.ones(64), atol=1e-5, rtol=0)
    cosine = (light.direction * functional.normalize(cameras.eye, dim=1)).sum(dim=1)
    assert cosine.min() >= math.cos(math.radians(45.0)) - 1e-4
    assert cosine.max() - cosine.min() > 0.15
    assert 0.3 <= light.ambient <= 0.6
    torch.testing.assert_close(light.direction, sample_light(torch.Generator().manual_seed(5), cameras, (0.3, 0.6), 45.0).direction)


def test_a_mesh_out_of_sight_gives_the_background_and_zero_gradients() -> None:
    vertices, faces = sphere(6, 0.1)
    moved = leaf(vertices + torch.tensor([9.0, 0, 0]), torch.float32)
    views = render_views(warp, moved, faces, orbit(0.0, 0.0, 3.0, 40.0), 8, plain(0.3), background=torch.full((1, 3), 0.25))
    torch.testing.assert_close(views.rgb, torch.full((1, 3, 8, 8), 0.25), atol=1e-5, rtol=0)
    (views.rgb.sum() + views.normal.sum() + views.depth.sum()).backward()
    assert (moved.grad == 0).all()


@pytest.mark.parametrize("points", [0, 5])
def test_an_empty_mesh_gives_the_background(points: int) -> None:
    vertices = torch.rand(points, 3).requires_grad_()
    faces = torch.empty(0, 3, dtype=torch.int32)
    background = torch.full((2, 3), 0.25)
    views = render_views(warp, vertices, faces, fixed_ring(2), 8, plain(0.3), Light(torch.tensor([[0.0, 0, 1]] * 2), 0.5), background, 2)
    torch.testing.assert_close(views.rgb, torch.full((2, 3, 8, 8), 0.25), atol=1e-5, rtol=0)
    assert (views.mask == 0).all() and (views.normal == 0).all() and (views.depth == 0).all()


def test_requests_that_make_no_sense_are_refused() -> None:
    vertices, faces = sphere(4)
    with pytest.raises(InputError, match="'colour'"):
        render_views(warp, vertices, faces, fixed_ring(1), 8, plain(0.5), want=("colour",))
    with pytest.raises(InputError, match="colour function"):
        render_views(warp, vertices, faces, fixed_ring(1), 8, None, want=("rgb",))
