"""A refine job's subject: the sketch as a surface on a grid, and the fit of surface and colours to it."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.fit import REACH, fit_to_sketch
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.sparse import Fineness, around_sketch, shell_thickness
from engine.isosurface.topology import without_small_holes
from engine.job_fields import Hyperparameters
from engine.mesh import Mesh
from engine.render.base import Rasterizer
from engine.reporting import OnStep, unwatched
from engine.subject import RefineSubject, colour_weight, max_offset
from engine.surface import Surface
from engine.texture.artist import ArtistColours
from engine.texture.detail import Colours, CrispColours
from engine.texture.field import ColourField

UNHELD = 0.75
"""Holes up to twice this wide, in steps of the grid, cannot be told from the grid's own teeth and are closed; the signed distance has
closed all others that are to be."""


def sketch_surface(
    local: Mesh,
    numbers: Hyperparameters,
    device: torch.device,
    on_step: OnStep = unwatched,
    known: dict[str, Tensor] | None = None,
    adherence: float = 0.0,
) -> Surface:
    """Refine mode: the sketch (engine space) as a surface whose field is its signed distance, on a grid that is wide enough for what may
    move at that adherence; known: the state of that very surface."""
    if known is not None:
        return Surface.of_state({name: part.to(device) for name, part in known.items()}, numbers.isosurface)
    fineness = Fineness(numbers.grid, numbers.grid_faces, max(max_offset(adherence), numbers.closing), REACH, numbers.isosurface)
    resolution, (cells, *planes), solid = around_sketch(local, fineness, numbers.thickness, numbers.closing, on_step)
    grid, values, normals = TetGrid.of_cells(resolution, cells, device), *(torch.from_numpy(part).to(device) for part in planes)
    whole = without_small_holes(grid, values, min(numbers.closing, UNHELD * grid.spacing))
    normals[whole != values] = 0  # a membrane is no part of the sketch
    return Surface.from_sdf(grid, whole, normals if fineness.crisp(solid) else None, numbers.isosurface)


def drawn_as(surface: Surface, numbers: Hyperparameters) -> list[str]:
    """What the user is told where the sketch decided how its surface is drawn."""
    told = []
    if surface.grid.resolution < numbers.grid:
        bound = f"so that its surface has about {numbers.grid_faces:,} triangles at most"
        told.append(f"The grid has {surface.grid.resolution} cells along each axis instead of {numbers.grid}, {bound}.")
    if numbers.isosurface != "auto":
        return told
    if surface.crisp:
        return [*told, "The sketch is made of closed solids: its surface is drawn crisp."]
    return [*told, "The sketch is not made of closed solids alone: its surface is drawn rounded."]


def fitted_subject(
    surface: Surface,
    local: Mesh,
    numbers: Hyperparameters,
    adherence: float,
    rasterizer: Rasterizer,
    generator: torch.Generator,
    on_step: OnStep = unwatched,
) -> RefineSubject:
    """Refine mode: the surface and its colours, fitted to renders of the sketch (engine space)."""
    colour = ColourField(numbers.colour_grid).to(surface.sdf.device)
    fit_to_sketch(surface, colour, local, rasterizer, numbers.fit_steps, generator, on_step=on_step)
    return RefineSubject(surface, colour, adherence, ArtistColours.of(colour, local))


def crisp_colours(subject: RefineSubject, local: Mesh, numbers: Hyperparameters, adherence: float) -> Colours:
    """The refined colours, with the edges of the artist's own where they are to be kept."""
    kept = min(colour_weight(adherence), 1.0)
    if subject.artist is None or kept == 0:
        return subject.colour
    shell = shell_thickness(numbers.thickness, subject.surface.grid.resolution)
    return CrispColours(subject.colour, subject.artist, local, shell, kept)
