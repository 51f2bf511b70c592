"""The union of a sketch's strokes as a distance: every stroke filled by its own rule, thin ones grown, sheets with their shells.

All surfaces that grow by the same amount share one tree, so that the time follows the number of faces, not that of strokes; only the
depth inside a stroke is asked of the stroke itself, at the points that it encloses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import KDTree

from engine.reporting import OnStep, unwatched
from engine.sketch.nearest import NearestSamples
from engine.sketch.strokes import Stroke, Triangles, counted, inside, surface_samples
from engine.sketch.thin import growth

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
    """Surfaces without an inside that get a shell: triangles float64 [T, 3, 3], none longer than SAMPLES, and the middles of those."""

    triangles: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """float64 [T, 3]."""
        return self.triangles.mean(axis=1)


@dataclass(frozen=True)
class Group:
    """Surfaces that grow by the same amount. samples: a tree over samples of them."""

    triangles: Triangles
    growth: float
    samples: KDTree

    @classmethod
    def of(cls, vertices: np.ndarray, faces: np.ndarray, growth: float) -> Group:
        return cls(Triangles(vertices, faces), growth, KDTree(surface_samples(vertices, faces, SAMPLES)[0]))

    def comes_near(self, points: np.ndarray, near: float) -> np.ndarray:
        """bool [N]: where the grown surface may be nearer than `near` to points [N, 3]."""
        return np.isfinite(self.samples.query(points, distance_upper_bound=near + self.growth + 0.58 * SAMPLES)[0])


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
            Group.of(
                *joined([(s.vertices, s.bounding) for s, own in zip(self.solids, self.solid_growth, strict=True) if own == alike]), alike
            )
            for alike in np.unique(self.solid_growth)
        ]
        if len(sheets.triangles):
            corners = sheets.triangles.reshape(-1, 3)
            faces = np.arange(len(corners), dtype=np.int64).reshape(-1, 3)
            self.groups.append(Group(Triangles(corners, faces), thickness, KDTree(sheets.samples)))
        self.growth = np.concatenate([np.full(group.samples.n, group.growth) for group in self.groups])
        self.samples = NearestSamples(np.concatenate([group.samples.data for group in self.groups]))

    def afar(self, points: np.ndarray, reach: float) -> np.ndarray:
        """float64 [N]: unsigned distance to the grown surface, estimated from samples; poorly beyond reach."""
        parts = (self.samples.query(points[some], reach) for some in self.chunks(len(points)))
        return np.concatenate([distance - self.growth[sample] for distance, sample in parts])

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
        reach = near + float(self.growth.max()) + 0.58 * SAMPLES
        distance, sample = self.samples.query(points, reach)
        values, nearest = distance - self.growth[sample], self.samples.places[sample]
        close = np.flatnonzero(distance < reach)
        best = np.full(len(points), np.inf)
        for group in self.groups:
            some = close if len(self.groups) == 1 else close[group.comes_near(points[close], near)]
            measured, places = group.triangles.closest(points[some])
            own = measured - group.growth
            better = own < best[some]
            best[some[better]], nearest[some[better]] = own[better], places[better]
        exact = np.isfinite(best)
        values[exact] = best[exact]
        return values, nearest, exact

    def _sink(self, points: np.ndarray, values: np.ndarray, nearest: np.ndarray, close: np.ndarray) -> np.ndarray:
        """Make values [N] negative where a stroke encloses the point, as deep as it is in the stroke where it is deepest; bool [N]: where
        that was done."""
        boxes = Boxes(points)
        unsigned, sunk = np.zeros(len(points), dtype=bool), np.zeros(len(points), dtype=bool)
        for stroke, grown in zip(counted(self.solids, self.on_step), self.solid_growth, strict=True):
            within = boxes.between(stroke.low, stroke.high)
            within = within[inside(stroke, points[within])]
            unsigned[within] = True
            near = within[close[within]]
            depth, places = stroke.surface.closest(points[near])
            deeper = -depth - grown < values[near]
            values[near[deeper]], nearest[near[deeper]] = -depth[deeper] - grown, places[deeper]
            sunk[near[deeper]] = True
        far = unsigned & ~close
        values[far] = -np.abs(values[far])
        return sunk | far


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors float64 [N, 3] at length 1, those shorter than VANISHING as zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > VANISHING, vectors / np.maximum(length, VANISHING), 0.0)


class Boxes:
    """Points float64 [N, 3], sorted, to find those in a box without looking at all of them."""

    def __init__(self, points: np.ndarray) -> None:
        self._axis = int(np.ptp(points, axis=0).argmax()) if len(points) else 0
        self._order = np.argsort(points[:, self._axis], kind="stable")
        self._sorted = points[self._order]

    def between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """int [M]: indices of the points in the closed box from low [3] to high [3]."""
        along = self._sorted[:, self._axis]
        first, last = np.searchsorted(along, low[self._axis], "left"), np.searchsorted(along, high[self._axis], "right")
        some = self._sorted[first:last]
        return self._order[first:last][((some >= low) & (some <= high)).all(axis=1)]


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of several meshes as one."""
    first = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    return (np.concatenate([vertices for vertices, _ in parts]),
            np.concatenate([faces + start for (_, faces), start in zip(parts, first, strict=False)]))  # fmt: skip


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
