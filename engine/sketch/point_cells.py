"""Points in cells, to find those in many boxes without looking at all of them for each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

POINTS_A_CELL = 4
"""About how many points share a cell, where they fill their box evenly."""

MOST_CELLS = 64
"""Along each axis."""

PAIRS = 200_000
"""Of a box and a point that may lie in it: so many are looked at together."""


class PointCells:
    """Points float64 [N, 3], sorted into the cells of a cubic lattice over their box."""

    def __init__(self, points: np.ndarray) -> None:
        self._points = points
        self._low = points.min(axis=0) if len(points) else np.zeros(3)
        self._count = int(np.clip(round((len(points) / POINTS_A_CELL) ** (1 / 3)), 1, MOST_CELLS))
        extent = np.ptp(points, axis=0) if len(points) else np.ones(3)
        self._scale = self._count / np.maximum(extent, 1e-30)
        x, y, z = self._cell(points).T
        cell = (x * self._count + y) * self._count + z
        self._order = np.argsort(cell, kind="stable")
        self._first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=self._count**3))])

    def in_boxes(self, low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The points in closed boxes low to high [B, 3]: pairs of a box and a point, int64 [M] each, by ascending boxes, about PAIRS at a
        time; a box's pairs all come together. Portions without any are left out."""
        box, start, length = self._runs(low, high)
        looked_at = np.bincount(box, weights=length, minlength=len(low))
        portion = (np.cumsum(looked_at) // PAIRS)[box]
        for some in np.split(np.arange(len(box)), np.flatnonzero(np.diff(portion)) + 1):
            count = length[some]
            run = np.repeat(some, count)
            number = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
            owner, place = box[run], self._order[start[run] + number]
            points = self._points[place]
            inside = ((points >= low[owner]) & (points <= high[owner])).all(axis=1)
            if inside.any():
                yield owner[inside], place[inside]

    def _runs(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs of sorted points whose cells a box meets: the box, where the run starts and how long it is, int64 [R] each."""
        least, most = self._cell(low), self._cell(high)
        across = most - least + 1
        columns = across[:, 0] * across[:, 1]
        box = np.repeat(np.arange(len(low)), columns)
        number = np.arange(len(box)) - np.repeat(np.cumsum(columns) - columns, columns)
        x, y = least[box, 0] + number // across[box, 1], least[box, 1] + number % across[box, 1]
        column = (x * self._count + y) * self._count
        start = self._first[column + least[box, 2]]
        return box, start, self._first[column + most[box, 2] + 1] - start

    def _cell(self, points: np.ndarray) -> np.ndarray:
        """int64 [N, 3]: the cells of points, the nearest ones for those outside of the lattice."""
        return np.clip((points - self._low) * self._scale, 0, self._count - 1).astype(np.int64)
