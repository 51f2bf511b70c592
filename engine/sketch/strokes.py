"""What a sketch is made of: its connected strokes, each oriented, and what each one encloses.

A sketch from a VR brush is a pile of tubes and ribbons: open, crossing themselves and each other, some inside out, some drawn
with both sides. No rule for the whole mesh gives a sensible inside; each stroke taken alone does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.reporting import OnStep, unwatched
from engine.sketch.together import SMALL, windings
from engine.sketch.triangles import Triangles

SHEET_BELOW = 0.7
"""A stroke is a sheet, not a solid, where its winding number just under the surface is below this on average: 1 for closed
surfaces and long open tubes, 3/4 for half a tube, 1/2 for a flat ribbon."""

FEW = 4000
"""A stroke of more faces is judged by the middles of its faces, and whether it encloses anything by some of them."""

WORK = 1_000_000
"""Small strokes are judged together until the squares of their numbers of faces come to this: a fraction of a second."""


@dataclass(frozen=True)
class Stroke:
    """One connected stroke, oriented coherently, with its open ends closed where it encloses a volume. Index arrays are int64.

    vertices  float64 [V, 3]
    solid     [F, 3]: all faces including the caps of open ends, to tell inside by |winding number| > 1/2; empty for a sheet
    bounding  [F', 3]: those of them that lie on the volume's surface, to measure distance to
    sheet     [F", 3]: the faces that bound no volume and so need a shell; all of them where the stroke is a sheet
    radius    twice the volume over the area: the radius of a tube, half the thickness of a slab; 0 for a sheet
    closed    whether it was drawn so: a solid without open ends
    """

    vertices: np.ndarray
    solid: np.ndarray
    bounding: np.ndarray
    sheet: np.ndarray
    radius: float
    closed: bool

    @cached_property
    def surface(self) -> Triangles:
        """The bounding faces, to measure distances to."""
        return Triangles(self.vertices, self.bounding)

    @cached_property
    def grown(self) -> dict[float, float]:
        """What `engine.sketch.thin.growth` found, by thickness."""
        return {}

    @property
    def low(self) -> np.ndarray:
        """float64 [3]: lower corner of the bounding box."""
        return self.vertices.min(axis=0)

    @property
    def high(self) -> np.ndarray:
        """float64 [3]: upper corner of the bounding box."""
        return self.vertices.max(axis=0)


def counted(things: Sequence[Any], on_step: OnStep) -> Iterator[Any]:
    """The things one by one; on_step hears of each before it comes."""
    for done, thing in enumerate(things):
        on_step(done, len(things))
        yield thing


def split_strokes(vertices: np.ndarray, faces: np.ndarray, on_step: OnStep = unwatched) -> list[Stroke]:
    """Strokes of a triangle soup: vertices [V, 3], faces int [F, 3]. Vertices at the same place are one; faces drawn twice or with
    both sides count once; faces without area are left out. The result does not depend on any face's winding.

    on_step  hears of every stroke; what it raises (Cancelled) ends this
    """
    points, welded = np.unique(np.asarray(vertices, dtype=np.float64) + 0.0, axis=0, return_inverse=True)
    faces = canonical_faces(points, welded.reshape(-1)[np.asarray(faces, dtype=np.int64)])
    if not len(faces):
        return []
    label = face_components(faces)
    faces, count = faces[np.argsort(label, kind="stable")], np.bincount(label)
    first = np.cumsum(count) - count
    strokes: dict[int, Stroke] = {}
    for some in _portions(count):
        on_step(len(strokes), len(count))
        owner = np.repeat(np.arange(len(some)), count[some])
        number = np.arange(len(owner)) - np.repeat(np.cumsum(count[some]) - count[some], count[some])
        strokes.update(zip(some.tolist(), _judged(Pile.of(points, faces[first[some][owner] + number], owner)), strict=True))
    return [strokes[number] for number in range(len(count))]


def _portions(count: np.ndarray) -> list[np.ndarray]:
    """Strokes of so many faces each, int64 [S], in portions: of small ones as many as cost about WORK, larger ones alone."""
    small, large = np.flatnonzero(count <= SMALL), np.flatnonzero(count > SMALL)
    together = np.split(small, np.flatnonzero(np.diff(np.cumsum(count[small] ** 2) // WORK)) + 1)
    return [some for some in (*together, *large[:, None]) if len(some)]


def canonical_faces(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces int64 [F, 3] with area, each once, corners ascending: what is left of a face when its winding is forgotten."""
    faces = np.unique(np.sort(faces, axis=1), axis=0)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])]
    return faces[face_areas(points, faces) > 0]


def face_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """float64 [F, 3]: normals, twice as long as the face is large."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    return np.cross(b - a, c - a)


def face_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """float64 [F]."""
    return np.linalg.norm(face_normals(points, faces), axis=1) / 2


def face_components(faces: np.ndarray) -> np.ndarray:
    """int [F]: the connected component of each face; faces are connected by shared edges, in the order of their first faces."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    count = len(faces)
    face = np.repeat(np.arange(count), 3)
    size = count + int(edge.max()) + 1
    graph = coo_matrix((np.ones(len(face), dtype=np.int8), (face, count + edge.reshape(-1))), shape=(size, size))
    label = connected_components(graph, directed=False)[1][:count]
    _, first, own = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[own.reshape(-1)]


