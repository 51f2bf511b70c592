"""Holes that a grid cannot hold are closed before they are extracted.

Where a web or a gap is thinner than the grid, its samples see it here and miss it there, and the surface comes out as a sieve. A little
further out, at the level `reach`, such holes are gone. So the solid starts as all vertices below that level and is carved back to
the field's own zero set, vertex by vertex from the outside in, as long as this does not change its topology (simple points; Bertrand
1994; isosurfaces with topology control: Bischoff & Kobbelt 2002). What cannot be carved are membranes across the holes.

On a tetrahedral grid the test is exact: the neighbours of a vertex form a triangulated sphere, its link, and the surface around it is
a disc if and only if those inside and those outside are connected, each, and neither is empty.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from engine.isosurface.dmtet import TetGrid

AXES = [(sign * 2 * (axis == 0), sign * 2 * (axis == 1), sign * 2 * (axis == 2)) for axis in range(3) for sign in (-1, 1)]
DIAGONALS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
NEIGHBOURS = np.array(AXES + DIAGONALS)
"""The 14 neighbours of a vertex of a body-centred cubic grid, in steps of the grid's spacing."""

LEVELS = 12
"""The carving goes in this many layers from `reach` to zero."""

MEMBRANE = 0.3
"""How far inside a vertex of a membrane is set, in steps of the grid."""


def without_small_holes(grid: TetGrid, sdf: Tensor, reach: float) -> Tensor:
    """A field like sdf [Nv], at most as large anywhere, whose zero set has the topology of the level `reach` (engine units) of sdf:
    tunnels up to twice as wide are closed by membranes, cavities filled, everything else stays. The grid's hull counts as outside."""
    values = torch.where(grid.boundary, sdf.abs() + reach, sdf).detach().cpu().numpy()
    inside = values < reach
    candidates = np.flatnonzero(inside & (values >= 0))
    if not len(candidates) or reach <= 0:
        return sdf
    neighbours = _neighbours(grid, candidates)
    colour = _colour(grid, candidates)
    simple = _simple()
    bits = 1 << np.arange(len(NEIGHBOURS))
    for level in np.linspace(1, 0, LEVELS, endpoint=False):
        low = reach * (level - 1 / LEVELS)
        carved = True
        while carved:
            carved = False
            for own in range(4):  # vertices of one colour are no neighbours: they can be judged at once
                chosen = np.flatnonzero((colour == own) & inside[candidates] & (values[candidates] >= low))
                pattern = (inside[neighbours[chosen]] * bits).sum(axis=1)
                gone = candidates[chosen[simple[pattern]]]
                inside[gone] = False
                carved |= len(gone) > 0
    _drop_bridges(candidates, neighbours, inside)
    added = _filled(grid, inside) & (values >= 0)
    result = sdf.clone()
    result[torch.from_numpy(added).to(sdf.device)] = -MEMBRANE * grid.spacing
    return result


def _filled(grid: TetGrid, inside: np.ndarray) -> np.ndarray:
    """inside bool [Nv] with what it encloses: the vertices from which no path outside of it leads to the grid's rim."""
    edges = grid.edges.cpu().numpy()
    edges = edges[~inside[edges].any(axis=1)]
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(len(inside), len(inside)))
    label = connected_components(graph, directed=False)[1]
    open_air = np.zeros(len(inside), dtype=bool)
    open_air[np.unique(label[grid.rim.cpu().numpy()])] = True
    return ~open_air[label]


