"""Which places views see, the cameras that are added, and what unseen places take from their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from engine.camera import fixed_ring, look_at, orbit
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.render.rays import RayCaster
from engine.texture.coverage import Coverage, SurfacePoints, seen_from
from engine.texture.job_views import TextureViews
from engine.texture.placement import ENOUGH, FurtherCameras, further_cameras


def box(extents: tuple[float, float, float] = (1.2, 1.2, 1.2)) -> Mesh:
    made = trimesh.creation.box(extents)
    return Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32))


def cup() -> Mesh:
    """A box without its lid, walls without thickness: a concavity that only views from above look into."""
    made = box()
    top = made.corner_vertices()[:, :, 2].min(axis=1) > 0.5
    return Mesh(made.vertices, made.faces[~top])


def test_rays_agree_with_geometry() -> None:
    hits = RayCaster(*_arrays(box())).hits(np.array([[0, 0, 2.0], [0, 0, 0], [2, 2, 2.0]]), np.array([[0, 0, -1.0], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(hits.distance, [1.4, 0.6, np.inf], rtol=1e-6)
    assert hits.any.tolist() == [True, True, False] and hits.face[2] == -1
    points = np.einsum("nk,nkd->nd", hits.weights[:2], box().corner_vertices()[hits.face[:2]])
    np.testing.assert_allclose(points, [[0, 0, 0.6], [0.6, 0, 0]], atol=1e-6)


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices, mesh.faces


def test_visibility_is_exact_where_a_tolerance_would_fail() -> None:
    """Two sheets a ten-thousandth of the scene apart: the lower is hidden, however near it lies; at grazing angles too."""
    sheet = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 0.7
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    mesh = Mesh(np.concatenate([sheet, sheet - [0, 0, 4e-4]]).astype(np.float32), np.concatenate([faces, faces + 4]))
    places = SurfacePoints.of(mesh, 2000)
    eyes = orbit([0.0, 30.0], [80.0, 4.0], 3.2, 40.0).eye.numpy()
    caster = RayCaster(*_arrays(mesh))
    seen = np.stack([seen_from(caster, places.points, places.normals, eye) for eye in eyes])
    upper, middle = places.faces < 2, np.abs(places.points[:, :2]).max(axis=1) < 0.6
    assert seen[:, upper].all() and not seen[:, ~upper & middle].any()


def test_a_ring_of_views_misses_the_bottom_and_further_cameras_find_it() -> None:
    coverage = Coverage(box(), fixed_ring(12, elevation=40.0, distance=3.2), 64, count=3000)
    assert (coverage.openness > 0).all() and coverage.share == pytest.approx(5 / 6, abs=0.01)
    further = further_cameras(coverage, 64, 3.2, 40.0)
    assert further is not None and len(further) == 2 and (further.cameras.elevation < -30).all() and coverage.share >= ENOUGH
    assert further_cameras(coverage, 64, 3.2, 40.0) is None


def test_further_cameras_look_into_a_concavity() -> None:
    coverage = Coverage(cup(), fixed_ring(12, elevation=0.0, distance=3.2), 64, count=3000)
    further = further_cameras(coverage, 64, 3.2, 40.0)
    assert further is not None and further.cameras.elevation.max() > 30 and coverage.share >= ENOUGH


def test_what_is_shut_in_counts_for_nothing() -> None:
    outer, inner = box(), box((0.3, 0.3, 0.3))
    mesh = Mesh(np.concatenate([outer.vertices, inner.vertices]), np.concatenate([outer.faces, inner.faces + len(outer.vertices)]))
    coverage = Coverage(mesh, fixed_ring(8, elevation=40.0, distance=3.2), 64, count=3000)
    assert not coverage.openness[coverage.places.faces >= 12].any() and coverage.share == pytest.approx(5 / 6, abs=0.01)


def test_unseen_places_take_their_neighbours_colours_and_only_from_their_side() -> None:
    """The unknown middle of a red plate stays red, though the plate's blue back lies nearer than its rim."""
    made = trimesh.creation.box((1.6, 1.6, 0.02))
    mesh = Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32))
    coverage = Coverage(mesh, fixed_ring(2, elevation=20.0, distance=3.2), 64, count=4000)
    points, normals = coverage.places.points, coverage.places.normals
    upper = normals[:, 2] > 0.5
    colours = np.where(upper[:, None], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])
    known = ~(upper & (np.abs(points[:, :2]).max(axis=1) < 0.5))
    unknown = np.where(known[:, None], colours, 0.5)
    filled = coverage.filled(unknown, known)
    np.testing.assert_allclose(filled, colours, atol=0.03)
    np.testing.assert_array_equal(filled[known], colours[known])


