"""Nearest samples: exact where it matters, quick elsewhere.

A k-d tree is slow for points far from all samples, where thousands of them are almost equally near; a sketch's grid is full of such
points, and nobody needs their distance to the last digit. They get the sample that is nearest to the cell of a coarse lattice in
which they lie, found once for all cells by a distance transform.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

CELL = 0.04
"""Side of the coarse lattice's cells, engine units."""


class NearestSamples:
    """Samples places float64 [S, 3], at least one."""

    def __init__(self, places: np.ndarray) -> None:
        self.places = places
        self._low = places.min(axis=0) - 2 * CELL
        count = np.floor((places.max(axis=0) - self._low) / CELL).astype(np.int64) + 3
        cells = tuple(self._cell(places, count).T)
        owner = np.zeros(count, dtype=np.int64)
        empty = np.ones(count, dtype=bool)
        owner[cells], empty[cells] = np.arange(len(places)), False
        nearest = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))
        self._owner = owner[tuple(nearest)]

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.places)

    def query(self, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Distances [N] of points [N, 3] and indices [N] of the samples they belong to: the nearest ones where that is within reach;
        further out a sample is found whose distance is larger by at most some cells."""
        distance, sample = self.roughly(points)
        # the rough one's cell is no further away than that of the nearest, from centre to centre; beyond the lattice, from its border
        beyond = np.linalg.norm(points - np.clip(points, self._low, self._low + CELL * np.array(self._owner.shape)), axis=1)
        near = np.flatnonzero(distance < reach + 2 * np.sqrt(3) * CELL + beyond)
        exact, index = map(np.asarray, self._tree.query(points[near], distance_upper_bound=reach))
        found = np.isfinite(exact)
        distance[near[found]], sample[near[found]] = exact[found], index[found]
        distance[near[~found]] = np.maximum(distance[near[~found]], reach)
        return distance, sample

    def roughly(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances [N] of points [N, 3] to some sample each that is further away than the nearest by some cells at most, and its
        index [N]."""
        sample = self._owner[tuple(self._cell(points, np.array(self._owner.shape)).T)]
        return np.linalg.norm(points - self.places[sample], axis=1), sample

    def _cell(self, points: np.ndarray, count: np.ndarray) -> np.ndarray:
        return np.clip(np.floor((points - self._low) / CELL).astype(np.int64), 0, count - 1)
