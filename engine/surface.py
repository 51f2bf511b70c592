"""The shape that is optimized: a signed distance and a deformation at the vertices of a tetrahedral grid.

Extraction looks only at a narrow band of tetrahedra. The band is provably enough, so the mesh is always the one that the whole
grid would give, vertex for vertex: a tetrahedron is left out only if all its corners had the same sign when the band was made,
and every extraction first checks that no corner of a left-out tetrahedron has changed its sign since; if one has, the band is
made anew. How wide the band is (`BAND` in steps of the grid) decides only how often that happens. Losses on the field are taken over
the band, so the field that it was made of is part of the state: a surface that is loaded goes on with the band of the one that was saved.

The mesh is that of marching tetrahedra (`engine.isosurface.dmtet`) or, where the gradients of the field's start are known, its dual with
crisp edges (`engine.isosurface.dual`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.isosurface.dmtet import DEFORM_RANGE, NEAREST, TetGrid, connect, cross
from engine.isosurface.dual import Cells, corner_gradients, dual_mesh, rings
from engine.isosurface.kaolin import Extract, closed, extractor

BAND = 1.0
"""Half-width of the band in grid steps: tetrahedra whose corners all lie further than this on one side are left out."""


@dataclass(frozen=True)
class _Band:
    """A part of the grid. tets [T, 4] index the grid's vertices, tet_edges [T, 6] the band's edges [E, 2]; columns are contiguous.

    inside bool [Nv] and watched bool [Nv]: the signs when the band was made, and the corners of tetrahedra that are not in it
    vertices [M]: all corners of the band's tetrahedra, ascending; own_edges int32 [E, 2] index these
    """

    inside: Tensor
    watched: Tensor
    vertices: Tensor
    tets: Tensor
    tet_edges: Tensor
    edges: Tensor
    kind: Tensor

    @functools.cached_property
    def own_edges(self) -> Tensor:
        number = torch.zeros(len(self.inside), dtype=torch.int32, device=self.vertices.device)
        number[self.vertices] = torch.arange(len(self.vertices), dtype=torch.int32, device=self.vertices.device)
        return number[self.edges].contiguous()

    @functools.cached_property
    def ring(self) -> Tensor:
        """int32 [E, 6]: the band's tetrahedra around each of its edges (`engine.isosurface.dual.rings`)."""
        return rings(self.tet_edges, self.kind, len(self.edges))