def _drop_bridges(candidates: np.ndarray, neighbours: np.ndarray, inside: np.ndarray) -> None:
    """Take those parts of what was kept out of inside [Nv] that close no hole: threads between parts that only came near each other.

    The Euler characteristic tells: a membrane over a hole adds one to it, a thread takes one away.
    """
    kept = candidates[inside[candidates]]
    around = neighbours[inside[candidates]]
    own = np.full(len(inside), -1)
    own[kept] = np.arange(len(kept))
    row, column = np.nonzero(own[around] >= 0)
    graph = coo_matrix((np.ones(len(row), dtype=np.int8), (row, own[around[row, column]])), shape=(len(kept), len(kept)))
    label = connected_components(graph, directed=False)[1]
    euler, bits = _link_euler(), 1 << np.arange(len(NEIGHBOURS))
    gain = np.zeros(len(kept), dtype=np.int64)
    for vertex in range(len(kept)):  # one by one: what a vertex adds depends on those that are there
        inside[kept[vertex]] = False
        gain[label[vertex]] += 1 - euler[(inside[around[vertex]] * bits).sum()]
    inside[kept[gain[label] > 0]] = True


def _neighbours(grid: TetGrid, vertices: np.ndarray) -> np.ndarray:
    """int64 [N, 14]: the neighbours of some vertices, none of them on the hull, in the order of NEIGHBOURS."""
    chosen = np.full(len(grid.points), -1)
    chosen[vertices] = np.arange(len(vertices))
    edges, points = grid.edges.cpu().numpy(), grid.points.cpu().numpy()
    edges = np.concatenate([edges, edges[:, ::-1]])
    edges = edges[chosen[edges[:, 0]] >= 0]
    step = np.rint((points[edges[:, 1]] - points[edges[:, 0]]) / grid.spacing).astype(np.int64)
    number = np.zeros((5, 5, 5), dtype=np.int64)
    number[tuple(NEIGHBOURS.T + 2)] = np.arange(len(NEIGHBOURS))
    result = np.empty((len(vertices), len(NEIGHBOURS)), dtype=np.int64)
    result[chosen[edges[:, 0]], number[tuple(step.T + 2)]] = edges[:, 1]
    return result


def _colour(grid: TetGrid, vertices: np.ndarray) -> np.ndarray:
    """int [N] in 0..3: neighbours differ."""
    index = np.rint((grid.points.cpu().numpy()[vertices] + 1) / grid.spacing).astype(np.int64)
    return 2 * (index[:, 0] % 2) + (index // 2).sum(axis=1) % 2


@cache
def _simple() -> np.ndarray:
    """bool [2^14]: for each set of neighbours that are inside (bit k: the k-th), whether the vertex between is a simple point."""
    sets, linked = _sets(), _linked()
    return _connected(sets, linked) & _connected(~sets, linked)


@cache
def _link_euler() -> np.ndarray:
    """int [2^14]: Euler characteristic of the part of the link that each set of neighbours spans."""
    sets, linked = _sets(), _linked()
    pairs = [pair for pair in combinations(range(len(NEIGHBOURS)), 2) if linked[pair]]
    triples = [three for three in combinations(range(len(NEIGHBOURS)), 3) if all(linked[pair] for pair in combinations(three, 2))]
    return (
        sets.sum(axis=1)
        - sum((sets[:, a] & sets[:, b]).astype(int) for a, b in pairs)
        + sum((sets[:, a] & sets[:, b] & sets[:, c]).astype(int) for a, b, c in triples)
    )


def _sets() -> np.ndarray:
    """bool [2^14, 14]: all sets of neighbours."""
    return (np.arange(2 ** len(NEIGHBOURS))[:, None] >> np.arange(len(NEIGHBOURS))) & 1 == 1


def _linked() -> np.ndarray:
    """bool [14, 14]: which neighbours are neighbours of each other."""
    difference = NEIGHBOURS[:, None] - NEIGHBOURS[None]
    return (difference[:, :, None] == NEIGHBOURS).all(axis=3).any(axis=2)


def _connected(sets: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """bool [P]: which of the sets bool [P, N] of a graph's vertices, linked bool [N, N], are connected and not empty."""
    reached = sets & (np.cumsum(sets, axis=1) == 1)
    for _ in range(len(linked)):
        reached |= sets & (reached @ linked)
    return sets.any(axis=1) & (reached == sets).all(axis=1)
