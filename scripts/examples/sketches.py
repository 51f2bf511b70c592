"""The eight example sketches, drawn as a VR artist would: loose, open, overlapping. Standard library and numpy only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from scripts.examples.sketching import Colour, Sketch, blend, curve, plane, revolve

LEAF = (0.20, 0.50, 0.16)
WOOD = (0.52, 0.32, 0.17)
BARK = (0.38, 0.25, 0.15)


def flower(sketch: Sketch) -> None:
    """A red tulip, half a metre: a thick stem, six petals of loose ribbons that leave gaps, two blades of three tubes each."""
    sketch.tube(curve((0, 0, 0), (0.014, 0.004, 0.11), (-0.008, 0, 0.21), (0, 0, 0.315), steps=18), 0.019, (0.25, 0.55, 0.2))
    for ring, (reach, start) in enumerate(((0.098, 0.0), (0.112, np.pi / 3))):
        for petal in range(3):
            azimuth = start + petal * 2 * np.pi / 3 - np.pi / 2
            shape = _petal(azimuth, reach, 0.295, 0.205 - 0.012 * ring)
            sketch.cover(shape, 4, _petal_paint, steps=12, overlap=1.25, lift=0.003, short=0.07)
    for side, height in ((-1, 0.27), (1, 0.22)):
        blade = _blade(side, height)
        for u in (0.08, 0.5, 0.92):
            run = np.linspace(0.02, 0.97 - 0.1 * sketch.rng.random(), 14)
            sketch.tube(blade(np.full(14, u), run), 0.0125 * np.sin(np.pi * (0.25 + 0.6 * run)), (0.17, 0.46, 0.15), sides=6)
            sketch.ribbon(blade(np.full(14, 0.5 + 0.55 * (u - 0.5)), run), np.array([0, 1, 0]), 0.03, (0.22, 0.52, 0.18))


def _petal(azimuth: float, reach: float, base: float, height: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """An egg-shaped cup's segment about 115 degrees wide that narrows to a tip leaning outward."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        radius = reach * np.sin(np.pi * (0.05 + 0.66 * v.clip(0, 1.1))) ** 0.75 * (1 + 0.10 * v**4)
        half_width = np.radians(58) * (1 - v.clip(0, 1) ** 3.2) ** 0.7 + 0.06
        angle = azimuth + (2 * u - 1) * half_width
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), base + height * v - 0.012 * (2 * u - 1) ** 2], axis=-1)

    return surface


def _petal_paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Red, yellow-orange at the base, darker along the edges."""
    red = blend((0.86, 0.10, 0.11), (0.68, 0.04, 0.08), np.abs(2 * u - 1) ** 2)
    return np.where(v[..., None] < 0.12, blend((0.90, 0.62, 0.15), (0.86, 0.10, 0.11), v / 0.12), red)


def _blade(side: int, height: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A broad leaf that leaves the stem's foot, rises and bends outward, folded along its middle."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        half_width = 0.044 * np.sin(np.pi * (0.14 + 0.84 * v.clip(0, 1))) ** 0.8
        out = 0.016 + 0.05 * v + 0.10 * v**2.4
        rise = 0.012 + height * (v - 0.18 * v**4)
        across = (2 * u - 1) * half_width
        fold = 0.35 * np.abs(across)
        return np.stack([side * (out - fold), -0.02 * v + across, rise], axis=-1)

    return surface


SPOTS = (
    (0.5, 0.42, 0.034), (0.36, 0.25, 0.028), (0.64, 0.22, 0.03), (0.12, 0.35, 0.032), (0.88, 0.38, 0.028), (0.5, 0.14, 0.024),
    (0.25, 0.55, 0.028), (0.75, 0.6, 0.03), (0.02, 0.18, 0.028), (0.2, 0.15, 0.025), (0.8, 0.16, 0.027), (0.45, 0.8, 0.028),
)  # fmt: skip
"""(u, v, radius) of the mushroom's spots"""


