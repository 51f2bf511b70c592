"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.isosurface.dmtet import TetGrid
from engine.regularizers import dead_zone_loss, face_pairs, laplacian, normal_consistency, sdf_eikonal, sign_change, total_variation
from tests.engine.shapes import box, ribbon, sphere

TETRAHEDRON = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
TETRAHEDRON_FACES = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], dtype=torch.int32)


def tensors(mesh):
    return torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.faces)


def test_laplacian_of_a_tetrahedron():
    """The other three corners' middle is -v / 3, 4/3 |v| away: 16/9 * 3."""
    assert torch.allclose(laplacian(TETRAHEDRON, TETRAHEDRON_FACES), torch.full((4,), 16 / 3, dtype=torch.float64))


def test_laplacian_of_a_flat_regular_sheet_is_zero_inside():
    vertices, faces = tensors(ribbon(1.0, 1.0, across=5, along=5))
    inner = (vertices[:, :2].abs() < 0.4).all(dim=1)
    assert laplacian(vertices, faces)[inner].max() < 1e-12
    assert laplacian(vertices, faces)[~inner].min() > 1e-4


def test_laplacian_ignores_loose_vertices():
    vertices = torch.cat([TETRAHEDRON, torch.full((1, 3), 9.0, dtype=torch.float64)])
    assert laplacian(vertices, TETRAHEDRON_FACES)[4] == 0


def test_face_pairs():
    pairs = {tuple(sorted(pair)) for pair in face_pairs(TETRAHEDRON_FACES).tolist()}
    assert pairs == {(a, b) for a in range(4) for b in range(a + 1, 4)}
    closed = tensors(sphere(0.5, 8, 12))[1]
    assert len(face_pairs(closed)) == 3 * len(closed) // 2
    assert len(face_pairs(torch.zeros(0, 3, dtype=torch.int32))) == 0


def test_face_pairs_leave_out_rims_and_edges_of_three_faces():
    fan = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [1, 2, 5]])
    assert face_pairs(fan).tolist() == [[0, 3]]


def test_normal_consistency_of_a_box():
    """12 right angles (1 - 0) and 6 diagonals of flat sides (1 - 1)."""
    values = normal_consistency(*tensors(box((0.5, 0.4, 0.3))))
    assert len(values) == 18
    assert values.sort().values.tolist() == pytest.approx([0.0] * 6 + [1.0] * 12, abs=1e-12)


def test_normal_consistency_of_a_regular_tetrahedron():
    values = normal_consistency(TETRAHEDRON, TETRAHEDRON_FACES)
    assert values.tolist() == pytest.approx([1 + 1 / 3] * 6)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, 2.0])
def test_eikonal_of_a_linear_field(slope: float):
    grid = TetGrid.make(6)
    direction = torch.tensor([1.0, 2.0, -2.0]) / 3
    values = sdf_eikonal(slope * grid.points @ direction, grid.points, grid.tets)
    assert values.shape == (len(grid.tets),)
    assert torch.allclose(values, torch.full_like(values, (slope - 1) ** 2), atol=1e-5)


def test_eikonal_pulls_towards_slope_one():
    grid = TetGrid.make(6)
    sdf = (2 * grid.points[:, 0]).requires_grad_()
    sdf_eikonal(sdf, grid.points, grid.tets).mean().backward()
    better = sdf - 0.5 * sdf.grad / sdf.grad.abs().max() * 0.01
    assert sdf_eikonal(better, grid.points, grid.tets).mean() < sdf_eikonal(sdf, grid.points, grid.tets).mean()


def test_sign_change_by_hand():
    sdf = torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)
    values = sign_change(sdf, torch.tensor([[0, 1], [1, 2]]))
    # the inner end should become an outer one: -log sigmoid(-1); the outer end an inner one: -log(1 - sigmoid(2))
    expected = math.log(1 + math.exp(1)) + math.log(1 + math.exp(2))
    assert values.tolist() == pytest.approx([expected, 0.0])
    assert sign_change(10 * sdf, torch.tensor([[0, 1]]), scale=10.0).item() == pytest.approx(expected)


def test_adherence_has_slack():
    values = torch.tensor([0.0, 0.1, -0.3], dtype=torch.float64)
    assert dead_zone_loss(values, torch.zeros(3, dtype=torch.float64), slack=0.1).tolist() == pytest.approx([0, 0, 0.04])
    assert dead_zone_loss(values, torch.zeros(3, dtype=torch.float64)).tolist() == pytest.approx([0, 0.01, 0.09])


def test_total_variation_by_hand():
    grid = torch.zeros(2, 2, 2, 1)
    grid[1, 1, 1] = 3.0
    values = total_variation(grid)
    assert values.shape == grid.shape
    assert values.sum() == 27  # three neighbours, each 9, counted at the neighbour
    assert values[0, 1, 1] == 9 and values[1, 1, 1] == 0
    assert total_variation(torch.full((3, 4, 5, 2), 7.0)).abs().max() == 0


@pytest.mark.parametrize("loss", [laplacian, normal_consistency])
def test_gradients_of_mesh_losses(loss):
    vertices, faces = tensors(sphere(0.5, 5, 7))
    vertices = vertices + 0.02 * torch.from_numpy(np.random.default_rng(0).normal(size=vertices.shape))
    assert torch.autograd.gradcheck(lambda v: loss(v, faces), (vertices.requires_grad_(),))


def test_gradients_of_field_losses():
    grid = TetGrid.make(4)
    sdf = (grid.points.double().norm(dim=1) - 0.6 + 0.01 * torch.arange(len(grid.points))).requires_grad_()
    positions = grid.points.double()
    assert torch.autograd.gradcheck(lambda s: sdf_eikonal(s, positions, grid.tets), (sdf,))
    assert torch.autograd.gradcheck(lambda s: sign_change(s, grid.edges), (sdf,))
