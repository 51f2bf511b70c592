"""Numbering of a body-centred cubic lattice, or of some of its cells: vertices, edges by families, tetrahedra by kinds.

All of it is sorted by place, so that a part of the lattice lists what it has in the order of the whole. Memory and time follow the cells.
"""

from __future__ import annotations

import numpy as np

CORNERS = tuple((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1))


class Lattice:
    """Some cells of the n^3 cubes of [-1, 1]^3: their corners come first, then their centres.

    cells  int64 [C], ascending: (i * n + j) * n + k for the cell at (i, j, k)
    """

    def __init__(self, n: int, cells: np.ndarray) -> None:
        self.n, self.cells = n, cells
        self.place = np.stack([cells // n**2, cells // n % n, cells % n], axis=1)
        keys = np.stack([self._corner_key(self.place + offset) for offset in CORNERS], axis=1)
        self.corner_keys = _used(keys, (n + 1) ** 3)
        self._number = _numbers(self.corner_keys, (n + 1) ** 3)
        self.corner = self._number[keys]  # [C, 8], in the order of CORNERS
        self.centre = len(self.corner_keys) + np.arange(len(cells), dtype=np.int64)
        self._edges: list[np.ndarray] = []
        self._count = 0
        self._of_corner: list[np.ndarray] = []
        for axis in range(3):
            self._corner_axis(axis)
        self._pairs = [self._centre_axis(axis) for axis in range(3)]
        self._diagonal = [self._family(self.corner[:, index], self.centre) for index in range(8)]

    def _corner_key(self, place: np.ndarray) -> np.ndarray:
        return (place[..., 0] * (self.n + 1) + place[..., 1]) * (self.n + 1) + place[..., 2]

    def _family(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        self._edges.append(np.stack([start, end], axis=1))
        numbers = self._count + np.arange(len(start), dtype=np.int64)
        self._count += len(start)
        return numbers

    def _corner_axis(self, axis: int) -> None:
        """The cells' own edges along an axis."""
        own = [index for index, offset in enumerate(CORNERS) if offset[axis] == 0]
        start = _used(self.corner[:, own], len(self.corner_keys))
        step = np.zeros(3, dtype=np.int64)
        step[axis] = 1
        self._of_corner.append(self._count + _numbers(start, len(self.corner_keys)))
        self._family(start, self._number[self.corner_keys[start] + self._corner_key(step)])

    def _centre_axis(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells that touch along an axis: indices of the lower and of the upper ones, and the numbers of the edges between centres."""
        low = np.flatnonzero(self.place[:, axis] < self.n - 1)
        key = self.cells[low] + self.n ** (2 - axis)
        high = np.searchsorted(self.cells, key).clip(max=len(self.cells) - 1)
        both = self.cells[high] == key
        low, high = low[both], high[both]
        return low, high, self._family(self.centre[low], self.centre[high])

    def edges(self) -> np.ndarray:
        """int64 [E, 2]."""
        return np.concatenate(self._edges)

    def points(self) -> np.ndarray:
        """float64 [Nv, 3] in [-1, 1]."""
        side = self.n + 1
        corners = np.stack([self.corner_keys // side**2, self.corner_keys // side % side, self.corner_keys % side], axis=1)
        return np.concatenate([corners, self.place + 0.5]) * (2.0 / self.n) - 1.0

    def boundary(self) -> np.ndarray:
        """bool [Nv]: corners on the box and the outermost centres, which together are the hull of the whole lattice's tetrahedra."""
        points = np.abs(self.points())
        outermost = np.where(np.arange(len(points)) < len(self.corner_keys), 1.0, 1.0 - 1.0 / self.n)
        return np.asarray((points > outermost[:, None] - 0.25 / self.n).any(axis=1))

    def rim(self) -> np.ndarray:
        """bool [Nv]: vertices that do not have all their neighbours and tetrahedra; those of the boundary among them."""
        around = np.bincount(self.corner.reshape(-1), minlength=len(self.corner_keys))
        beside = np.zeros(len(self.cells), dtype=np.int64)
        for low, high, _ in self._pairs:
            beside += np.bincount(low, minlength=len(beside)) + np.bincount(high, minlength=len(beside))
        return np.concatenate([around < 8, beside < 6]) | self.boundary()

    def tetrahedra(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [T, 4], [T, 6], uint8 [T]: for each face between two cells, one tetrahedron (centre, centre, edge of the face) a side."""
        tets, tet_edges, kinds = [], [], []
        for axis in range(3):
            for along in (other for other in range(3) if other != axis):
                across = 3 - axis - along
                for side in (0, 1):
                    corners, edges = self._around_face(axis, along, across, side)
                    kinds.append(np.full(len(corners), len(kinds), dtype=np.uint8))
                    tets.append(corners)
                    tet_edges.append(edges)
        return np.concatenate(tets), np.concatenate(tet_edges), np.concatenate(kinds)

    def _around_face(self, axis: int, along: int, across: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Tetrahedra of the cells neighbouring along `axis` and the shared face's edge that runs along `along`."""
        low, high, between = self._pairs[axis]

        def index(cell_side: int, step: int) -> int:
            """Of a corner of the shared face in the cell below (cell_side 0) or above it."""
            offset = {axis: 1 - cell_side, along: step, across: side}
            return CORNERS.index((offset[0], offset[1], offset[2]))

        ends = [self.corner[low, index(0, step)] for step in (0, 1)]
        edge = self._of_corner[along][ends[0]]
        spokes = [[self._diagonal[index(0, step)][low], self._diagonal[index(1, step)][high]] for step in (0, 1)]
        # volume of (low, high, start, end) is positive when the frame (axis, across * outward, along) is right-handed
        right_handed = np.linalg.det(np.eye(3)[[axis, across, along]]) > 0
        first, second = (0, 1) if right_handed == (side == 1) else (1, 0)
        corners = [self.centre[low], self.centre[high], ends[first], ends[second]]
        edges = [between, spokes[first][0], spokes[second][0], spokes[first][1], spokes[second][1], edge]
        return np.stack(corners, axis=1), np.stack(edges, axis=1)


def _used(numbers: np.ndarray, count: int) -> np.ndarray:
    """int64, ascending: those of 0..count-1 that occur; a table is many times faster than sorting."""
    occurs = np.zeros(count, dtype=bool)
    occurs[numbers] = True
    return np.flatnonzero(occurs)


def _numbers(places: np.ndarray, count: int) -> np.ndarray:
    """int64 [count]: at each of the places its number in their order; elsewhere nothing of use."""
    numbers = np.empty(count, dtype=np.int64)
    numbers[places] = np.arange(len(places))
    return numbers
