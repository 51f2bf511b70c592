"""Visibility: the fill rule, perspective, clipping, depth, and gradients of the barycentrics."""

from __future__ import annotations

import pytest
import torch
from render_scenes import flat, pixel_to_clip, random_clip, sphere
from torch import Tensor

from engine.camera import fixed_ring, orbit
from engine.errors import InputError
from engine.render import warp_backend
from engine.render.nvdiffrast_backend import pad_resolution
from engine.render.reference import ReferenceRasterizer
from engine.render.warp_backend import WarpRasterizer
from engine.render.warp_runtime import parts_of_a_face

BACKENDS = [WarpRasterizer(), ReferenceRasterizer()]
warp, reference = BACKENDS


def ids(rasterizer: WarpRasterizer | ReferenceRasterizer, pos: Tensor, tri: Tensor, size: int) -> Tensor:
    return rasterizer.rasterize(pos, tri, (size, size))[0][..., 3].int()


def test_triangle_covers_exactly_the_pixel_centres_inside_it() -> None:
    size = 16
    corners = [(pixel_to_clip(x, size), pixel_to_clip(y, size)) for x, y in [(2.3, 1.2), (12.7, 4.1), (5.4, 13.8)]]
    seen = ids(warp, flat(corners), torch.tensor([[0, 1, 2]], dtype=torch.int32), size)[0] > 0
    for row in range(size):
        for column in range(size):
            sides = []
            for (ax, ay), (bx, by) in [((2.3, 1.2), (12.7, 4.1)), ((12.7, 4.1), (5.4, 13.8)), ((5.4, 13.8), (2.3, 1.2))]:
                sides.append((bx - ax) * (row - ay) - (by - ay) * (column - ax) > 0)
            assert bool(seen[row, column]) == all(sides), (row, column)


def test_shared_edges_through_pixel_centres_belong_to_exactly_one_triangle() -> None:
    """A fan of triangles whose edges all run through pixel centres: no pixel twice, none missing, whatever the winding."""
    size = 33
    centre = (pixel_to_clip(16, size), pixel_to_clip(16, size))
    rim = [(0, 0), (16, 0), (32, 0), (32, 16), (32, 32), (16, 32), (0, 32), (0, 16)]
    points = [centre] + [(pixel_to_clip(x, size), pixel_to_clip(y, size)) for x, y in rim]
    fan = [[0, 1 + i, 1 + (i + 1) % 8] for i in range(8)]
    for flipped in (False, True):
        tri = torch.tensor([face[::-1] if flipped else face for face in fan], dtype=torch.int32)
        times = sum((ids(warp, flat(points), tri[i : i + 1], size) > 0).int() for i in range(8))
        assert times.max() == 1, "a pixel belongs to two triangles"
        assert times[0, 1:-1, 1:-1].min() == 1, "a pixel between triangles belongs to none"
        together = ids(warp, flat(points), tri, size)
        assert torch.equal(together > 0, times > 0)


def test_left_and_bottom_bounds_follow_the_top_left_rule() -> None:
    """Of a rectangle with edges through pixel centres (y up), the left column and the top row are in, right and bottom out."""
    size = 8
    points = [(pixel_to_clip(x, size), pixel_to_clip(y, size)) for x, y in [(2, 2), (5, 2), (5, 5), (2, 5)]]
    seen = ids(warp, flat(points), torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32), size)[0] > 0
    expected = torch.zeros(size, size, dtype=torch.bool)
    expected[3:6, 2:5] = True
    assert torch.equal(seen, expected)


def test_random_triangulation_of_a_square_is_watertight() -> None:
    """Interior points jittered, some snapped onto pixel centres: each pixel of the square is covered exactly once."""
    generator = torch.Generator().manual_seed(5)
    cells, size = 12, 64
    axis = torch.linspace(-1.0, 1.0, cells + 1)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    inner = grid[1:-1, 1:-1]
    inner += (torch.rand(inner.shape, generator=generator) - 0.5) * 0.1
    inner[::2] = ((inner[::2] + 1) * size / 2).floor() * 2 / size - 1 + 1 / size
    corner = torch.arange((cells + 1) ** 2).view(cells + 1, cells + 1)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    tri = torch.cat([torch.stack([a, b, d], -1).view(-1, 3), torch.stack([a, d, c], -1).view(-1, 3)]).int()
    pos = torch.cat([grid.view(-1, 2), torch.zeros(len(grid) ** 2, 1), torch.ones(len(grid) ** 2, 1)], dim=1)[None]
    times = sum((ids(warp, pos, face[None].contiguous(), size) > 0).int() for face in tri)
    assert times.min() == 1 and times.max() == 1


