"""What a sketch is made of: its connected strokes, each oriented, and what each one encloses.

A sketch from a VR brush is a pile of tubes and ribbons: open, crossing themselves and each other, some inside out, some drawn
with both sides. No rule for the whole mesh gives a sensible inside; each stroke taken alone does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.reporting import OnStep, unwatched
from engine.sketch.triangles import Triangles

SHEET_BELOW = 0.7
"""A stroke is a sheet, not a solid, where its winding number just under the surface is below this on average: 1 for closed
surfaces and long open tubes, 3/4 for half a tube, 1/2 for a flat ribbon."""

FEW = 4000
"""A stroke of more faces is judged by the middles of its faces, and whether it encloses anything by some of them."""


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
    order = np.argsort(label, kind="stable")
    strokes = []
    for stroke in counted(np.split(faces[order], np.cumsum(np.bincount(label))[:-1]), on_step):
        used, own = np.unique(stroke, return_inverse=True)
        strokes.append(_stroke(points[used], own.reshape(-1, 3)))
    return strokes


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


def _stroke(vertices: np.ndarray, faces: np.ndarray) -> Stroke:
    import igl

    faces, patch = map(np.asarray, igl.bfs_orient(faces))
    faces = _outward(vertices, faces, patch)
    size = face_areas(vertices, faces)
    some = slice(None, None, 1 + len(faces) // FEW)
    depth = np.abs(igl.fast_winding_number(vertices, faces, _both_sides(vertices, faces[some], corners=False))).reshape(2, -1)
    enclosed = np.average(np.minimum(depth.max(axis=0), 1), weights=size[some])
    nothing = np.zeros((0, 3), dtype=np.int64)
    if enclosed < SHEET_BELOW:
        return Stroke(vertices, nothing, nothing, faces, 0.0, False)
    vertices, caps = _capped(vertices, faces)
    whole = np.concatenate([faces, caps])
    places = _both_sides(vertices, whole, corners=len(whole) < FEW)
    within = np.abs(igl.fast_winding_number(vertices, whole, places)).reshape(2, -1, len(whole)) > 0.5
    buried = within.all(axis=(0, 1))
    bare = np.asarray(~within.any(axis=0).all(axis=0))
    bare[len(faces) :] = False
    return Stroke(vertices, whole, whole[~buried], whole[bare], 2 * _volume(vertices, whole) / float(size.sum()), not len(caps))


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


def _capped(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fans that close each connected rim around its middle: vertices with the middles appended, and the fans' faces [C, 3]."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    size = len(vertices)
    low, high = np.sort(directed, axis=1).T
    _, first, count = np.unique(low * size + high, return_index=True, return_counts=True)
    rim = directed[first[count == 1]]
    if not len(rim):
        return vertices, np.zeros((0, 3), dtype=np.int64)
    graph = coo_matrix((np.ones(len(rim), dtype=np.int8), (rim[:, 0], rim[:, 1])), shape=(size, size))
    _, loop = np.unique(connected_components(graph, directed=False)[1][rim[:, 0]], return_inverse=True)
    middles = np.stack([np.bincount(loop, weights=axis) for axis in vertices[rim[:, 0]].T], axis=1) / np.bincount(loop)[:, None]
    return np.concatenate([vertices, middles]), np.stack([rim[:, 1], rim[:, 0], size + loop], axis=1)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume of a closed, coherently oriented stroke."""
    a, b, c = (vertices[faces] - vertices.mean(axis=0)).transpose(1, 0, 2)
    return abs(float(np.einsum("fi,fi->", np.cross(a, b), c))) / 6


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
