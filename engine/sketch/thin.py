"""Solid strokes that are too thin: no grid holds a wall or a tube thinner than its step.

What is thin as a whole, as tubes are, grows. But a closed mesh may be a body here and a petal there: then the thin walls' middles become
sheets, so that they get a shell as ribbons do. Balls that touch the surface from within are shrunk until they fit (Ma, Bae & Choi
2012); where one touches two opposite sides it sits in the middle of a wall.
"""

from __future__ import annotations

import numpy as np

from engine.sketch.strokes import Stroke, face_normals, inside, subdivided

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
        stroke.grown[thickness] = _growth(stroke, thickness)
    return stroke.grown[thickness]


def _growth(stroke: Stroke, thickness: float) -> float:
    if stroke.radius >= thickness:
        return 0.0
    normals = face_normals(stroke.vertices, stroke.bounding)
    area = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    middles = stroke.vertices[stroke.bounding].mean(axis=1) - thickness * normals / area
    fit = (stroke.surface.closest(middles)[0] > TIGHT * thickness) & inside(stroke, middles)
    return 0.0 if np.average(fit, weights=area[:, 0]) > FITS else thickness - stroke.radius


def thin_walls(stroke: Stroke, thickness: float, spacing: float) -> np.ndarray:
    """float64 [T, 3, 3]: the middles of those walls of a solid stroke whose half-thickness is below `thickness`, as triangles of at
    most `spacing`; each wall twice, once from either side."""
    faces = stroke.bounding
    normals = face_normals(stroke.vertices, faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    first = stroke.vertices[faces].mean(axis=1) - thickness * normals
    if (stroke.surface.closest(first)[0] >= SMALLER * thickness).all():
        return np.zeros((0, 3, 3))  # most strokes: nothing under the middle of any face is thin
    triangles, source = subdivided(stroke.vertices, faces, spacing)
    places, outward = triangles.mean(axis=1), normals[source]
    radius = np.full(len(places), thickness)
    opposite = np.full(len(places), -1)
    active = np.arange(len(places))
    for _ in range(SHRINKINGS):
        middle = places[active] - radius[active, None] * outward[active]
        distance, touched, face = stroke.surface.nearest(middle)
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
