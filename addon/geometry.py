"""Arrays for the scene's reader and writer: tubes round strokes, joining, colour encoding, spaces. numpy only, no bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .surface_samples import sample_surface

MOST_PAINT = 400_000
"""Points of a whole sketch's paint; of more, every so many-th is kept."""
SINGULAR_CONDITION = 1e7
"""A matrix with a larger condition number cannot be undone in single precision."""


@dataclass(frozen=True, eq=False)
class Paint:
    """The artist's colours at points on a surface, where they are more than what its vertices say between them.

    points float64 [N, 3], in the space of the vertices; colours float32 [N, 3], sRGB-encoded 0..1, NaN where nobody chose one
    """

    points: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles of one object or stroke, or of a whole sketch; whoever makes one says in which space.

    vertices float64 [V, 3], or float32 where they are sent; faces int32 [F, 3], counter-clockwise from outside;
    colours float32 [V, 3], sRGB-encoded 0..1, NaN where nobody chose one, or None; uvs float32 [F, 3, 2] or None; paint or None;
    mask float32 [F, 3] or None: how far it is painted at the corners;
    pieces int32 [F] or None: of one object the material slot of each face, of several what `scene_targets` counts
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    uvs: np.ndarray | None = None
    paint: Paint | None = None
    pieces: np.ndarray | None = None
    mask: np.ndarray | None = None


def join(parts: Sequence[Part]) -> Part:
    """One part of several. Parts without colours have unknown ones (NaN) where others have some; UVs and pieces are kept where all have."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)]).astype(np.int32)
    colours, paint = None, None
    if any(part.colours is not None for part in parts):
        colours = np.concatenate([_colours(part) for part in parts])
    if any(part.paint is not None for part in parts):
        paints = [painted(part) for part in parts]
        points, shades = np.concatenate([one.points for one in paints]), np.concatenate([one.colours for one in paints])
        step = -(-len(points) // MOST_PAINT)
        paint = Paint(points[::step], shades[::step])
    uvs, pieces, mask = (_together([getattr(part, name) for part in parts]) for name in ("uvs", "pieces", "mask"))
    return Part(np.concatenate([part.vertices for part in parts]), faces, colours, uvs, paint, pieces, mask)


def _together(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """All arrays one after another; None where one is missing."""
    there = [array for array in arrays if array is not None]
    return np.concatenate(there) if len(there) == len(arrays) else None


def painted(part: Part, count: int = 20_000) -> Paint:
    """A part's paint, or what its vertices say at points all over it."""
    if part.paint is not None:
        return part.paint
    face, weights = sample_surface(part.vertices[part.faces], count)
    corners = part.faces[face]
    points = np.einsum("nk,nkd->nd", weights, part.vertices[corners].astype(np.float64))
    return Paint(points, np.einsum("nk,nkd->nd", weights, _colours(part)[corners]).astype(np.float32))


def _colours(part: Part) -> np.ndarray:
    return np.full((len(part.vertices), 3), np.nan, np.float32) if part.colours is None else part.colours


def join_all(parts: Sequence[Part | None]) -> Part | None:
    """`join` of those that are there; None where none is."""
    there = [part for part in parts if part is not None]
    return join(there) if there else None