@pytest.mark.parametrize("rasterizer", BACKENDS, ids=lambda r: r.name)
def test_barycentrics_are_perspective_correct(rasterizer: WarpRasterizer | ReferenceRasterizer) -> None:
    """Attributes that equal the clip position must interpolate to a point that projects onto the pixel's centre."""
    pos, tri = random_clip(torch.Generator().manual_seed(0), 2, 20)
    size = 24
    rast, rast_db = rasterizer.rasterize(pos, tri, (size, size))
    assert rast_db.shape == (2, size, size, 0)
    out, _ = rasterizer.interpolate(pos, rast, tri)
    seen = rast[..., 3] > 0
    assert seen.float().mean() > 0.2
    centre = (2 * torch.arange(size) + 1) / size - 1
    # float32 rounding of a quotient of cross products; a linear instead of perspective interpolation is off by 0.05
    torch.testing.assert_close((out[..., 0] / out[..., 3])[seen], centre[None, None].expand(2, size, -1)[seen], atol=2e-4, rtol=0)
    torch.testing.assert_close((out[..., 1] / out[..., 3])[seen], centre[None, :, None].expand(2, -1, size)[seen], atol=2e-4, rtol=0)
    torch.testing.assert_close((out[..., 2] / out[..., 3])[seen], rast[..., 2][seen], atol=1e-5, rtol=0)
    assert (rast[~seen] == 0).all()


def test_nearer_triangle_wins_and_equal_depth_goes_to_the_lower_index() -> None:
    square = [(-1.5, -1.5), (1.5, -1.5), (1.5, 1.5), (-1.5, 1.5)]
    tri = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], dtype=torch.int32)
    behind_first = torch.cat([flat(square, 0.5), flat(square, -0.25, w=3.0)], dim=1)
    assert set(ids(warp, behind_first, tri, 8).unique().tolist()) == {3, 4}
    same = torch.cat([flat(square, 0.5), flat(square, 0.5)], dim=1)
    assert set(ids(warp, same, tri, 8).unique().tolist()) == {1, 2}


def test_beyond_the_far_plane_and_behind_the_eye_nothing_is_seen() -> None:
    square = [(-1.5, -1.5), (1.5, -1.5), (0.0, 1.5)]
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    assert ids(warp, flat(square, 1.01), tri, 8).max() == 0
    assert ids(warp, flat(square, -1.01), tri, 8).max() == 0
    assert ids(warp, flat(square, 0.0, w=-1.0), tri, 8).max() == 0


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("behind", [1, 2])
def test_triangles_that_cross_the_near_plane_are_clipped(turn: int, behind: int) -> None:
    """A floor that runs under the camera: the picture shows it up to the near plane, as the reference without clipping does."""
    near, far = 0.5, 10.0
    camera = orbit(0.0, 0.0, 1.0, 90.0, near=near, far=far)
    shapes = {1: [[-3, 4, -0.4], [3, 4, -0.4], [0, -3, -0.4]], 2: [[-4, -3, -0.4], [4, -3, -0.4], [0, 5, -0.4]]}
    points = torch.tensor(shapes[behind], dtype=torch.float32).roll(turn, dims=0)
    pos = camera.clip(points)
    assert int((pos[0, :, 2] < -pos[0, :, 3]).sum()) == behind
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    size = 64
    seen, expected = warp.rasterize(pos, tri, (size, size))[0], reference.rasterize(pos, tri, (size, size))[0]
    assert 0.05 < (expected[..., 3] > 0).float().mean() < 0.9
    # snapping to 1/256 pixel can move the outline over a pixel centre: at most a few of 4096 pixels
    assert ((seen[..., 3] > 0) != (expected[..., 3] > 0)).sum() <= 3
    both = (seen[..., 3] > 0) & (expected[..., 3] > 0)
    torch.testing.assert_close(seen[both], expected[both], atol=2e-5, rtol=0)
    on_floor, _ = warp.interpolate(points, seen, tri)
    torch.testing.assert_close(on_floor[both][:, 2], torch.full((int(both.sum()),), -0.4), atol=1e-5, rtol=0)
    assert on_floor[both][:, 1].min() >= -1.0 + near - 0.02


