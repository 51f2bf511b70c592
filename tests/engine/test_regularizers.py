"""Losses against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from engine.regularizers import dead_zone_loss, laplacian
from tests.engine.shapes import ribbon

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


def test_adherence_has_slack():
    values = torch.tensor([0.0, 0.1, -0.3], dtype=torch.float64)
    assert dead_zone_loss(values, torch.zeros(3, dtype=torch.float64), slack=0.1).tolist() == pytest.approx([0, 0, 0.04])
    assert dead_zone_loss(values, torch.zeros(3, dtype=torch.float64)).tolist() == pytest.approx([0, 0.01, 0.09])
