"""How far a field may move: what the sketch filled stays filled.

Everywhere the signed distance may change by `reach`. But where the solid is thin it may not be pushed out so far that its middle
would be lost: the largest ball inside it that contains a place (its local thickness; Hildebrand & Rüegsegger 1997) keeps a core of one
grid step, which the grid holds.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from engine.isosurface.dmtet import TetGrid

CORE = 1.25
"""Radius of the core that is kept, in steps of the grid: a sheet with a half-thickness of more than one is never torn."""

BETWEEN = 0.75
"""A ball's true middle may lie this far, in steps of the grid, from the vertex that stands for it."""

LEVELS = 5
"""Thicknesses between the core's and the core's plus the reach that are told apart."""


def field_bounds(grid: TetGrid, sdf: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Least and largest values [Nv] of a field that started as sdf [Nv] and may move by `reach` (engine units).

    Where the solid is no thicker than the core nothing may become smaller: the upper bound is the field itself.
    """
    core = CORE * grid.spacing
    room = torch.from_numpy(local_thickness(grid, sdf, np.linspace(core, core + reach, LEVELS))).to(sdf) - core
    return sdf - reach, sdf + torch.where(sdf < 0, room.clamp(0, reach), torch.full_like(sdf, reach))


def local_thickness(grid: TetGrid, sdf: Tensor, levels: np.ndarray) -> np.ndarray:
    """float32 [Nv]: radius of the largest ball inside the solid (sdf [Nv] < 0) that contains each vertex and is centred on one: the
    highest of the levels, ascending, that it reaches; 0 where it reaches none, and outside."""
    depth, points = -sdf.detach().cpu().numpy(), grid.points.cpu().numpy()
    thickness = np.zeros(len(depth), dtype=np.float32)
    inside = np.flatnonzero(depth > 0)
    for level in levels:
        deep = inside[depth[inside] >= level]
        if not len(deep):
            break
        # a deeper ball contains the balls of this size, and their centres lie one edge of the grid further out at most
        centres = deep[depth[deep] <= level + 2.1 * grid.spacing]
        others = inside[depth[inside] < level]
        within = level + BETWEEN * grid.spacing
        near = np.isfinite(KDTree(points[centres]).query(points[others], distance_upper_bound=within)[0])
        inside = np.concatenate([deep, others[near]])
        thickness[inside] = level
    return thickness
