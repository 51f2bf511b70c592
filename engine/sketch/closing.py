"""Closing of a union of strokes by a radius r (Serra 1982): offset outward by r, cavities that this seals off filled, brought back in.

Strokes that nearly meet are joined, and what an artist draws as a skin of ribbons becomes the body that it stands for, bounded by the
ribbons themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from engine.sketch.nearest import NearestSamples
from engine.sketch.union import NEAR, VANISHING, StrokeUnion, unit

LATTICE_STEP = (0.025, 0.04)
"""Finest and coarsest spacing of the lattice on which a closing finds the offset surface; half the radius within these bounds."""

COVERING = 0.85
"""Places on a plane are within this many lattice steps of where the lattice's edges cross it: sqrt(2 / 3) at worst, for (1, 1, 1)."""


@dataclass(frozen=True)
class Body:
    """The strokes offset by a radius with all cavities filled, as samples of its outer surface with outward normals.

    union: the strokes
    radius: by how much they were offset
    outside: bool [A, B, C], which points of the lattice low + step * (i, j, k) can be reached from outside
    """

    union: StrokeUnion
    samples: NearestSamples
    normals: np.ndarray
    radius: float
    outside: np.ndarray
    low: np.ndarray
    step: float

    @classmethod
    def of(cls, union: StrokeUnion, radius: float, coarse: bool = False) -> Body:
        """The closing of a union; coarse: with the widest lattice, for a quarter of the time."""
        step = LATTICE_STEP[1] if coarse else float(np.clip(radius / 2, *LATTICE_STEP))
        low, places, outside = _outer_crossings(union, radius, step)
        values, nearest = union.distance(places, radius + 3 * step)
        normals = places - nearest
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        samples = NearestSamples(places - normals * (values - radius)[:, None])
        return cls(union, samples, normals, radius, outside, low, step)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """float64 [N]: signed distance to the finished surface, from the nearest sample and its tangent plane: the part of the
        way that runs along the plane, as far as samples can be apart, is not counted."""
        return self.planes(points)[0]

    def planes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`distance`, and its gradient float64 [N, 3] of length 1."""
        parts = [self._planes(points[some]) for some in self.union.chunks(len(points))]
        return np.concatenate([values for values, _ in parts]), np.concatenate([normals for _, normals in parts])

    @property
    def uncertainty(self) -> float:
        """By how much the offset surface lies under the samples' tangent planes where it curves most, with the offset's own radius: half
        of what it would at a place as far from all samples as can be."""
        return (COVERING * self.step) ** 2 / (4 * (self.radius + float(self.union.growth.min())))

    def _planes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shortest, sample = self.samples.query(points, self.radius + NEAR)
        way, normals = self.samples.places[sample] - points, self.normals[sample]
        along = np.einsum("ni,ni->n", way, normals)
        beside = np.clip(shortest**2 - along**2, 0, (COVERING * self.step) ** 2)
        # next to the offset surface the plane tells the side, further off the lattice does
        within = np.where(shortest < self.step, along > 0, ~self._reachable(points))
        # of the way along the plane what is longer than samples can be apart turns the gradient
        run = way - along[:, None] * normals
        length = np.linalg.norm(run, axis=1)
        run *= (1 - np.minimum(COVERING * self.step / np.maximum(length, VANISHING), 1))[:, None]
        gradients = unit(np.where(within, 1, -1)[:, None] * (along[:, None] * normals + run))
        return self.radius + np.where(within, -1, 1) * np.sqrt(np.maximum(shortest**2 - beside, 0)), gradients

    def _reachable(self, points: np.ndarray) -> np.ndarray:
        """bool [N]: whether the lattice point nearest to each of points [N, 3] can be reached from outside."""
        index = np.rint((points - self.low) / self.step).astype(np.int64)
        index = np.clip(index, 0, np.array(self.outside.shape) - 1)  # the lattice's border is outside
        return self.outside[tuple(index.T)]


def _outer_crossings(union: StrokeUnion, level: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where edges of a cubic lattice cross from what can be reached from outside into union <= level: the lattice's lowest point [3],
    the crossings float64 [S, 3], and which of the lattice's points can be reached, bool [A, B, C]."""
    margin = level + float(union.growth.max()) + 3 * step
    low, high = union.samples.places.min(axis=0) - margin, union.samples.places.max(axis=0) + margin
    coarse = np.ceil((high - low) / (2 * step)).astype(np.int64) + 1
    values = _halved(union.unsigned(_lattice(low, 2 * step, coarse), level + 6 * step).reshape(coarse)) - level
    # what lies between is off by less than half a coarse cell's diagonal; both ends of an edge that crosses must be exact
    close = np.flatnonzero(np.abs(values) < (1 + np.sqrt(3)) * step)
    index = np.stack(np.unravel_index(close, values.shape), axis=1)
    values.reshape(-1)[close] = union.distance(low + index * step, level + 4 * step)[0] - level
    parts = label(values > 0)[0]  # pyright: ignore[reportIndexIssue]
    outside = parts == parts[0, 0, 0]
    crossings = []
    for axis in range(3):
        ahead = np.roll(values, -1, axis=axis)
        crossing = outside != np.roll(outside, -1, axis=axis)
        index = np.argwhere(crossing)
        first, second = values[crossing], ahead[crossing]
        place = index.astype(np.float64)
        place[:, axis] += first / (first - second)
        crossings.append(low + place * step)
    return low, np.concatenate(crossings), outside


def _lattice(low: np.ndarray, step: float, count: np.ndarray) -> np.ndarray:
    """float64 [count.prod(), 3]: the points of a cubic lattice, x slowest."""
    return low + np.stack(np.meshgrid(*[np.arange(n) * step for n in count], indexing="ij"), axis=-1).reshape(-1, 3)


def _halved(values: np.ndarray) -> np.ndarray:
    """A lattice's values [A, B, C] on the lattice of half the step [2A - 1, 2B - 1, 2C - 1], by linear interpolation."""
    for axis in range(3):
        values = np.moveaxis(values, axis, 0)
        finer = np.empty((2 * len(values) - 1, *values.shape[1:]))
        finer[::2], finer[1::2] = values, (values[1:] + values[:-1]) / 2
        values = np.moveaxis(finer, 0, axis)
    return np.ascontiguousarray(values)
