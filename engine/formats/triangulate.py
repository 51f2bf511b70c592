"""Polygons into triangles, concave ones too. numpy only."""

from __future__ import annotations

import heapq

import numpy as np


def triangulate(points: np.ndarray) -> list[tuple[int, int, int]]:
    """N - 2 triangles, as indices, of a polygon [N, 3] in space, wound as it is; none for fewer than 3 corners.

    Ears are cut off in the plane that fits best (Newell's normal; Meisters 1975). A polygon that crosses itself, whose corners all lie on
    a line, or that has no ear for another reason still gives N - 2 triangles: those that are left become a fan.
    """
    count = len(points)
    if count <= 3:
        return [(0, 1, 2)] if count == 3 else []
    ring = _Ring(_flattened(points))
    found = []
    while len(found) < count - 3 and (ear := ring.best_ear()) is not None:
        found.append(ring.cut(ear))
    rest = ring.rest()
    return found + [(rest[0], rest[k], rest[k + 1]) for k in range(1, len(rest) - 1)]


def triangulate_all(points: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Many polygons at once: (places in `corners` int64 [F, 3], polygon [F]), in the polygons' order.

    points [V, 3]; corners [C] indices into them, polygon after polygon; counts [P] how many corners each has. Triangles and convex quads
    keep their first corner in front.
    """
    first = np.concatenate([[0], np.cumsum(counts)])[:-1].astype(np.int64)
    quads = np.flatnonzero(counts == 4)
    fans = set(quads[_split_well(points[corners[first[quads, None] + np.arange(4)]])].tolist()) if len(quads) else set()
    if (counts == 3).all():
        return first[:, None] + np.arange(3), np.arange(len(counts))
    found: list[tuple[int, int, int]] = []
    owners: list[int] = []
    for index, (count, start) in enumerate(zip(counts.tolist(), first.tolist(), strict=True)):
        is_fan = count == 3 or index in fans
        cut = [(0, k, k + 1) for k in range(1, count - 1)] if is_fan else triangulate(points[corners[start : start + count]])
        found.extend((start + a, start + b, start + c) for a, b, c in cut)
        owners.extend([index] * len(cut))
    return np.array(found, dtype=np.int64).reshape(-1, 3), np.array(owners, dtype=np.int64)


def _split_well(corners: np.ndarray) -> np.ndarray:
    """bool [Q]: quads [Q, 4, 3] that the diagonal from their first corner cuts into two triangles facing the same way."""
    first = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    second = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 0])
    return (first * second).sum(axis=1) > 0


def _flattened(points: np.ndarray) -> np.ndarray:
    """[N, 2]: the polygon in its plane, counter-clockwise."""
    following = np.roll(points, -1, axis=0)
    middle = points - points.mean(axis=0)
    normal = np.cross(middle, following - points.mean(axis=0)).sum(axis=0)
    length = np.linalg.norm(normal)
    normal = normal / length if length > 0 else np.array([0.0, 0.0, 1.0])
    side = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    side /= np.linalg.norm(side)
    return np.stack([middle @ side, middle @ np.cross(normal, side)], axis=-1)


class _Ring:
    """A flat polygon [N, 2], counter-clockwise, whose ears are cut off one after another, the best shaped first.

    A corner that holds another in its triangle waits for that one alone, so that thousands of corners take seconds.
    """

    def __init__(self, flat: np.ndarray) -> None:
        count = len(flat)
        self._flat, self._places = flat, flat.tolist()
        self._before = [(corner - 1) % count for corner in range(count)]
        self._after = [(corner + 1) % count for corner in range(count)]
        self._gone = [False] * count
        self._inward = np.zeros(count, dtype=bool)
        self._looks = [0] * count  # how often each was looked at: of what was kept about it the latest alone counts
        self._ears: list[tuple[float, int, int]] = []
        self._waiting: dict[int, list[tuple[float, int, int]]] = {}
        for corner in range(count):
            self._look(corner)

    def best_ear(self) -> int | None:
        """The corner to cut off; None where no triangle is free of other corners."""
        while self._ears:
            ear = heapq.heappop(self._ears)
            _, corner, looks = ear
            if self._gone[corner] or looks != self._looks[corner]:
                continue
            held = self._held(corner)
            if held is None:
                return corner
            self._waiting.setdefault(held, []).append(ear)
        return None

    def cut(self, corner: int) -> tuple[int, int, int]:
        """Cut a corner off; its triangle."""
        before, after = self._before[corner], self._after[corner]
        self._after[before], self._before[after] = after, before
        self._gone[corner] = True
        self._set_inward(corner, False)
        self._look(before)
        self._look(after)
        return before, corner, after

    def rest(self) -> list[int]:
        """The corners that are left, in their order."""
        return [corner for corner, gone in enumerate(self._gone) if not gone]

    def _look(self, corner: int) -> None:
        """How well shaped the triangle at a corner is."""
        (ax, ay), (bx, by), (cx, cy) = (self._places[at] for at in (self._before[corner], corner, self._after[corner]))
        turn = (bx - ax) * (cy - by) - (by - ay) * (cx - bx)
        longest = max((ax - bx) ** 2 + (ay - by) ** 2, (bx - cx) ** 2 + (by - cy) ** 2, (cx - ax) ** 2 + (cy - ay) ** 2)
        self._looks[corner] += 1
        if turn > 0:
            heapq.heappush(self._ears, (-turn / max(longest, 1e-300), corner, self._looks[corner]))
        self._set_inward(corner, turn <= 0)

    def _set_inward(self, corner: int, inward: bool) -> None:
        self._inward[corner] = inward
        if not inward:  # it is in nobody's way any more
            for waiting in self._waiting.pop(corner, ()):
                heapq.heappush(self._ears, waiting)

    def _held(self, corner: int) -> int | None:
        """An inward corner inside the triangle at a corner or on its border, its own corners aside; None where there is none."""
        others = np.flatnonzero(self._inward)
        points = self._flat[others]
        a, b, c = self._flat[[self._before[corner], corner, self._after[corner]]]
        own = (points == a).all(axis=1) | (points == b).all(axis=1) | (points == c).all(axis=1)
        inside = (_cross(b - a, points - a) >= 0) & (_cross(c - b, points - b) >= 0) & (_cross(a - c, points - c) >= 0)
        found = others[inside & ~own]
        return int(found[0]) if len(found) else None


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
