"""A grid that follows the surface: only the cubes of the tetrahedral grid in which a bounded field can come to zero.

A field that starts as a signed distance and may move by `reach` crosses zero only within reach of where it did. Cubes further away are
neither made nor measured, so that memory and time grow with the area of the surface and the reach, not with the volume of the box, and
the mesh is the one that the whole grid would give.
"""

from __future__ import annotations

from collections.abc import Callable

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

Planes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Region = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Cubes int64 [C], ascending; values float32 [Nv] and gradients float32 [Nv, 3] of a field at the vertices of the grid that they span."""


def around_sketch(
    mesh: Mesh, resolution: int, reach: float, thickness: float, closing: float, on_step: OnStep = unwatched
) -> tuple[Region, float]:
    """`cells_around` a sketch, with the arguments of `engine.sketch.sdf.SketchField.of`; and how much of it was drawn solid, 0..1.

    A sketch of more than APART_FACES is measured in a process of its own, which can be ended at any moment.
    """
    if len(mesh.faces) > APART_FACES:
        numbers = {"resolution": resolution, "reach": reach, "thickness": thickness, "closing": closing}
        found = run_apart(cells_apart, {"vertices": mesh.vertices, "faces": mesh.faces, **numbers}, on_step)
        if found is not None:
            return (found["cells"], found["values"], found["gradients"]), float(found["solid"])
    field = SketchField.of(mesh, thickness, closing, on_step)
    return cells_around(resolution, field.planes, reach), field.solid


def cells_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"cells", "values", "gradients", "solid"} of vertices, faces, resolution, reach, thickness and closing."""
    mesh = Mesh(inputs["vertices"], inputs["faces"])
    field = SketchField.of(mesh, float(inputs["thickness"]), float(inputs["closing"]), on_step)
    found = cells_around(int(inputs["resolution"]), field.planes, float(inputs["reach"]))
    return {**dict(zip(("cells", "values", "gradients"), found, strict=True)), "solid": np.array(field.solid)}


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
    count = -(-n // side)
    block = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    middle = (block + 0.5) * (2 * side / n) - 1
    radius = np.sqrt(3) * side / n
    near = block[np.abs(planes(middle)[0]) <= width + radius + FAR_ERROR]
    inner = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    place = (near[:, None] * side + inner).reshape(-1, 3)
    place = place[(place < n).all(axis=1)]
    return np.sort((place[:, 0] * n + place[:, 1]) * n + place[:, 2])
