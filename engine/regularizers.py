"""Losses on shape and colour: pure functions that return one value for each place. The caller averages and weights them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize


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


def face_pairs(faces: Tensor) -> Tensor:
    """int64 [E, 2]: faces that share an edge, once for each edge with exactly two faces."""
    corners = faces.long()
    count = int(corners.max()) + 1 if len(corners) else 0
    start, end = corners, corners.roll(-1, dims=1)
    key = (torch.minimum(start, end) * count + torch.maximum(start, end)).reshape(-1)
    key, order = key.sort()
    face = order.div(3, rounding_mode="floor")
    same = key[1:] == key[:-1]
    alone = torch.ones_like(key, dtype=torch.bool)
    if len(key) > 2:  # the pair (i, i + 1) counts unless i - 1 or i + 2 has the same key
        alone[1:-1] = ~(same[1:] & same[:-1])
    first = (same & alone[:-1] & alone[1:]).nonzero().squeeze(1)
    return torch.stack([face[first], face[first + 1]], dim=1)


def normal_consistency(vertices: Tensor, faces: Tensor, pairs: Tensor | None = None) -> Tensor:
    """One minus the cosine between the normals of neighbouring faces: [E] in 0..2; pairs as from `face_pairs`."""
    pairs = face_pairs(faces) if pairs is None else pairs
    a, b, c = vertices.index_select(0, faces.reshape(-1).long()).view(-1, 3, 3).unbind(1)
    normals = normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-12)
    return 1 - (normals.index_select(0, pairs[:, 0]) * normals.index_select(0, pairs[:, 1])).sum(dim=1)


def sdf_eikonal(sdf: Tensor, positions: Tensor, tets: Tensor) -> Tensor:
    """Squared deviation of the field's slope from 1 in each tetrahedron (eikonal equation; Gropp et al. 2020): [T].

    sdf [Nv], positions [Nv, 3], tets int [T, 4]; the field is linear in each tetrahedron. Gradients reach sdf only.
    """
    a, b, c, d = positions.detach()[tets].unbind(1)
    ab, ac, ad = b - a, c - a, d - a
    volume = (torch.linalg.cross(ab, ac) * ad).sum(dim=1, keepdim=True)
    values = sdf[tets]
    rise = values[:, 1:] - values[:, :1]
    dual = (torch.linalg.cross(ac, ad), torch.linalg.cross(ad, ab), torch.linalg.cross(ab, ac))
    gradient = sum(rise[:, k : k + 1] * dual[k] for k in range(3)) / volume
    return (gradient.square().sum(dim=1).clamp(min=1e-12).sqrt() - 1).square()


def sign_change(sdf: Tensor, edges: Tensor, scale: float = 1.0) -> Tensor:
    """Cross entropy that pulls the ends of each crossed edge to one sign (Munkberg et al. 2022, nvdiffrec): [E], 0 where not crossed.

    sdf [Nv], edges int [E, 2]; field values are divided by `scale`, a length, first.
    """
    ends = sdf[edges] / scale
    crossed = (ends[:, 0] < 0) != (ends[:, 1] < 0)
    outside = (ends.detach() >= 0).to(sdf.dtype)
    both = binary_cross_entropy_with_logits(ends, outside.flip(1), reduction="none").sum(dim=1)
    return torch.where(crossed, both, torch.zeros_like(both))


def dead_zone_loss(values: Tensor, sketch: Tensor, slack: float = 0.0) -> Tensor:
    """Squared distance of a field (or depth, or mask) from the sketch's, beyond what the slack allows; same shape."""
    return ((values - sketch).abs() - slack).clamp(min=0).square()


def total_variation(grid: Tensor) -> Tensor:
    """Squared differences to the next neighbour along each axis of a colour grid [X, Y, Z, C], summed over axes: [X, Y, Z, C]."""
    result = torch.zeros_like(grid)
    for axis in range(3):
        difference = grid.diff(dim=axis).square()
        pad = [0, 0] * (3 - axis) + [0, 1]
        result = result + torch.nn.functional.pad(difference, pad)
    return result