def placed(part: Part, matrix: np.ndarray) -> Part:
    """The part through the affine matrix [4, 4]; faces still look outward where that mirrors."""
    vertices = transform(matrix, part.vertices)
    paint = None if part.paint is None else replace(part.paint, points=transform(matrix, part.paint.points))
    if not is_mirrored(matrix):
        return replace(part, vertices=vertices, paint=paint)
    turned = {name: None if (of := getattr(part, name)) is None else of[:, ::-1] for name in ("faces", "uvs", "mask")}
    return replace(part, vertices=vertices, paint=paint, **turned)


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light, clipped to 0..1 -> sRGB-encoded float32 (IEC 61966-2-1)."""
    clipped = np.clip(np.asarray(light, dtype=np.float64), 0.0, 1.0)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055).astype(np.float32)


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """sRGB-encoded values 0..1 -> linear light, float32 (IEC 61966-2-1)."""
    values = np.clip(np.asarray(encoded, dtype=np.float64), 0.0, 1.0)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def corners_to_vertices(values: np.ndarray, vertex_of_corner: np.ndarray, count: int) -> np.ndarray:
    """Mean over each vertex's corners: values [C, K], vertex_of_corner [C] -> float32 [count, K]; zero where a vertex has none.

    Rows of NaN, unknown, do not count; a vertex all of whose corners are unknown is.
    """
    known = ~np.isnan(values).any(axis=1)
    lost = np.bincount(vertex_of_corner, minlength=count)
    values, vertex_of_corner = values[known], vertex_of_corner[known]
    counted = np.bincount(vertex_of_corner, minlength=count)
    weights = np.where((counted == 0) & (lost > 0), np.nan, np.maximum(counted, 1))
    sums = [np.bincount(vertex_of_corner, values[:, channel], count) for channel in range(values.shape[1])]
    return (np.stack(sums, axis=1) / weights[:, None]).astype(np.float32)


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 3] through the affine matrix [4, 4], in float64."""
    matrix = np.asarray(matrix, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told by whoever asked
        x, y, z = np.asarray(points, dtype=np.float64).T[:, :, None]
        return x * matrix[:3, 0] + y * matrix[:3, 1] + z * matrix[:3, 2] + matrix[:3, 3]  # no BLAS, whose threads wait for each other


def is_singular(matrix: np.ndarray) -> bool:
    """True where points cannot be brought back through `matrix` [4, 4]: a zero scale, or nearly."""
    linear = np.asarray(matrix, dtype=np.float64)[:3, :3]
    return not np.isfinite(linear).all() or not np.linalg.cond(linear) < SINGULAR_CONDITION


def is_mirrored(matrix: np.ndarray) -> bool:
    """True where `matrix` [4, 4] turns a counter-clockwise face into a clockwise one."""
    return bool(np.linalg.det(np.asarray(matrix, dtype=np.float64)[:3, :3]) < 0)


def tube(points: np.ndarray, radii: np.ndarray, cyclic: bool = False, sides: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed tube round a polyline, by rotation-minimizing frames (double reflection, Wang et al. 2008).

    points float64 [N, 3], radii [N]. Returns vertices [V, 3], faces int32 [F, 3], and for each vertex the index [V] of its point.
    Repeated points are dropped; a single point becomes a bead.
    """
    points, radii = np.asarray(points, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9 * max(1.0, float(np.abs(points).max()))])
    index = np.flatnonzero(keep)
    if len(index) == 1:
        reach = np.array([[-1.0, 0, 0], [1.0, 0, 0]]) * max(float(radii[index[0]]), 1e-9)
        points, radii, index = points[index] + reach, np.repeat(radii[index], 2), np.repeat(index, 2)
    else:
        points, radii = points[index], radii[index]
    cyclic = cyclic and len(points) > 2
    tangents = _tangents(points, cyclic)
    first, second = _frames(points, tangents)
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angles)[None, :, None] * first[:, None] + np.sin(angles)[None, :, None] * second[:, None]
    vertices = (points[:, None] + radii[:, None, None] * ring).reshape(-1, 3)
    owner = np.repeat(np.arange(len(points)), sides)
    faces = _ring_faces(len(points), sides, cyclic)
    if not cyclic:
        vertices = np.concatenate([vertices, points[[0, -1]]])
        owner = np.concatenate([owner, [0, len(points) - 1]])
        faces = np.concatenate([faces, _cap_faces(len(points), sides)])
    return vertices, faces.astype(np.int32), index[owner]


def _tangents(points: np.ndarray, cyclic: bool) -> np.ndarray:
    padded = np.concatenate([points[-1:], points, points[:1]]) if cyclic else np.concatenate([points[:1], points, points[-1:]])
    along = padded[2:] - padded[:-2]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    forward = np.roll(points, -1, axis=0) - points  # where a stroke turns back on itself
    along = np.where(length > 1e-12, along, forward)
    return along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-30)


def _frames(points: np.ndarray, tangents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two normals [N, 3] a point that turn about the line as little as possible."""
    normal = np.cross(tangents[0], np.eye(3)[np.abs(tangents[0]).argmin()])
    normals = [normal / np.linalg.norm(normal)]
    for before, after, old, new in zip(points[:-1], points[1:], tangents[:-1], tangents[1:], strict=True):
        chord = after - before
        square = chord @ chord
        reflected = normals[-1] - (2 / square) * (chord @ normals[-1]) * chord
        turned = old - (2 / square) * (chord @ old) * chord
        rest = new - turned
        rest_square = rest @ rest
        normal = reflected if rest_square < 1e-20 else reflected - (2 / rest_square) * (rest @ reflected) * rest
        normal = normal - (normal @ new) * new
        normals.append(normal / max(np.linalg.norm(normal), 1e-30))
    stacked = np.stack(normals)
    return stacked, np.cross(tangents, stacked)


def _ring_faces(rings: int, sides: int, cyclic: bool) -> np.ndarray:
    here = np.arange(rings if cyclic else rings - 1)
    there = (here + 1) % rings
    side, following = np.arange(sides), (np.arange(sides) + 1) % sides
    a, b = here[:, None] * sides + side, here[:, None] * sides + following
    c, d = there[:, None] * sides + following, there[:, None] * sides + side
    return np.concatenate([np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)])


def _cap_faces(rings: int, sides: int) -> np.ndarray:
    side, following = np.arange(sides), (np.arange(sides) + 1) % sides
    start, end, last = rings * sides, rings * sides + 1, (rings - 1) * sides
    first_cap = np.stack([np.full(sides, start), following, side], axis=1)
    return np.concatenate([first_cap, np.stack([np.full(sides, end), last + side, last + following], axis=1)])


def chains(edges: np.ndarray, count: int) -> list[tuple[np.ndarray, bool]]:
    """Polylines in a graph of edges [E, 2] over `count` vertices: (vertex indices, closed). Branches are cut at their vertex."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    unused = {(min(a, b), max(a, b)) for a, b in edges.tolist() if a != b}
    found: list[tuple[np.ndarray, bool]] = []
    ends_first = sorted(range(count), key=lambda vertex: len(neighbours[vertex]) == 2)
    for start in ends_first:
        for following in neighbours[start]:
            path, here = [start], following
            while (min(path[-1], here), max(path[-1], here)) in unused:
                unused.remove((min(path[-1], here), max(path[-1], here)))
                path.append(here)
                onward = [vertex for vertex in neighbours[here] if vertex != path[-2]]
                if len(neighbours[here]) != 2 or here == start or not onward:
                    break
                here = onward[0]
            if len(path) > 1:
                closed = path[0] == path[-1]
                found.append((np.array(path[:-1] if closed else path), closed))
    return found
