"""Sketches and their surfaces side by side, each from three sides, in plain grey."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from engine.camera import orbit
from engine.contact_sheet import render_views
from engine.conventions import SceneNormalization
from engine.mesh import Mesh

SIDES = ((-30.0, 18.0), (75.0, 25.0), (190.0, 8.0))
"""Azimuths and elevations in degrees."""

TILE, DISTANCE, EXTENT = 160, 6.0, 1.12
"""Side of a view in pixels; the camera's distance and what it sees beyond the middle at least, engine units."""


def write_pictures(path: Path, columns: dict[str, list[Mesh]]) -> None:
    """A picture file: of each sketch a row of its meshes (the sketch, its surfaces; engine space), each from SIDES."""
    from PIL import Image

    rows = [np.concatenate([_sides(mesh) for mesh in meshes], axis=1) for meshes in columns.values()]
    Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8)).save(path, quality=82)


def _sides(mesh: Mesh) -> np.ndarray:
    """float [TILE, 3 * TILE, 3]."""
    azimuths, elevations = zip(*SIDES, strict=True)
    cameras = orbit(azimuths, elevations, DISTANCE, math.degrees(2 * math.atan(EXTENT / DISTANCE)))
    plain = Mesh(mesh.vertices.astype(np.float32), mesh.faces)
    views = render_views(plain, (), SceneNormalization((0.0, 0.0, 0.0), 1.0), cameras, TILE)
    return np.concatenate(list(views), axis=1)
