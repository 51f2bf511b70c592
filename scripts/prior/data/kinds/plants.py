"""Trees, cactuses, mushrooms, pumpkins, and rocks."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import BARK, LEAF_GREEN
from scripts.prior.data.shapes import (
    Mesh,
    ball,
    cards,
    dome_points,
    joined,
    lathe,
    lumpy,
    spline,
    tube,
)
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

AUTUMN = ((0.6, 0.2, 0.02), (0.5, 0.06, 0.02), (0.65, 0.38, 0.04))


def _pine(bench: Workbench) -> Subject:
    """Tiers of jagged cones."""
    rng = bench.rng
    height, tiers, points = rng.uniform(0.8, 1.0), rng.randint(4, 6), 28
    needles = bench.natural((0.03, 0.14, 0.05), 0.8, 1.0, 30)
    bench.add(tube([(0, 0, 0), (0, 0, 0.4 * height)], [0.05, 0.035]), bench.natural(BARK, 0.9), name="trunk")
    for tier in range(tiers):
        level = height * (0.15 + 0.8 * tier / tiers)
        radius = 0.33 * (1 - 0.85 * tier / tiers)
        rim = []
        for place in range(points):
            reach = radius * (1 if place % 2 else 0.72) * rng.uniform(0.9, 1.1)
            angle = 2 * math.pi * place / points
            rim.append((reach * math.cos(angle), reach * math.sin(angle), level - 0.03 * (place % 2)))
        tip = (0.0, 0.0, level + 0.28 * height)
        faces = [(0, 1 + place, 1 + (place + 1) % points) for place in range(points)]
        bench.add(Mesh(np.array([tip, *rim]), faces), needles, smooth=False, name="needles")
    return Subject("a pine tree", height + 0.1, 0.45)


def tree(bench: Workbench) -> Subject:
    """A pine, or a crown of leaves in green or autumn colours."""
    rng = bench.rng
    season = rng.choice(["green", "autumn", "pine"])
    if season == "pine":
        return _pine(bench)
    colour = LEAF_GREEN if season == "green" else rng.choice(AUTUMN)
    height = rng.uniform(0.35, 0.5)
    top = (rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05), height + 0.15)
    trunk = tube([(0, 0, 0), (top[0] / 2, 0, height / 2), top], [0.07, 0.045, 0.03])
    bench.add(trunk, bench.natural(BARK, 0.9, 0.8), name="trunk")
    generator = bench.generator
    clumps = generator.normal((0, 0, height + 0.22), (0.14, 0.14, 0.1), (9, 3))
    radii = generator.uniform(0.14, 0.24, 9)
    chosen = generator.integers(0, 9, 1800)
    directions = generator.standard_normal((1800, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = (radii[chosen] * generator.uniform(0.75, 1.0, 1800))[:, None]
    foliage = cards(clumps[chosen] + directions * reach, 0.035, generator)
    bench.add(foliage, bench.natural(colour, 0.7, 0.5, 25), smooth=False, name="leaves")
    return Subject(with_article(f"{season} tree"), height + 0.55, 0.5)


def mushroom(bench: Workbench) -> Subject:
    """A stalk and a cap; red ones with white warts."""
    rng = bench.rng
    name, colour = bench.colour("red", "brown", "white", "orange")
    colour = (0.28, 0.13, 0.05) if name == "brown" else colour
    height, stalk = rng.uniform(0.35, 0.6), rng.uniform(0.06, 0.1)
    radius, dome = rng.uniform(0.25, 0.4), rng.uniform(0.14, 0.28)
    stem = [(1.4, 0), (1.2, 0.15), (1, 0.4), (0.95, 0.8), (1.1, 1)]
    pale = bench.natural((0.65, 0.58, 0.45), 0.7, 0.4)
    bench.add(lathe([(stalk * r, height * z) for r, z in stem]), pale, name="stalk")
    rim = [(0.8 * stalk, height - 0.02), (0.9 * radius, height - 0.03), (radius, height)]
    cap = [(r, height + 0.03 + z) for r, z in dome_points(0.97 * radius, dome)]
    look = bench.natural(colour, rng.uniform(0.25, 0.6), 0.3, 9, subsurface=0.1)
    bench.add(lathe(rim + cap), look, name="cap")
    if name == "red" or rng.random() < 0.2:
        _warts(bench, radius, height, dome)
    return Subject(with_article(f"{name} mushroom"), height + dome, 0.42)


def _warts(bench: Workbench, radius: float, height: float, dome: float) -> None:
    """Small white lumps on a cap."""
    rng = bench.rng
    lumps = []
    for _ in range(rng.randint(14, 26)):
        around, down = rng.uniform(0, 2 * math.pi), math.acos(1 - 0.9 * rng.random())
        reach = 0.97 * radius * math.sin(down)
        size = rng.uniform(0.012, 0.05)
        lumps.append(
            ball(size, 6, 8)
            .scaled(1, 1, 0.6)
            .moved(
                reach * math.cos(around),
                reach * math.sin(around),
                height + 0.03 + dome * math.cos(down),
            )
        )
    bench.add(joined(*lumps), Material((0.85, 0.83, 0.75), roughness=0.8, bump=0.5, scale=30), name="dots")


def _ribbed(angles: np.ndarray, ribs: int, depth: float) -> np.ndarray:
    """Radius factor of a ribbed body."""
    return 1 - depth * (1 - np.abs(np.sin(ribs * angles / 2)) ** 0.55)


def pumpkin(bench: Workbench) -> Subject:
    """A flat ribbed ball with a bent stalk."""
    rng = bench.rng
    name, colour = bench.colour("orange", "orange", "orange", "white", "green")
    ribs, depth = rng.randint(8, 15), rng.uniform(0.06, 0.14)
    radius, flat = rng.uniform(0.38, 0.48), rng.uniform(0.6, 0.9)
    angles = np.linspace(0, math.pi, 30)
    dent = 0.35 * np.exp(-((angles / 0.42) ** 2)) - 0.35 * np.exp(-(((math.pi - angles) / 0.42) ** 2))
    heights = radius * flat * (1 - np.cos(angles) + dent)
    profile = np.column_stack([radius * np.sin(angles) ** 0.85, heights - heights.min()])
    body = lathe(profile, ribs * 10, lambda around: _ribbed(around, ribs, depth))
    bench.add(body, bench.natural(colour, 0.4, 0.3, 7))
    top = float(profile[-1, 1])
    bend = rng.uniform(-0.1, 0.1)
    stalk = spline([(0, 0, top - 0.03), (0, 0, top + 0.06), (bend, bend / 2, top + 0.18)], 5)
    bench.add(tube(stalk, np.linspace(0.055, 0.03, len(stalk)), 7), bench.natural((0.2, 0.2, 0.06)), name="stalk")
    return Subject(with_article(f"{name} pumpkin"), top + 0.1, 0.48)


def cactus(bench: Workbench) -> Subject:
    """A ribbed column with arms, in a clay pot or in the ground."""
    rng = bench.rng
    green = bench.natural((0.06, 0.24, 0.08), 0.6, 0.6, 30)
    foot = 0.0
    if rng.random() < 0.6:
        foot = 0.24
        pot = [(0.001, 0), (0.15, 0), (0.19, 0.2), (0.215, 0.2), (0.215, 0.26), (0.19, 0.25)]
        bench.add(lathe([*pot, (0.001, 0.24)]), bench.natural((0.4, 0.13, 0.05), 0.8, 0.2), name="pot")
    height, radius = rng.uniform(0.5, 0.7), rng.uniform(0.1, 0.14)
    profile = [(radius * 0.85, foot), (radius, foot + height * 0.5), (radius * 0.95, foot + height)]
    crown = [(r, foot + height + z) for r, z in dome_points(radius * 0.95, radius * 0.8)]
    bench.add(lathe(profile + crown, 60, lambda a: _ribbed(a, 12, 0.18)), green)
    side = rng.uniform(0, 2 * math.pi)
    for place in range(rng.randint(0, 3)):
        level = foot + height * rng.uniform(0.3, 0.6)
        reach, up = rng.uniform(0.18, 0.26), rng.uniform(0.15, 0.3)
        path = spline([(0, 0, level), (reach * 0.8, 0, level), (reach, 0, level + up)], 7)
        arm = joined(tube(path, 0.06, 16), ball(0.06).moved(reach, 0, level + up))
        bench.add(arm.rotated("z", side + 2.4 * place), green)
    words = "green cactus in a clay pot" if foot else "green cactus"
    return Subject(with_article(words), foot + height + radius, 0.34)


def rock(bench: Workbench) -> Subject:
    """A lump of stone, mossy or plain."""
    rng = bench.rng
    name, colour = rng.choice(
        [
            ("grey", (0.25, 0.25, 0.25)),
            ("brown", (0.2, 0.13, 0.08)),
            ("mossy", (0.1, 0.16, 0.05)),
            ("red", (0.35, 0.12, 0.07)),
        ]
    )
    stone = lumpy(lumpy(ball(0.4, 40, 60), 0.25, 4, bench.generator), 0.07, 14, bench.generator)
    height = rng.uniform(0.5, 0.9)
    stone = stone.scaled(rng.uniform(0.9, 1.25), rng.uniform(0.8, 1.1), height)
    look = bench.natural(colour, 0.9, 1.0, 9)
    bench.add(stone.moved(z=0.32 * height), look)
    return Subject(with_article(f"{name} rock"), 0.7 * height, 0.45)


KINDS = (tree, mushroom, pumpkin, cactus, rock)
