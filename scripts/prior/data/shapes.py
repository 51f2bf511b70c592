"""Meshes from formulas: the parts that the kinds are built of. numpy only, no Blender.

Lengths are scene units (a subject is about 1 high), z is up, angles are radians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Point = Sequence[float] | np.ndarray
Points = Sequence[Point] | np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Vertices float64 [V, 3] and faces as tuples of vertex numbers."""

    vertices: np.ndarray
    faces: list[tuple[int, ...]]

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """Shifted."""
        return Mesh(self.vertices + np.array([x, y, z]), self.faces)

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """Stretched from the origin."""
        return Mesh(self.vertices * np.array([x, y, z]), self.faces)

    def rotated(self, axis: str, angle: float) -> Mesh:
        """Turned about a coordinate axis through the origin."""
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        turned = self.vertices.copy()
        cosine, sine = math.cos(angle), math.sin(angle)
        turned[:, first] = cosine * self.vertices[:, first] - sine * self.vertices[:, second]
        turned[:, second] = sine * self.vertices[:, first] + cosine * self.vertices[:, second]
        return Mesh(turned, self.faces)

    def shaped(self, change: Callable[[np.ndarray], np.ndarray]) -> Mesh:
        """Every vertex sent through `change`, [V, 3] -> [V, 3]."""
        return Mesh(change(self.vertices.copy()), self.faces)


def joined(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    faces: list[tuple[int, ...]] = []
    start = 0
    for mesh in meshes:
        faces += [tuple(index + start for index in face) for face in mesh.faces]
        start += len(mesh.vertices)
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), faces)


def spline(points: Points, steps: int = 6) -> np.ndarray:
    """A Catmull-Rom curve through the points, [(N - 1) * steps + 1, D]."""
    given = np.asarray(points, float)
    padded = np.concatenate([given[:1], given, given[-1:]])
    curve = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for t in np.arange(steps) / steps:
            curve.append(
                0.5
                * (
                    2 * start
                    + (end - before) * t
                    + (2 * before - 5 * start + 4 * end - after) * t**2
                    + (3 * start - before - 3 * end + after) * t**3
                )
            )
    return np.array([*curve, given[-1]])


def _grid_faces(rows: int, columns: int, closed: bool) -> list[tuple[int, ...]]:
    """Quads between the rows of a grid of vertices; `closed` joins last and first column."""
    last = columns if closed else columns - 1
    return [
        (
            row * columns + column,
            row * columns + (column + 1) % columns,
            (row + 1) * columns + (column + 1) % columns,
            (row + 1) * columns + column,
        )
        for row in range(rows - 1)
        for column in range(last)
    ]


