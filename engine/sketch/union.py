"""The union of a sketch's strokes as a distance: every stroke filled by its own rule, thin ones grown, sheets with their shells.

All surfaces that grow by the same amount share one tree, so that the time follows the number of faces, not that of strokes; only the
depth inside a stroke is asked of the stroke itself, at the points that it encloses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.reporting import OnStep, unwatched
from engine.sketch.crowd import crowds
from engine.sketch.nearest import NearestSamples
from engine.sketch.point_cells import PointCells
from engine.sketch.strokes import Stroke, counted, surface_samples
from engine.sketch.thin import growth
from engine.sketch.triangles import Triangles

NEAR = 0.1
"""Distances to the strokes up to this (engine units) are exact to rounding; further out they come from samples of the surface."""

SAMPLES = 0.04
"""Every place of the surface is within 0.58 times this of a sample, engine units."""

GROWTH_STEP = 1 / 8
"""Strokes whose growth differs by less than this share of the thickness grow alike, by the larger."""

CHUNK = 20_000
"""Points that are measured between two reports of progress."""

VANISHING = 1e-7
"""A place nearer to a surface than this (engine units) is on it: no direction leads away from it."""


@dataclass(frozen=True)
class Sheets:
    """Surfaces without an inside that get a shell: triangles float64 [T, 3, 3], none longer than SAMPLES, and by how much their corners
    move for the shell to end where the ribbon was drawn: inset float64 [T, 3, 3]."""

    triangles: np.ndarray
    inset: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """float64 [T, 3]: the middles of the triangles."""
        return self.triangles.mean(axis=1)

    def moved(self, triangles: np.ndarray) -> Sheets:
        """The same with their triangles elsewhere, for good."""
        return Sheets(triangles, np.zeros_like(triangles))


@dataclass(frozen=True)
class Group:
    """Surfaces that grow by the same amount. samples: float64 [S, 3], places all over them."""

    triangles: Triangles
    growth: float
    samples: np.ndarray


class StrokeUnion:
    """Solid strokes, none thinner than the thickness, and sheets with a shell of it on both sides.

    strokes    as `split_strokes` gives them; their sheets are not used
    sheets     where the sheets are (leaning or not)
    thickness  half that of a sheet, least radius of a solid stroke
    on_step    hears of strokes and of every CHUNK of points, here and in what is asked later; what it raises (Cancelled) ends the work
    """

    def __init__(self, strokes: list[Stroke], sheets: Sheets, thickness: float, on_step: OnStep = unwatched) -> None:
        self.on_step = on_step
        self.solids = [stroke for stroke in strokes if len(stroke.solid)]
        grown = np.array([growth(stroke, thickness) for stroke in counted(self.solids, on_step)])
        self.solid_growth = _alike(grown, GROWTH_STEP * thickness)
        self.groups = [
            _group([(s.vertices, s.bounding) for s, own in zip(self.solids, self.solid_growth, strict=True) if own == alike], alike)
            for alike in np.unique(self.solid_growth)
        ]
        self._growth_of = dict(zip(map(id, self.solids), self.solid_growth.tolist(), strict=True))
        self._crowds = list(crowds(self.solids))
        if len(sheets.triangles):
            corners = sheets.triangles.reshape(-1, 3)
            faces = np.arange(len(corners), dtype=np.int64).reshape(-1, 3)
            self.groups.append(Group(Triangles(corners, faces), thickness, sheets.samples))
        self.growth = np.concatenate([np.full(len(group.samples), group.growth) for group in self.groups])
        self.samples = NearestSamples(np.concatenate([group.samples for group in self.groups]))

    def unsigned(self, points: np.ndarray, near: float) -> np.ndarray:
        """float64 [N]: distance to the grown surface as if no stroke had an inside, exact below `near`, estimated from samples above."""
        return np.concatenate([self._outside(points[some], near)[0] for some in self.chunks(len(points))])

    def distance(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
        """float64 [N]: signed distance at points [N, 3], exact where it is below `near` and not deep inside; and float64 [N, 3]:
        the nearest places on the strokes."""
        return self._measured(points, near)[:2]

    def planes(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
        """The signed distance of `distance`, and its gradient float64 [N, 3] of length 1; zero on a surface that does not grow, where
        the direction is lost."""
        values, nearest, sunk = self._measured(points, near)
        away = np.where(sunk, -1, 1)[:, None] * (points - nearest)
        return values, unit(away)

    def _measured(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`distance`, and bool [N]: which points a stroke encloses, so that the distance is one from within."""
        parts = [self._outside(points[some], near) for some in self.chunks(len(points))]
        values, nearest, close = (np.concatenate(column) for column in zip(*parts, strict=True))
        return values, nearest, self._sink(points, values, nearest, close)

    def chunks(self, count: int) -> Iterator[slice]:
        """Slices of CHUNK of count points, at least one; on_step hears of each."""
        for first in range(0, max(count, 1), CHUNK):
            self.on_step(first, max(count, 1))
            yield slice(first, first + CHUNK)

    def _outside(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As if no stroke had an inside: distances [N] to the grown surfaces, nearest places [N, 3], and where that is exact, bool [N]."""
        best, nearest = np.full(len(points), np.inf), np.empty_like(points)
        for group in self.groups:
            measured, places = group.triangles.closest(points, near + group.growth)
            own = measured - group.growth
            better = own < best
            best[better], nearest[better] = own[better], places[better]
        exact = np.isfinite(best)
        far = np.flatnonzero(~exact)
        distance, sample = self.samples.roughly(points[far])
        best[far], nearest[far] = np.maximum(distance - self.growth[sample], near), self.samples.places[sample]
        return best, nearest, exact

    def _sink(self, points: np.ndarray, values: np.ndarray, nearest: np.ndarray, close: np.ndarray) -> np.ndarray:
        """Make values [N] negative where a stroke encloses the point, as deep as it is in the stroke where it is deepest; bool [N]: where
        that was done."""
        cells = PointCells(points)
        unsigned, sunk = np.zeros(len(points), dtype=bool), np.zeros(len(points), dtype=bool)
        done = 0
        for crowd in self._crowds:
            found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
            for owner, place in cells.in_boxes(crowd.low, crowd.high):
                self.on_step(done + int(owner[0]), len(self.solids))
                within = crowd.inside(points[place], owner)
                found.append((owner[within], place[within]))
            done += len(crowd.strokes)
            owner, place = (np.concatenate(column) for column in zip(*found, strict=True))
            unsigned[place] = True
            owner, place = owner[close[place]], place[close[place]]
            depth, places, _ = crowd.nearest(points[place], owner)
            depth = -depth - np.array([self._growth_of[id(stroke)] for stroke in crowd.strokes])[owner]
            deepest = np.lexsort((owner, depth, place))
            deepest = deepest[np.diff(place[deepest], prepend=-1) > 0]
            deepest = deepest[depth[deepest] < values[place[deepest]]]
            values[place[deepest]], nearest[place[deepest]], sunk[place[deepest]] = depth[deepest], places[deepest], True
        far = unsigned & ~close
        values[far] = -np.abs(values[far])
        return sunk | far


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors float64 [N, 3] at length 1, those shorter than VANISHING as zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > VANISHING, vectors / np.maximum(length, VANISHING), 0.0)


def _group(parts: list[tuple[np.ndarray, np.ndarray]], growth: float) -> Group:
    vertices, faces, _ = joined(parts)
    return Group(Triangles(vertices, faces), growth, surface_samples(vertices, faces, SAMPLES)[0])


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of several meshes as one, and the mesh of each face int64 [F]."""
    first = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    owner = np.repeat(np.arange(len(parts)), [len(faces) for _, faces in parts])
    faces = np.concatenate([faces for _, faces in parts])
    return np.concatenate([vertices for vertices, _ in parts]), faces + first[owner, None], owner


def _alike(values: np.ndarray, width: float) -> np.ndarray:
    """values [N], those within `width` of each other raised to the largest of them; 0 stays 0."""
    if not len(values):
        return values
    order = np.argsort(values)
    ascending = values[order]
    starts = [0]
    for index, value in enumerate(ascending):
        if value - ascending[starts[-1]] > width or (value > 0 and ascending[starts[-1]] == 0):
            starts.append(index)
    result = np.empty_like(values)
    for start, stop in pairwise([*starts, len(values)]):
        result[order[start:stop]] = ascending[stop - 1]
    return result
