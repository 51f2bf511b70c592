"""Signed distance to a messy sketch.

1. Each connected stroke is taken alone (`engine.sketch.strokes`): inside is where its winding number exceeds 1/2 (Jacobson et al. 2013;
   fast evaluation: Barill et al. 2018), whichever way its faces are wound. The strokes are united by the minimum of their
   distances, so that what lies inside another stroke leaves no trace.
2. Closing by a radius r (Serra 1982): the strokes are offset outward by r, cavities that this seals off are filled, and the result
   is brought back in by the distance to its outer surface. Strokes that nearly meet are joined, and what an artist draws as a
   skin of ribbons becomes the body that it stands for, bounded by the ribbons themselves.
3. Ribbons that bound no such body get a shell, so that they have a thickness at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import label
from scipy.spatial import cKDTree

from engine.errors import Cancelled, InputError
from engine.mesh import Mesh
from engine.sketch.nearest import NearestSamples
from engine.sketch.strokes import Stroke, closest, face_normals, inside, split_strokes, surface_samples

NEAR = 0.1
"""Distances to the strokes up to this (engine units) are exact to rounding; further out they come from samples of the surface."""

SAMPLES = 0.04
"""Every place of the surface is within 0.58 times this of a sample, engine units."""

SHELL_SLOPE = 0.25
"""How fast the shell of a sheet grows with the distance from where it becomes the skin of a body."""

LATTICE_STEP = (0.025, 0.04)
"""Finest and coarsest spacing of the lattice on which a closing finds the offset surface; half the radius within these bounds."""

COVERING = 0.85
"""Places on a plane are within this many lattice steps of where the lattice's edges cross it: sqrt(2 / 3) at worst, for (1, 1, 1)."""


