"""The colours that the artist chose: where they are known, and what the optimization is held to."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.job_fields import COLOURS_OF_NONE
from engine.mesh import Mesh
from engine.texture.field import ColourField, surface_samples

WHOLLY = 0.995
"""Share of a surface with known colours beyond which nothing need be said of the rest."""
KNOWN_RESOLUTION = 64
"""Cells along each axis of the volume that tells where colours are known."""


def painted_points(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [N, 3] all over a mesh and the artist's colours there, sRGB-encoded [N, 3]; rows of NaN where nobody chose any."""
    if mesh.paint is not None:
        return mesh.paint.points, mesh.paint.colours
    points, colours = surface_samples(mesh)
    return points, np.full_like(points, np.nan) if colours is None else colours


def known_share(mesh: Mesh) -> float:
    """Share of the surface, 0..1, that has colours which somebody chose."""
    if mesh.colours is None and mesh.paint is None:
        return 0.0
    return float(np.isfinite(painted_points(mesh)[1]).all(axis=1).mean())


def colours_kept(mesh: Mesh, keep: str) -> tuple[Mesh, list[str]]:
    """The mesh with the colours that the user wishes to keep (a value of `engine.job_fields.KEEP_COLOURS`; where they come from its reader
    has seen to), and what to tell of them: what will be held, and what is left to the prompt."""
    if keep == COLOURS_OF_NONE:
        told = "The sketch's own colours are left aside: it starts in grey, and the prompt decides."
        return replace(mesh, colours=None, paint=None), [told]
    return mesh, colours_told(mesh)


def colours_told(mesh: Mesh) -> list[str]:
    """What to tell the user of the colours that a sketch brings."""
    share = known_share(mesh)
    if share == 0:
        return ["Nobody chose a colour for this sketch: it starts in grey, and the prompt decides."]
    if share < WHOLLY:
        return [f"{100 * share:.0f} % of the surface have colours that somebody chose, which are held to; the rest starts in grey."]
    return []


def paint_between(mesh: Mesh, places: np.ndarray) -> np.ndarray:
    """The artist's colours float32 [N, 3] at places [N, 3] on a mesh with paint: the nearest point's; rows of NaN where unknown."""
    from scipy.spatial import KDTree

    assert mesh.paint is not None
    return mesh.paint.colours[KDTree(mesh.paint.points).query(places)[1]]


class ArtistColours(nn.Module):
    """A frozen copy of a field that holds the artist's colours, and how far each place's colour is known."""

    known: Tensor | None

    def __init__(self, field: ColourField, mesh: Mesh) -> None:
        super().__init__()
        self.field = copy.deepcopy(field).requires_grad_(False)
        points, colours = painted_points(mesh)
        known = np.asarray(np.isfinite(colours).all(axis=1))
        device = next(field.parameters()).device
        self.register_buffer("known", None if known.all() else _known_volume(points, known).to(device))

    @classmethod
    def of(cls, field: ColourField, mesh: Mesh) -> ArtistColours | None:
        """Of a field that was fitted to a mesh (engine space); None where nobody chose any colour of it."""
        return cls(field, mesh) if known_share(mesh) > 0 else None

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor | float]:
        """points [N, 3] -> (colours sRGB [N, 3], how far they are known, 0..1, [N, 1] or 1 everywhere)."""
        if self.known is None:
            return self.field(points), 1.0
        where = points.flip(-1).view(1, 1, 1, -1, 3)
        known = F.grid_sample(self.known, where, mode="bilinear", padding_mode="border", align_corners=True)
        return self.field(points), known.view(-1, 1)


def _known_volume(points: np.ndarray, known: np.ndarray) -> Tensor:
    """float32 [1, 1, R, R, R] over [-1, 1]^3, indexed x, y, z: 1 where the nearest point's colour is known, 0 where it is not."""
    from scipy.spatial import KDTree

    axis = np.linspace(-1, 1, KNOWN_RESOLUTION)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = KDTree(points).query(places)[1]
    return torch.from_numpy(known[nearest].astype(np.float32)).view(1, 1, *[KNOWN_RESOLUTION] * 3)
