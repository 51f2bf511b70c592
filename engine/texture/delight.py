"""Light that is painted into given colours, taken out again as far as the geometry explains it.

The brightness of a surface that was lit depends on where it faces and how open it lies: log Y = a + b . h(n) + k log AO, with the second
order spherical harmonics h of the normal (Ramamoorthi and Hanrahan 2001: nine numbers hold the irradiance of any distant light to a
few percent). The fit is robust (Huber weights), so that a part which is dark because it is painted dark counts little; what it
explains is divided out, its mean stays. Colours that follow the geometry by themselves, snow on a roof, cannot be told from light.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from engine.conventions import linear_to_srgb, srgb_to_linear
from engine.mesh import Mesh, Paint
from engine.render.rays import RayCaster
from engine.texture.coverage import face_normals
from engine.texture.geometry_maps import Occlusion

LUMA = np.array([0.2126, 0.7152, 0.0722])
DARKEST = 0.01
ROUNDS = 8
HUBER = 0.15
"""Departure of log brightness up to which a place counts fully."""


def delit(mesh: Mesh, share: float) -> Mesh:
    """A mesh in engine space with light taken out of its colours and paint; share 0 takes none out, 1 all that was found."""
    if share <= 0 or (mesh.colours is None and mesh.paint is None):
        return mesh
    normals = face_normals(mesh.corner_vertices())
    centres = KDTree(mesh.corner_vertices().mean(axis=1))
    occlusion = Occlusion(mesh, RayCaster(mesh.vertices, mesh.faces), 8000)

    def without(points: np.ndarray, colours: np.ndarray) -> np.ndarray:
        facing = normals[centres.query(points)[1]]
        return _divided(colours, facing, occlusion.at(points, facing)[:, 0], share)

    colours = None if mesh.colours is None else without(mesh.vertices, mesh.colours)
    paint = None if mesh.paint is None else Paint(mesh.paint.points, without(mesh.paint.points, mesh.paint.colours))
    return replace(mesh, colours=colours, paint=paint)


def _divided(colours: np.ndarray, normals: np.ndarray, opening: np.ndarray, share: float) -> np.ndarray:
    """sRGB colours [N, 3] (rows of NaN stay) without the light that normals [N, 3] and openness [N] explain."""
    known = np.isfinite(colours).all(axis=1)
    if known.sum() < 100:
        return colours
    linear = srgb_to_linear(colours[known])
    bright = np.log(np.maximum(linear @ LUMA, DARKEST))
    terms = np.column_stack([_harmonics(normals[known]), np.log(np.maximum(opening[known], 0.05))])
    weights = np.ones(len(bright))
    for _ in range(ROUNDS):
        scaled = np.column_stack([terms, np.ones(len(bright))]) * np.sqrt(weights)[:, None]
        fitted = np.linalg.lstsq(scaled, bright * np.sqrt(weights), rcond=None)[0]
        left = np.abs(bright - terms @ fitted[:-1] - fitted[-1])
        weights = np.minimum(1, HUBER / np.maximum(left, 1e-9))
    light = terms @ fitted[:-1]
    result = np.array(colours)
    result[known] = linear_to_srgb(linear * np.exp(-share * (light - np.average(light, weights=weights)))[:, None])
    return result.astype(np.float32)


def _harmonics(normals: np.ndarray) -> np.ndarray:
    """[N, 8] the spherical harmonics of orders 1 and 2, up to their factors."""
    x, y, z = normals.T.astype(np.float64)
    return np.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=1)