def mushroom(sketch: Sketch) -> None:
    """A red cap with white spots on a pale stem, 0.5 m."""
    stem_height = np.linspace(0, 0.33, 14)
    stem = np.stack([0.012 * np.sin(7 * stem_height), 0 * stem_height, stem_height], axis=-1)
    for angle in np.linspace(0, 2 * np.pi, 5, endpoint=False):
        offset = 0.026 * np.array([np.cos(angle), np.sin(angle), 0])
        sketch.tube(stem + offset * (1.35 - 0.45 * stem_height[:, None] / 0.33), 0.036 - 0.022 * stem_height, (0.90, 0.86, 0.76))

    def cap(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.245 * np.sin(np.pi / 2 * (1 - v)) ** 0.9 + 0.004, 0.285 + 0.215 * np.sin(np.pi / 2 * v) ** 1.1

    red = (0.80, 0.09, 0.08)
    sketch.cover(revolve(lambda v: cap(v.clip(0, 1))), 5, red, along="u", steps=30, lift=0.003, short=0.02)
    sketch.cover(revolve(lambda v: cap(v.clip(0, 1))), 12, lambda u, v: blend(red, (0.88, 0.2, 0.12), v), steps=10, overlap=1.0)
    sketch.cover(revolve(lambda v: (0.055 + 0.185 * v, 0.30 - 0.018 * v)), 20, (0.93, 0.88, 0.76), steps=5, overlap=1.2)
    for u, v, size in SPOTS:
        place = revolve(cap)(np.array(u), np.array(v))
        sketch.blob(place, np.array([size, size, size * 0.6]), 4, (0.97, 0.95, 0.90), steps=6)


def apple(sketch: Sketch) -> None:
    """A green apple with stem and leaf, 0.4 m."""

    def profile(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta = np.pi * v.clip(0, 1)  # from the bottom dent to the top dent
        radius = 0.185 * np.sin(theta) ** 0.85 * (1 - 0.10 * np.cos(theta))
        radius = radius * (1 - 0.10 * np.exp(-((v / 0.25) ** 2)))
        height = 0.17 - 0.165 * np.cos(theta)
        return radius, height + 0.05 * np.exp(-((v / 0.12) ** 2)) - 0.075 * np.exp(-(((1 - v) / 0.13) ** 2))

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return blend((0.34, 0.62, 0.12), (0.62, 0.78, 0.22), np.sin(np.pi * v) * (0.6 + 0.4 * np.sin(2 * np.pi * u)))

    sketch.cover(revolve(profile), 18, paint, steps=18, overlap=1.5, lift=0.003, short=0.02)
    sketch.cover(revolve(lambda v: profile(0.18 + 0.66 * v)), 7, paint, along="u", steps=30, overlap=1.15, lift=0.003)
    sketch.tube(curve((0, 0, 0.235), (0.004, 0, 0.30), (0.028, -0.01, 0.37), (0.05, -0.01, 0.395), steps=10), 0.012, (0.33, 0.21, 0.11))
    sketch.cover(_leaf((0.018, -0.005, 0.335), 0.16), 3, LEAF, steps=9, lift=0.001, short=0.02)


def _leaf(base: tuple[float, float, float], length: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = (2 * u - 1) * 0.30 * length * np.sin(np.pi * (0.05 + 0.93 * v.clip(0, 1)))
        rise = length * (0.5 * v - 0.45 * v**2) + 0.3 * np.abs(across)
        return np.asarray(base) + np.stack([-length * v, across - 0.1 * length * v, rise], axis=-1)

    return surface


def mug(sketch: Sketch) -> None:
    """A blue mug with coffee in it and its handle to the right, 0.4 m."""
    blue = (0.10, 0.26, 0.68)

    def wall(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.150 + 0.008 * v, 0.005 + 0.385 * v

    def lining(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.136 + 0.008 * v, 0.27 + 0.115 * v

    sketch.cover(revolve(wall), 9, blue, along="u", steps=34, overlap=1.35, lift=0.002, short=0.012)
    sketch.cover(revolve(wall), 10, (0.13, 0.31, 0.74), steps=10, overlap=0.9, lift=0.002)
    sketch.cover(revolve(lining), 3, (0.30, 0.45, 0.80), along="u", steps=28, overlap=1.35, lift=0.002)
    sketch.cover(revolve(lambda v: (0.148 * (1 - v), 0.01 + 0 * v)), 4, blue, along="u", steps=24, overlap=1.4, lift=0.001)
    sketch.cover(revolve(lambda v: (0.136 * (1 - v), 0.315 + 0 * v)), 4, (0.27, 0.15, 0.08), along="u", steps=24, overlap=1.4, lift=0.001)
    ring = np.linspace(0, 1.98 * np.pi, 34)
    sketch.tube(np.stack([0.152 * np.cos(ring), 0.152 * np.sin(ring), np.full(34, 0.39)], axis=-1), 0.011, (0.16, 0.34, 0.76), sides=6)
    sketch.tube(curve((0.150, 0, 0.325), (0.225, 0, 0.335), (0.272, 0, 0.24), (0.250, 0, 0.14), (0.152, 0, 0.09), steps=20), 0.021, blue)


def chair(sketch: Sketch) -> None:
    """A wooden chair with a slatted back, 0.95 m."""
    for x in (-0.2, 0.2):
        sketch.tube(curve((x * 1.04, -0.205, 0), (x, -0.2, 0.23), (x, -0.198, 0.445), steps=10), 0.024, WOOD)
        sketch.tube(curve((x * 1.04, 0.225, 0), (x, 0.2, 0.44), (x, 0.215, 0.68), (x * 0.98, 0.26, 0.95), steps=18), 0.024, WOOD)
        sketch.tube(curve((x, -0.19, 0.19), (x, 0.19, 0.20), steps=8), 0.014, WOOD)
    sketch.tube(curve((-0.19, -0.2, 0.24), (0.19, -0.2, 0.24), steps=8), 0.014, WOOD)
    sketch.cover(plane((-0.245, -0.245, 0.462), (0.49, 0, 0), (0, 0.475, 0)), 6, (0.60, 0.39, 0.21), steps=9, overlap=1.45, lift=0.004)
    underside = plane((-0.235, -0.235, 0.44), (0.47, 0, 0), (0, 0.45, 0))
    sketch.cover(underside, 4, (0.56, 0.35, 0.19), along="u", steps=8, overlap=1.5, lift=0.003)
    for bottom, top, depth in ((0.60, 0.67, 0.208), (0.72, 0.79, 0.225), (0.83, 0.95, 0.25)):
        slat = plane((-0.205, depth, bottom), (0.41, 0, 0), (0, 0.02, top - bottom))
        sketch.cover(slat, 3, (0.57, 0.36, 0.19), along="u", steps=9, overlap=1.6, lift=0.005)
    for height in (0.43, 0.45):
        corners = curve((-0.22, -0.22, height), (0.22, -0.22, height), steps=8), curve((-0.22, 0.2, height), (0.22, 0.2, height), steps=8)
        for edge in corners:
            sketch.tube(edge, 0.015, WOOD, sides=6)


def house(sketch: Sketch) -> None:
    """A white house with a red roof, a door, windows and a chimney, 1.5 m."""
    white, red, glass = (0.92, 0.91, 0.87), (0.64, 0.20, 0.15), (0.35, 0.55, 0.75)
    x, y, eave, ridge = 0.62, 0.45, 0.72, 1.22
    long, deep = (2 * x, 0, 0), (0, 2 * y, 0)
    for origin, along in (((-x, -y, 0), long), ((-x, y, 0), long), ((-x, -y, 0), deep), ((x, -y, 0), deep)):
        sketch.cover(plane(origin, along, (0, 0, eave)), 7, white, along="u", steps=12, overlap=1.4, lift=0.006, short=0.03)
    for side in (-x, x):

        def gable(u: np.ndarray, v: np.ndarray, side: float = side) -> np.ndarray:
            return np.stack([np.full(u.shape, side), (2 * u - 1) * y * (1 - v), eave + (ridge - eave) * v], axis=-1)

        sketch.cover(gable, 5, white, along="u", steps=8, overlap=1.5, lift=0.005)
    for facing in (-1, 1):
        slope = plane((-x - 0.1, facing * (y + 0.12), eave - 0.12), (2 * x + 0.2, 0, 0), (0, -facing * (y + 0.12), ridge - eave + 0.15))
        sketch.cover(slope, 7, red, along="u", steps=14, overlap=1.45, lift=0.006, short=0.03)
        sketch.cover(slope, 9, (0.57, 0.17, 0.13), steps=8, overlap=0.7, lift=0.004)
    sketch.tube(curve((-x - 0.1, 0, ridge + 0.03), (x + 0.1, 0, ridge + 0.03), steps=12), 0.03, (0.52, 0.15, 0.12))
    sketch.cover(plane((-0.13, -y - 0.025, 0), (0.26, 0, 0), (0, 0, 0.46)), 4, (0.45, 0.24, 0.12), steps=8, overlap=1.5, lift=0.003)
    for centre in (-0.38, 0.38):
        _window(sketch, (centre, -y - 0.025, 0.40), (1, 0, 0), glass)
        _window(sketch, (centre, y + 0.025, 0.40), (1, 0, 0), glass)
    for side in (-x - 0.025, x + 0.025):
        _window(sketch, (side, 0, 0.40), (0, 1, 0), glass)
    for turn in range(4):
        angle = turn * np.pi / 2
        out, along = np.array([np.cos(angle), np.sin(angle), 0]) * 0.08, np.array([-np.sin(angle), np.cos(angle), 0]) * 0.16
        origin = np.array([0.34, 0.16, 1.0]) + out - along / 2
        sketch.cover(plane(tuple(origin), tuple(along), (0, 0, 0.40)), 3, (0.60, 0.30, 0.22), steps=8, overlap=1.6, lift=0.003)
    sketch.cover(plane((0.25, 0.07, 1.39), (0.18, 0, 0), (0, 0.18, 0)), 3, (0.25, 0.2, 0.2), steps=6, overlap=1.5, lift=0.002)


def _window(sketch: Sketch, centre: tuple[float, float, float], along: tuple[float, float, float], glass: Colour) -> None:
    """A pane with a dark frame drawn around it as one open stroke."""
    middle, right, up = np.asarray(centre), 0.11 * np.asarray(along), np.array([0, 0, 0.13])
    sketch.cover(plane(tuple(middle - right - up), tuple(2 * right), tuple(2 * up)), 3, glass, steps=5, overlap=1.4, lift=0.002)
    corners = [middle - right - up, middle + right - up, middle + right + up, middle - right + up, middle - right - 0.9 * up]
    for first, second in pairwise(corners):
        sketch.tube(np.linspace(first, second, 5), 0.016, (0.42, 0.30, 0.22), sides=5)


def tree(sketch: Sketch) -> None:
    """A round green tree, 1.9 m: trunk, branches, a crown of scribbled balls."""
    trunk = curve((0.01, 0, 0), (-0.02, 0.01, 0.3), (0.02, 0, 0.62), (0, 0, 1.0), steps=14)
    sketch.tube(trunk, np.linspace(0.11, 0.055, 14), BARK, sides=9)
    for azimuth in np.radians((20, 140, 260)):
        out = np.array([np.cos(azimuth), np.sin(azimuth), 0])
        branch = curve((0, 0, 0.62), tuple(0.14 * out + (0, 0, 0.84)), tuple(0.32 * out + (0, 0, 1.08)), steps=10)
        sketch.tube(branch, np.linspace(0.05, 0.028, 10), BARK)
        root = curve(tuple(0.24 * out), tuple(0.13 * out + (0, 0, 0.06)), tuple(0.07 * out + (0, 0, 0.2)), steps=7)
        sketch.tube(root, np.linspace(0.03, 0.045, 7), BARK)
    crown = [((0, 0, 1.58), 0.33), ((0, 0, 1.22), 0.34)]
    for turn, (ring, height, radius) in enumerate(((0.34, 1.18, 0.28), (0.26, 1.48, 0.27))):
        for azimuth in np.arange(6 - turn) * 2 * np.pi / (6 - turn) + 0.5 * turn:
            crown.append(((ring * np.cos(azimuth), ring * np.sin(azimuth), height), radius))
    for centre, radius in crown:
        shade = blend((0.12, 0.36, 0.10), (0.32, 0.60, 0.20), np.array(sketch.rng.random()))
        place = np.asarray(centre) + 0.03 * sketch.rng.standard_normal(3)
        sketch.blob(place, radius * np.array([1, 1, 0.9]), 9, (float(shade[0]), float(shade[1]), float(shade[2])), steps=10)


def teapot(sketch: Sketch) -> None:
    """A white teapot, spout to the right and handle to the left, 0.45 m wide."""
    white = (0.93, 0.92, 0.89)

    def body(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta = np.pi * (0.10 + 0.76 * v.clip(0, 1))
        return 0.150 * np.sin(theta) ** 0.8, 0.125 - 0.128 * np.cos(theta)

    def lid(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.078 * np.cos(np.pi / 2 * v.clip(0, 1)) ** 0.9, 0.238 + 0.036 * np.sin(np.pi / 2 * v)

    sketch.cover(revolve(body), 8, white, along="u", steps=32, overlap=1.4, lift=0.002, short=0.02)
    sketch.cover(revolve(body), 14, (0.90, 0.89, 0.87), steps=12, overlap=1.0, lift=0.002)
    sketch.cover(revolve(lambda v: (0.088 * (1 - v), 0.006 + 0 * v)), 3, white, along="u", steps=18, lift=0.001)
    sketch.cover(revolve(lid), 10, (0.95, 0.94, 0.92), steps=7, overlap=1.5, lift=0.001, short=0.02)
    ring = np.linspace(0, 1.97 * np.pi, 26)
    sketch.tube(np.stack([0.08 * np.cos(ring), 0.08 * np.sin(ring), np.full(26, 0.238)], axis=-1), 0.008, (0.86, 0.85, 0.83), sides=6)
    sketch.blob(np.array([0, 0, 0.292]), 0.022, 6, (0.95, 0.94, 0.92), steps=7)
    spout = curve((0.125, 0, 0.085), (0.195, 0, 0.115), (0.232, 0, 0.19), (0.285, 0, 0.245), steps=14)
    sketch.tube(spout, np.linspace(0.040, 0.016, 14), white, sides=10)
    handle = curve((-0.118, 0, 0.20), (-0.19, 0, 0.232), (-0.25, 0, 0.175), (-0.215, 0, 0.09), (-0.135, 0, 0.062), steps=20)
    sketch.tube(handle, 0.016, white)


DRAWINGS: dict[str, tuple[Callable[[Sketch], None], float, str]] = {
    "flower": (flower, 0.0038, "a red tulip flower"),
    "mushroom": (mushroom, 0.0030, "a red mushroom"),
    "apple": (apple, 0.0020, "a green apple"),
    "mug": (mug, 0.0020, "a blue coffee mug"),
    "chair": (chair, 0.0050, "a wooden chair"),
    "house": (house, 0.0080, "a white house"),
    "tree": (tree, 0.0110, "a green tree"),
    "teapot": (teapot, 0.0017, "a white teapot"),
}
"""name -> (drawing, unsteadiness of the hand in metres, prompt)"""
