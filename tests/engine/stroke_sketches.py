"""Ten stroke sketches for the surface's tests and its bench: piles of tubes and ribbons as a VR brush leaves them, many inside out.

Each is drawn from one seed, in units of about a metre; `STROKE_SKETCHES` lists them with the most handles that a solid that looks right
may have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.mesh import Mesh
from tests.engine.shapes import flipped, lattice, merge, moved, sphere

Random = np.random.Generator


def tube_along(path: np.ndarray, radius: float, sides: int = 8) -> Mesh:
    """An open tube along path [N, 3]."""
    tangent, across = _frames(path)
    other = np.cross(tangent, across)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    return lattice(path[:, None] + radius * ring, closed=True)


def ribbon_along(path: np.ndarray, side: np.ndarray, width: float) -> Mesh:
    """A strip along path [N, 3], `width` wide towards `side` [3] or [N, 3], narrower at its ends."""
    pressure = 0.55 + 0.45 * np.sin(np.pi * np.linspace(0.02, 0.98, len(path))) ** 0.35
    reach = width / 2 * pressure[:, None] * np.broadcast_to(side, path.shape)
    return lattice(path[:, None] + np.linspace(-1, 1, 3)[None, :, None] * reach[:, None])


def some_flipped(parts: list[Mesh], random: Random) -> Mesh:
    """One mesh of the parts, two in five of them inside out."""
    return merge(*[flipped(part) if random.random() < 0.4 else part for part in parts])


def lamp(random: Random) -> Mesh:
    """A shade of six rings and eighteen ribbons between them on a pole with a foot."""
    parts = [
        tube_along(np.array([[0, 0, z] for z in np.linspace(0, 1.0, 12)]), 0.025),
        tube_along(np.array([[0, 0, 0], [0, 0, 0.03]]), 0.22),
    ]
    turn = np.linspace(0, 2 * np.pi, 33)
    for height in np.linspace(0, 1, 6):
        ring = _shade(turn + 0.3 * height, np.full(33, height)) + 0.004 * random.standard_normal(3)
        parts.append(ribbon_along(ring, np.array([0, 0, 1.0]), 0.09))
    for azimuth in np.linspace(0, 2 * np.pi, 18, endpoint=False):
        path = _shade(np.full(10, azimuth + 0.05 * random.standard_normal()), np.linspace(0, 1, 10))
        parts.append(ribbon_along(path, np.array([-np.sin(azimuth), np.cos(azimuth), 0]), 0.10))
    parts += [
        ribbon_along(np.linspace([0, 0, 0.98], _shade(np.array(a), np.array(0.95)), 6), np.array([0, 0, 1.0]), 0.05)
        for a in (0.4, 2.5, 4.6)
    ]
    return some_flipped(parts, random)


def _shade(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
    radius = 0.36 - 0.17 * height
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), 0.72 + 0.36 * height], axis=-1)


def table(random: Random) -> Mesh:
    """A top of twelve overlapping planks, drawn as ribbons, on four legs."""
    parts = []
    for y in np.linspace(-0.38, 0.38, 12):
        height = 0.72 + 0.008 * random.standard_normal(2)
        path = np.linspace(
            [-0.6 + 0.03 * random.standard_normal(), y, height[0]], [0.6, y + 0.02 * random.standard_normal(), height[1]], 14
        )
        parts.append(ribbon_along(path, np.array([0, 1.0, 0.08 * random.standard_normal()]), 0.1))
    for x in (-0.5, 0.5):
        for y in (-0.3, 0.3):
            parts.append(tube_along(np.linspace([1.05 * x, 1.05 * y, 0], [x, y, 0.72], 10), 0.03))
    return some_flipped(parts, random)


def sunflower(random: Random) -> Mesh:
    """A disc of crossing ribbons, twenty petals, a stem, two leaves; it faces -y."""
    parts = [tube_along(np.stack([0.02 * np.sin(4 * (t := np.linspace(0, 1, 16))), 0 * t + 0.03, 0.75 * t], axis=1), 0.024)]
    middle = np.array([0, 0, 0.85])
    for angle in np.linspace(0, np.pi, 9, endpoint=False):
        along, side = _in_disc(angle), _in_disc(angle + np.pi / 2)
        parts.append(
            ribbon_along(middle + np.linspace(-0.14, 0.14, 9)[:, None] * along + [0, 0.006 * random.standard_normal(), 0], side, 0.06)
        )
    for angle in np.linspace(0, 2 * np.pi, 20, endpoint=False) + 0.05 * random.standard_normal(20):
        run = np.linspace(0.1, 0.33 + 0.02 * random.standard_normal(), 9)[:, None]
        path = middle + run * _in_disc(angle) + np.array([0, -0.25, 0]) * (run - 0.1) ** 2 + [0, 0.012 * random.standard_normal(), 0]
        parts.append(ribbon_along(path, _in_disc(angle + np.pi / 2), 0.085))
    for side in (-1, 1):
        run = np.linspace(0, 1, 9)[:, None]
        parts.append(
            ribbon_along(np.array([0, 0.03, 0.3]) + run * [0.28 * side, -0.03, 0.16] - [0, 0, 0.1] * run**2, np.array([0, 1.0, 0]), 0.12)
        )
    return some_flipped(parts, random)


def _in_disc(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), 0, np.sin(angle)])


def tubes(random: Random) -> Mesh:
    """Fourteen curved tubes in a heap."""
    return some_flipped([tube_along(_wander(random, 0.5), random.uniform(0.008, 0.07)) for _ in range(14)], random)


def ribbons(random: Random) -> Mesh:
    """Sixteen curved ribbons in a heap."""
    return some_flipped([_loose_ribbon(random, 0.5) for _ in range(16)], random)


def crossing(random: Random) -> Mesh:
    """A mat of ribbons that cross each other, over a body."""
    parts = [moved(sphere(0.2, 12, 24), 0, 0, -0.25)]
    for at in np.linspace(-0.4, 0.4, 9):
        for swap in (False, True):
            path = np.stack([np.linspace(-0.5, 0.5, 12), np.full(12, at), 0.006 * random.standard_normal(12)], axis=1)
            side = np.array([0.0, 1, 0.05 * random.standard_normal()])
            parts.append(ribbon_along(path[:, [1, 0, 2]], side[[1, 0, 2]], 0.13) if swap else ribbon_along(path, side, 0.13))
    return some_flipped(parts, random)


def nested(random: Random) -> Mesh:
    """Balls of ribbons inside a ball of ribbons, tubes inside tubes."""
    parts = ball_of_ribbons(random, 0.45, 18)
    parts += [
        part for centre in ((0.1, 0, 0.1), (-0.1, 0.1, -0.1)) for part in [moved(p, *centre) for p in ball_of_ribbons(random, 0.18, 10)]
    ]
    path = np.linspace([0, 0, 0.3], [0.3, 0.2, 0.9], 10)
    return some_flipped([*parts, tube_along(path, 0.09, 12), tube_along(path, 0.04)], random)


def inside_out(random: Random) -> Mesh:
    """Closed and open strokes, all inside out."""
    parts = [
        sphere(0.25, 12, 24),
        moved(sphere(0.2, 12, 24), 0.3, 0, 0),
        tube_along(_wander(random, 0.4), 0.05),
        *ball_of_ribbons(random, 0.35, 14),
    ]
    return merge(*[flipped(part) for part in parts])


def cup(random: Random) -> Mesh:
    """An open cup with a thin wall of overlapping ribbons and a handle: one handle is right."""
    parts = []
    for azimuth in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        profile = np.array([[0.02, 0], [0.18, 0.0], [0.27, 0.05], [0.3, 0.2], [0.31, 0.36], [0.32, 0.52]])
        radius, height = profile[:, 0] * (1 + 0.01 * random.standard_normal()), profile[:, 1]
        path = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
        wide = 1.35 * 2 * np.pi * radius / 16
        parts.append(ribbon_along(path, wide[:, None] * np.array([-np.sin(azimuth), np.cos(azimuth), 0]), 1.0))
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 12)
    handle = np.stack([0.3 + 0.16 * np.cos(angle), 0 * angle, 0.28 + 0.15 * np.sin(angle)], axis=1)
    return some_flipped([*parts, tube_along(handle, 0.03)], random)


def ladder(random: Random) -> Mesh:
    """Two rails and six rungs: five handles are right."""
    rails = [tube_along(np.linspace([x, 0, -0.6], [0.9 * x, 0, 0.6], 12), 0.035) for x in (-0.25, 0.25)]
    rungs = [
        tube_along(np.linspace([-0.25, 0.01 * random.standard_normal(), z], [0.25, 0, z], 6), 0.025) for z in np.linspace(-0.5, 0.5, 6)
    ]
    return some_flipped(rails + rungs, random)


STROKE_SKETCHES: dict[str, tuple[Callable[[Random], Mesh], int]] = {
    "lamp": (lamp, 4),
    "table": (table, 3),
    "sunflower": (sunflower, 3),
    "tubes": (tubes, 40),
    "ribbons": (ribbons, 40),
    "crossing": (crossing, 1),
    "nested": (nested, 1),
    "inside_out": (inside_out, 1),
    "cup": (cup, 1),
    "ladder": (ladder, 5),
}  # fmt: skip
"""name -> (drawing, the most handles that look right)"""


def draw(name: str, seed: int = 0) -> Mesh:
    """One of STROKE_SKETCHES, the same for the same seed."""
    return STROKE_SKETCHES[name][0](np.random.default_rng(seed))


def ball_of_ribbons(random: Random, radius: float, count: int) -> list[Mesh]:
    """Ribbons from pole to pole that overlap a little."""
    parts = []
    for azimuth in np.linspace(0, 2 * np.pi, count, endpoint=False):
        azimuth += 0.1 / count * random.standard_normal()
        polar = np.linspace(0.03, np.pi - 0.03, 12)
        across = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        path = radius * np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
        parts.append(ribbon_along(path, (1.3 * 2 * np.pi * radius / count * np.sin(polar))[:, None] * across, 1.0))
    return parts


def _wander(random: Random, reach: float) -> np.ndarray:
    """[14, 3]: a smooth curve through a ball of radius `reach`."""
    run = np.linspace(0, 1, 14)[:, None]
    start, stop = (random.uniform(-reach, reach, 3) for _ in range(2))
    wave = random.standard_normal((2, 3)) * 0.25 * reach
    return start + run * (stop - start) + np.sin(np.pi * run) * wave[0] + np.sin(2 * np.pi * run) * wave[1]


def _loose_ribbon(random: Random, reach: float) -> Mesh:
    path = _wander(random, reach)
    return ribbon_along(path, _frames(path)[1], random.uniform(0.04, 0.25))


def _frames(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangents and one perpendicular a point, carried along without twist."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.empty_like(path)
    helper = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    for index, direction in enumerate(tangent):
        helper = helper - (helper @ direction) * direction
        across[index] = helper = helper / np.linalg.norm(helper)
    return tangent, across
