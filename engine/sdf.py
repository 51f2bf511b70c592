"""Signed distance to a messy sketch.

The sign is found for each connected stroke alone, by its winding number (Jacobson et al. 2013; fast evaluation: Barill et al.
2018), and the strokes are united by the minimum of their distances, so that what lies inside another stroke leaves no trace.
Faces that enclose nothing get a shell. Strokes that do not quite meet are joined by a morphological closing of the united field:
out by a radius r, and back in by the distance to the offset surface (Serra 1982); it fills what a ball of radius r cannot enter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from engine.errors import Cancelled, InputError
from engine.mesh import Mesh
from engine.strokes import Stroke, split_strokes

NEAR = 0.1
"""Distances up to this (engine units) are exact to rounding; further out they come from samples of the surface."""

COARSEST_SAMPLES = 0.03
"""Surface samples lie closer than this, engine units."""

CLOSING_STEP = (0.012, 0.03)
"""Finest and coarsest spacing of the lattice on which a closing finds the offset surface; half its radius within these bounds."""


def sketch_sdf(
    mesh: Mesh, points: np.ndarray, thickness: float, closing: float, cancelled: Callable[[], bool] | None = None
) -> np.ndarray:
    """Signed distance of a sketch at any points: float32 [N], negative inside.

    mesh       the sketch in engine space; open, self-intersecting and inside-out strokes are fine, winding is ignored
    points     [N, 3], engine space
    thickness  half the thickness given to ribbons and other faces that enclose nothing, and the least radius of thin tubes
    closing    radius: gaps up to twice as wide are closed; 0 for none
    cancelled  asked between strokes; engine.errors.Cancelled is raised when it says so

    Within NEAR of the surface the gradient has length 1 except at creases; where strokes overlap, the depth inside is that of the
    deepest stroke, which is at most the true one. Raises InputError where no face has an area.
    """
    ask = cancelled or (lambda: False)
    points = np.ascontiguousarray(points, dtype=np.float64)
    strokes = split_strokes(mesh.vertices, mesh.faces)
    if not strokes:
        raise InputError(
            "sketch-empty",
            f"The sketch needs at least one face with an area; none of its {len(mesh.faces)} faces has one.",
            "Check that the object is not scaled to zero and has faces.",
        )
    spacing = min(COARSEST_SAMPLES, closing) if closing > 0 else COARSEST_SAMPLES
    field = _Union.of(strokes, thickness, max(spacing, CLOSING_STEP[0]), ask)
    values, _ = field.distance(points, NEAR + closing)
    if closing > 0:
        values = _closed(field, points, values, closing)
    return values.astype(np.float32)


@dataclass(frozen=True)
class _Part:
    """A stroke with samples of its surface and how far its solid and its sheets are grown outward."""

    stroke: Stroke
    tree: cKDTree
    solid_growth: float
    sheet_growth: float

    def distance(self, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """float64 [N]: exact within reach of the stroke, from samples further inside, infinite elsewhere; and the nearest places
        [N, 3] on the stroke where the distance is finite."""
        import igl

        stroke = self.stroke
        values, nearest = np.full(len(points), np.inf), np.zeros_like(points)
        near = np.flatnonzero(np.isfinite(self.tree.query(points, distance_upper_bound=reach)[0]))
        if len(stroke.solid):
            values[near], nearest[near] = closest(stroke.vertices, stroke.bounding, points[near])
            boxed = np.flatnonzero(((points >= stroke.low) & (points <= stroke.high)).all(axis=1))
            if len(boxed):
                boxed = boxed[np.abs(igl.fast_winding_number(stroke.vertices, stroke.solid, points[boxed])) > 0.5]
            deep = boxed[np.isinf(values[boxed])]
            values[deep], sample = self.tree.query(points[deep])
            nearest[deep] = self.tree.data[sample]
            values[boxed] *= -1
            values -= self.solid_growth
        if len(stroke.sheet):
            bare, place = closest(stroke.vertices, stroke.sheet, points[near])
            better = bare - self.sheet_growth < values[near]
            values[near[better]], nearest[near[better]] = bare[better] - self.sheet_growth, place[better]
        return values, nearest


@dataclass(frozen=True)
class _Union:
    """All strokes together. The tree of samples and their growth serve distances from afar; the samples are within spacing."""

    parts: list[_Part]
    tree: cKDTree
    growth: np.ndarray
    spacing: float
    ask: Callable[[], bool]

    @classmethod
    def of(cls, strokes: list[Stroke], thickness: float, spacing: float, ask: Callable[[], bool]) -> _Union:
        parts, samples, growth = [], [], []
        for stroke in strokes:
            solid_growth = max(0.0, thickness - stroke.radius)
            own = surface_samples(stroke.vertices, np.concatenate([stroke.bounding, stroke.sheet]), spacing)
            parts.append(_Part(stroke, cKDTree(own), solid_growth, thickness))
            samples.append(own)
            growth.append(np.full(len(own), solid_growth if len(stroke.solid) else thickness))
        return cls(parts, cKDTree(np.concatenate(samples)), np.concatenate(growth), spacing, ask)

    def distance(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
        """float64 [N]: signed distance of the union at points [N, 3], exact where it is below `near` and not deep inside; and
        float64 [N, 3]: the nearest places on the strokes."""
        reach = near + float(self.growth.max()) + self.spacing
        values, nearest = np.full(len(points), np.inf), np.zeros_like(points)
        for part in self.parts:
            if self.ask():
                raise Cancelled
            low, high = part.stroke.low - reach, part.stroke.high + reach
            boxed = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
            own, place = part.distance(points[boxed], reach)
            better = own < values[boxed]
            values[boxed[better]], nearest[boxed[better]] = own[better], place[better]
        far = np.isinf(values)
        values[far], nearest[far] = self.afar(points[far])
        return values, nearest

    def afar(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unsigned distance [N] to the grown surface and the nearest places [N, 3], estimated from samples."""
        distance, sample = self.tree.query(points)
        return distance - self.growth[sample], self.tree.data[sample]


