"""Deformable marching tetrahedra in plain torch: the reference extractor.

The surface is the zero set of a field that is linear in each tetrahedron (Doi & Koide 1991); the grid's vertices may move by a
bounded amount, and extracted vertices carry gradients to the field and to that motion (Shen et al., DMTet, 2021).

The grid is a body-centred cubic lattice: all its tetrahedra are congruent and nearly regular, so the triangles are far better
shaped than on a split cube (Labelle & Shewchuk, isosurface stuffing, 2007). Edges and the tetrahedra's edges are numbered once,
when the grid is made, so that extraction needs neither sorting nor `unique`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.isosurface.lattice import Lattice

TET_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Local vertices of a tetrahedron's six edges."""

TRIANGLES = (
    (), ((0, 1, 2),), ((0, 4, 3),), ((1, 2, 4), (1, 4, 3)),
    ((1, 3, 5),), ((2, 0, 3), (2, 3, 5)), ((0, 4, 5), (0, 5, 1)), ((2, 4, 5),),
    ((2, 5, 4),), ((0, 1, 5), (0, 5, 4)), ((3, 0, 2), (3, 2, 5)), ((1, 5, 3),),
    ((1, 3, 4), (1, 4, 2)), ((0, 3, 4),), ((0, 2, 1),), (),
)  # fmt: skip
"""Local edges of the triangles for each sign pattern (bit k: vertex k is inside), outward for a tetrahedron of positive volume."""

DEFORM_RANGE = 0.8
"""Largest deformation along an axis, times 1 / resolution. The altitude of an undeformed tetrahedron is sqrt(2) * spacing; two of
its corners can close in on each other by at most 2 * sqrt(3) * 0.8 / resolution = 1.39 spacings, so none can turn inside out."""

NEAREST = 1e-6
"""Field values closer to zero than this count as this far: a crossing never falls exactly on a grid vertex."""


