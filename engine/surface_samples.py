"""Points all over a triangle mesh, evenly by area. numpy only: engine and add-on share this one file."""

from __future__ import annotations

import numpy as np


def sample_surface(corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(face int64 [N], barycentric weights float64 [N, 3]) of `count` points spread over triangles, corners [F, 3, 3].

    Deterministic: equal steps along the faces' accumulated area, places within a face by the R2 sequence (Roberts 2018). None where the
    triangles have no area.
    """
    corners = corners.astype(np.float64)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = np.cumsum(area)
    if len(total) == 0 or not total[-1] > 0:
        return np.zeros(0, np.int64), np.zeros((0, 3))
    index = np.arange(count)
    face = np.searchsorted(total, (index + 0.5) / count * total[-1], side="right").clip(max=len(total) - 1)
    plane = np.mod(np.outer(index, (0.7548776662466927, 0.5698402909980532)), 1)
    plane = np.where(plane.sum(1, keepdims=True) > 1, 1 - plane, plane)
    return face, np.concatenate([1 - plane.sum(1, keepdims=True), plane], axis=1)
