"""Nearest samples: exact where it matters, quick elsewhere.

A k-d tree is slow for points far from all samples, where thousands of them are almost equally near; a sketch's grid is full of such
points, and nobody needs their distance to the last digit. They get the sample that is nearest to the cell of a coarse lattice in
which they lie, found once for all cells by a distance transform.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

CELL = 0.04
"""Side of the coarse lattice's cells, engine units."""


class NearestSamples:
    """Samples places float64 [S, 3], at least one."""

    def __init__(self, places: np.ndarray) -> None:
        self.places = places
        self._tree = KDTree(places)
        self._low = places.min(axis=0) - 2 * CELL
        count = np.floor((places.max(axis=0) - self._low) / CELL).astype(np.int64) + 3
        cells = tuple(self._cell(places, count).T)
        owner = np.zeros(count, dtype=np.int64)
        empty = np.ones(count, dtype=bool)
        owner[cells], empty[cells] = np.arange(len(places)), False
        nearest = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))
        self._owner = owner[tuple(nearest)]

    def query(self, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Distances [N] of points [N, 3] and indices [N] of the samples they belong to: the nearest ones where that is within reach;
        further out a sample is found whose distance is larger by at most some cells."""
        distance, sample = map(np.asarray, self._tree.query(points, distance_upper_bound=reach))
        far = np.flatnonzero(np.isinf(distance))
        sample[far] = self._owner[tuple(self._cell(points[far], np.array(self._owner.shape)).T)]
        distance[far] = np.linalg.norm(points[far] - self.places[sample[far]], axis=1)
        return distance, sample

    def _cell(self, points: np.ndarray, count: np.ndarray) -> np.ndarray:
        return np.clip(np.floor((points - self._low) / CELL).astype(np.int64), 0, count - 1)
