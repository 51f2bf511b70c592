"""The mesh that travels: plain numpy arrays, triangles only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import InputError


@dataclass(frozen=True)
class Paint:
    """The artist's colours at points all over a surface: what a texture says between the vertices.

    points   float32 [N, 3], in the space of the mesh's vertices
    colours  float32 [N, 3], sRGB-encoded 0..1; a row of NaN where nobody chose a colour
    """

    points: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with optional colours and per-corner texture coordinates.

    vertices  float32 [V, 3], world space about `origin` unless said otherwise
    faces     int32 [F, 3], indices into vertices, counter-clockwise from outside
    colours   float32 [V, 3], sRGB-encoded 0..1, a row of NaN where nobody chose a colour, or None where nobody chose any
    uvs       float32 [F, 3, 2], one pair a face corner, v up, or None
    paint     what the colours are between the vertices, where that is more than their interpolation, or None
    origin    where the vertices' (0, 0, 0) lies in the world, in double precision: single would blur a mesh far from the world's centre
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    uvs: np.ndarray | None = None
    paint: Paint | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def diagonal(self) -> float:
        """Length of the bounding box's diagonal, in the mesh's units."""
        points = self.vertices.astype(np.float64)
        return float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))

    def with_vertices(self, vertices: np.ndarray) -> Mesh:
        """The same mesh with its vertices [V, 3] moved, without its paint, whose places are no longer known."""
        return replace(self, vertices=np.ascontiguousarray(vertices, dtype=np.float32), paint=None)

    def mapped(self, move: Callable[[np.ndarray], np.ndarray]) -> Mesh:
        """The mesh after a map of space, [N, 3] -> [N, 3], which takes vertices and paint along."""
        paint = None if self.paint is None else replace(self.paint, points=move(self.paint.points))
        return replace(self, vertices=np.ascontiguousarray(move(self.vertices), dtype=np.float32), paint=paint)

    def checked(self) -> Mesh:
        """Itself. InputError where its arrays do not fit together, which no reader gives but a message from elsewhere may."""
        low, high = (int(self.faces.min()), int(self.faces.max())) if self.faces.size else (0, -1)
        if low < 0 or high >= len(self.vertices):
            raise InputError(
                "sketch_faces",
                f"Faces must refer to vertices 0 to {len(self.vertices) - 1}; got {low} to {high}.",
                "The file or message is damaged: export the object again.",
            )
        layers = [("colours", self.colours, len(self.vertices)), ("uvs", self.uvs, len(self.faces))]
        layers += [] if self.paint is None else [("painted colours", self.paint.colours, len(self.paint.points))]
        for name, array, length in layers:
            if array is not None and len(array) != length:
                raise InputError(
                    "sketch_layers",
                    f"The mesh has {len(array)} {name}, expected {length}.",
                    "Remove that layer from the object and try again.",
                )
        return self

    def corner_vertices(self) -> np.ndarray:
        """float32 [F, 3, 3]: the positions of each face's corners."""
        return self.vertices[self.faces]
