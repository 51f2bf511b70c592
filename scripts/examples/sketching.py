"""The hand that draws the examples: tubes and ribbons as a VR brush leaves them. Standard library and numpy only.

Lengths are metres, the world is Blender's (+Z up, the object's front faces -Y), colours sRGB-encoded 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Colour = tuple[float, float, float]
SurfaceMap = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(u [...], v [...]) in 0..1 -> positions [..., 3]"""
Paint = Colour | Callable[[np.ndarray, np.ndarray], np.ndarray]
"""One colour, or (u, v) -> colours [..., 3]"""


@dataclass
class Sketch:
    """Collects strokes. `shake` is the hand's low-frequency unsteadiness in metres, `tint` the spread of colour between strokes."""

    rng: np.random.Generator
    shake: float = 0.003
    tint: float = 0.035
    flipped: float = 0.4  # share of the strokes whose faces look inward
    _vertices: list[np.ndarray] = field(default_factory=list)
    _faces: list[np.ndarray] = field(default_factory=list)
    _colours: list[np.ndarray] = field(default_factory=list)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """vertices float32 [V, 3], faces int32 [F, 3], colours float32 [V, 3]."""
        return (np.concatenate(self._vertices).astype(np.float32), np.concatenate(self._faces).astype(np.int32),
                np.concatenate(self._colours).clip(0, 1).astype(np.float32))  # fmt: skip

    def tube(self, path: np.ndarray, radius: float | np.ndarray, colour: Colour, sides: int = 8) -> None:
        """An open-ended tube along path [N, 3] with one radius or one a point."""
        path = path + self._unsteady(len(path))
        radii = np.broadcast_to(radius, len(path)) * (1 + 0.04 * self.rng.standard_normal(len(path)))
        tangent, across = _frames(path)
        other = np.cross(tangent, across)
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * other[:, None]
        points = path[:, None] + radii[:, None, None] * ring
        self._add(points, self._tinted(np.broadcast_to(np.asarray(colour), points.shape)), closed=True)

    def ribbon(self, path: np.ndarray, side: np.ndarray, width: float, colour: Colour) -> None:
        """A flat strip along path [N, 3], `width` wide toward `side` [3] or [N, 3] (made perpendicular to the path), thin at its ends."""
        path = path + self._unsteady(len(path))
        tangent, _ = _frames(path)
        side = np.broadcast_to(side, path.shape)
        side = side - (side * tangent).sum(1, keepdims=True) * tangent
        side = side / np.linalg.norm(side, axis=1, keepdims=True)
        half = width / 2 * _pressure(len(path))
        across = np.linspace(-1, 1, 3)
        points = path[:, None] + across[None, :, None] * (half[:, None] * side)[:, None]
        self._add(points, self._tinted(np.broadcast_to(np.asarray(colour), points.shape)), closed=False)

    def cover(self, surface: SurfaceMap, strokes: int, colour: Paint, *, along: str = "v", overlap: float = 1.4, steps: int = 12,
              across: int = 3, lift: float = 0.004, short: float = 0.05) -> None:  # fmt: skip
        """Cover a surface with overlapping ribbons that run along u or v.

        overlap   width of a ribbon over its share of the surface
        lift      standard deviation of a ribbon's distance off the surface, metres
        short     largest part by which either end of a ribbon stops early
        """
        for stroke in range(strokes):
            centre = (stroke + 0.5 + 0.15 * self.rng.standard_normal()) / strokes
            start, stop = short * self.rng.random(), 1 - short * self.rng.random()
            run = np.linspace(start, stop, steps)[:, None]
            width = overlap / 2 / strokes * _pressure(steps)[:, None] * np.linspace(-1, 1, across)[None]
            u, v = np.broadcast_arrays(centre + width, run) if along == "v" else np.broadcast_arrays(run, centre + width)
            u, v = u.clip(0, 1) if along == "v" else u, v if along == "v" else v.clip(0, 1)
            points = surface(u, v)
            normal = _normals(surface, u, v)
            points = points + lift * self.rng.standard_normal() * normal + self._unsteady(steps)[:, None]
            paint = colour(u, v) if callable(colour) else np.broadcast_to(np.asarray(colour), points.shape)
            self._add(points, self._tinted(paint), closed=False)

    def blob(self, centre: np.ndarray, radius: np.ndarray | float, strokes: int, colour: Paint, steps: int = 9) -> None:
        """A ball or ellipsoid wrapped in ribbons from pole to pole, in a random direction."""
        rotation = np.linalg.qr(self.rng.standard_normal((3, 3)))[0]

        def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            return np.asarray(centre) + sphere(u, v) @ rotation.T * radius

        self.cover(surface, strokes, colour, steps=steps, lift=0.03 * float(np.mean(radius)))

    def _unsteady(self, count: int) -> np.ndarray:
        """[count, 3]: three slow random waves and a little tremor."""
        run = np.linspace(0, 1, count)[:, None]
        waves = np.zeros((count, 3))
        for frequency in (0.7, 1.6, 3.1):
            waves += np.sin(2 * np.pi * (frequency * run + self.rng.random(3))) * self.rng.standard_normal(3) / (1 + frequency)
        return self.shake * (waves + 0.15 * self.rng.standard_normal((count, 3)))

    def _tinted(self, colours: np.ndarray) -> np.ndarray:
        """One brightness and a slight hue a stroke."""
        return colours + self.tint * (self.rng.standard_normal() + 0.4 * self.rng.standard_normal(3))

    def _add(self, points: np.ndarray, colours: np.ndarray, closed: bool) -> None:
        """Join points [N, M, 3] into quads, split into triangles; closed: the last column meets the first."""
        rows, columns = points.shape[:2]
        index = np.arange(rows * columns).reshape(rows, columns)
        right = np.roll(index, -1, axis=1) if closed else index[:, 1:]
        left = index if closed else index[:, :-1]
        a, b, c, d = left[:-1], right[:-1], right[1:], left[1:]
        faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        if self.rng.random() < self.flipped:
            faces = faces[:, ::-1]
        first = sum(len(part) for part in self._vertices)
        self._vertices.append(points.reshape(-1, 3))
        self._faces.append(faces + first)
        self._colours.append(colours.reshape(-1, 3))