def _closed(field: _Union, points: np.ndarray, values: np.ndarray, radius: float) -> np.ndarray:
    """Field [N] at points after a closing by radius: radius less the distance to the surface that lies radius outside.

    That surface is given by samples with normals, so distances to it are exact to second order; where the closing changes less
    than a tenth of the samples' spacing, the exact field is kept.
    """
    step = float(np.clip(radius / 2, *CLOSING_STEP))
    offset, normals = _offset_samples(field, radius, step)
    within = np.flatnonzero(values < radius)
    shortest, sample = cKDTree(offset).query(points[within])
    along = np.einsum("ni,ni->n", offset[sample] - points[within], normals[sample])
    beside = np.minimum(shortest**2 - along**2, (0.7 * step) ** 2)
    shortest = np.sqrt(np.maximum(shortest**2 - np.maximum(beside, 0), 0))
    closed = values.copy()
    closed[within] = np.minimum(values[within], radius - shortest + 0.1 * step)
    return closed


def _offset_samples(field: _Union, level: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """float64 [S, 3] twice: places on the surface field = level, near where the edges of a cubic lattice cross it, and normals."""
    index, origin = _cells_near(field, level, step)
    values = field.distance(origin + index * step, level + 3 * step)[0] - level
    size = index.max(axis=0) + 2
    weights = np.array([size[1] * size[2], size[2], 1])
    key = index @ weights
    order = np.argsort(key)
    key, index, values = key[order], index[order], values[order]
    crossings = []
    for axis in range(3):
        found = np.minimum(np.searchsorted(key, key + weights[axis]), len(key) - 1)
        pair = np.flatnonzero((key[found] == key + weights[axis]) & ((values < 0) != (values[found] < 0)))
        share = values[pair] / (values[pair] - values[found[pair]])
        place = index[pair].astype(np.float64)
        place[:, axis] += share
        crossings.append(origin + place * step)
    places = np.concatenate(crossings)
    values, nearest = field.distance(places, level + 3 * step)
    normals = places - nearest
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return places - normals * (values - level)[:, None], normals


def _cells_near(field: _Union, level: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Lattice points that may be an end of an edge crossing field = level: int64 [N, 3] and the origin, found from coarse to fine."""
    margin = level + float(field.growth.max()) + 2 * step
    low, high = field.tree.mins - margin, field.tree.maxes + margin
    doublings = 3
    cells = np.ceil((high - low) / (step * 2**doublings)).astype(np.int64) + 1
    index = np.stack(np.meshgrid(*[np.arange(count) for count in cells], indexing="ij"), axis=-1).reshape(-1, 3)
    slack = step + field.spacing + float(np.ptp(field.growth))
    for doubling in range(doublings, -1, -1):
        side = 2**doubling
        centres = low + (index * side + (side - 1) / 2) * step
        half_diagonal = np.sqrt(3) / 2 * (side - 1) * step
        index = index[np.abs(field.afar(centres)[0] - level) <= half_diagonal + slack]
        if doubling:
            index = (2 * index[:, None] + _CHILDREN).reshape(-1, 3)
    return index, low


_CHILDREN = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def closest(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact distances [N] of points [N, 3] to triangles, vertices float64 [V, 3], faces int64 [F, 3], and the nearest places [N, 3]."""
    import igl

    if not len(points) or not len(faces):
        return np.full(len(points), np.inf), np.zeros_like(points)
    tree = igl.AABB()
    tree.init(vertices, faces)
    squared, _, places = tree.squared_distance(vertices, faces, np.ascontiguousarray(points))
    return np.sqrt(squared), places


def surface_samples(vertices: np.ndarray, faces: np.ndarray, spacing: float) -> np.ndarray:
    """float64 [S, 3]: middles of the faces after halving longest edges until all are shorter than spacing; every place of the
    surface is within 0.58 * spacing of one."""
    triangles = vertices[faces]
    done = []
    while len(triangles):
        sides = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)
        longest = sides.argmax(axis=1)
        small = sides.max(axis=1) <= spacing
        done.append(triangles[small].mean(axis=1))
        rows, start = np.flatnonzero(~small), longest[~small]
        a, b, c = (triangles[rows, (start + k) % 3] for k in range(3))
        middle = (a + b) / 2
        triangles = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
    return np.concatenate(done)
