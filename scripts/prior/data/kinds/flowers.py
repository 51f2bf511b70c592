"""Flowers: a bent stem, a head of petals, leaves."""

from __future__ import annotations

import math

from scripts.prior.data.palette import LEAF_GREEN
from scripts.prior.data.shapes import Mesh, Point, dome_points, joined, lathe, leaf, sheet, tube
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

PETAL_COLOURS = ("red", "yellow", "pink", "white", "purple", "orange")


def _stem(bench: Workbench, height: float, bend: float, green: Material) -> tuple[float, float]:
    """A stem from the origin; returns the x and y of its top."""
    direction = bench.rng.uniform(0, 2 * math.pi)
    x, y = bend * math.cos(direction), bend * math.sin(direction)
    points = [(x * t * t, y * t * t, height * t) for t in (step / 10 for step in range(11))]
    bench.add(tube(points, 0.018), green, name="stem")
    return x, y


def _leaves(bench: Workbench, count: int, green: Material, length: tuple[float, float]) -> None:
    """Leaves around the foot of the stem."""
    rng = bench.rng
    for _ in range(count):
        blade = leaf(rng.uniform(*length), rng.uniform(0.035, 0.06), rng.uniform(0.5, 0.9))
        bench.add(blade.rotated("z", rng.uniform(0, 2 * math.pi)), green, name="leaves")


def _facing(head: Mesh, bench: Workbench, tilt: tuple[float, float]) -> Mesh:
    """Lean a head that looks up toward the front, a little to one side."""
    rng = bench.rng
    return head.rotated("x", rng.uniform(*tilt)).rotated("z", rng.uniform(-0.5, 0.5))


def tulip(bench: Workbench) -> Subject:
    """Two rings of three upright petals that close into a cup."""
    rng = bench.rng
    name, colour = bench.colour(*PETAL_COLOURS)
    green = bench.natural(LEAF_GREEN, bump=0.2)
    petals = bench.natural(colour, 0.45, scale=14, subsurface=0.2)
    height, length = rng.uniform(0.55, 0.8), rng.uniform(0.24, 0.32)
    opening = rng.uniform(0.0, 0.5)
    x, y = _stem(bench, height, rng.uniform(0, 0.12), green)

    def petal(ring: int) -> Mesh:
        def surface(u: float, v: float) -> Point:
            swell = math.sin(math.pi * (0.08 + 0.62 * v)) ** 0.7
            radius = (0.12 - 0.012 * ring) * swell * (1 + opening * v * v * 1.2)
            angle = 1.05 * u * math.sin(math.pi * (0.12 + 0.83 * v)) ** 0.6
            return radius * math.cos(angle), radius * math.sin(angle), length * v - 0.01 * u * u

        return sheet(surface)

    for ring in (0, 1):
        for place in range(3):
            turn = 2 * math.pi * (place / 3 + ring / 6) + rng.uniform(-0.1, 0.1)
            bench.add(petal(ring).rotated("z", turn).moved(x, y, height), petals)
    _leaves(bench, rng.randint(2, 3), green, (0.4, 0.6))
    return Subject(with_article(f"{name} tulip flower"), height + length, 0.34)


def _ray_petals(count: int, start: float, length: float, width: float, cup: float, bench: Workbench) -> Mesh:
    """A ring of flat petals about z."""

    def petal(stretch: float) -> Mesh:
        def surface(u: float, v: float) -> Point:
            half = 0.5 * width * math.sin(math.pi * (0.1 + 0.8 * v)) ** 0.5
            return start + length * stretch * v, u * half, 0.02 + cup * length * v * v

        return sheet(surface, 4, 7)

    rng = bench.rng
    return joined(
        *(petal(rng.uniform(0.9, 1.05)).rotated("z", 2 * math.pi * place / count + rng.uniform(-0.06, 0.06)) for place in range(count))
    )


