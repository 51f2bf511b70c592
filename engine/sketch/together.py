"""Many surfaces of few faces, each asked for itself alone: one launch for all of them.

Everywhere: vertices float64 [V, 3] and faces int64 [F, 3] of all surfaces, those of each from first[s] to first[s + 1], int64 [S + 1];
points [N, 3], each asked of the surface owner int64 [N].
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMALL = 300
"""A stroke of more faces is asked alone, by its tree."""


def nearest_own(
    vertices: np.ndarray, faces: np.ndarray, first: np.ndarray, points: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances float64 [N], the nearest places [N, 3] and their faces int64 [N]."""
    from engine.sketch.together_kernel import nearest_own as kernel

    corners = vertices[faces]
    middles = corners.mean(axis=1)
    reach = (1 + 1e-9) * np.sqrt(np.square(corners - middles[:, None]).sum(axis=2).max(axis=1))
    distance, places, face = np.empty(len(points)), np.empty((len(points), 3)), np.zeros(len(points), dtype=np.int64)
    _launch(kernel, vertices, faces, first, points, owner, middles, reach, face, places, distance)
    return distance, places, face


def windings(vertices: np.ndarray, faces: np.ndarray, first: np.ndarray, points: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """float64 [N]: winding numbers."""
    from engine.sketch.together_kernel import winding_own

    turns = np.empty(len(points))
    _launch(winding_own, vertices, faces, first, points, owner, turns)
    return turns


def _launch(kernel: Any, *arrays: np.ndarray) -> None:
    from engine.render.warp_runtime import load_warp

    wp, points = load_warp(), arrays[3]

    def shared(values: np.ndarray) -> Any:
        floats = values.dtype.kind == "f"
        dtype = wp.vec3d if floats and values.ndim == 2 else wp.float64 if floats else wp.int64
        return wp.array(np.ascontiguousarray(values, dtype=np.float64 if floats else np.int64), dtype=dtype, device="cpu", copy=False)

    wp.launch(kernel, dim=len(points), inputs=[shared(values) for values in arrays], device="cpu")
