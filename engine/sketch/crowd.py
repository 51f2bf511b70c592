"""Strokes by the thousand, asked together: one launch for all of them, where each alone would cost more to ask than to answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.sketch.strokes import Stroke, inside

SMALL = 300
"""A stroke of more faces is asked alone, by its tree."""

TOGETHER = 256
"""Small strokes in a crowd: so many are asked between two reports of progress."""


class Crowd:
    """Strokes whose surfaces are asked for themselves alone, at points of which each belongs to one of them.

    strokes   either one, or any number of at most SMALL faces each
    vertices  float64 [V, 3] of all; bounding: int64 [F, 3], all faces that lie on the strokes' volumes
    owner     int64 [F]: the stroke of each bounding face
    """

    def __init__(self, strokes: list[Stroke]) -> None:
        self.strokes = strokes
        self.vertices = np.ascontiguousarray(np.concatenate([stroke.vertices for stroke in strokes]), dtype=np.float64)
        self._start = np.cumsum([0] + [len(stroke.vertices) for stroke in strokes])
        self.bounding, self._first = self._joined([stroke.bounding for stroke in strokes])
        self.owner = np.repeat(np.arange(len(strokes)), np.diff(self._first))
        self._solid, self._first_solid = self._joined([stroke.solid for stroke in strokes])

    def nearest(self, points: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances float64 [N] of points [N, 3] to the bounding faces of the strokes int64 [N] that they belong to, the nearest places
        [N, 3] and their faces int64 [N] among `bounding`."""
        if len(self.strokes) == 1:
            return self.strokes[0].surface.nearest(points)
        from engine.sketch.crowd_kernel import nearest_own

        distance, places, face = np.empty(len(points)), np.empty((len(points), 3)), np.zeros(len(points), dtype=np.int64)
        self._launch(nearest_own, self.bounding, self._first, points, owner, (face, places, distance))
        return distance, places, face

    def inside(self, points: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """bool [N]: which of points [N, 3] are enclosed by the strokes int64 [N] that they belong to."""
        if len(self.strokes) == 1:
            return inside(self.strokes[0], points)
        from engine.sketch.crowd_kernel import winding_own

        turns = np.empty(len(points))
        self._launch(winding_own, self._solid, self._first_solid, points, owner, (turns,))
        return np.abs(turns) > 0.5

    def _joined(self, faces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Faces int64 [F, 3] of all strokes, and where those of each begin, int64 [S + 1]."""
        moved = [own + start for own, start in zip(faces, self._start, strict=False)]
        return np.ascontiguousarray(np.concatenate(moved), dtype=np.int64), np.cumsum([0] + [len(own) for own in faces])

    def _launch(
        self, kernel: Any, faces: np.ndarray, first: np.ndarray, points: np.ndarray, owner: np.ndarray, found: tuple[np.ndarray, ...]
    ) -> None:
        from engine.render.warp_runtime import load_warp

        wp = load_warp()

        def shared(values: np.ndarray) -> Any:
            places = values.dtype == np.float64 and values.ndim == 2
            dtype = wp.vec3d if places else wp.float64 if values.dtype == np.float64 else wp.int64
            return wp.array(np.ascontiguousarray(values), dtype=dtype, device="cpu", copy=False)

        given = [shared(values) for values in (self.vertices, faces, first, points.astype(np.float64), owner.astype(np.int64))]
        wp.launch(kernel, dim=len(points), inputs=[*given, *map(shared, found)], device="cpu")


def crowds(strokes: list[Stroke]) -> Iterator[Crowd]:
    """The strokes in crowds: the small ones together, in their order, then each larger one alone."""
    small = [stroke for stroke in strokes if max(len(stroke.solid), len(stroke.bounding)) <= SMALL]
    for begin in range(0, len(small), TOGETHER):
        yield Crowd(small[begin : begin + TOGETHER])
    for stroke in strokes:
        if max(len(stroke.solid), len(stroke.bounding)) > SMALL:
            yield Crowd([stroke])