@dataclass(frozen=True)
class TetGrid:
    """A tetrahedral grid over [-1, 1]^3, or the part of it that some of its cubes span. Index tensors are int64.

    resolution  layers of vertices from -1 to 1 less one; even
    points      float32 [Nv, 3]
    tets        [T, 4] with positive volume
    edges       [E, 2], ascending in no particular order, each once
    tet_edges   [T, 6], indices into edges in the order of TET_EDGES
    kind        uint8 [T], which of the twelve ways of lying it has: tetrahedra of a kind are moved copies of each other
    boundary    bool [Nv], the vertices on the whole grid's hull; they count as outside, so that every surface is closed
    rim         bool [Nv], those and the vertices on the part's own hull: no surface may come there, see `engine.isosurface.sparse`
    cells       [C], the cubes, each as (i * n + j) * n + k with n = resolution / 2
    """

    resolution: int
    points: Tensor
    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    kind: Tensor
    boundary: Tensor
    rim: Tensor
    cells: Tensor

    @property
    def spacing(self) -> float:
        """Distance between neighbouring layers of vertices; edges are 2 and sqrt(3) times as long.

        A sheet whose half-thickness is at least this is never torn: no edge can pass through it without an end inside.
        """
        return 2.0 / self.resolution

    @classmethod
    def make(cls, resolution: int, device: torch.device | str = "cpu") -> TetGrid:
        """Body-centred cubic grid: the points (i, j, k) * 2 / resolution - 1 whose indices are all even or all odd.

        About resolution^3 / 4 vertices and 1.5 * resolution^3 tetrahedra. Raises ValueError for an odd or too small resolution.
        """
        if resolution < 4 or resolution % 2:
            raise ValueError(f"resolution must be even and at least 4, got {resolution}")
        return cls.of_cells(resolution, np.arange((resolution // 2) ** 3, dtype=np.int64), device)

    @classmethod
    def of_cells(cls, resolution: int, cells: np.ndarray, device: torch.device | str = "cpu") -> TetGrid:
        """The part of `make(resolution)` that the cubes int64 [C], ascending, span, in the order of the whole."""
        lattice = Lattice(resolution // 2, cells)
        tables = (*lattice.tetrahedra(), lattice.boundary(), lattice.rim(), cells)
        tets, tet_edges, kind, boundary, rim, own = (torch.from_numpy(table).to(device) for table in tables)
        points, edges = torch.from_numpy(lattice.points().astype(np.float32)), torch.from_numpy(lattice.edges())
        return cls(resolution, points.to(device), tets, edges.to(device), tet_edges, kind, boundary, rim, own)

    def deformed(self, deform: Tensor) -> Tensor:
        """Raw deformation [Nv, 3] -> vertex positions [Nv, 3], moved by at most DEFORM_RANGE / resolution along each axis."""
        return self.points.to(deform.dtype) + torch.tanh(deform) * (DEFORM_RANGE / self.resolution)

    def surface(self, sdf: Tensor, deform: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The zero set of a field [Nv], negative inside, over the whole grid, and a raw deformation [Nv, 3] or None: vertices [V, 3] with
        gradients to both, faces int32 [F, 3]. `engine.surface.Surface` gives the same from a narrow band, faster."""
        positions = self.points.to(sdf.dtype) if deform is None else self.deformed(deform)
        closed = torch.where(self.boundary, sdf.clamp(min=NEAREST), sdf)
        return marching_tetrahedra(positions, closed, self.tets, self.edges, self.tet_edges)


def marching_tetrahedra(
    positions: Tensor, sdf: Tensor, tets: Tensor, edges: Tensor | None = None, tet_edges: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Zero set of a field given at the vertices of a tetrahedral mesh.

    positions float [Nv, 3]; sdf float [Nv], negative inside; tets int [T, 4] of positive volume; edges int [E, 2] and tet_edges
    int [T, 6] as in TetGrid, worked out where absent. Returns vertices [V, 3], one on each edge whose ends differ in sign, in the
    edges' order, differentiable in positions and sdf; and faces int32 [F, 3], counter-clockwise seen from the positive side.

    Worked example: the unit corner tetrahedron (0,0,0), (1,0,0), (0,1,0), (0,0,1) with sdf (-1, 1, 3, 1) has the single triangle
    (1/2,0,0), (0,1/4,0), (0,0,1/2).
    """
    if edges is None or tet_edges is None:
        edges, tet_edges = number_edges(tets)
    inside = sdf < 0
    crossed, faces = connect(inside, tets, edges, tet_edges)
    start, end = edges[crossed].unbind(1)
    vertices = cross(positions[start], positions[end], sdf[start], sdf[end])
    return vertices, faces


@torch.no_grad()
def connect(inside: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor) -> tuple[Tensor, Tensor]:
    """Connectivity of the surface from the signs alone.

    inside bool [Nv]; tets [T, 4], edges [E, 2], tet_edges [T, 6] as in TetGrid. Returns the indices [V] of the crossed edges,
    ascending, which are the surface's vertices, and its faces int32 [F, 3].
    """
    first, second = edges.unbind(1)
    crossed = inside.index_select(0, first) ^ inside.index_select(0, second)
    number = crossed.cumsum(0, dtype=torch.int32) - 1
    bits = inside.to(torch.uint8)
    code = bits.index_select(0, tets[:, 0])
    for corner in range(1, 4):
        code = code + (bits.index_select(0, tets[:, corner]) << corner)
    active = ((code > 0) & (code < 15)).nonzero().squeeze(1)
    code = code[active].long()
    table, doubled = _table(str(inside.device))
    own_edges = tet_edges.index_select(0, active)
    chosen = own_edges.gather(1, table.index_select(0, code))
    faces = torch.cat([chosen[:, :3], chosen[doubled.index_select(0, code)][:, 3:]])
    return crossed.nonzero().squeeze(1), number.index_select(0, faces.reshape(-1)).view(-1, 3)


def cross(start: Tensor, end: Tensor, sdf_start: Tensor, sdf_end: Tensor) -> Tensor:
    """Where the linear field along each edge is zero: start, end [V, 3], sdf_start, sdf_end [V] of different sign -> [V, 3].

    Values within NEAREST of zero are moved out to it (the gradient is passed straight through).
    """
    a, b = away_from_zero(sdf_start), away_from_zero(sdf_end)
    share = (a / (a - b)).unsqueeze(1)
    return torch.lerp(start, end, share)


def number_edges(tets: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of any tetrahedral mesh: tets int [T, 4] -> edges [E, 2] and tet_edges [T, 6]. Sorts; for grids use TetGrid's own."""
    pairs = torch.stack([tets[:, list(pair)] for pair in TET_EDGES], dim=1).reshape(-1, 2).long()
    edges, own = torch.unique(pairs.sort(dim=1).values, dim=0, return_inverse=True)
    return edges, own.view(-1, 6)


def away_from_zero(values: Tensor) -> Tensor:
    """Values within NEAREST of zero moved out to it, those of exactly zero outwards; the gradient is passed straight through."""
    raw = values.detach()
    return values + (torch.where(raw < 0, raw.clamp(max=-NEAREST), raw.clamp(min=NEAREST)) - raw)


_TABLES: dict[str, tuple[Tensor, Tensor]] = {}


def _table(device: str) -> tuple[Tensor, Tensor]:
    """TRIANGLES as int64 [16, 6] (zeros where there is none) and bool [16], whether there are two; once for each device."""
    if device not in _TABLES:
        flat = [[edge for triangle in triangles for edge in triangle] for triangles in TRIANGLES]
        table = torch.tensor([row + [0] * (6 - len(row)) for row in flat], device=device)
        _TABLES[device] = table, torch.tensor([len(row) == 6 for row in flat], device=device)
    return _TABLES[device]
