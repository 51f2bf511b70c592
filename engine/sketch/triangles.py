"""Distances to triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

FARTHEST = 1e9
"""A reach above this is this: its square must be a float32."""


class Triangles:
    """Triangles to measure distances to: vertices float64 [V, 3], faces int64 [F, 3]. The tree is built at the first question.

    Which face is nearest is found in single precision around the triangles' middle (to 1e-7 of their extent); how far it is, in double.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self._vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self._faces = np.ascontiguousarray(faces, dtype=np.int64)
        self._tree: list[Any] | None = None

    def closest(self, points: np.ndarray, reach: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Exact distances [N] of points [N, 3], and the nearest places [N, 3]; infinite, and the point itself, where no triangle is
        within reach. Much quicker with a small reach."""
        return self.nearest(points, reach)[:2]

    def nearest(self, points: np.ndarray, reach: float = np.inf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`closest`, and the index of the face int64 [N] on which each place lies; -1 where there is none."""
        points = np.ascontiguousarray(points, dtype=np.float64)
        distance, places, face = np.full(len(points), np.inf), points.copy(), np.full(len(points), -1, dtype=np.int64)
        if not len(points) or not len(self._faces):
            return distance, places, face
        from engine.render.warp_runtime import load_warp
        from engine.sketch.triangles_kernel import nearest_places

        wp = load_warp()
        mesh, *given = self._shared(wp)
        outputs = [_shared(wp, face, wp.int64), _shared(wp, places, wp.vec3d), _shared(wp, distance, wp.float64)]
        inputs = [mesh.id, *given, _shared(wp, points, wp.vec3d), min(float(reach), FARTHEST)]
        wp.launch(nearest_places, dim=len(points), inputs=[*inputs, *outputs], device="cpu")
        return distance, places, face

    def _shared(self, wp: Any) -> list[Any]:
        """Warp's tree, the place that is its origin, and the vertices and faces."""
        if self._tree is None:
            used = self._vertices[self._faces]
            middle = (used.min(axis=(0, 1)) + used.max(axis=(0, 1))) / 2
            corners = wp.array((self._vertices - middle).astype(np.float32), dtype=wp.vec3, device="cpu")
            mesh = wp.Mesh(corners, wp.array(self._faces.reshape(-1).astype(np.int32), dtype=wp.int32, device="cpu"))
            self._tree = [mesh, wp.vec3d(*middle), _shared(wp, self._vertices, wp.vec3d), _shared(wp, self._faces, wp.int64)]
        return self._tree


def _shared(wp: Any, values: np.ndarray, dtype: Any) -> Any:
    """Warp's view of a contiguous array."""
    return wp.array(values, dtype=dtype, device="cpu", copy=False)


def closest(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Triangles.closest` for a single question."""
    return Triangles(vertices, faces).closest(points)
