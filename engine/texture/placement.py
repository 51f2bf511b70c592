"""Where a texture job's further cameras stand: chosen one by one, each where it looks most squarely at most of what others do not show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.camera import Cameras, look_at
from engine.texture.coverage import GRAZING, Coverage, looks, sphere

ENOUGH = 0.995
"""Share of what can be seen from which on no camera is added."""
MOST = 96
AROUND = 96
"""Directions from which the whole object is looked at."""
NEAR_PLACES, NEAR_DIRECTIONS = 48, 2
"""Hidden places that cameras move up to at a time, and from how many directions each."""
NEAR_DISTANCE = 1.9
"""Engine units of those cameras from their place: half as far as the others."""
TIMES = 2
"""Cameras that every hidden place gets where there are so many: one view alone would be learnt by heart."""
WORTH_A_WHOLE_VIEW = 0.002
"""Share of what can be seen, straight on, that a view of the whole object must add; what is left is for close-ups."""
EVEN_SHARE = 0.5
"""Of the steps that the further cameras take, the part that they share evenly; of the rest each has the more, the more it shows."""


@dataclass(frozen=True)
class FurtherCameras:
    """Cameras beyond a job's orbit, and how often each takes its turn.

    turns  float64 [N], ascending to 1: the running sum of their shares
    """

    cameras: Cameras
    turns: np.ndarray

    def __len__(self) -> int:
        return len(self.cameras)

    def at(self, turn: int, count: int) -> Cameras:
        """The `count` cameras whose turn it is: any stretch of turns shows each about as often as its share says (golden sections)."""
        golden = (5**0.5 - 1) / 2
        places = np.mod((np.arange(turn * count, (turn + 1) * count) + 1) * golden, 1.0)
        return self.cameras.select(np.searchsorted(self.turns, places).clip(max=len(self) - 1).tolist())


def further_cameras(coverage: Coverage, size: int, distance: float, fov: float, most: int = MOST) -> FurtherCameras | None:
    """Cameras that together with those of `coverage`, which learns of them, see ENOUGH of what can be seen of its mesh.

    size, distance, fov  side of the pictures in pixels, distance from the middle in engine units, degrees
    most                 cameras at most
    None where nothing is missing, or nothing can be added.
    """
    missing = np.where((coverage.density == 0) & (coverage.openness > 0), TIMES, 0)
    goal = (1 - ENOUGH) * coverage.openness.sum()
    whole = WORTH_A_WHOLE_VIEW * coverage.openness.sum()
    chosen, gains = _greedy(coverage, _whole_views(distance, fov), missing, goal, whole, most)
    missing = (missing == TIMES).astype(int)  # once is enough for what only close-ups show
    while coverage.openness[missing > 0].sum() > goal and len(gains) < most:
        near = _close_ups(coverage, np.flatnonzero(missing), fov)
        more, gained = _greedy(coverage, near, missing, goal, 0.0, most - len(gains))
        if not gained:
            break
        chosen, gains = [*chosen, *more], [*gains, *gained]
    if not chosen:
        return None
    found = Cameras.cat(chosen)
    coverage.look(found, size)
    share = np.asarray(gains) / sum(gains)
    return FurtherCameras(found, np.cumsum(EVEN_SHARE / len(share) + (1 - EVEN_SHARE) * share))


def _greedy(coverage: Coverage, candidates: Cameras, missing: np.ndarray, goal: float, least: float, most: int
            ) -> tuple[list[Cameras], list[float]]:  # fmt: skip
    """The candidates that add the most, one after another, and what each adds; counts down `missing` [N], the times that a place wants
    to be looked at. Ends where places of no more than `goal` openness want any, or none adds more than `least` of it."""
    of = np.flatnonzero(missing > 0)
    seen = coverage.openness[of] * looks(coverage.caster, coverage.places.points[of], coverage.places.normals[of], candidates)
    worth_of = coverage.openness[of]
    chosen: list[Cameras] = []
    gains: list[float] = []
    while worth_of[missing[of] > 0].sum() > goal and len(chosen) < most:
        worth = (seen * (missing[of] > 0)).sum(axis=1)
        best = int(worth.argmax())
        if worth[best] <= least:
            break
        chosen.append(candidates.select([best]))
        gains.append(float(worth[best]))
        missing[of] = np.maximum(missing[of] - (seen[best] > 0), 0)
        seen[best] = 0  # once each
    return chosen, gains


def _whole_views(distance: float, fov: float) -> Cameras:
    """Cameras all around that look at the middle."""
    return look_at(torch.from_numpy(sphere(AROUND) * distance), torch.zeros(AROUND, 3), fov)


def _close_ups(coverage: Coverage, places: np.ndarray, fov: float) -> Cameras:
    """Cameras before some of these places, the most open of them, each along a free line of sight."""
    of = places[np.argsort(-coverage.openness[places], kind="stable")[: 2 * NEAR_PLACES : 2]]
    facing = np.abs(coverage.places.normals[of] @ coverage.sky.T) * coverage.openings[of]
    best = np.argsort(-facing, axis=1)[:, :NEAR_DIRECTIONS]
    row, column = np.nonzero(np.take_along_axis(facing, best, axis=1) > GRAZING)
    points = coverage.places.points[of[row]]
    return look_at(torch.from_numpy(points + NEAR_DISTANCE * coverage.sky[best[row, column]]), torch.from_numpy(points), fov)