def daisy(bench: Workbench) -> Subject:
    """A ring of narrow petals about a small yellow dome."""
    rng = bench.rng
    name, colour = bench.colour("white", "yellow", "pink", "purple", "orange", "red")
    green = bench.natural(LEAF_GREEN, 0.6)
    centre = (0.7, 0.35, 0.02) if name != "yellow" else (0.12, 0.05, 0.01)
    height, length = rng.uniform(0.5, 0.75), rng.uniform(0.2, 0.28)
    count, dome = rng.randint(10, 22), rng.uniform(0.06, 0.085)
    x, y = _stem(bench, height, rng.uniform(0.02, 0.2), green)
    rays = _ray_petals(count, 0.05, length, 3.45 * length / count, rng.uniform(-0.05, 0.35), bench)
    head = (rays, bench.natural(colour, 0.55, 0.2, 20, subsurface=0.2))
    middle = (lathe(dome_points(dome, 0.5 * dome)), bench.natural(centre, 0.8, 0.8, 60))
    lean, turn = rng.uniform(0.2, 0.7), rng.uniform(-0.5, 0.5)
    for (mesh, material), part in ((head, ""), (middle, "centre")):
        bench.add(mesh.rotated("x", lean).rotated("z", turn).moved(x, y, height), material, name=part)
    _leaves(bench, rng.randint(1, 3), green, (0.2, 0.35))
    return Subject(with_article(f"{name} daisy flower"), height + 0.15, 0.4)


def sunflower(bench: Workbench) -> Subject:
    """Two rings of pointed yellow petals about a broad brown disc."""
    rng = bench.rng
    green = bench.natural(LEAF_GREEN, 0.6)
    yellow = bench.natural((0.8, 0.45, 0.02), 0.5, 0.2, 18, subsurface=0.2)
    brown = bench.natural((0.12, 0.05, 0.02), 0.9, 1.0, 70)
    height, disc_size = rng.uniform(0.65, 0.85), rng.uniform(0.12, 0.16)
    x, y = _stem(bench, height, rng.uniform(0, 0.08), green)
    length = rng.uniform(0.13, 0.18)
    lean, turn = rng.uniform(0.7, 1.3), rng.uniform(-0.4, 0.4)
    rings = [_ray_petals(18, disc_size * 0.9, length, 0.09, cup, bench) for cup in (0.1, 0.4)]
    middle = lathe(dome_points(disc_size, 0.25 * disc_size)).moved(z=0.02)
    for mesh, material, part in ((rings[0], yellow, ""), (rings[1], yellow, ""), (middle, brown, "centre")):
        bench.add(mesh.rotated("x", lean).rotated("z", turn).moved(x, y, height), material, name=part)
    for place in range(rng.randint(2, 4)):
        blade = leaf(rng.uniform(0.25, 0.35), rng.uniform(0.08, 0.11), 0.3)
        level = height * rng.uniform(0.15, 0.6)
        bench.add(blade.rotated("z", 2.2 * place + rng.random()).moved(z=level), green, name="leaves")
    return Subject("a yellow sunflower", height + disc_size + 0.1, 0.38)


def rose(bench: Workbench) -> Subject:
    """Petals that spiral outward and open, over a thorny stem."""
    rng = bench.rng
    name, colour = bench.colour("red", "yellow", "pink", "white", "orange")
    green = bench.natural(LEAF_GREEN)
    petals = bench.natural(colour, 0.5, 0.15, 10, subsurface=0.25)
    height = rng.uniform(0.5, 0.7)
    x, y = _stem(bench, height, rng.uniform(0, 0.1), green)
    opening = rng.uniform(0.6, 1.1)

    def petal(order: float) -> Mesh:
        radius, size = 0.03 + 0.11 * order, 0.16 + 0.05 * order

        def surface(u: float, v: float) -> Point:
            flare = radius * (0.55 + 0.6 * v) + 0.09 * opening * order * v**3
            angle = u * (1.3 - 0.5 * order) * (0.55 + 0.45 * math.sin(math.pi * min(1, v * 0.8)))
            rim = -0.04 * order * v**4 - 0.03 * u * u * v
            return flare * math.cos(angle), flare * math.sin(angle), size * v + rim

        return sheet(surface, 8, 8)

    parts = [petal(place / 15).rotated("z", 2.4 * place) for place in range(16)]
    bench.add(_facing(joined(*parts), bench, (0.1, 0.5)).moved(x, y, height - 0.02), petals)
    _leaves(bench, rng.randint(2, 4), green, (0.2, 0.32))
    return Subject(with_article(f"{name} rose flower"), height + 0.2, 0.33)


KINDS = (tulip, daisy, rose, sunflower)
