"""The rims of ribbons, moved inwards, so that a shell of the thickness around what is left ends where the ribbon was drawn.

A shell is everything within the thickness of a sheet, so around a whole ribbon it would be wider than the ribbon by twice the
thickness, and boards with gaps between them would become one. A ribbon narrower than its shell is thick keeps its middle line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from engine.sketch.strokes import Stroke

OPPOSITE = -0.5
"""Two places on a rim bound a narrow ribbon where their inward directions' cosine is below this; next to a corner of 60 degrees or more
it is larger."""

INSET = 0.97
"""By what share of the way a rim moves: whole triangles would lose their area where a ribbon is narrow."""

SHARPEST = 2.0
"""A corner moves by no more than this many times the way of its sides: as one of 60 degrees does."""

SHRINKINGS = 3
"""Rounds of shrinking a ball in a ribbon's plane until it fits between its rims (Ma, Bae & Choi 2012)."""

APART = 8.0
"""Engine units in a fourth dimension that keep the rims of different strokes apart; more than the working volume is wide."""


@dataclass(frozen=True)
class Rims:
    """Edges of sheets that bound one face only: of E edges, from start to end.

    stroke  int64 [E], places start, end float64 [E, 3]; inward float64 [E, 3], unit, in the face, away from the edge
    first, second  float64 [E, 3]: by how much the edge's ends move
    width   float64 [E, 2]: how far the rim moves inwards at the edge's ends
    """

    stroke: np.ndarray
    start: np.ndarray
    end: np.ndarray
    inward: np.ndarray
    first: np.ndarray
    second: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, strokes: list[Stroke], thickness: float, gap: float) -> Rims | None:
        """Those of the strokes that bound no volume; None where there is none. A rim stays where other strokes' rims are within `gap` of
        it on its outer side: what was drawn edge to edge is one sheet."""
        flat = [index for index, stroke in enumerate(strokes) if not len(stroke.solid)]
        if not flat:
            return None
        vertices = np.concatenate([strokes[index].vertices for index in flat])
        first = np.cumsum([0] + [len(strokes[index].vertices) for index in flat])
        faces = np.concatenate([strokes[index].sheet + begin for index, begin in zip(flat, first, strict=False)])
        of_vertex = np.repeat(flat, np.diff(first))
        corners = faces[:, [0, 1, 2, 1, 2, 0, 2, 0, 1]].reshape(-1, 3)  # each edge, and the corner across
        _, edge, count = np.unique(np.sort(corners[:, :2], axis=1), axis=0, return_index=True, return_counts=True)
        rim = corners[edge[count == 1]]
        if not len(rim):
            return None
        start, end, across = (vertices[column] for column in rim.T)
        along = _unit(end - start)
        inward = across - start
        inward = _unit(inward - np.einsum("ei,ei->e", inward, along)[:, None] * along)
        stroke = of_vertex[rim[:, 0]]
        width = _widths(stroke, start, end, inward, thickness)
        width *= ~_adjoined(stroke, start, end, inward, thickness, gap)[:, None]
        moves = _corner_moves(rim[:, :2], inward, width, len(vertices))
        return cls(stroke, start, end, inward, moves[rim[:, 0]], moves[rim[:, 1]], width)

    def moves(self, corners: np.ndarray, stroke: np.ndarray, thickness: float) -> np.ndarray:
        """float64 [N, 3]: by how much places [N, 3] on sheets of the strokes int64 [N] move with a rim: those nearer to it than it moves
        end up where it comes to lie."""
        places, edge = _along(self.start, self.end, thickness / 2)
        reach = 1.05 * SHARPEST * thickness
        near, sample = KDTree(_apart(places, self.stroke[edge])).query(_apart(corners, stroke), distance_upper_bound=reach)
        some = np.flatnonzero(np.isfinite(near))
        own = edge[sample[some]]  # pyright: ignore[reportIndexIssue]
        start, way = self.start[own], self.end[own] - self.start[own]
        share = np.einsum("ni,ni->n", corners[some] - start, way) / np.maximum(np.einsum("ni,ni->n", way, way), 1e-30)
        share = share.clip(0, 1)[:, None]
        depth = np.linalg.norm(corners[some] - start - share * way, axis=1)
        width = ((1 - share) * self.width[own, :1] + share * self.width[own, 1:])[:, 0]
        left = np.maximum(0, 1 - depth / np.maximum(width, 1e-30))[:, None]
        result = np.zeros_like(corners)
        result[some] = INSET * left * ((1 - share) * self.first[own] + share * self.second[own])
        return result


