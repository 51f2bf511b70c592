"""The mesh that travels: plain numpy arrays, triangles only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with optional vertex colours and per-corner texture coordinates.

    vertices  float32 [V, 3], world space unless said otherwise
    faces     int32 [F, 3], indices into vertices, counter-clockwise from outside
    colours   float32 [V, 3], sRGB-encoded 0..1, or None
    uvs       float32 [F, 3, 2], one pair a face corner, v up, or None
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    uvs: np.ndarray | None = None

    @property
    def diagonal(self) -> float:
        """Length of the bounding box's diagonal, in the mesh's units."""
        points = self.vertices.astype(np.float64)
        return float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))

    def with_vertices(self, vertices: np.ndarray) -> Mesh:
        """The same mesh with its vertices [V, 3] moved."""
        return replace(self, vertices=np.ascontiguousarray(vertices, dtype=np.float32))

    def corner_vertices(self) -> np.ndarray:
        """float32 [F, 3, 3]: the positions of each face's corners."""
        return self.vertices[self.faces]
