"""The shape that is optimized: a signed distance and a deformation at the vertices of a tetrahedral grid.

Extraction looks only at a narrow band of tetrahedra. The band is provably enough, so the mesh is always the one that the whole
grid would give, vertex for vertex: a tetrahedron is left out only if all its corners had the same sign when the band was made,
and every extraction first checks that no corner of a left-out tetrahedron has changed its sign since; if one has, the band is
made anew. How wide the band is (`BAND` in steps of the grid) decides only how often that happens. Losses on the field are taken over
the band, so the field that it was made of is part of the state: a surface that is loaded goes on with the band of the one that was saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.isosurface.dmtet import DEFORM_RANGE, NEAREST, TetGrid, connect, cross

BAND = 1.0
"""Half-width of the band in grid steps: tetrahedra whose corners all lie further than this on one side are left out."""


@dataclass(frozen=True)
class _Band:
    """A part of the grid. tets [T, 4] index the grid's vertices, tet_edges [T, 6] the band's edges [E, 2]; columns are contiguous.

    inside bool [Nv] and watched bool [Nv]: the signs when the band was made, and the corners of tetrahedra that are not in it
    vertices [M]: all corners of the band's tetrahedra, ascending
    """

    inside: Tensor
    watched: Tensor
    vertices: Tensor
    tets: Tensor
    tet_edges: Tensor
    edges: Tensor


class Surface(nn.Module):
    """Parameters sdf [Nv] (engine units, negative inside) and deform [Nv, 3] (raw; tanh bounds it) on a TetGrid over [-1, 1]^3."""

    def __init__(self, grid: TetGrid) -> None:
        super().__init__()
        self.grid = grid
        self.sdf = nn.Parameter(torch.ones(len(grid.points), device=grid.points.device))
        self.deform = nn.Parameter(torch.zeros_like(grid.points))
        self.banded: Tensor
        self.register_buffer("banded", self.sdf.detach().clone())  # the field that the band is made of
        self._band: _Band | None = None
        self.refreshes = 0
        self.register_load_state_dict_post_hook(Surface._forget_band)

    @classmethod
    def from_sdf(cls, grid: TetGrid, values: Tensor) -> Surface:
        """Surface whose field is values [Nv], as `engine.sketch.sdf.sketch_sdf` gives them at grid.points. Undeformed."""
        surface = cls(grid)
        with torch.no_grad():
            surface.sdf.copy_(values)
            surface.banded.copy_(values)
        return surface

    def extract(self) -> tuple[Tensor, Tensor]:
        """The zero set: vertices float [V, 3] with gradients to sdf and deform, faces int32 [F, 3], counter-clockwise from outside.

        Closed, because the grid's hull always counts as outside. Empty ([0, 3] and [0, 3]) where the field has one sign.
        """
        inside, band = self._inside(self.sdf), self._whole_band()
        if bool(((inside ^ band.inside) & band.watched).any()):
            self.banded.copy_(self.sdf.detach())
            self._band = None
            band = self._whole_band()
        crossed, faces = connect(inside, band.tets, band.edges, band.tet_edges)
        start, end = band.edges.index_select(0, crossed).unbind(1)
        return cross(self._position(start), self._position(end), self._value(start), self._value(end)), faces

    def band_vertices(self) -> Tensor:
        """int64 [M]: the corners of the tetrahedra around the surface at the last extraction, each once, ascending."""
        return self._whole_band().vertices

    def band_edges(self) -> Tensor:
        """int64 [E, 2]: their edges, each once."""
        return self._whole_band().edges

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
        return _Band(inside, watched, vertices, _by_columns(grid.tets[chosen]), number[tet_edges], _by_columns(edges))


def _by_columns(table: Tensor) -> Tensor:
    """The same [N, C] values with each column contiguous, for fast gathers by column."""
    return table.t().contiguous().t()
