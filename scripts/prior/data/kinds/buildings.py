"""Houses, stone towers and bridges; their fronts face -y."""

from __future__ import annotations

import itertools
import math

import numpy as np

from scripts.prior.data.palette import Colour, varied
from scripts.prior.data.shapes import Mesh, box, cone, cylinder, extruded, joined, lathe
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

WALLS: dict[str, Colour] = {
    "red": (0.4, 0.08, 0.05),
    "white": (0.75, 0.73, 0.68),
    "yellow": (0.7, 0.5, 0.18),
    "blue": (0.15, 0.28, 0.45),
    "brown": (0.25, 0.13, 0.06),
    "grey": (0.35, 0.35, 0.35),
}
ROOFS = ((0.3, 0.08, 0.04), (0.12, 0.12, 0.13), (0.2, 0.1, 0.05))
STONES: dict[str, Colour] = {
    "grey": (0.3, 0.3, 0.29),
    "brown": (0.28, 0.19, 0.11),
    "white": (0.65, 0.63, 0.58),
    "red": (0.36, 0.12, 0.07),
}


def _roof(width: float, depth: float, wall: float, rise: float) -> Mesh:
    """Two slabs that meet above the middle and stand over a little."""
    over, thick = 0.05, 0.03
    x, low = width / 2 + over, wall - rise * over / (depth / 2)
    slabs = []
    for side in (-1, 1):
        y = side * (depth / 2 + over)
        outline = [(-x, y, low), (x, y, low), (x, 0, wall + rise), (-x, 0, wall + rise)]
        upper = [(a, b, c + thick) for a, b, c in outline]
        faces = [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
        slabs.append(Mesh(np.array(outline + upper), faces))
    return joined(*slabs)


def _gables(width: float, depth: float, wall: float, rise: float) -> Mesh:
    """The triangles under the roof."""
    triangles = [[(x, -depth / 2, wall), (x, depth / 2, wall), (x, 0, wall + rise)] for x in (-width / 2, width / 2)]
    return Mesh(np.array(triangles).reshape(-1, 3), [(0, 1, 2), (3, 4, 5)])


def house(bench: Workbench) -> Subject:
    """A gabled house: the door in front, windows all round, a chimney on some."""
    rng = bench.rng
    name = rng.choice(list(WALLS))
    wall = bench.natural(WALLS[name], 0.85, 0.3, 20)
    width, depth = rng.uniform(0.6, 0.85), rng.uniform(0.45, 0.65)
    height, rise = rng.uniform(0.32, 0.5), rng.uniform(0.2, 0.38)
    body = joined(box(width, depth, height).moved(z=height / 2), _gables(width, depth, height, rise))
    bench.add(body, wall, smooth=False)
    tiles = bench.natural(rng.choice(ROOFS), 0.8, 0.6, 25)
    bench.add(_roof(width, depth, height, rise), tiles, smooth=False, name="roof")
    _openings(bench, width, depth, height)
    if rng.random() < 0.6:
        chimney = box(0.09, 0.09, 0.9 * rise).moved(0.25 * width, 0.18 * depth, height + 0.85 * rise)
        bench.add(chimney, bench.natural((0.3, 0.1, 0.07), 0.9), smooth=False, name="chimney")
    return Subject(with_article(f"{name} house"), height + rise, 0.55)


def _openings(bench: Workbench, width: float, depth: float, height: float) -> None:
    """Windows with frames, and a door in the front wall."""
    rng = bench.rng
    glass = Material((0.05, 0.08, 0.12), roughness=0.1)
    frame = Material((0.7, 0.7, 0.68), roughness=0.6)
    count = rng.randint(2, 3)
    door = rng.randrange(count)
    for side in (-1, 1):
        for place in range(count):
            x, y = (place + 0.5) / count * width - width / 2, side * depth / 2
            if side < 0 and place == door:
                _, colour = bench.colour("red", "brown", "green", "blue")
                panel = box(0.13, 0.03, 0.6 * height).moved(x, y, 0.3 * height)
                bench.add(panel, Material(colour), smooth=False, bevel=0.004, name="door")
                continue
            border = box(0.14, 0.02, 0.38 * height).moved(x, y, 0.58 * height)
            bench.add(border, frame, smooth=False, bevel=0.004, name="window frames")
            pane = box(0.115, 0.03, 0.31 * height).moved(x, y, 0.58 * height)
            bench.add(pane, glass, smooth=False, name="windows")
        gable = box(0.02, 0.14, 0.36 * height).moved(side * width / 2, 0, 0.6 * height)
        bench.add(gable, frame, smooth=False, bevel=0.004, name="window frames")
        pane = box(0.03, 0.115, 0.3 * height).moved(side * width / 2, 0, 0.6 * height)
        bench.add(pane, glass, smooth=False, name="windows")


def _masonry(bench: Workbench) -> tuple[str, Material]:
    """Courses of stone, with the colour's name."""
    name = bench.rng.choice(list(STONES))
    colour = varied(STONES[name], bench.rng)
    second = varied(STONES[name], bench.rng, 0.4)
    return name, Material(colour, second, pattern="bricks", scale=9, roughness=0.9, bump=0.8)


def tower(bench: Workbench) -> Subject:
    """A round stone tower with battlements or a pointed roof."""
    rng = bench.rng
    name, stone = _masonry(bench)
    radius, height = rng.uniform(0.18, 0.26), rng.uniform(0.75, 0.95)
    top = [(radius * 1.18, height + 0.04), (radius * 1.18, height + 0.12)]
    shaft = [(radius * 1.15, 0), (radius, 0.2), (radius, height), *top, (0.001, height + 0.1)]
    bench.add(lathe(shaft, 40), stone, smooth=False)
    total = height + 0.2
    if rng.random() < 0.5:
        _, colour = bench.colour("red", "blue", "brown", "green")
        roof = cone(radius * 1.35, rng.uniform(0.3, 0.45)).moved(z=height + 0.11)
        bench.add(roof, bench.natural(colour, 0.7, 0.4, 20), name="roof")
        total += 0.25
    else:
        stones = [box(0.07, 0.1, 0.1).moved(radius * 1.1, 0, height + 0.16).rotated("z", math.pi * k / 5) for k in range(10)]
        bench.add(joined(*stones), stone, smooth=False)
    dark = Material((0.02, 0.02, 0.025), roughness=0.6)
    bench.add(box(0.14, 0.06, 0.24).moved(0, -radius * 1.05, 0.12), bench.wood(), smooth=False, name="door")
    slits = [
        box(0.05, 0.04, 0.13).moved(0, -radius, level).rotated("z", turn)
        for level, turn in ((0.45, 0.3), (0.6, 2.2), (0.65, 4.1), (0.7, -0.1))
    ]
    bench.add(joined(*slits), dark, smooth=False, name="windows")
    return Subject(with_article(f"{name} stone tower"), total, 0.3)


def bridge(bench: Workbench) -> Subject:
    """An arched stone bridge with parapets."""
    rng = bench.rng
    name, stone = _masonry(bench)
    span, rise, deck = rng.uniform(0.42, 0.52), rng.uniform(0.24, 0.36), rng.uniform(0.3, 0.42)
    crown = rng.uniform(0.0, 0.12)
    angles = np.linspace(math.pi, 0, 25)
    arch = [(span * math.cos(a), rise * math.sin(a)) for a in angles]
    over = [(x, deck + crown * (1 - (x / 0.8) ** 2)) for x in np.linspace(0.8, -0.8, 25)]
    outline = [(-0.8, 0), *arch, (0.8, 0), *over]
    bench.add(_arch_wall(arch, over, 0.34), stone, smooth=False)
    for side in (-1, 1):
        rail = [(x, z + 0.1) for x, z in over]
        wall = extruded([*over, *reversed(rail)], 0.04).moved(y=side * 0.16)
        bench.add(wall, stone, smooth=False)
    for x, z in (outline[0], outline[26]):
        bench.add(cylinder(0.06, deck + 0.14).moved(x, -0.17, z), stone, smooth=False)
    return Subject(with_article(f"{name} stone bridge"), deck + crown + 0.1, 0.85)


def _arch_wall(arch: list, over: list, depth: float) -> Mesh:
    """The body of a bridge between its arch and its deck, in upright strips."""
    under = [(-0.8, 0.0), *[(x, z) for x, z in arch], (0.8, 0.0)]
    strips = []
    for (x0, z0), (x1, z1) in itertools.pairwise(under):
        if abs(x1 - x0) < 1e-6:
            continue
        tops = np.interp([x0, x1], [x for x, _ in reversed(over)], [z for _, z in reversed(over)])
        strips.append(extruded([(x0, z0), (x1, z1), (x1, tops[1]), (x0, tops[0])], depth))
    return joined(*strips)


KINDS = (house, tower, bridge)