def curve(*points: tuple[float, float, float], steps: int = 16) -> np.ndarray:
    """[steps, 3]: a Catmull-Rom spline through the points, evenly spaced in its parameter."""
    knots = np.asarray(points, dtype=float)
    knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    at = np.linspace(0, len(points) - 1, steps)
    segment = np.minimum(at.astype(int), len(points) - 2)
    t = (at - segment)[:, None]
    p0, p1, p2, p3 = (knots[segment + offset] for offset in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def revolve(profile: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], centre: tuple[float, float] = (0, 0)) -> SurfaceMap:
    """Surface of revolution about a vertical axis: u runs once around from the back, v along profile(v) -> (radius, height)."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        radius, height = profile(v)
        angle = 2 * np.pi * u + np.pi / 2
        return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle), np.broadcast_to(height, u.shape)], axis=-1)

    return surface


def plane(origin: tuple[float, float, float], along_u: tuple[float, float, float], along_v: tuple[float, float, float]) -> SurfaceMap:
    """The parallelogram origin + u * along_u + v * along_v."""
    return lambda u, v: np.asarray(origin) + u[..., None] * np.asarray(along_u) + v[..., None] * np.asarray(along_v)


def sphere(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit sphere: u around, v from the south pole to the north."""
    theta, phi = np.pi * (v - 0.5), 2 * np.pi * u
    return np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=-1)


def blend(first: Colour, second: Colour, amount: np.ndarray) -> np.ndarray:
    """Colours [..., 3] from first (amount 0) to second (amount 1)."""
    share = np.clip(amount, 0, 1)[..., None]
    return (1 - share) * np.asarray(first) + share * np.asarray(second)


def _pressure(count: int) -> np.ndarray:
    """Width of a brush stroke along its run: full in the middle, thinner at both ends."""
    return 0.55 + 0.45 * np.sin(np.pi * np.linspace(0.02, 0.98, count)) ** 0.35


def _frames(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangents and one perpendicular a point, carried along the path without twist."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.empty_like(path)
    helper = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    for i in range(len(path)):
        helper = helper - (helper @ tangent[i]) * tangent[i]
        helper = helper / np.linalg.norm(helper)
        across[i] = helper
    return tangent, across


def _normals(surface: SurfaceMap, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Unit normals by differences; zero where the surface has none (a pole)."""
    step = 1e-3
    normal = np.cross(surface(u + step, v) - surface(u - step, v), surface(u, v + step) - surface(u, v - step))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.where(length > 1e-12, normal / np.maximum(length, 1e-12), 0)