@dataclass(frozen=True)
class Pile:
    """S strokes as one: vertices float64 [V, 3] of the strokes int64 [V], faces int64 [F, 3] of the strokes owner int64 [F], both
    ascending. No vertex belongs to two strokes, and no face to two."""

    vertices: np.ndarray
    of_vertex: np.ndarray
    faces: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, faces: np.ndarray, owner: np.ndarray) -> Pile:
        """Of faces that share points [V, 3], each of which becomes one of every stroke that touches it."""
        used, own = np.unique(owner[:, None] * len(points) + faces, return_inverse=True)
        return cls(points[used % len(points)], used // len(points), own.reshape(-1, 3), owner)

    @property
    def count(self) -> int:
        """Of the strokes."""
        return int(self.of_vertex[-1]) + 1

    def winding(self, some: np.ndarray, corners: bool) -> np.ndarray:
        """float64 [2, P, N]: absolute winding numbers of the strokes at the places `_both_sides` of some of their own faces int64 [N]."""
        import igl

        places = _both_sides(self.vertices, self.faces[some], corners)
        if self.count == 1 and len(self.faces) > SMALL:
            turns = np.asarray(igl.fast_winding_number(self.vertices, self.faces, places))
        else:
            first = np.searchsorted(self.owner, np.arange(self.count + 1))
            turns = windings(self.vertices, self.faces, first, places, np.resize(self.owner[some], len(places)))
        return np.abs(turns).reshape(2, -1, len(some))

    def summed(self, weights: np.ndarray, some: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float64 [S]: the sums of what some faces have, by stroke."""
        return np.bincount(self.owner[some], weights=weights, minlength=self.count)


def _judged(pile: Pile) -> list[Stroke]:
    """The strokes of a pile, which holds either one, or small ones alone."""
    import igl

    faces, patch = map(np.asarray, igl.bfs_orient(pile.faces))
    pile = replace(pile, faces=_outward(pile.vertices, faces, patch))
    area = face_areas(pile.vertices, pile.faces)
    solid = _enclosing(pile, area)
    whole, drawn = _capped(pile, solid)
    buried, bare = _buried_and_bare(whole, solid)
    radius = 2 * _volumes(whole) / pile.summed(area)
    open_ends = whole.summed(~drawn)
    strokes, nothing = [], np.zeros((0, 3), dtype=np.int64)
    for number, (corners, own) in enumerate(zip(_runs(whole.of_vertex, whole.count), _runs(whole.owner, whole.count), strict=True)):
        vertices, faces = whole.vertices[corners], whole.faces[own] - corners.start
        if solid[number]:
            parts = faces, faces[~buried[own]], faces[(bare & drawn)[own]], float(radius[number]), not open_ends[number]
        else:
            parts = nothing, nothing, faces, 0.0, False
        strokes.append(Stroke(vertices, *parts))
    return strokes


def _buried_and_bare(whole: Pile, solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two times bool [F]: which faces of the solid strokes bool [S] have the volume on both sides all over, and which on neither side
    somewhere."""
    buried, bare = np.zeros((2, len(whole.faces)), dtype=bool)
    some = np.flatnonzero(solid[whole.owner])
    if len(some):
        within = whole.winding(some, corners=len(whole.faces) < FEW or whole.count > 1) > 0.5
        buried[some], bare[some] = within.all(axis=(0, 1)), ~within.any(axis=0).all(axis=0)
    return buried, bare


def _runs(owner: np.ndarray, count: int) -> list[slice]:
    """Where in ascending numbers int64 [N] each of the first `count` is."""
    return [slice(start, stop) for start, stop in pairwise(np.searchsorted(owner, np.arange(count + 1)).tolist())]


def _enclosing(pile: Pile, area: np.ndarray) -> np.ndarray:
    """bool [S]: which strokes enclose a volume, by the winding number on the deeper side of their faces, of areas float64 [F]."""
    count = np.bincount(pile.owner)
    number = np.arange(len(pile.owner)) - (np.cumsum(count) - count)[pile.owner]
    some = np.flatnonzero(number % (1 + count // FEW)[pile.owner] == 0)
    depth = np.minimum(pile.winding(some, corners=False).max(axis=(0, 1)), 1)
    return pile.summed(depth * area[some], some) / pile.summed(area[some], some) >= SHEET_BELOW


def _both_sides(vertices: np.ndarray, faces: np.ndarray, corners: bool) -> np.ndarray:
    """float64 [2 * P * F, 3]: the middle of each face (P = 1), or that and places near its corners (P = 4), a thousandth of the face's
    size under it, then the same over it."""
    triangles = vertices[faces]
    places = triangles.mean(axis=1, keepdims=True)
    if corners:
        places = np.concatenate([places, places + 0.8 * (triangles - places)], axis=1)
    places = places.transpose(1, 0, 2)
    normals = face_normals(vertices, faces)
    length = np.maximum(np.linalg.norm(normals, axis=1), np.finfo(np.float64).tiny)
    step = normals * (1e-3 / np.sqrt(length))[:, None]
    return np.stack([places - step, places + step]).reshape(-1, 3)


def _outward(vertices: np.ndarray, faces: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Flips the patches whose volume, seen from their own centre, is negative."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    size = np.bincount(patch)
    centre = np.stack([np.bincount(patch, weights=axis) for axis in (a + b + c).T], axis=1) / (3 * size[:, None])
    origin = centre[patch]
    volume = np.bincount(patch, weights=np.einsum("fi,fi->f", np.cross(a - origin, b - origin), c - origin))
    flip = volume[patch] < 0
    faces = faces.copy()
    faces[flip] = faces[flip][:, [0, 2, 1]]
    return faces


def _capped(pile: Pile, solid: np.ndarray) -> tuple[Pile, np.ndarray]:
    """The pile with fans that close each connected rim of the strokes bool [S] around its middle: after each stroke's own vertices come the
    middles, after its own faces the fans'; and bool [F + C], which faces were drawn."""
    size = len(pile.vertices)
    directed = pile.faces[solid[pile.owner]][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    low, high = np.sort(directed, axis=1).T
    _, first, count = np.unique(low * size + high, return_index=True, return_counts=True)
    rim = directed[first[count == 1]]
    if not len(rim):
        return pile, np.ones(len(pile.faces), dtype=bool)
    graph = coo_matrix((np.ones(len(rim), dtype=np.int8), (rim[:, 0], rim[:, 1])), shape=(size, size))
    _, begin, loop = np.unique(connected_components(graph, directed=False)[1][rim[:, 0]], return_index=True, return_inverse=True)
    middles = np.stack([np.bincount(loop, weights=axis) for axis in pile.vertices[rim[:, 0]].T], axis=1) / np.bincount(loop)[:, None]
    caps = np.stack([rim[:, 1], rim[:, 0], size + loop], axis=1)
    of_vertex = np.concatenate([pile.of_vertex, pile.of_vertex[rim[begin, 0]]])
    owner = np.concatenate([pile.owner, pile.of_vertex[rim[:, 0]]])
    ahead, order = np.argsort(of_vertex, kind="stable"), np.argsort(owner, kind="stable")
    place = np.empty_like(ahead)
    place[ahead] = np.arange(len(ahead))
    faces = place[np.concatenate([pile.faces, caps])[order]]
    return Pile(np.concatenate([pile.vertices, middles])[ahead], of_vertex[ahead], faces, owner[order]), order < len(pile.faces)


def _volumes(pile: Pile) -> np.ndarray:
    """float64 [S]: of strokes that are closed and oriented coherently."""
    count = np.bincount(pile.of_vertex)
    middle = np.stack([np.bincount(pile.of_vertex, weights=axis) for axis in pile.vertices.T], axis=1) / count[:, None]
    a, b, c = (pile.vertices[pile.faces] - middle[pile.owner, None]).transpose(1, 0, 2)
    return np.abs(pile.summed(np.einsum("fi,fi->f", np.cross(a, b), c))) / 6


def inside(stroke: Stroke, points: np.ndarray) -> np.ndarray:
    """bool [N]: which of points [N, 3] the stroke encloses."""
    import igl

    result = np.zeros(len(points), dtype=bool)
    boxed = np.flatnonzero(((points >= stroke.low) & (points <= stroke.high)).all(axis=1))
    if len(stroke.solid) and len(boxed):
        result[boxed] = np.abs(igl.fast_winding_number(stroke.vertices, stroke.solid, points[boxed])) > 0.5
    return result


def surface_samples(vertices: np.ndarray, faces: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the `subdivided` triangles float64 [S, 3], and each one's face int64 [S]: every place of the surface is within
    0.58 * spacing of a sample of its own face."""
    triangles, source = subdivided(vertices, faces, spacing)
    return triangles.mean(axis=1), source


def subdivided(vertices: np.ndarray, faces: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """The faces' triangles after halving longest edges until all are at most spacing long: float64 [T, 3, 3] with the faces' winding,
    and each one's face int64 [T]."""
    triangles, source = vertices[faces], np.arange(len(faces))
    done, sources = [np.zeros((0, 3, 3))], [source[:0]]
    while len(triangles):
        sides = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)
        longest = sides.argmax(axis=1)
        small = sides.max(axis=1) <= spacing
        done.append(triangles[small])
        sources.append(source[small])
        rows, start = np.flatnonzero(~small), longest[~small]
        a, b, c = (triangles[rows, (start + k) % 3] for k in range(3))
        middle = (a + b) / 2
        triangles = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
        source = np.tile(source[rows], 2)
    return np.concatenate(done), np.concatenate(sources)
