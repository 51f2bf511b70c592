"""A grid that follows the surface: only the cubes of the tetrahedral grid in which a bounded field can come to zero.

A field that starts as a signed distance and may move by `reach` crosses zero only within reach of where it did. Cubes further away are
neither made nor measured, so that memory and time grow with the area of the surface and the reach, not with the volume of the box, and
the mesh is the one that the whole grid would give.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.apart import run_apart
from engine.isosurface.lattice import Lattice
from engine.mesh import Mesh
from engine.reporting import OnStep, unwatched
from engine.sketch.sdf import APART_FACES, SketchField

MARGIN = 3.5
"""Cubes are kept this many grid steps beyond the reach: an edge that crosses zero has both ends within two, and local thickness
(`engine.isosurface.bounds`) looks for the middles of balls one long edge further in."""

BLOCK = 0.1
"""Side of the blocks of cubes, engine units, of which the middles are measured first."""

FAR_ERROR = 0.14
"""By so much may distances be wrong that are larger than `engine.sketch.union.NEAR`: two diagonals of `nearest.CELL`."""

HELD = 1.02
"""Least half-thickness of a sheet in steps of the grid: at 1 a sheet that lies in one of the grid's planes is a sieve."""

LEAST = 80
"""Cells along each axis that a sketch gets however much surface it has."""

FACES_A_CELL = {False: 3.15, True: 4.9}
"""Triangles on a square grid step of surface, by whether it is drawn crisp; measured on the examples (3.0 to 3.3) and on solids."""

SOLID = 0.95
"""A sketch of which at least this share was drawn as closed solids gets a crisp surface, where nothing else is wished."""

PROBED, PROBES = 0.01, 20_000
"""How near to the surface, engine units, places count that are drawn to find its area, and how many are drawn."""

Planes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Region = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Cubes int64 [C], ascending; values float32 [Nv] and gradients float32 [Nv, 3] of a field at the vertices of the grid that they span."""


@dataclass(frozen=True)
class Fineness:
    """How fine a sketch's grid shall be, how far its field may move, and how its surface is drawn.

    finest      cells along each axis at most
    triangles   the grid is coarser, down to LEAST, where the surface would have more than this many; 0 for no such bound
    reach       by how much the field may move, engine units; and `steps` in steps of the grid: the larger of both
    isosurface  "tetrahedra", "dual" (crisp) or "auto", which lets the sketch decide
    """

    finest: int
    triangles: int
    reach: float
    steps: float
    isosurface: str = "tetrahedra"

    def crisp(self, solid: float) -> bool:
        """Whether a sketch is drawn crisp of which that share, 0..1, was drawn solid."""
        return self.isosurface == "dual" or (self.isosurface == "auto" and solid >= SOLID)

    def resolution(self, area: float, solid: float) -> int:
        """Cells along each axis, even, for a surface of that area (engine units) of a sketch of which that share was drawn solid."""
        fitting = math.sqrt(self.triangles / (FACES_A_CELL[self.crisp(solid)] * area)) * 2 if area > 0 else math.inf
        return self.finest if fitting >= self.finest else max(2 * int(fitting / 2), min(LEAST, self.finest))

    def width(self, resolution: int) -> float:
        """How far the field may move on a grid of that resolution, engine units."""
        return max(self.reach, self.steps * 2 / resolution)


def shell_thickness(thickness: float, resolution: int) -> float:
    """Half the thickness that sheets get, engine units: a thinner one would be torn where the grid cannot hold it."""
    return max(thickness, HELD * 2 / resolution)


def around_sketch(
    mesh: Mesh, fineness: Fineness, thickness: float, closing: float, on_step: OnStep = unwatched
) -> tuple[int, Region, float]:
    """The grid's resolution, `cells_around` a sketch, and how much of it was drawn solid, 0..1.

    thickness, closing  as `engine.sketch.sdf.SketchField.of` takes them
    A sketch of more than APART_FACES is measured in a process of its own, which can be ended at any moment.
    """
    if len(mesh.faces) > APART_FACES:
        numbers = {**dataclasses.asdict(fineness), "thickness": thickness, "closing": closing}
        found = run_apart(cells_apart, {"vertices": mesh.vertices, "faces": mesh.faces, **numbers}, on_step)
        if found is not None:
            return int(found["resolution"]), (found["cells"], found["values"], found["gradients"]), float(found["solid"])
    resolution, field = fitting_field(mesh, fineness, thickness, closing, on_step)
    return resolution, cells_around(resolution, field.planes, fineness.width(resolution)), field.solid


def cells_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"resolution", "cells", "values", "gradients", "solid"} of vertices, faces, thickness, closing and the numbers of
    a Fineness."""
    mesh = Mesh(inputs["vertices"], inputs["faces"])
    fineness = Fineness(**{one.name: inputs[one.name].item() for one in dataclasses.fields(Fineness)})
    resolution, field = fitting_field(mesh, fineness, float(inputs["thickness"]), float(inputs["closing"]), on_step)
    region = cells_around(resolution, field.planes, fineness.width(resolution))
    found = {"resolution": np.array(resolution), "solid": np.array(field.solid)}
    return {**found, **dict(zip(("cells", "values", "gradients"), region, strict=True))}


