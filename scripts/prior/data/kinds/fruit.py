"""Fruit: bodies of revolution with stalks, and a bent banana."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import LEAF_GREEN
from scripts.prior.data.shapes import ball, joined, lathe, leaf, loft, oval, smooth_lathe, spline, tube
from scripts.prior.data.workbench import Subject, Workbench, with_article


def _stalk(bench: Workbench, z: float, length: float) -> None:
    """A short bent stalk at the top of a fruit."""
    rng = bench.rng
    end = (rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.05), z + length)
    path = spline([(0, 0, z), (0.01, 0, z + length / 2), end], 5)
    bench.add(tube(path, np.linspace(0.012, 0.018, len(path))), bench.natural((0.12, 0.06, 0.02)), name="stalk")


def apple(bench: Workbench) -> Subject:
    """Dented above and below."""
    rng = bench.rng
    name = rng.choice(["red", "green", "yellow"])
    colour = {"red": (0.5, 0.02, 0.02), "green": (0.25, 0.45, 0.04), "yellow": (0.75, 0.5, 0.06)}
    angles = np.linspace(0, math.pi, 25)
    radii = 0.4 * np.sin(angles) * (1 + 0.12 * np.cos(angles))
    dents = 0.07 * np.exp(-(((math.pi - angles) / 0.3) ** 2)) - 0.14 * np.exp(-((angles / 0.35) ** 2))
    profile = np.column_stack([radii, 0.37 + 0.36 * np.cos(angles) + dents])
    lobes = rng.uniform(0, 0.03)
    skin = bench.natural(colour[name], rng.uniform(0.18, 0.35), 0.03, 4, subsurface=0.1)
    bench.add(lathe(profile, 48, lambda a: 1 + lobes * np.sin(3 * a)), skin)
    if rng.random() < 0.85:
        _stalk(bench, 0.58, 0.24)
    if rng.random() < 0.4:
        blade = leaf(0.28, 0.08, 0.35).rotated("z", rng.uniform(0, 2 * math.pi))
        bench.add(blade.moved(z=0.72), bench.natural(LEAF_GREEN), name="leaf")
    return Subject(with_article(f"{name} apple"), 0.75, 0.45)


def pear(bench: Workbench) -> Subject:
    """Narrow above, round below."""
    rng = bench.rng
    name = rng.choice(["green", "yellow", "red", "brown"])
    colour = {
        "green": (0.3, 0.45, 0.05),
        "yellow": (0.72, 0.55, 0.08),
        "red": (0.4, 0.04, 0.03),
        "brown": (0.26, 0.13, 0.045),
    }
    width, neck, height = rng.uniform(0.31, 0.38), rng.uniform(0.12, 0.17), rng.uniform(0.8, 0.95)
    profile = [
        (0.001, 0.04),
        (0.17, 0.01),
        (0.86 * width, 0.12),
        (width, 0.29),
        (0.9 * width, 0.44),
        (neck + 0.04, 0.62),
        (neck, 0.87 * height),
        (0.55 * neck, 0.97 * height),
        (0.001, 0.95 * height),
    ]
    lean = rng.uniform(-0.08, 0.08)
    body = smooth_lathe(profile, 48).shaped(lambda v: v + np.column_stack([lean * v[:, 2] ** 2, 0 * v[:, 2], 0 * v[:, 2]]))
    bench.add(body, bench.natural(colour[name], 0.4, 0.15, 6, subsurface=0.06))
    _stalk(bench, 0.93 * height, 0.18)
    return Subject(with_article(f"{name} pear"), height + 0.14, 0.4)


def banana(bench: Workbench) -> Subject:
    """One to three bent fruits from one stalk, lying down."""
    rng = bench.rng
    name = rng.choice(["yellow", "yellow", "green"])
    colour = (0.8, 0.5, 0.04) if name == "yellow" else (0.3, 0.42, 0.05)
    skin = bench.natural(colour, 0.45, 0.1, 5)
    count = rng.randint(1, 3)
    for place in range(count):
        angles = np.linspace(-1.1, 1.1, 20)
        sizes = 0.085 * np.clip(np.sin((angles + 1.25) / 2.5 * math.pi), 0.15, 1) ** 0.45
        sizes[-2:] = 0.03
        rings = []
        for angle, size in zip(angles, sizes, strict=True):
            ring = oval(size, size, 20, 2.6)
            tilted = ring[:, 1:2] * np.array([[-math.sin(angle), math.cos(angle), 0]])
            centre = np.array([0.5 * math.sin(angle), 0.5 - 0.5 * math.cos(angle), 0.09])
            rings.append(centre + tilted[:, [1, 0, 2]] * (0, 1, 0) + ring[:, 2:3] * (0, 0, 1))
        fruit = loft(rings).rotated("x", 0.5 * place).moved(y=-0.13 * place, z=0.03 * place)
        bench.add(fruit, skin)
    words = "banana" if count == 1 else "bunch of bananas"
    return Subject(with_article(f"{name} {words}"), 0.3, 0.5)


def orange(bench: Workbench) -> Subject:
    """A pitted ball, sometimes with a leaf."""
    rng = bench.rng
    skin = bench.natural((0.8, 0.25, 0.015), 0.4, 0.5, 45, subsurface=0.1)
    body = ball(0.38, 24, 40).scaled(1, 1, rng.uniform(0.92, 1.0)).moved(z=0.36)
    bench.add(body, skin)
    bench.add(ball(0.03, 8, 8).scaled(1, 1, 0.5).moved(z=0.72), bench.natural((0.1, 0.2, 0.04)), name="stalk")
    if rng.random() < 0.5:
        blade = leaf(0.3, 0.09, 0.3).rotated("z", rng.uniform(0, 2 * math.pi))
        bench.add(blade.moved(z=0.72), bench.natural(LEAF_GREEN), name="leaf")
    return Subject("an orange fruit", 0.72, 0.42)


def lemon(bench: Workbench) -> Subject:
    """Lying, with a nipple at both ends."""
    rng = bench.rng
    name, colour = rng.choice([("yellow", (0.85, 0.6, 0.04)), ("green", (0.2, 0.42, 0.04))])
    tip = [(0.001, -0.52), (0.05, -0.5), (0.1, -0.43)]
    side = [(0.26, -0.25), (0.32, 0), (0.26, 0.25)]
    profile = [*tip, *side, *((r, -z) for r, z in reversed(tip))]
    body = smooth_lathe(profile, 40).rotated("y", math.pi / 2)
    skin = bench.natural(colour, 0.4, 0.4, 40, subsurface=0.08)
    fruits = [body.rotated("z", rng.uniform(-0.4, 0.4)).moved(z=0.32)]
    bench.add(joined(*fruits), skin)
    return Subject(with_article(f"{name} lemon"), 0.62, 0.5)


KINDS = (apple, pear, banana, orange, lemon)