def test_clipped_neighbours_stay_watertight() -> None:
    """A floor of many triangles through the near plane: no holes below the horizon's last row."""
    camera = orbit(0.0, 0.0, 1.0, 90.0, near=0.3, far=50.0)
    axis = torch.linspace(-6.0, 6.0, 14)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    points = torch.stack([x, y, torch.full_like(x, -0.5)], dim=-1).view(-1, 3)
    corner = torch.arange(14 * 14).view(14, 14)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    tri = torch.cat([torch.stack([a, b, d], -1).view(-1, 3), torch.stack([a, d, c], -1).view(-1, 3)]).int()
    pos = camera.clip(points)
    assert ((pos[0, :, 2] < -pos[0, :, 3]).any()) and ((pos[0, :, 2] > -pos[0, :, 3]).any())
    seen = ids(warp, pos, tri, 96)[0] > 0
    assert seen[:40].all(), "the floor has holes"


def test_ids_agree_with_the_reference_on_a_sphere_and_on_random_triangles() -> None:
    vertices, tri = sphere(8, 0.8)
    pos = fixed_ring(3, elevation=20.0).clip(vertices)
    soup, soup_tri = random_clip(torch.Generator().manual_seed(2), 2, 40)
    for positions, faces in ((pos, tri), (soup, soup_tri)):
        ours, theirs = (r.rasterize(positions, faces, (48, 48))[0] for r in BACKENDS)
        same = ours[..., 3] == theirs[..., 3]
        # the two differ by snapping only: pixels whose centre lies within 1/512 pixel of an edge
        assert same.float().mean() > 0.998
        torch.testing.assert_close(ours[same], theirs[same], atol=5e-5, rtol=0)


def test_gradients_of_barycentrics_match_the_reference_and_finite_differences() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(4), 2, 12)
    size = 20
    weight = torch.randn(2, size, size, 4, generator=torch.Generator().manual_seed(1))
    weight[..., 2:] = 0  # z/w and the id carry no gradient, as in nvdiffrast
    ours = pos.clone().requires_grad_()
    rast = warp.rasterize(ours, tri, (size, size))[0]
    (rast * weight).sum().backward()
    theirs = pos.double().requires_grad_()
    expected = reference.rasterize(theirs, tri, (size, size))[0]
    same = (expected[..., 3] == rast[..., 3]).double()[..., None]
    assert same.mean() > 0.998
    weight_same = weight * same.float()
    ours.grad = None
    (warp.rasterize(ours, tri, (size, size))[0] * weight_same).sum().backward()
    (expected * weight_same.double()).sum().backward()
    # float32 against float64: relative to the largest gradient, which slivers make
    scale = theirs.grad.abs().max()
    torch.testing.assert_close(ours.grad.double() / scale, theirs.grad / scale, atol=1e-4, rtol=0)

    direction = torch.randn(pos.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    step = 1e-7
    shifted = [reference.rasterize(pos.double() + s * step * direction, tri, (size, size))[0] for s in (1, -1)]
    stable = ((shifted[0][..., 3] == shifted[1][..., 3]) & (shifted[0][..., 3] == expected[..., 3])).double()[..., None]
    assert (stable * weight_same).abs().sum() == pytest.approx(weight_same.abs().sum().item()), "no pixel may change its face"
    difference = ((shifted[0] - shifted[1]) * weight_same * stable).sum() / (2 * step)
    assert (ours.grad.double() * direction).sum().item() == pytest.approx(difference.item(), rel=2e-3)


@pytest.mark.parametrize("parts", [2, 7, 64])
def test_threads_that_share_a_face_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """As on a GPU with few faces: whole, small, and cut by the near plane; a thread a view as well."""
    pos, tri = random_clip(torch.Generator().manual_seed(4), 3, 40)
    pos[..., 2] -= 0.6 * pos[..., 3]  # some corners lie before the near plane
    whole = warp.rasterize(pos, tri, (50, 61))[0]
    assert (whole[..., 3] > 0).sum() > 1000 and (pos[..., 2] < -pos[..., 3]).any()
    monkeypatch.setattr(warp_backend, "parts_of_a_face", lambda threads, height, device: parts)
    monkeypatch.setattr(warp_backend, "runs_of_views", lambda views, device: (1, views))
    assert torch.equal(warp.rasterize(pos, tri, (50, 61))[0], whole)
    monkeypatch.setattr(warp_backend, "runs_of_views", lambda views, device: (2, 2))
    assert torch.equal(warp.rasterize(pos, tri, (50, 61))[0], whole)


def test_few_faces_share_a_gpus_threads_and_many_take_one_each() -> None:
    gpu = torch.device("cuda")
    assert [parts_of_a_face(threads, 1024, gpu) for threads in (12, 1000, 200_000, 10**6)] == [1024, 262, 1, 1]
    assert parts_of_a_face(12, 1024, torch.device("cpu")) == 1


def test_positions_may_lie_in_any_order_in_memory() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(5), 3, 40)
    turned = pos.transpose(0, 1).contiguous().transpose(0, 1)
    results = []
    for given in (pos.requires_grad_(), turned.requires_grad_()):
        rast, _ = warp.rasterize(given, tri, (40, 40))
        shown = warp.antialias(rast[..., :2].contiguous(), rast, given, tri)
        results.append((rast.detach(), shown.detach(), torch.autograd.grad(shown.square().sum(), given)[0]))
    assert turned.stride() != pos.stride() and all(map(torch.equal, *results))


