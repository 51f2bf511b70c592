"""Losses on shape and colour: pure functions that return one value for each place. The caller averages and weights them."""

from __future__ import annotations

import torch
from torch import Tensor


def laplacian(vertices: Tensor, faces: Tensor) -> Tensor:
    """Squared distance of each vertex from the middle of its neighbours (uniform weights; Sorkine 2006): [V].

    vertices [V, 3], faces int [F, 3]. On a closed mesh every neighbour counts once; at a rim, inner neighbours count twice.
    """
    corners = faces.long()
    around = torch.zeros_like(vertices)
    count = vertices.new_zeros(len(vertices))
    points = vertices.index_select(0, corners.reshape(-1)).view(-1, 3, 3)
    total = points.sum(dim=1)
    for corner in range(3):
        around = around.index_add(0, corners[:, corner], total - points[:, corner])
        count.index_add_(0, corners[:, corner], count.new_full((len(corners),), 2.0))
    middle = around / count.clamp(min=1).unsqueeze(1)
    return torch.where((count > 0).unsqueeze(1), middle - vertices, torch.zeros_like(vertices)).square().sum(dim=1)


def dead_zone_loss(values: Tensor, sketch: Tensor, slack: float = 0.0) -> Tensor:
    """Squared distance of a field (or depth, or mask) from the sketch's, beyond what the slack allows; same shape."""
    return ((values - sketch).abs() - slack).clamp(min=0).square()
