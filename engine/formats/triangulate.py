"""Polygons into triangles, concave ones too. numpy only."""

from __future__ import annotations

import numpy as np


def triangulate(points: np.ndarray) -> list[tuple[int, int, int]]:
    """N - 2 triangles, as indices, of a polygon [N, 3] in space, wound as it is; none for fewer than 3 corners.

    Ears are cut off in the plane that fits best (Newell's normal; Meisters 1975). A polygon that crosses itself, whose corners all lie on
    a line, or that has no ear for another reason still gives N - 2 triangles: those that are left become a fan.
    """
    count = len(points)
    if count <= 3:
        return [(0, 1, 2)] if count == 3 else []
    flat = _flattened(points)
    rest, found = list(range(count)), []
    while len(rest) > 3:
        ear = _ear(flat, rest)
        if ear is None:
            break
        found.append((rest[ear - 1], rest[ear], rest[(ear + 1) % len(rest)]))
        del rest[ear]
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


def _ear(flat: np.ndarray, rest: list[int]) -> int | None:
    """The place in `rest` of the best shaped ear; None where there is none."""
    places = flat[rest]
    before, after = np.roll(places, 1, axis=0), np.roll(places, -1, axis=0)
    turn = _cross(places - before, after - places)
    longest = np.maximum.reduce([((p - q) ** 2).sum(axis=1) for p, q in ((before, places), (places, after), (after, before))])
    quality = np.where(turn > 0, turn / np.maximum(longest, 1e-300), -1.0)
    inward = places[turn <= 0]
    for index in np.argsort(-quality, kind="stable"):
        if quality[index] <= 0:
            break
        if not _holds_any(before[index], places[index], after[index], inward):
            return int(index)
    return None


def _holds_any(a: np.ndarray, b: np.ndarray, c: np.ndarray, points: np.ndarray) -> bool:
    """Whether a counter-clockwise triangle has any of the points [N, 2] inside or on its border, its own corners aside."""
    own = (points == a).all(axis=1) | (points == b).all(axis=1) | (points == c).all(axis=1)
    others = points[~own]
    inside = (_cross(b - a, others - a) >= 0) & (_cross(c - b, others - b) >= 0) & (_cross(a - c, others - c) >= 0)
    return bool(inside.any())


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