def lathe(
    profile: Points,
    segments: int = 40,
    radius: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Mesh:
    """A profile of (radius, height) turned about z.

    radius  factor of the radius by angle, for ribs and lobes; [S] -> [S].
    """
    angles = np.linspace(0, 2 * math.pi, segments, endpoint=False)
    factor = np.ones(segments) if radius is None else radius(angles)
    table = np.asarray(profile, float)
    ring = np.stack([np.cos(angles) * factor, np.sin(angles) * factor], -1)
    vertices = np.concatenate([np.column_stack([ring * max(r, 1e-3), np.full(segments, z)]) for r, z in table])
    return Mesh(vertices, _grid_faces(len(table), segments, closed=True))


def smooth_lathe(profile: Points, segments: int = 40, steps: int = 6, **options) -> Mesh:
    """`lathe` of the spline through the profile."""
    return lathe(spline(profile, steps), segments, **options)


def ball(radius: float = 1.0, rings: int = 16, segments: int = 24) -> Mesh:
    """A sphere about the origin."""
    angles = np.linspace(0, math.pi, rings + 1)
    return lathe(np.column_stack([radius * np.sin(angles), -radius * np.cos(angles)]), segments)


def disc(radius: float, height: float = 0.0, segments: int = 32) -> Mesh:
    """A flat round plate."""
    return lathe([(1e-3, height), (radius, height)], segments)


def cylinder(radius: float, height: float, segments: int = 32) -> Mesh:
    """A closed cylinder that stands on z = 0."""
    return lathe([(1e-3, 0), (radius, 0), (radius, height), (1e-3, height)], segments)


def cone(radius: float, height: float, segments: int = 32) -> Mesh:
    """A cone that stands on z = 0."""
    return lathe([(1e-3, 0), (radius, 0), (1e-3, height)], segments)


def torus(radius: float, thickness: float, segments: int = 32) -> Mesh:
    """A ring that lies flat about the origin."""
    angles = np.linspace(0, 2 * math.pi, 13)
    profile = np.column_stack([radius + thickness * np.cos(angles), thickness * np.sin(angles)])
    return lathe(profile, segments)


def box(width: float, depth: float, height: float) -> Mesh:
    """A box about the origin: sizes along x, y, z."""
    corners = [(x * width / 2, y * depth / 2, z * height / 2) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(np.array(corners), faces)


def tube(points: Points, radius: float | Sequence[float] | np.ndarray, segments: int = 12) -> Mesh:
    """A closed tube along a line of points, its rings carried along without twist."""
    path = np.asarray(points, float)
    radii = np.broadcast_to(np.asarray(radius, float), (len(path),))
    directions = np.gradient(path, axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-12
    helper = np.eye(3)[np.argmin(np.abs(directions[0]))]
    angles = np.linspace(0, 2 * math.pi, segments, endpoint=False)
    rings = []
    for centre, direction, size in zip(path, directions, radii, strict=True):
        helper = helper - direction * helper.dot(direction)
        helper = helper / np.linalg.norm(helper)
        other = np.cross(direction, helper)
        rings.append(centre + size * (np.outer(np.cos(angles), helper) + np.outer(np.sin(angles), other)))
    faces = _grid_faces(len(path), segments, closed=True)
    faces.append(tuple(range(segments - 1, -1, -1)))
    faces.append(tuple((len(path) - 1) * segments + index for index in range(segments)))
    return Mesh(np.concatenate(rings), faces)


def loft(rings: Sequence[np.ndarray], capped: bool = True) -> Mesh:
    """A skin over closed rings of equally many points each, [N, 3]."""
    count = len(rings[0])
    faces = _grid_faces(len(rings), count, closed=True)
    if capped:
        faces.append(tuple(range(count - 1, -1, -1)))
        faces.append(tuple((len(rings) - 1) * count + index for index in range(count)))
    return Mesh(np.concatenate(rings), faces)


def oval(width: float, height: float, segments: int = 24, power: float = 2.0) -> np.ndarray:
    """A closed curve in the yz plane, half sizes given; power 2 is an ellipse, 4 nearly a box."""
    angles = np.linspace(0, 2 * math.pi, segments, endpoint=False)
    cosine, sine = np.cos(angles), np.sin(angles)
    y = width * np.sign(cosine) * np.abs(cosine) ** (2 / power)
    z = height * np.sign(sine) * np.abs(sine) ** (2 / power)
    return np.column_stack([np.zeros(segments), y, z])


def extruded(outline: Points, depth: float) -> Mesh:
    """A plate: an outline of (x, z), given depth about y = 0."""
    flat = np.asarray(outline, float)
    sides = [np.column_stack([flat[:, 0], np.full(len(flat), y), flat[:, 1]]) for y in (-1, 1)]
    return loft([sides[0] * (1, depth / 2, 1), sides[1] * (1, depth / 2, 1)])


def sheet(surface: Callable[[float, float], Point], columns: int = 8, rows: int = 10) -> Mesh:
    """A surface over u in -1..1 and v in 0..1."""
    vertices = [surface(2 * column / columns - 1, row / rows) for row in range(rows + 1) for column in range(columns + 1)]
    return Mesh(np.array(vertices, float), _grid_faces(rows + 1, columns + 1, closed=False))


def leaf(length: float, width: float, rise: float, droop: float = 0.35, fold: float = 0.4) -> Mesh:
    """A leaf from the origin along x: `rise` 0 lies flat, 1 stands upright."""

    def surface(u: float, v: float) -> Point:
        half = width * math.sin(math.pi * min(1.0, 0.95 * v + 0.05)) ** 0.8
        return (
            length * v * (1 - 0.9 * rise),
            u * half,
            length * (rise * v - droop * v * v * (1 - rise)) + abs(u) * half * fold,
        )

    return sheet(surface)


def dome_points(radius: float, height: float, steps: int = 8) -> list[tuple[float, float]]:
    """The profile of half an ellipse, from the rim up to the top."""
    angles = np.linspace(0, math.pi / 2, steps + 1)
    return [(radius * math.cos(angle), height * math.sin(angle)) for angle in angles]


def cards(centres: np.ndarray, size: float, generator: np.random.Generator) -> Mesh:
    """A small rhombus at each of the points [N, 3], turned at random: foliage."""
    first = generator.standard_normal(centres.shape)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(first, generator.standard_normal(centres.shape))
    second /= np.linalg.norm(second, axis=1, keepdims=True) + 1e-9
    first, second = size * first, 0.7 * size * second
    corners = np.stack([centres - first, centres + second, centres + first, centres - second], 1)
    faces = [tuple(range(4 * index, 4 * index + 4)) for index in range(len(centres))]
    return Mesh(corners.reshape(-1, 3), faces)


def lumpy(mesh: Mesh, amount: float, frequency: float, generator: np.random.Generator) -> Mesh:
    """Pushed in and out by a few random waves; `amount` is a share of the radius."""
    directions = generator.standard_normal((6, 3)) * frequency
    phases = generator.uniform(0, 2 * math.pi, 6)
    waves = np.sin(mesh.vertices @ directions.T + phases).mean(1, keepdims=True)
    return Mesh(mesh.vertices * (1 + 2 * amount * waves), mesh.faces)