def fitting_field(mesh: Mesh, fineness: Fineness, thickness: float, closing: float, on_step: OnStep) -> tuple[int, SketchField]:
    """The resolution for a sketch's surface, and its field with sheets that such a grid holds."""
    shell = shell_thickness(thickness, fineness.finest)
    field = SketchField.of(mesh, shell, closing, on_step)
    if not fineness.triangles or fineness.finest <= LEAST:
        return fineness.finest, field
    resolution = fineness.resolution(surface_area(field.planes), field.solid)
    thicker = shell_thickness(thickness, resolution)
    return resolution, field if thicker == shell else SketchField.of_strokes(field.strokes, thicker, closing, on_step)


def surface_area(planes: Planes) -> float:
    """About the area of a field's surface in [-1, 1]^3, engine units: of the volume within PROBED of it, by places drawn in the blocks
    around it (about 2 % off)."""
    blocks = _blocks_within(planes, BLOCK, PROBED)
    if not len(blocks):
        return 0.0
    rng = np.random.default_rng(0)
    drawn = (blocks[rng.integers(len(blocks), size=PROBES)] + rng.random((PROBES, 3))) * BLOCK - 1
    near = np.abs(planes(drawn.astype(np.float32))[0]) <= PROBED
    return float(near.mean()) * len(blocks) * BLOCK**3 / (2 * PROBED)


def cells_around(resolution: int, planes: Planes, reach: float) -> Region:
    """The part of `TetGrid.make(resolution)` around a surface.

    planes  signed distances [N] and gradients [N, 3] at points [N, 3]; where they are below 0.1, differences of values are at most
            those of the points
    reach   by how much the field may move
    """
    n, width = resolution // 2, reach + MARGIN * 2 / resolution
    lattice = Lattice(n, _near_blocks(n, planes, width))
    values, gradients = planes(lattice.points().astype(np.float32))
    near = np.abs(values) <= width
    corners = lattice.corner
    kept = near[corners].any(axis=1) | near[lattice.centre]
    used = np.zeros(len(values), dtype=bool)
    used[corners[kept]], used[lattice.centre[kept]] = True, True
    return lattice.cells[kept], values[used], gradients[used]


def _near_blocks(n: int, planes: Planes, width: float) -> np.ndarray:
    """int64 [C], ascending: the cubes of all blocks in which the field may be less than `width`."""
    side = max(1, round(BLOCK * n / 2))
    near = _blocks_within(planes, 2 * side / n, width)
    inner = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    place = (near[:, None] * side + inner).reshape(-1, 3)
    place = place[(place < n).all(axis=1)]
    return np.sort((place[:, 0] * n + place[:, 1]) * n + place[:, 2])


def _blocks_within(planes: Planes, side: float, width: float) -> np.ndarray:
    """int64 [B, 3]: of the blocks with that side (engine units) that [-1, 1]^3 consists of, counted from its lowest corner, those in which
    the field may be less than `width`."""
    count = math.ceil(2 / side - 1e-9)
    block = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return block[np.abs(planes((block + 0.5) * side - 1)[0]) <= width + np.sqrt(3) / 2 * side + FAR_ERROR]
