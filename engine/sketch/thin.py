"""Solid strokes that are too thin: no grid holds a wall or a tube thinner than its step.

What is thin as a whole, as tubes are, grows. But a closed mesh may be a body here and a petal there: then the thin walls' middles become
sheets, so that they get a shell as ribbons do. Balls that touch the surface from within are shrunk until they fit (Ma, Bae & Choi
2012); where one touches two opposite sides it sits in the middle of a wall.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.crowd import Crowd
from engine.sketch.strokes import Stroke, face_normals, subdivided

OPPOSITE = -0.9
"""Two places bound a wall where their normals' cosine is below this; around a convex edge of more than 26 degrees it is larger."""

SMALLER = 0.9
"""A ball fits that comes no nearer to the surface than this share of its radius: the facets of a round stroke count for nothing."""

SHRINKINGS = 4
"""Rounds of shrinking: each finds the nearest place to the ball's middle, and the ball that touches both."""


FITS, TIGHT = 0.05, 0.98
"""A stroke is not thin as a whole where balls of the least radius fit under more than this share of its faces, to this share of it."""


def growth(stroke: Stroke, thickness: float) -> float:
    """By how much a solid stroke that is thin as a whole must grow for its radius to be the thickness; 0 for others."""
    if thickness not in stroke.grown:
        find_growth(Crowd([stroke]), thickness)
    return stroke.grown[thickness]


def find_growth(crowd: Crowd, thickness: float) -> None:
    """Find and keep `growth` of all strokes of a crowd."""
    radius = np.array([stroke.radius for stroke in crowd.strokes])
    grown = np.where(radius < thickness, thickness - radius, 0.0)
    some = np.flatnonzero(grown[crowd.owner] > 0)
    owner, normals = crowd.owner[some], face_normals(crowd.vertices, crowd.bounding[some])
    area = np.maximum(np.linalg.norm(normals, axis=1), np.finfo(np.float64).tiny)
    middles = crowd.vertices[crowd.bounding[some]].mean(axis=1) - thickness * normals / area[:, None]
    fit = (crowd.nearest(middles, owner)[0] > TIGHT * thickness) & crowd.inside(middles, owner)
    share = np.bincount(owner, area * fit, len(radius)) / np.maximum(np.bincount(owner, area, len(radius)), np.finfo(np.float64).tiny)
    grown[share > FITS] = 0.0
    for stroke, own in zip(crowd.strokes, grown.tolist(), strict=True):
        stroke.grown[thickness] = own


def thin_walls(crowd: Crowd, thickness: np.ndarray, spacing: float) -> np.ndarray:
    """float64 [T, 3, 3]: the middles of those walls of solid strokes whose half-thickness is below `thickness` [S], as triangles of at
    most `spacing`; each wall twice, once from either side."""
    normals = face_normals(crowd.vertices, crowd.bounding)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    asked = thickness[crowd.owner]
    first = crowd.vertices[crowd.bounding].mean(axis=1) - asked[:, None] * normals
    thin = np.zeros(len(crowd.strokes), dtype=bool)
    thin[crowd.owner[crowd.nearest(first, crowd.owner)[0] < SMALLER * asked]] = True
    some = np.flatnonzero(thin[crowd.owner])  # of most strokes nothing under the middle of any face is thin
    if not len(some):
        return np.zeros((0, 3, 3))
    triangles, source = subdivided(crowd.vertices, crowd.bounding[some], spacing)
    source = some[source]
    places, outward, owner = triangles.mean(axis=1), normals[source], crowd.owner[source]
    radius = asked[source]
    opposite = np.full(len(places), -1)
    active = np.arange(len(places))
    for _ in range(SHRINKINGS):
        middle = places[active] - radius[active, None] * outward[active]
        distance, touched, face = crowd.nearest(middle, owner[active])
        smaller = distance < SMALLER * radius[active]
        active, touched, face = active[smaller], touched[smaller], face[smaller]
        if not len(active):
            break
        way = places[active] - touched
        along = np.maximum(np.einsum("ni,ni->n", way, outward[active]), 1e-9)
        radius[active] = np.minimum(np.einsum("ni,ni->n", way, way) / (2 * along), radius[active])
        opposite[active] = face
    wall = np.flatnonzero(opposite >= 0)
    wall = wall[np.einsum("ni,ni->n", outward[wall], normals[opposite[wall]]) < OPPOSITE]
    middles = triangles[wall] - (radius[wall, None] * outward[wall])[:, None]
    area = np.linalg.norm(np.cross(middles[:, 1] - middles[:, 0], middles[:, 2] - middles[:, 0]), axis=1)
    return middles[area > 1e-12]