def sketch_sdf(mesh: Mesh, points: np.ndarray, thickness: float, closing: float, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
    """Signed distance of a sketch at any points: float32 [N], negative inside.

    mesh       the sketch in engine space; open, self-intersecting and inside-out strokes are fine, winding is ignored
    points     [N, 3], engine space
    thickness  half the thickness given to ribbons that bound no body, and the least radius of thin tubes
    closing    radius: gaps up to twice as wide (and up to a step of LATTICE_STEP more) are closed, cavities filled; 0 for neither
    cancelled  asked between strokes; engine.errors.Cancelled is raised when it says so

    The gradient near the surface has length 1 except at creases; deep inside overlapping strokes the depth is that of one of them,
    at most the true one. Raises InputError where no face has an area.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    strokes = split_strokes(mesh.vertices, mesh.faces)
    if not strokes:
        raise InputError(
            "sketch_no_area",
            f"The sketch needs at least one face with an area; got {len(mesh.faces)} faces, none of which has one.",
            "Check that the object has faces and is not scaled to zero.",
        )
    ask = cancelled or (lambda: False)
    if closing <= 0:
        return _Field.of(strokes, thickness, None, ask).distance(points, NEAR)[0].astype(np.float32)
    body = _Body.of(_Field.of(strokes, 0.0, None, ask), closing)
    field = _Field.of(strokes, thickness, body, ask)
    return np.minimum(body.distance(points), field.distance(points, NEAR)[0]).astype(np.float32)


@dataclass(frozen=True)
class _Field:
    """Solid strokes, each with its growth (so that none is thinner than the thickness), and all sheets together, with their shell.

    skin     samples of the sheets that bound a body and need no shell; None where there are none
    samples  of all surfaces, with their growth [S], for distances from afar
    """

    solids: list[tuple[Stroke, float]]
    sheet_vertices: np.ndarray
    sheet_faces: np.ndarray
    thickness: float
    skin: cKDTree | None
    samples: NearestSamples
    growth: np.ndarray
    ask: Callable[[], bool]

    @classmethod
    def of(cls, strokes: list[Stroke], thickness: float, body: _Body | None, ask: Callable[[], bool]) -> _Field:
        solids = [(stroke, max(0.0, thickness - stroke.radius)) for stroke in strokes if len(stroke.solid)]
        of_solids = [surface_samples(stroke.vertices, stroke.bounding, SAMPLES)[0] for stroke, _ in solids]
        first = np.cumsum([0] + [len(stroke.vertices) for stroke in strokes])
        vertices = np.concatenate([stroke.vertices for stroke in strokes])
        faces = np.concatenate([stroke.sheet + start for stroke, start in zip(strokes, first, strict=False)])
        of_sheets, face = surface_samples(vertices, faces, SAMPLES)
        skin = None if body is None else _skin(of_sheets, face_normals(vertices, faces)[face], thickness, body)
        samples = NearestSamples(np.concatenate([*of_solids, of_sheets]))
        field = cls(solids, vertices, faces, thickness, skin, samples, np.zeros(0), ask)
        growth = [np.full(len(own), grown) for own, (_, grown) in zip(of_solids, solids, strict=True)]
        return replace(field, growth=np.concatenate([*growth, field.shell(of_sheets)]))

    def shell(self, places: np.ndarray) -> np.ndarray:
        """float64 [N]: half the thickness of the sheets at places [N, 3] on them: none on the skin of a body, growing away from it."""
        if self.skin is None or not len(places):
            return np.full(len(places), self.thickness)
        return np.minimum(self.thickness, self.skin.query(places, distance_upper_bound=self.thickness / SHELL_SLOPE)[0] * SHELL_SLOPE)

    def afar(self, points: np.ndarray, reach: float) -> np.ndarray:
        """float64 [N]: unsigned distance to the grown surface, estimated from samples; poorly beyond reach."""
        distance, sample = self.samples.query(points, reach)
        return distance - self.growth[sample]

    def distance(self, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
        """float64 [N]: signed distance at points [N, 3], exact where it is below `near` and not deep inside; and float64 [N, 3]:
        the nearest places on the strokes."""
        reach = near + float(self.growth.max()) + 0.58 * SAMPLES
        distance, sample = self.samples.query(points, reach)
        values, nearest = distance - self.growth[sample], self.samples.places[sample]
        close = np.flatnonzero(distance < reach)
        best, places = closest(self.sheet_vertices, self.sheet_faces, points[close])
        best -= self.shell(places)
        enclosed = np.zeros(len(points), dtype=bool)
        for stroke, growth in self.solids:
            if self.ask():
                raise Cancelled
            within = inside(stroke, points)
            enclosed |= within
            margin = near + growth
            boxed = np.flatnonzero(((points[close] >= stroke.low - margin) & (points[close] <= stroke.high + margin)).all(axis=1))
            measured, place = closest(stroke.vertices, stroke.bounding, points[close[boxed]])
            own = np.where(within[close[boxed]], -measured, measured) - growth
            better = own < best[boxed]
            best[boxed[better]], places[boxed[better]] = own[better], place[better]
        values = np.where(enclosed, -np.abs(values), values)
        known = np.isfinite(best)
        values[close[known]], nearest[close[known]] = best[known], places[known]
        return values, nearest


def _skin(samples: np.ndarray, normals: np.ndarray, thickness: float, body: _Body) -> cKDTree | None:
    """Those samples [S, 3] of sheets on one side of which the body is deeper than the shell would be; normals [S, 3] of any length."""
    step = normals * (2 * thickness / np.linalg.norm(normals, axis=1, keepdims=True))
    depth = np.minimum(body.distance(samples - step), body.distance(samples + step))
    skin = samples[depth < -thickness]
    return cKDTree(skin) if len(skin) else None


@dataclass(frozen=True)
class _Body:
    """The strokes offset by a radius with all cavities filled, as samples of its outer surface with outward normals.
    radius: by how much the strokes were offset
    outside: bool [A, B, C], which points of the lattice low + step * (i, j, k) can be reached from outside
    """

    samples: NearestSamples
    normals: np.ndarray
    radius: float
    outside: np.ndarray
    low: np.ndarray
    step: float

    @classmethod
    def of(cls, field: _Field, radius: float) -> _Body:
        step = float(np.clip(radius / 2, *LATTICE_STEP))
        low, places, outside = _outer_crossings(field, radius, step)
        values, nearest = field.distance(places, radius + 3 * step)
        normals = places - nearest
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        samples = NearestSamples(places - normals * (values - radius)[:, None])
        return cls(samples, normals, radius, outside, low, step)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """float64 [N]: signed distance to the finished surface, from the nearest sample and its tangent plane: the part of the
        way that runs along the plane, as far as samples can be apart, is not counted."""
        shortest, sample = self.samples.query(points, self.radius + NEAR)
        along = np.einsum("ni,ni->n", self.samples.places[sample] - points, self.normals[sample])
        beside = np.clip(shortest**2 - along**2, 0, (COVERING * self.step) ** 2)
        # next to the offset surface the plane tells the side, further off the lattice does
        within = np.where(shortest < self.step, along > 0, ~self._reachable(points))
        return self.radius + np.where(within, -1, 1) * np.sqrt(np.maximum(shortest**2 - beside, 0))

    def _reachable(self, points: np.ndarray) -> np.ndarray:
        """bool [N]: whether the lattice point nearest to each of points [N, 3] can be reached from outside."""
        index = np.rint((points - self.low) / self.step).astype(np.int64)
        index = np.clip(index, 0, np.array(self.outside.shape) - 1)  # the lattice's border is outside
        return self.outside[tuple(index.T)]


def _outer_crossings(field: _Field, level: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where edges of a cubic lattice cross from what can be reached from outside into field <= level: the lattice's lowest point [3],
    the crossings float64 [S, 3], and which of the lattice's points can be reached, bool [A, B, C]."""
    margin = level + float(field.growth.max()) + 3 * step
    low, high = field.samples.places.min(axis=0) - margin, field.samples.places.max(axis=0) + margin
    coarse = np.ceil((high - low) / (2 * step)).astype(np.int64) + 1
    values = _halved(field.afar(_lattice(low, 2 * step, coarse), level + 6 * step).reshape(coarse)) - level
    # an estimate is off by less than half a coarse cell's diagonal; both ends of an edge that crosses must be exact
    close = np.flatnonzero(np.abs(values) < (1 + np.sqrt(3)) * step)
    index = np.stack(np.unravel_index(close, values.shape), axis=1)
    values.reshape(-1)[close] = field.distance(low + index * step, level + 4 * step)[0] - level
    parts, _ = label(values > 0)
    outside = parts == parts[0, 0, 0]
    crossings = []
    for axis in range(3):
        ahead = np.roll(values, -1, axis=axis)
        crossing = outside != np.roll(outside, -1, axis=axis)
        index = np.argwhere(crossing)
        first, second = values[crossing], ahead[crossing]
        place = index.astype(np.float64)
        place[:, axis] += first / (first - second)
        crossings.append(low + place * step)
    return low, np.concatenate(crossings), outside


def _lattice(low: np.ndarray, step: float, count: np.ndarray) -> np.ndarray:
    """float64 [count.prod(), 3]: the points of a cubic lattice, x slowest."""
    return low + np.stack(np.meshgrid(*[np.arange(n) * step for n in count], indexing="ij"), axis=-1).reshape(-1, 3)


def _halved(values: np.ndarray) -> np.ndarray:
    """A lattice's values [A, B, C] on the lattice of half the step [2A - 1, 2B - 1, 2C - 1], by linear interpolation."""
    for axis in range(3):
        values = np.moveaxis(values, axis, 0)
        finer = np.empty((2 * len(values) - 1, *values.shape[1:]))
        finer[::2], finer[1::2] = values, (values[1:] + values[:-1]) / 2
        values = np.moveaxis(finer, 0, axis)
    return np.ascontiguousarray(values)
