"""The add-on's arrays, without Blender."""

from __future__ import annotations

import numpy as np
import pytest

from addon import geometry


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def every_edge_twice_in_both_directions(faces: np.ndarray) -> bool:
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(edge) for edge in directed.tolist()}
    return len(there) == len(directed) and all((b, a) in there for a, b in there)


def test_a_straight_tube_is_a_closed_prism_with_outward_faces() -> None:
    points = np.stack([np.zeros(5), np.zeros(5), np.linspace(0, 2, 5)], axis=1)
    vertices, faces, owner = geometry.tube(points, np.full(5, 0.3), sides=16)
    assert every_edge_twice_in_both_directions(faces)
    polygon = 0.5 * 16 * np.sin(2 * np.pi / 16) * 0.3**2  # area of the regular 16-gon
    assert signed_volume(vertices, faces) == pytest.approx(polygon * 2, rel=1e-12)
    np.testing.assert_array_equal(np.round(vertices[:-2, 2] * 2).astype(int), owner[:-2])


def test_a_ring_is_a_torus_and_does_not_twist() -> None:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle), np.zeros(64)], axis=1)
    vertices, faces, _ = geometry.tube(points, np.full(64, 0.1), cyclic=True, sides=12)
    assert every_edge_twice_in_both_directions(faces)
    assert len(vertices) - len(faces) * 3 // 2 + len(faces) == 0  # Euler characteristic of a torus
    assert abs(signed_volume(vertices, faces)) == pytest.approx(2 * np.pi**2 * 0.1**2, rel=0.06)  # a 12-gon misses 4.5 % of its circle


@pytest.mark.parametrize(
    "points", [[[1.0, 2, 3]], [[1.0, 2, 3]] * 4, [[0.0, 0, 0], [1, 0, 0], [0, 0, 0]], [[0.0, 0, 0], [0, 0, 1e-15], [0, 0, 1]]]
)
def test_degenerate_strokes_still_give_finite_closed_tubes(points: list[list[float]]) -> None:
    vertices, faces, owner = geometry.tube(np.array(points), np.full(len(points), 0.2))
    assert np.isfinite(vertices).all() and every_edge_twice_in_both_directions(faces) and owner.max() < len(points)
    assert np.ptp(vertices, axis=0).min() > 0.1


def test_chains_of_a_line_a_ring_and_a_fork() -> None:
    line, ring, fork = [[0, 1], [1, 2]], [[3, 4], [4, 5], [5, 3]], [[6, 7], [7, 8], [7, 9]]
    found = geometry.chains(np.array(line + ring + fork), 10)
    shapes = sorted((len(path), closed) for path, closed in found)
    assert shapes == [(2, False), (2, False), (2, False), (3, False), (3, True)]


def test_colour_encoding_is_its_own_inverse_and_matches_known_values() -> None:
    values = np.linspace(0, 1, 257)
    np.testing.assert_allclose(geometry.srgb_to_linear(geometry.linear_to_srgb(values)), values, atol=1e-6)
    assert geometry.linear_to_srgb(np.array(0.214041)) == pytest.approx(0.5, abs=1e-5)  # the middle grey of sRGB


def test_corner_values_are_averaged_per_vertex() -> None:
    values = np.array([[0.0], [1.0], [0.5], [0.25]])
    np.testing.assert_allclose(geometry.corners_to_vertices(values, np.array([0, 0, 1, 3]), 4)[:, 0], [0.5, 0.5, 0, 0.25])
    values[[1, 2]] = np.nan  # nobody chose a colour there
    np.testing.assert_allclose(geometry.corners_to_vertices(values, np.array([0, 0, 1, 3]), 4)[:, 0], [0, np.nan, 0, 0.25])


def test_joined_parts_without_colours_have_unknown_ones() -> None:
    triangle = np.eye(3)
    red = geometry.Part(triangle, np.array([[0, 1, 2]], np.int32), np.tile(np.float32([1, 0, 0]), (3, 1)))
    plain = geometry.Part(triangle, np.array([[0, 1, 2]], np.int32))
    joined = geometry.join([red, plain])
    np.testing.assert_array_equal(joined.faces, [[0, 1, 2], [3, 4, 5]])
    assert joined.colours is not None and np.isnan(joined.colours[3:]).all() and np.array_equal(joined.colours[:3], red.colours)
    assert geometry.join([plain, plain]).colours is None


def test_joined_paint_covers_every_part_and_moves_with_it() -> None:
    triangle, face = np.eye(3), np.array([[0, 1, 2]], np.int32)
    painted = geometry.Part(triangle, face, None, None, geometry.Paint(triangle / 3, np.tile(np.float32([0, 1, 0]), (3, 1))))
    red = geometry.Part(triangle + 5, face, np.tile(np.float32([1, 0, 0]), (3, 1)))
    joined = geometry.join([painted, red, geometry.Part(triangle + 9, face)])
    assert joined.paint is not None
    near, far = joined.paint.points[:, 0] < 2, joined.paint.points[:, 0] > 8
    assert np.array_equal(joined.paint.colours[near], painted.paint.colours) and np.isnan(joined.paint.colours[far]).all()
    assert np.allclose(joined.paint.colours[~near & ~far], [1, 0, 0]) and (~near & ~far).sum() > 1000
    moved = geometry.placed(joined, np.diag([-2.0, 1, 1, 1]))
    assert np.array_equal(moved.paint.points[:, 0], -2 * joined.paint.points[:, 0])


def test_singular_and_mirrored_matrices() -> None:
    assert geometry.is_singular(np.diag([1.0, 0, 1, 1])) and geometry.is_singular(np.full((4, 4), np.nan))
    assert not geometry.is_singular(np.diag([1e-4, 1e-4, -1e-4, 1]))
    assert geometry.is_mirrored(np.diag([1.0, -1, 1, 1])) and not geometry.is_mirrored(np.diag([-1.0, -1, 1, 1]))