def test_views_of_a_batch_do_not_mix() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(7), 3, 15)
    together = warp.rasterize(pos, tri, (17, 31))[0]
    assert together.shape == (3, 17, 31, 4)
    for view in range(3):
        assert torch.equal(together[view], warp.rasterize(pos[view : view + 1], tri, (17, 31))[0][0])


def test_padding_the_resolution_for_nvdiffrast_leaves_the_picture_where_it_is() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(7), 2, 15)
    moved, padded = pad_resolution(pos, (21, 42))
    assert padded == (24, 48)
    direct, cropped = warp.rasterize(pos, tri, (21, 42))[0], warp.rasterize(moved, tri, padded)[0][:, :21, :42]
    same = direct[..., 3] == cropped[..., 3]
    assert (direct[..., 3] > 0).float().mean() > 0.1
    assert same.float().mean() > 0.995, "rounding of the moved positions may decide a pixel on an edge otherwise"
    torch.testing.assert_close(direct[same], cropped[same], atol=1e-3, rtol=0)
    assert pad_resolution(pos, (16, 8))[0] is pos


def test_no_faces_and_zero_area_faces_show_nothing() -> None:
    pos = flat([(-1, -1), (1, -1), (0, 1)])
    assert ids(warp, pos, torch.empty(0, 3, dtype=torch.int32), 8).max() == 0
    assert ids(warp, pos, torch.tensor([[0, 1, 1], [2, 2, 2]], dtype=torch.int32), 8).max() == 0


def test_huge_coordinates_do_not_overflow() -> None:
    """A triangle a million times larger than the picture still fills the half plane that it should."""
    pos = torch.tensor([[[-1e6, -1e6, 0, 1], [1e6, -1e6, 0, 1], [0.0, 1e6, 0, 1]]])
    assert (ids(warp, pos, torch.tensor([[0, 1, 2]], dtype=torch.int32), 16) == 1).all()


def test_wrong_shapes_and_types_are_refused() -> None:
    pos, tri = random_clip(torch.Generator().manual_seed(0), 1, 2)
    with pytest.raises(InputError, match=r"tri int32 \[F, 3\]"):
        warp.rasterize(pos, tri.long(), (4, 4))
    with pytest.raises(InputError, match=r"pos \[B, V, 4\]"):
        warp.rasterize(pos[0], tri, (4, 4))
