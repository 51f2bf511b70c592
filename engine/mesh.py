"""The mesh that travels: plain numpy arrays, triangles only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import InputError
from engine.texture_sets import Piece

if TYPE_CHECKING:
    from engine.formats.parts import Look


@dataclass(frozen=True)
class Paint:
    """The artist's colours at points all over a surface: what a texture says between the vertices.

    points   float32 [N, 3], in the space of the mesh's vertices
    colours  float32 [N, 3], sRGB-encoded 0..1; a row of NaN where nobody chose a colour
    """

    points: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Parts:
    """What the artist's model is made of, for whoever paints its parts apart.

    of_face  int32 [F], which of the pieces each face belongs to
    pieces   objects and their materials
    """

    of_face: np.ndarray
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Mask:
    """How far each place of a surface is to be painted, 0..1.

    corners  float32 [F, 3], at the corners of each face
    image    uint8 [H, W] that multiplies them, row 0 at the top, looked up by uvs float32 [F, 3, 2]; or None for both
    """

    corners: np.ndarray
    image: np.ndarray | None = None
    uvs: np.ndarray | None = None


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with optional colours and per-corner texture coordinates.

    vertices  float32 [V, 3], world space about `origin` unless said otherwise
    faces     int32 [F, 3], indices into vertices, counter-clockwise from outside
    colours   float32 [V, 3], sRGB-encoded 0..1, a row of NaN where nobody chose a colour, or None where nobody chose any
    uvs       float32 [F, 3, 2], one pair a face corner, v up, or None
    paint     what the colours are between the vertices, where that is more than their interpolation, or None
    parts     what it is made of, or None for one piece
    look      its colours at any place of it, where a job is to keep some of them, or None
    mask      where it is to be painted, or None for everywhere
    origin    where the vertices' (0, 0, 0) lies in the world, in double precision: single would blur a mesh far from the world's centre
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    uvs: np.ndarray | None = None
    paint: Paint | None = None
    parts: Parts | None = None
    look: Look | None = None
    mask: Mask | None = None
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
        layers += [] if self.parts is None else [("pieces", self.parts.of_face, len(self.faces))]
        layers += [] if self.mask is None else [("mask values", self.mask.corners, len(self.faces))]
        layers += [] if self.paint is None else [("painted colours", self.paint.colours, len(self.paint.points))]
        for name, array, length in layers:
            if array is not None and len(array) != length:
                raise InputError(
                    "sketch_layers",
                    f"The mesh has {len(array)} {name}, expected {length}.",
                    "Remove that layer from the object and try again.",
                )
        if self.parts is not None and not set(np.unique(self.parts.of_face)) <= set(range(len(self.parts.pieces))):
            raise InputError("sketch_layers", f"Faces must belong to one of {len(self.parts.pieces)} pieces.", "The message is damaged.")
        return self

    def of_faces(self, chosen: np.ndarray) -> Mesh:
        """The same vertices with some of the faces: bool [F] or their indices, in that order."""
        parts = None if self.parts is None else replace(self.parts, of_face=self.parts.of_face[chosen])
        mask = self.mask
        if mask is not None:
            mask = replace(mask, corners=mask.corners[chosen], uvs=None if mask.uvs is None else mask.uvs[chosen])
        look = None if self.look is None else self.look.of_faces(chosen)
        uvs = None if self.uvs is None else self.uvs[chosen]
        return replace(self, faces=self.faces[chosen], uvs=uvs, parts=parts, look=look, mask=mask)

    def corner_vertices(self) -> np.ndarray:
        """float32 [F, 3, 3]: the positions of each face's corners."""
        return self.vertices[self.faces]


@dataclass(frozen=True)
class Painted:
    """Faces that show one material.

    name    of the material
    faces   indices of the mesh's faces
    maps    uint8 [H, W, 3] sRGB "albedo", [H, W] or [H, W, 1] "roughness" and "metallic", [H, W, 3] tangent-space "normal"
    """

    name: str
    faces: np.ndarray
    maps: dict[str, np.ndarray]
