"""Coarse surfaces, as an artist's sketch of a subject would be fitted: the controls that a prior meets in use.

A subject's parts are shaken, replaced by their hulls, lost where they are small, or cut into ribbons that run along the surface;
then the project's own signed distance, at a random grid, thickness and closing, makes one surface of them.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError

from engine.conventions import SceneNormalization
from engine.isosurface.dmtet import TetGrid
from engine.mesh import Mesh
from engine.sketch.sdf import sketch_sdf
from engine.surface import Surface

GRIDS = (48, 64, 80)
CLOSINGS = (0.0, 0.02, 0.03, 0.03)
LEAST_THICKNESS = 0.025
LARGEST_SHAKE = 0.03
HULL_SHARE, LOST_SHARE, RIBBON_SHARE = 0.25, 0.3, 0.35
SMALL_PART = 0.2
"""Parts with less than this share of the subject's size can be lost."""
LONGEST_EDGE = 0.1
MOST_FACES = 20_000


@functools.cache
def _grid(resolution: int) -> TetGrid:
    return TetGrid.make(resolution, torch.device("cpu"))


def coarse_surface(v: np.ndarray, f: np.ndarray, part: np.ndarray, normalization: SceneNormalization, rng: np.random.Generator) -> Mesh:
    """The surface fitted to a made-up sketch of a subject; engine space.

    v, f, part  float32 [V, 3] world, int32 [F, 3] and int16 [F], see `scripts.prior.data.pairs`
    Raises InputError where nothing of the sketch has an area.
    """
    sketch = coarse_sketch(normalization.to_engine(v), f, part, rng)
    grid = _grid(int(rng.choice(GRIDS)))
    thickness = max(LEAST_THICKNESS, grid.spacing)
    values = sketch_sdf(sketch, grid.points.numpy(), thickness=thickness, closing=float(rng.choice(CLOSINGS)))
    with torch.no_grad():
        vertices, faces = Surface.from_sdf(grid, torch.from_numpy(values)).extract()
    return Mesh(vertices.numpy(), faces.numpy())


def coarse_sketch(v: np.ndarray, f: np.ndarray, part: np.ndarray, rng: np.random.Generator, ribbons: bool | None = None) -> Mesh:
    """The made-up sketch itself, engine space, parts side by side; of ribbons or not, None draws."""
    size = float(np.ptp(v, axis=0).max())
    amount = rng.uniform(0.0, LARGEST_SHAKE)
    is_ribbons = rng.random() < RIBBON_SHARE
    is_ribbons = is_ribbons if ribbons is None else ribbons
    vertices, faces, first = [], [], 0
    numbers = np.unique(part)
    for number in numbers:
        own, inverse = np.unique(f[part == number], return_inverse=True)
        places, triangles = v[own], inverse.reshape(-1, 3)
        small = float(np.ptp(places, axis=0).max()) < SMALL_PART * size
        if small and len(numbers) > 1 and rng.random() < LOST_SHARE:
            continue
        if is_ribbons:
            places, triangles = _ribbons(places, triangles, rng)
        elif rng.random() < HULL_SHARE:
            triangles = _hull(places, triangles)
        places = _shaken(places, amount, rng)
        vertices.append(places)
        faces.append(triangles + first)
        first += len(places)
    if not vertices:
        return Mesh(v.astype(np.float32), f.astype(np.int32))
    return Mesh(np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32))


def _shaken(places: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Points [N, 3] moved by a smooth random field of about that amplitude."""
    waves = rng.normal(size=(6, 3)) * rng.uniform(3, 9)
    phases = rng.uniform(0, 2 * np.pi, (6, 3))
    moved = np.zeros_like(places, dtype=np.float64)
    for wave, phase in zip(waves, phases, strict=True):
        moved += np.sin((places @ wave)[:, None] + phase)
    return places + amount * moved / 3


def _hull(places: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The faces of the convex hull of places [N, 3]; the given ones where they have none."""
    try:
        return ConvexHull(places, qhull_options="QJ").simplices
    except (QhullError, ValueError):
        return triangles


def _ribbons(places: np.ndarray, triangles: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bands of the surface along one random direction, as a brush would lay them; at least half of it is kept."""
    places, triangles = _subdivided(places, triangles)
    across = rng.normal(size=3)
    across /= np.linalg.norm(across)
    width = rng.uniform(0.1, 0.25)
    share = (places[triangles].mean(axis=1) @ across / width + rng.random()) % 1.0
    kept = triangles[share < rng.uniform(0.55, 0.9)]
    return (places, kept) if len(kept) else (places, triangles)


def _subdivided(places: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles cut into four until their edges are short; corners are not shared afterwards."""
    corners = places[triangles]
    short = []
    while len(corners):
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
        done = longest < LONGEST_EDGE
        short.append(corners[done])
        corners = corners[~done]
        if len(corners) * 4 + sum(map(len, short)) > MOST_FACES:
            short.append(corners)
            break
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        corners = np.concatenate([np.stack(three, 1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    every = np.concatenate(short)
    return every.reshape(-1, 3), np.arange(3 * len(every)).reshape(-1, 3)
