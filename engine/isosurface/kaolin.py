"""NVIDIA Kaolin's extractors (0.18 and newer, Apache-2.0) on the engine's own grid, where Kaolin is installed. Imported on first use.

Marching tetrahedra gives the engine's own surface; FlexiCubes (Shen et al. 2023, its weights left uniform) draws through the cubes of the
grid, which are twice as far apart as its layers, and follows creases better for some times the cost.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.errors import JobError
from engine.isosurface.dmtet import NEAREST, TetGrid, away_from_zero

Extract = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Positions [Nv, 3] and field [Nv] of all of the grid's vertices, tetrahedra [T, 4] in which the surface lies -> vertices, faces int32."""

CUBE = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))
"""The corners of a cube in Kaolin's order."""
NAMES = {"kaolin": "marching_tetrahedra", "flexicubes": "FlexiCubes"}
"""Settings -> what does them in Kaolin."""
MODULE = "kaolin.ops.conversions"


def extractor(isosurface: str, grid: TetGrid) -> Extract | None:
    """What the setting of that name asks of Kaolin; None where it asks nothing. JobError where Kaolin cannot do it."""
    if isosurface == "kaolin":
        return tetrahedra()
    return FlexiCubesOfGrid(grid) if isosurface == "flexicubes" else None


def refuse_without_kaolin(isosurface: str) -> None:
    """JobError where the setting of that name asks for what Kaolin does and cannot do here."""
    if isosurface in NAMES:
        _from_kaolin(NAMES[isosurface])


def tetrahedra() -> Extract:
    """Kaolin's marching tetrahedra."""
    march = _from_kaolin("marching_tetrahedra")

    def extract(positions: Tensor, sdf: Tensor, tets: Tensor) -> tuple[Tensor, Tensor]:
        vertices, faces = march(positions[None], tets.contiguous(), away_from_zero(sdf)[None])
        return vertices[0], faces[0].to(torch.int32)

    return extract


class FlexiCubesOfGrid:
    """FlexiCubes over the cubes of a `TetGrid`: resolution / 2 along each axis; where the grid has none, all is outside."""

    def __init__(self, grid: TetGrid) -> None:
        device, side = grid.points.device, grid.resolution // 2 + 1
        self._extractor = _from_kaolin("FlexiCubes")(device=str(device))
        self._cubes_a_side = side - 1
        count = len(grid.points) - len(grid.cells)  # corners come first, then the cubes' centres
        place = torch.round((grid.points[:count] + 1) * (side - 1) / 2).long()
        self._corner = (place[:, 0] * side + place[:, 1]) * side + place[:, 2]
        axis = torch.arange(side, device=device)
        lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        self._points = lattice.reshape(-1, 3) * (2.0 / (side - 1)) - 1.0
        first = lattice[:-1, :-1, :-1].reshape(-1, 3) @ torch.tensor([side * side, side, 1], device=device)
        step = torch.tensor([(i * side + j) * side + k for i, j, k in CUBE], device=device)
        self._cubes = first[:, None] + step

    def __call__(self, positions: Tensor, sdf: Tensor, tets: Tensor) -> tuple[Tensor, Tensor]:
        del tets
        count = len(self._corner)
        moved = self._points.to(positions.dtype).index_copy(0, self._corner, positions[:count])
        field = sdf.new_ones(len(moved)).index_copy(0, self._corner, away_from_zero(sdf[:count]))
        vertices, faces, _ = self._extractor(moved, field, self._cubes, self._cubes_a_side, training=False)
        return vertices, faces.to(torch.int32)


def closed(grid: TetGrid, sdf: Tensor) -> Tensor:
    """The field [Nv] with the whole grid's hull outside."""
    return torch.where(grid.boundary, sdf.clamp(min=NEAREST), sdf)


def _from_kaolin(name: str) -> Any:
    try:
        return getattr(importlib.import_module(MODULE), name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise JobError(
            "no_kaolin",
            f"NVIDIA Kaolin 0.18 or newer was asked for and its {name} cannot be had here: {_why(error)}.",
            "Install a Kaolin wheel that was built for this torch from NVIDIA's index (docs/gpu.md), or leave the isosurface to 'auto', "
            "which needs nothing.",
        ) from error


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "kaolin":
        return "it is not installed"
    if isinstance(error, AttributeError):
        return "the Kaolin that is installed is older (FlexiCubes stood elsewhere then, under another licence)"
    return f"it is installed, but does not load beside torch {torch.__version__} ({(str(error).splitlines() or [''])[0]})"