class Surface(nn.Module):
    """Parameters sdf [Nv] (engine units, negative inside) and deform [Nv, 3] (raw; tanh bounds it) on a TetGrid over [-1, 1]^3.

    isosurface  of the setting of that name; "kaolin" and "flexicubes" extract the mesh by Kaolin
    crisp  whether the mesh is the dual one; then the field that it started as and that field's gradients, [Nv] and [Nv, 3], belong to the
           state, and nothing is deformed (deform [0, 3]): the mesh's vertices need no help to reach an edge
    """

    start: Tensor
    normals: Tensor

    def __init__(self, grid: TetGrid, crisp: bool = False, isosurface: str = "auto") -> None:
        super().__init__()
        self._extract: Extract | None = extractor(isosurface, grid)
        self.drawn_by = isosurface if self._extract is not None else "dual" if crisp else "tetrahedra"
        self.grid = grid
        self.crisp = crisp
        self.sdf = nn.Parameter(torch.ones(len(grid.points), device=grid.points.device))
        self.deform = nn.Parameter(torch.zeros_like(grid.points[:0] if crisp else grid.points))
        self.banded: Tensor
        self.register_buffer("banded", self.sdf.detach().clone())  # the field that the band is made of
        self.register_buffer("resolution", torch.tensor(grid.resolution))  # these two say which grid the state belongs to
        self.register_buffer("cells", grid.cells)
        if crisp:
            self.register_buffer("start", self.sdf.detach().clone())
            self.register_buffer("normals", torch.zeros_like(grid.points))
        self._band: _Band | None = None
        self.refreshes = 0
        self.register_load_state_dict_post_hook(Surface._forget_band)

    @classmethod
    def of_state(cls, state: dict[str, Tensor], isosurface: str = "auto") -> Surface:
        """The surface whose `state_dict` this is."""
        device = state["sdf"].device
        surface = cls(TetGrid.of_cells(int(state["resolution"]), state["cells"].cpu().numpy(), device), "normals" in state, isosurface)
        surface.load_state_dict(state)
        return surface

    @classmethod
    def from_sdf(cls, grid: TetGrid, values: Tensor, normals: Tensor | None = None, isosurface: str = "auto") -> Surface:
        """Surface whose field is values [Nv], as `engine.sketch.sdf.SketchField` gives them at grid.points. Undeformed. With the gradients
        normals [Nv, 3] (zero where unknown) its mesh is the crisp one."""
        surface = cls(grid, normals is not None, isosurface)
        with torch.no_grad():
            surface.sdf.copy_(values)
            surface.banded.copy_(values)
            if normals is not None:
                surface.start.copy_(values)
                surface.normals.copy_(normals)
        return surface

    def parameter_groups(self, sdf_lr: float, deform_lr: float) -> list[dict[str, Any]]:
        """An optimizer's groups with their rates; "moves" is a group's full rate, of which a job may use a part."""
        groups = [{"params": [self.sdf], "lr": sdf_lr, "moves": sdf_lr}]
        return groups if self.crisp else [*groups, {"params": [self.deform], "lr": deform_lr, "moves": deform_lr}]

    def membrane(self, since: Tensor) -> Tensor:
        """Energy of a membrane over the edges of the band, a scalar: squared differences of how far the field moved since it was [Nv],
        in grid steps, and of the raw deformation, where there is one."""
        from engine.isosurface.membrane_kernel import membrane_energy

        band = self._whole_band()
        moved = ((self.sdf.index_select(0, band.vertices) - since.index_select(0, band.vertices)) / self.grid.spacing).unsqueeze(1)
        if not self.crisp:
            moved = torch.cat([moved, self.deform.index_select(0, band.vertices)], dim=1)
        return membrane_energy(moved, band.own_edges)

    def extract(self) -> tuple[Tensor, Tensor]:
        """The surface: vertices float [V, 3] with gradients to sdf and deform, faces int32 [F, 3], counter-clockwise from outside.

        Closed, because the grid's hull always counts as outside. Empty ([0, 3] and [0, 3]) where the field has one sign.
        """
        inside, band = self._inside(self.sdf), self._whole_band()
        if bool(((inside ^ band.inside) & band.watched).any()):
            self.banded.copy_(self.sdf.detach())
            self._band = None
            band = self._whole_band()
        if self.crisp:
            return self._dual(inside, band)
        if self._extract is not None:
            return self._extract(self.grid.deformed(self.deform), closed(self.grid, self.sdf), band.tets)
        crossed, faces = connect(inside, band.tets, band.edges, band.tet_edges)
        ends = band.edges.t().index_select(1, crossed).flatten()  # all starts, then all ends: each table is read once
        return cross(*self._position(ends).chunk(2), *self._value(ends).chunk(2)), faces

    def _dual(self, inside: Tensor, band: _Band) -> tuple[Tensor, Tensor]:
        """The crisp mesh: a vertex for each tetrahedron with corners inside and outside, in the band's order."""
        count = torch.stack([inside.index_select(0, band.tets[:, corner]) for corner in range(4)]).sum(0)
        passed = ((count > 0) & (count < 4)).nonzero().squeeze(1)
        corners = torch.cat([band.tets[:, corner].index_select(0, passed) for corner in range(4)])
        value = self._value(corners)
        points, normals = (table.t().contiguous().index_select(1, corners).view(3, 4, -1) for table in (self.grid.points, self.normals))
        gradients = corner_gradients(self.grid).permute(2, 1, 0).contiguous().index_select(2, band.kind.index_select(0, passed).long())
        moved = value - self.start.index_select(0, corners)
        cells = Cells(points.to(value.dtype), value.view(4, -1), moved.view(4, -1), normals, gradients)
        number = torch.zeros(len(band.tets), dtype=torch.int32, device=passed.device)
        number[passed] = torch.arange(len(passed), dtype=torch.int32, device=passed.device)
        first, second = inside.index_select(0, band.edges[:, 0]), inside.index_select(0, band.edges[:, 1])
        crossed = (first ^ second).nonzero().squeeze(1)
        return dual_mesh(cells, band.ring.index_select(0, crossed), first.index_select(0, crossed), number, self.grid.spacing)

    def band_vertices(self) -> Tensor:
        """int64 [M]: the corners of the tetrahedra around the surface at the last extraction, each once, ascending."""
        return self._whole_band().vertices

    def _whole_band(self) -> _Band:
        if self._band is None:
            self._band = self._make_band()
            self.refreshes += 1
        return self._band

    @staticmethod
    def _forget_band(surface: nn.Module, _: object) -> None:
        assert isinstance(surface, Surface)
        surface._band = None

    @torch.no_grad()
    def _inside(self, sdf: Tensor) -> Tensor:
        return (sdf < 0) & ~self.grid.boundary

    def _position(self, index: Tensor) -> Tensor:
        moved = torch.tanh(self.deform.index_select(0, index)) * (DEFORM_RANGE / self.grid.resolution)
        return self.grid.points.index_select(0, index).to(moved.dtype) + moved

    def _value(self, index: Tensor) -> Tensor:
        value = self.sdf.index_select(0, index)
        return torch.where(self.grid.boundary.index_select(0, index), value.clamp(min=NEAREST), value)

    @torch.no_grad()
    def _make_band(self) -> _Band:
        grid, margin, inside = self.grid, BAND * self.grid.spacing, self._inside(self.banded)
        never_in = ~inside & (self.banded > margin)
        never_out = inside & (self.banded < -margin)
        far_out, far_in = never_in[grid.tets[:, 0]], never_out[grid.tets[:, 0]]
        for corner in range(1, 4):
            far_out &= never_in[grid.tets[:, corner]]
            far_in &= never_out[grid.tets[:, corner]]
        left_out = far_out | far_in
        watched = torch.zeros_like(inside)
        watched[grid.tets[left_out].reshape(-1)] = True
        chosen = (~left_out).nonzero().squeeze(1)
        tet_edges = grid.tet_edges[chosen]
        used = torch.zeros(len(grid.edges), dtype=torch.bool, device=inside.device)
        used[tet_edges.reshape(-1)] = True
        number = used.cumsum(0) - 1
        edges = grid.edges[used]
        corners = torch.zeros_like(inside)
        corners[grid.tets[chosen].reshape(-1)] = True
        vertices = corners.nonzero().squeeze(1)
        return _Band(inside, watched, vertices, _by_columns(grid.tets[chosen]), number[tet_edges], _by_columns(edges), grid.kind[chosen])


def _by_columns(table: Tensor) -> Tensor:
    """The same [N, C] values with each column contiguous, for fast gathers by column."""
    return table.t().contiguous().t()
