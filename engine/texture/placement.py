"""Where a texture job's further cameras stand: chosen one by one, each where it looks most squarely at most of what others do not show."""

from __future__ import annotations

import numpy as np
import torch

from engine.camera import Cameras, look_at
from engine.texture.coverage import Coverage, looks, seen_from, sphere

ENOUGH = 0.995
"""Share of what can be seen from which on no camera is added."""
MOST = 24
AROUND = 96
"""Directions from which the whole object is looked at."""
NEAR_PLACES, NEAR_DIRECTIONS = 48, 3
"""Hidden places that cameras move up to, and from how many directions each."""
NEAR_DISTANCE = 1.9
"""Engine units of those cameras from their place: half as far as the others."""
TIMES = 2
"""Cameras that every hidden place gets where there are so many: one view alone would be learnt by heart."""
LEAST_GAIN = 0.0005
"""Share of the surface, straight on, that a camera must add."""


def further_cameras(coverage: Coverage, size: int, distance: float, fov: float) -> Cameras | None:
    """Cameras that together with those of `coverage`, which learns of them, see ENOUGH of what can be seen of its mesh.

    size, distance, fov  side of the pictures in pixels, distance from the middle in engine units, degrees
    None where nothing is missing, or nothing can be added.
    """
    if coverage.share >= ENOUGH:
        return None
    candidates = _candidates(coverage, distance, fov)
    hidden = coverage.seeable & (coverage.density == 0)
    points, normals = coverage.places.points[hidden], coverage.places.normals[hidden]
    seen = looks(coverage.caster, points, normals, candidates)
    missing = np.full(len(points), TIMES)
    goal = (1 - ENOUGH) * coverage.seeable.sum()
    chosen: list[int] = []
    while (missing > 0).sum() > goal and len(chosen) < MOST:
        gains = (seen * (missing > 0)).sum(axis=1)
        best = int(gains.argmax())
        if gains[best] < LEAST_GAIN * len(coverage.places):
            break
        chosen.append(best)
        missing -= seen[best] > 0
        seen[best] = 0  # once each
    if not chosen:
        return None
    found = candidates.select(chosen)
    coverage.look(found, size)
    return found


def _candidates(coverage: Coverage, distance: float, fov: float) -> Cameras:
    """Cameras all around the object, and some near places that nothing sees yet."""
    eyes = [sphere(AROUND) * distance]
    targets = [np.zeros((AROUND, 3), np.float32)]
    hidden = np.flatnonzero(coverage.seeable & (coverage.density == 0))
    chosen = hidden[np.linspace(0, len(hidden) - 1, min(NEAR_PLACES, len(hidden))).astype(int)]
    points, normals = coverage.places.points[chosen], coverage.places.normals[chosen]
    free = seen_from(coverage.caster, points, normals, 8 * sphere(AROUND))
    for place, point in enumerate(points):
        facing = np.where(free[:, place], np.abs(sphere(AROUND) @ normals[place]), -1)
        for direction in np.argsort(-facing)[:NEAR_DIRECTIONS]:
            if facing[direction] > 0:
                targets.append(point[None])
                eyes.append(point[None] + NEAR_DISTANCE * sphere(AROUND)[direction : direction + 1])
    return look_at(torch.from_numpy(np.concatenate(eyes)), torch.from_numpy(np.concatenate(targets)), fov)
