"""Strokes by the thousand, asked together: one launch for all of them, where each alone would cost more to ask than to answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.sketch.strokes import Stroke, inside
from engine.sketch.together import SMALL, nearest_own, windings

TOGETHER = 256
"""Small strokes in a crowd: so many are asked between two reports of progress."""


class Crowd:
    """Strokes whose surfaces are asked for themselves alone, at points of which each belongs to one of them.

    strokes   either one, or any number of at most SMALL faces each
    vertices  float64 [V, 3] of all; bounding: int64 [F, 3], all faces that lie on the strokes' volumes
    owner     int64 [F]: the stroke of each bounding face
    low, high float64 [S, 3]: corners of the strokes' bounding boxes
    """

    def __init__(self, strokes: list[Stroke]) -> None:
        self.strokes = strokes
        self.vertices = np.ascontiguousarray(np.concatenate([stroke.vertices for stroke in strokes]), dtype=np.float64)
        self._start = np.cumsum([0] + [len(stroke.vertices) for stroke in strokes])
        self.bounding, self._first = self._joined([stroke.bounding for stroke in strokes])
        self.owner = np.repeat(np.arange(len(strokes)), np.diff(self._first))
        self.low, self.high = (np.array([getattr(stroke, corner) for stroke in strokes]) for corner in ("low", "high"))
        self._solid, self._first_solid = self._joined([stroke.solid for stroke in strokes])

    def nearest(self, points: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances float64 [N] of points [N, 3] to the bounding faces of the strokes int64 [N] that they belong to, the nearest places
        [N, 3] and their faces int64 [N] among `bounding`."""
        if len(self.strokes) == 1:
            return self.strokes[0].surface.nearest(points)
        return nearest_own(self.vertices, self.bounding, self._first, points, owner)

    def inside(self, points: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """bool [N]: which of points [N, 3] are enclosed by the strokes int64 [N] that they belong to."""
        if len(self.strokes) == 1:
            return inside(self.strokes[0], points)
        return np.abs(windings(self.vertices, self._solid, self._first_solid, points, owner)) > 0.5

    def _joined(self, faces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Faces int64 [F, 3] of all strokes, and where those of each begin, int64 [S + 1]."""
        moved = [own + start for own, start in zip(faces, self._start, strict=False)]
        return np.ascontiguousarray(np.concatenate(moved), dtype=np.int64), np.cumsum([0] + [len(own) for own in faces])


def crowds(strokes: list[Stroke]) -> Iterator[Crowd]:
    """The strokes in crowds: the small ones together, in their order, then each larger one alone."""
    small = [stroke for stroke in strokes if max(len(stroke.solid), len(stroke.bounding)) <= SMALL]
    for begin in range(0, len(small), TOGETHER):
        yield Crowd(small[begin : begin + TOGETHER])
    for stroke in strokes:
        if max(len(stroke.solid), len(stroke.bounding)) > SMALL:
            yield Crowd([stroke])
