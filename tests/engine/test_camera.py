"""Cameras: where they stand, what they see where, and the words for it."""

from __future__ import annotations

import math

import pytest
import torch

from engine.camera import fixed_ring, orbit, sample_orbit, view_words


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [(0, 0, (0, -3, 0)), (90, 0, (3, 0, 0)), (180, 0, (0, 3, 0)), (-90, 0, (-3, 0, 0)), (30, 90, (0, 0, 3)), (0, -90, (0, 0, -3))],
)
def test_eye_stands_where_the_conventions_say(azimuth: float, elevation: float, expected: tuple[float, ...]) -> None:
    cameras = orbit(azimuth, elevation, 3.0, 40.0)
    torch.testing.assert_close(cameras.eye[0], torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def test_view_matrix_is_a_rotation_and_takes_the_eye_to_the_origin() -> None:
    cameras = orbit([0, 33, -120, 10], [0, 20, -35, 90], [1.5, 2, 3, 4], 50.0)
    rotation = cameras.view[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4), atol=1e-6, rtol=0)
    homogeneous = torch.cat([cameras.eye, torch.ones(4, 1)], dim=1)
    torch.testing.assert_close((cameras.view @ homogeneous[..., None])[..., 0], torch.tensor([[0.0, 0, 0, 1]] * 4), atol=1e-5, rtol=0)


def test_front_view_has_world_right_at_the_right_and_world_up_at_the_top() -> None:
    clip = orbit(0.0, 0.0, 3.0, 40.0).clip(torch.tensor([[0.5, 0, 0], [0, 0, 0.5], [0, 0, 0]]))[0]
    pixels = clip[:, :2] / clip[:, 3:]
    assert pixels[0, 0] > 0.1 and abs(pixels[0, 1]) < 1e-6
    assert pixels[1, 1] > 0.1 and abs(pixels[1, 0]) < 1e-6
    torch.testing.assert_close(clip[2, 3], torch.tensor(3.0))


def test_field_of_view_and_clipping_planes_land_on_the_cube_of_clip_space() -> None:
    half = 2.0 * math.tan(math.radians(25.0))
    points = torch.tensor([[0, -1.0, half], [half, -1.0, 0], [0, -2.5, 0], [0, 2.0, 0]])
    clip = orbit(0.0, 0.0, 3.0, 50.0, near=0.5, far=5.0).clip(points)[0]
    ndc = clip[:, :3] / clip[:, 3:]
    assert ndc[0, 1] == pytest.approx(1.0, abs=1e-6) and ndc[1, 0] == pytest.approx(1.0, abs=1e-6)
    assert ndc[2, 2] == pytest.approx(-1.0, abs=1e-6) and ndc[3, 2] == pytest.approx(1.0, abs=1e-6)


def test_sampled_cameras_stay_in_range_are_stratified_and_repeatable() -> None:
    cameras = sample_orbit(torch.Generator().manual_seed(3), 8, distance=(2.0, 2.5), fov=(30.0, 50.0), elevation=(-20.0, 60.0))
    again = sample_orbit(torch.Generator().manual_seed(3), 8, distance=(2.0, 2.5), fov=(30.0, 50.0), elevation=(-20.0, 60.0))
    torch.testing.assert_close(cameras.view, again.view, atol=0, rtol=0)
    radius = cameras.eye.norm(dim=1)
    assert radius.min() >= 2.0 - 1e-5 and radius.max() <= 2.5 + 1e-5
    assert cameras.elevation.min() >= -20.0 - 1e-3 and cameras.elevation.max() <= 60.0 + 1e-3
    fov = 2 * torch.rad2deg(torch.atan(1 / cameras.projection[:, 1, 1]))
    assert fov.min() >= 30.0 - 1e-3 and fov.max() <= 50.0 + 1e-3
    azimuth = cameras.azimuth.sort().values
    gaps = torch.cat([azimuth[1:] - azimuth[:-1], azimuth[:1] + 360.0 - azimuth[-1:]])
    assert gaps.max() <= 90.0 + 1e-3, "two cells of 45 degrees are the widest gap that stratification allows"


def test_clip_is_differentiable_and_linear() -> None:
    vertices = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    cameras = fixed_ring(3)
    assert torch.autograd.gradcheck(cameras.clip, (vertices,))


def test_view_words_follow_azimuth_and_elevation() -> None:
    cameras = orbit([0, 40, 41, 139, 140, 180, -41, 320, 0], [0, 0, 0, 0, 0, 0, 0, 0, 56], 3.0, 40.0)
    front, side, back = "front view", "side view", "back view"
    assert view_words(cameras) == [front, front, side, side, back, back, side, front, "overhead view"]


def test_select_and_to_keep_the_batch_together() -> None:
    cameras = fixed_ring(4)
    picked = cameras.select([2, 0]).to("cpu")
    assert len(picked) == 2
    torch.testing.assert_close(picked.view, cameras.view[[2, 0]])
    torch.testing.assert_close(picked.azimuth, torch.tensor([-180.0, 0.0]))
