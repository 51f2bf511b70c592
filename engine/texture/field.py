"""The colour field: albedo as a function of position, a sum of dense grids from coarse to fine.

A multi-resolution grid without hashing (after Mueller et al. 2022, instant neural graphics primitives, with the
features being the colours themselves): coarse levels take up what many views agree on within a few steps, fine levels
add detail. Evaluated only where a pixel shows the surface, so its cost follows the pixels, not the volume.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.mesh import Mesh
from engine.surface_samples import sample_surface

COARSEST = 8
GREY = 0.6
"""sRGB of a place whose colour nobody chose."""
DARKEST = 0.02
"""Colours are held inside DARKEST..1 - DARKEST when a field is initialized, so that the sigmoid keeps a gradient."""


class ColourField(nn.Module):
    """sRGB-encoded albedo over [-1, 1]^3: sigmoid of a sum of trilinear grids with 8, 16, 32 ... `resolution` vertices a side.

    resolution   vertices along each axis of the finest level, at least 2; levels double from COARSEST while below it
    generator    seeds nothing unless noise > 0: standard deviation of the initial values before the sigmoid
    """

    def __init__(self, resolution: int, *, noise: float = 0.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if resolution < 2:
            raise ValueError(f"A colour field needs at least 2 vertices a side, got {resolution}.")
        sizes = [COARSEST * 2**level for level in range(16) if COARSEST * 2**level < resolution] + [resolution]
        self.grids = nn.ParameterList(nn.Parameter(_start(size, noise, generator)) for size in sizes)

    @property
    def resolution(self) -> int:
        """Vertices along each axis of the finest level."""
        return self.grids[-1].shape[0]

    def forward(self, points: Tensor) -> Tensor:
        """points [N, 3] in engine space (outside of [-1, 1] the border's colour) -> sRGB-encoded [N, 3] in 0..1.

        Gradients always reach the grids; they reach the points too where `points.requires_grad` (slower on the CPU).
        """
        return self.raw(points).sigmoid()

    def raw(self, points: Tensor) -> Tensor:
        """The sum of the levels before the sigmoid, [N, 3]."""
        grids = list(self.grids)
        if _has_kernels(points.device) and points.dtype == torch.float32 and not points.requires_grad and grids[0].dtype == torch.float32:
            from engine.texture.field_kernels import SampleGrids

            return SampleGrids.apply(points, *grids)
        return sample_grids(points, grids)

    def parameter_groups(self, base_rate: float) -> list[dict[str, Any]]:
        """Optimizer groups, one a level: the coarsest learns at `base_rate`, each finer one at 0.84 times the last.

        Adam moves every parameter by about its rate whatever the gradient's size, and a fine cell sees few of a step's
        pixels: unscaled, its noise would be painted as strongly as what all views agree on.
        """
        return [{"params": [grid], "lr": base_rate * 2 ** (-level / 4)} for level, grid in enumerate(self.grids)]

    @torch.no_grad()
    def initialize(self, points: np.ndarray | Tensor, colours: np.ndarray | Tensor) -> None:
        """Give every place the colour of the nearest of `points` [N, 3] (engine space), colours [N, 3] sRGB-encoded 0..1, NaN for grey.

        For a mesh take `engine.texture.artist.painted_points`. Every grid vertex is covered, however far from any point (there more
        coarsely); borders between colours are softened over about one cell. Coarse levels hold the smooth part, the finest one the
        rest, so that their sum is the target at its vertices.
        """
        places, values = _as_array(points), _as_array(colours)
        if len(places) == 0 or places.shape != values.shape:
            raise ValueError(f"Expected as many points as colours, at least one; got {places.shape} and {values.shape}.")
        values = np.where(np.isfinite(values), values, np.float32(GREY))
        target = _smooth(_nearest_colours(self.resolution, places, values))
        target = torch.logit(target.clamp(DARKEST, 1 - DARKEST))
        rest = target
        for grid in self.grids:
            size = grid.shape[0]
            part = rest if size == self.resolution else _resize(_smooth(_resize(rest, 2 * size)), size)
            grid.copy_(part[0].permute(1, 2, 3, 0).to(grid))
            rest = rest - _resize(part, self.resolution)


def _has_kernels(device: torch.device) -> bool:
    """Whether Warp runs there."""
    if device.type == "cpu":
        return True
    from engine.render.warp_backend import why_unavailable

    return why_unavailable(device) is None


def surface_samples(mesh: Mesh, count: int = 40_000) -> tuple[np.ndarray, np.ndarray | None]:
    """Points float32 [N, 3] spread evenly by area over a mesh, after its own vertices, and their colours (None where it has none).

    The vertices alone would leave out the middle of every long stroke.
    """
    face, weights = sample_surface(mesh.corner_vertices(), count)
    if len(face) == 0:
        return mesh.vertices, mesh.colours
    points = np.einsum("nk,nkd->nd", weights, mesh.corner_vertices()[face].astype(np.float64)).astype(np.float32)
    colours = None
    if mesh.colours is not None:
        colours = np.einsum("nk,nkd->nd", weights, mesh.colours[mesh.faces[face]]).astype(np.float32)
        colours = np.concatenate([mesh.colours, colours])
    return np.concatenate([mesh.vertices, points]), colours


def sample_grids(points: Tensor, grids: list[Tensor]) -> Tensor:
    """Sum of trilinear samples of grids [R, R, R, 3] (indexed x, y, z) at points [N, 3] in -1..1 -> [N, 3].

    The reference: any device and dtype, differentiable in points and grids.
    """
    where = points.flip(-1).view(1, 1, 1, -1, 3)  # grid_sample's last axis indexes the innermost dimension first
    total = torch.zeros_like(points)
    for grid in grids:
        volume = grid.permute(3, 0, 1, 2).unsqueeze(0)
        sampled = F.grid_sample(volume, where, mode="bilinear", padding_mode="border", align_corners=True)
        total = total + sampled.view(3, -1).T
    return total


def _start(size: int, noise: float, generator: torch.Generator | None) -> Tensor:
    if noise <= 0:
        return torch.zeros(size, size, size, 3)
    return noise * torch.randn(size, size, size, 3, generator=generator)


def _as_array(values: np.ndarray | Tensor) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return np.ascontiguousarray(array, dtype=np.float32)


def _nearest_colours(resolution: int, points: np.ndarray, colours: np.ndarray, everywhere: int = 32) -> Tensor:
    """[1, 3, R, R, R]: nearest colour at every vertex up to `everywhere` a side; above it only near the points, the rest coarser."""
    from scipy.spatial import KDTree

    tree = KDTree(points)
    base = min(resolution, everywhere)
    nearest = tree.query(_vertices(np.arange(base**3), base))[1]
    volume = torch.from_numpy(colours[nearest]).view(base, base, base, 3).permute(3, 0, 1, 2).unsqueeze(0)
    if base == resolution:
        return volume
    volume = _resize(volume, resolution)
    cells = np.clip(np.rint((points + 1) / 2 * (resolution - 1)), 0, resolution - 1).astype(np.int64)
    occupied = torch.zeros(1, 1, resolution, resolution, resolution)
    occupied[0, 0, cells[:, 0], cells[:, 1], cells[:, 2]] = 1
    near = np.flatnonzero(F.max_pool3d(occupied, 5, stride=1, padding=2).numpy())
    fine = torch.from_numpy(colours[tree.query(_vertices(near, resolution))[1]])
    volume.view(3, -1)[:, torch.from_numpy(near)] = fine.T
    return volume


def _vertices(indices: np.ndarray, resolution: int) -> np.ndarray:
    """Positions in -1..1 of flat vertex indices (x slowest)."""
    axes = np.stack(np.unravel_index(indices, (resolution,) * 3), axis=-1)
    return (axes / (resolution - 1) * 2 - 1).astype(np.float32)


def _smooth(volume: Tensor) -> Tensor:
    """[1, C, R, R, R] blurred by the binomial filter 1 2 1 along each axis, borders repeated."""
    for axis in (2, 3, 4):
        padded = torch.cat([volume.narrow(axis, 0, 1), volume, volume.narrow(axis, volume.shape[axis] - 1, 1)], dim=axis)
        size = volume.shape[axis]
        volume = (padded.narrow(axis, 0, size) + 2 * volume + padded.narrow(axis, 2, size)) / 4
    return volume


def _resize(volume: Tensor, size: int) -> Tensor:
    """[1, C, R, R, R] -> [1, C, size, size, size], trilinear, first and last vertices staying where they are."""
    return F.interpolate(volume, size=(size,) * 3, mode="trilinear", align_corners=True)