def _widths(stroke: np.ndarray, start: np.ndarray, end: np.ndarray, inward: np.ndarray, thickness: float) -> np.ndarray:
    """float64 [E, 2]: the thickness, or half the ribbon's width where that is less, near both ends of each edge."""
    places, edge = _along(start, end, thickness / 4)
    tree = KDTree(_apart(places, stroke[edge]))
    result = np.empty((len(start), 2))
    for side, share in enumerate((0.02, 0.98)):
        at = start + share * (end - start)
        radius = np.full(len(at), thickness)
        active = np.arange(len(at))
        for _ in range(SHRINKINGS):
            middle = at[active] + radius[active, None] * inward[active]
            distance, sample = tree.query(_apart(middle, stroke[active]), distance_upper_bound=thickness)
            touched = edge[np.minimum(sample, len(edge) - 1)]
            facing = np.einsum("ei,ei->e", inward[active], inward[touched]) < OPPOSITE
            smaller = np.isfinite(distance) & (distance < 0.95 * radius[active]) & facing
            active, sample = active[smaller], sample[smaller]  # pyright: ignore[reportIndexIssue]
            if not len(active):
                break
            way = places[sample] - at[active]
            along = np.maximum(np.einsum("ei,ei->e", way, inward[active]), 1e-9)
            radius[active] = np.minimum(np.einsum("ei,ei->e", way, way) / (2 * along), radius[active])
        result[:, side] = radius
    return result


def _adjoined(stroke: np.ndarray, start: np.ndarray, end: np.ndarray, inward: np.ndarray, thickness: float, gap: float) -> np.ndarray:
    """bool [E]: beside which edges another rim runs that faces them: no further than gap away, or another stroke's that overlaps by less
    than the thickness."""
    places, edge = _along(start, end, min(thickness, gap) / 2)
    tree, middle = KDTree(places), (start + end) / 2
    result = np.zeros(len(start), dtype=bool)
    for reach, others_only in ((gap / 2, False), (-thickness / 2, True)):
        distance, sample = tree.query(middle - reach * inward, k=min(4, len(places)), distance_upper_bound=1.05 * abs(reach))
        sample = sample.reshape(len(middle), -1)
        found = edge[np.minimum(sample, len(edge) - 1)]
        facing = np.einsum("ei,eki->ek", inward, inward[found]) < OPPOSITE
        facing &= np.isfinite(distance).reshape(facing.shape) & (found != np.arange(len(middle))[:, None])
        if others_only:
            facing &= stroke[found] != stroke[:, None]
        result |= facing.any(axis=1)
    return result


def _corner_moves(rim: np.ndarray, inward: np.ndarray, width: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, 3]: by how much each vertex moves: so that both rim edges that meet there, rim [E, 2], move by their widths."""
    vertex, order = np.sort(rim.T.reshape(-1), kind="stable"), np.argsort(rim.T.reshape(-1), kind="stable")
    ways, widths = np.tile(inward, (2, 1))[order], width.T.reshape(-1)[order]
    result, met = np.zeros((count, 3)), np.bincount(vertex, minlength=count)
    np.add.at(result, vertex, widths[:, None] * ways)
    result /= np.maximum(met, 1)[:, None]
    begin = np.concatenate([[0], np.cumsum(met)[:-1]])
    pairs = np.flatnonzero(met == 2)
    one, other = begin[pairs], begin[pairs] + 1
    cosine = np.einsum("ni,ni->n", ways[one], ways[other])
    bent = np.abs(cosine) < 0.98
    pairs, one, other, cosine = pairs[bent], one[bent], other[bent], cosine[bent]
    scale = 1 / (1 - cosine**2)
    by_one, by_other = (widths[one] - cosine * widths[other]) * scale, (widths[other] - cosine * widths[one]) * scale
    move = by_one[:, None] * ways[one] + by_other[:, None] * ways[other]
    longest = SHARPEST * np.maximum(widths[one], widths[other])
    length = np.maximum(np.linalg.norm(move, axis=1), 1e-30)
    result[pairs] = move * np.minimum(1, longest / length)[:, None]
    return result


def _along(start: np.ndarray, end: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Places float64 [S, 3] along edges, none of them further from the next than spacing, and each one's edge int64 [S]."""
    count = np.ceil(np.linalg.norm(end - start, axis=1) / spacing).astype(np.int64) + 1
    edge = np.repeat(np.arange(len(start)), count)
    number = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = (number / np.maximum(count[edge] - 1, 1))[:, None]
    return start[edge] + share * (end[edge] - start[edge]), edge


def _apart(places: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """float64 [N, 4]: places [N, 3] of different strokes far from each other."""
    return np.concatenate([places, APART * stroke[:, None]], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