def test_effective_resolution_is_what_views_can_tell() -> None:
    """A box whose six sides share a 4,096 texture is told no more than its views' pixels; at 8 texels it holds them all."""
    mesh = box()
    uvs = np.tile(np.array([[0, 0], [1, 0], [0, 1]], np.float32), (12, 1, 1)) * 0.4
    mesh = Mesh(mesh.vertices, mesh.faces, None, uvs)
    coverage = Coverage(mesh, orbit([0.0, 90.0, 180.0, 270.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 89.0, -89.0], 3.2, 40.0), 64, count=3000)
    fine = coverage.effective(mesh, 4096)
    pixels = 64 / 2 / np.tan(np.radians(20)) / 2.6  # an engine unit on the sides, from 2.6 away
    assert fine == pytest.approx(4096 * pixels / (4096 * 0.4 / 1.2), rel=0.2)
    assert coverage.effective(mesh, 8) == pytest.approx(8)
    assert coverage.effective(mesh, 4096, 10.0) < 0.5 * fine


def test_look_at_is_the_orbit_about_another_middle() -> None:
    around = orbit([30.0, -70.0], [20.0, 80.0], 3.0, 40.0)
    shift = torch.tensor([0.2, -0.1, 0.3])
    cameras = look_at(around.eye + shift, shift.expand(2, 3), 40.0)
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    # near planes differ: x, y and w say where a point falls
    torch.testing.assert_close(cameras.clip(points + shift)[..., [0, 1, 3]], around.clip(points)[..., [0, 1, 3]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cameras.azimuth, around.azimuth, atol=1e-3, rtol=0)


def test_a_texture_job_covers_what_can_be_seen() -> None:
    numbers = PRESETS["draft"]
    views = TextureViews.of(box(), numbers, 64, seed=0)
    assert views.further is not None and views.coverage.share >= ENOUGH
    again = TextureViews.of(box(), numbers, 64, seed=0)
    assert again.further is not None and torch.equal(views.further.cameras.view, again.further.cameras.view)


def test_a_place_counts_by_how_much_of_outside_sees_it() -> None:
    """A ball in a box with a slit: hardly any of what outside sees, whatever number of directions says so; a lid off, and it is much."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    shares = []
    for lid in (0.02, 0.6):
        sides = [face for face in box().corner_vertices() if face[:, 2].min() < 0.5]
        roof = [np.array([[x, -0.6, 0.6], [x + sign * (0.6 - lid), -0.6, 0.6], [x, 0.6, 0.6]]) for x, sign in ((-0.6, 1), (0.6, -1))]
        roof += [np.array([[x + sign * (0.6 - lid), 0.6, 0.6], [x, 0.6, 0.6], [x + sign * (0.6 - lid), -0.6, 0.6]])
                 for x, sign in ((-0.6, 1), (0.6, -1))]  # fmt: skip
        corners = np.concatenate([*sides, *(roof if lid < 0.5 else []), ball.vertices[ball.faces].reshape(-1, 3)]).astype(np.float32)
        mesh = Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3))
        found = [Coverage(mesh, fixed_ring(2, elevation=0.0, distance=3.2), 64, 3000, count) for count in (128, 384)]
        inside = found[0].places.faces >= len(mesh.faces) - len(ball.faces)
        shares.append([one.openness[inside].sum() / one.openness.sum() for one in found])
        assert found[0].openness[inside].max() > 0
    assert max(shares[0]) < 0.002 and min(shares[1]) > 0.015
    assert shares[0] == pytest.approx(shares[0][::-1], rel=0.1) and shares[1] == pytest.approx(shares[1][::-1], rel=0.05)


def test_every_further_camera_has_its_turn_and_those_that_show_more_have_more() -> None:
    cameras = orbit([10.0 * number for number in range(12)], 0.0, 3.0, 40.0)
    share = np.array([0.5] + 11 * [0.5 / 11])
    further = FurtherCameras(cameras, np.cumsum(share))
    turns = torch.cat([further.at(step, 2).azimuth for step in range(60)])
    counts = np.array([int(((turns - cameras.azimuth[k]).abs() < 1e-3).sum()) for k in range(12)])
    assert counts.sum() == 120 and counts.min() >= 3 and abs(counts[0] - 60) <= 4
    assert torch.equal(further.at(7, 2).eye, further.at(7, 2).eye)
