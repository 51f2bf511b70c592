"""A texture job that starts from a finished texture: an image laid over the model by its UVs, in place of the look that it has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.errors import InputError
from engine.formats.parts import Appearance, Look
from engine.mesh import Mesh, Paint
from engine.surface_samples import sample_surface
from engine.texture.masks import picture
from engine.texture_sets import FIRST_TILE, in_tile, tiles_of

OWN = "own"
TILE = "<UDIM>"
SAMPLES = 200_000


def with_start(mesh: Mesh, init_texture: str | None) -> Mesh:
    """The mesh with the look that `init_texture` names: its own, or that of a picture for its uvs, one a tile where the name has <UDIM>.

    InputError where it has no look of its own, no uvs, or where a picture cannot be read.
    """
    if init_texture is None:
        return mesh
    if init_texture == OWN:
        if mesh.colours is None and mesh.paint is None:
            raise InputError("no_mask", "There is nothing to start from: nobody chose a colour for this model.",
                             "Give an image with --init-texture FILE, or leave it out.")  # fmt: skip
        return mesh
    if mesh.uvs is None or not np.isfinite(mesh.uvs).all():
        raise InputError("no_mask", "An image to start from needs UVs on every part of the model.", "Unwrap it first.")
    tiles = tiles_of(mesh.uvs) if TILE in init_texture else np.full(len(mesh.faces), FIRST_TILE)
    numbers = np.unique(tiles)
    flat = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    looks = [
        Appearance(
            image=picture(init_texture.replace(TILE, str(number))), uvs=in_tile(mesh.uvs.astype(np.float64), int(number)).reshape(-1, 2)
        )
        for number in numbers
    ]
    look = Look(np.searchsorted(numbers, tiles), flat, tuple(looks))
    faces, weights = sample_surface(mesh.corner_vertices(), SAMPLES)
    points = np.einsum("nk,nkd->nd", weights, mesh.corner_vertices()[faces].astype(np.float64))
    return replace(mesh, colours=None, look=look, paint=Paint(points.astype(np.float32), look.at(faces, weights).astype(np.float32)))
