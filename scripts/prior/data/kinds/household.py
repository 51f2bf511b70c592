"""Books, gifts, cakes, hats, boots and umbrellas."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import COLOURS
from scripts.prior.data.shapes import (
    ball,
    box,
    cylinder,
    extruded,
    joined,
    lathe,
    loft,
    oval,
    sheet,
    spline,
    torus,
    tube,
)
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

CLOTH = ("red", "blue", "green", "yellow", "purple", "pink", "white", "black", "orange")
PAPER = Material((0.75, 0.7, 0.6), (0.55, 0.5, 0.42), pattern="stripes", scale=60, roughness=0.9)


def _book_at(bench: Workbench, height: float, turn: float) -> str:
    """One closed book that lies at the given height; returns its colour."""
    rng = bench.rng
    name, colour = bench.colour("red", "blue", "green", "brown", "black", "purple", "orange")
    cover = Material(colour, roughness=0.55, bump=0.1, scale=80)
    width, depth, thick = rng.uniform(0.55, 0.65), rng.uniform(0.75, 0.85), 0.14
    boards = [box(width, depth, 0.02).moved(z=z) for z in (0.01, thick - 0.01)]
    spine = box(0.02, depth, thick).moved(-width / 2, 0, thick / 2)
    block = box(width - 0.05, depth - 0.05, thick - 0.04).moved(z=thick / 2)
    bench.add(joined(*boards, spine).rotated("z", turn).moved(z=height), cover, smooth=False, bevel=0.006, name="cover")
    bench.add(block.rotated("z", turn).moved(z=height), PAPER, smooth=False, name="pages")
    return name


def book(bench: Workbench) -> Subject:
    """One book, or a stack of them, lying."""
    rng = bench.rng
    count = rng.choice([1, 1, 2, 3])
    names = [_book_at(bench, 0.14 * place, rng.uniform(-0.4, 0.4)) for place in range(count)]
    words = with_article(f"{names[0]} book") if count == 1 else "a stack of books"
    return Subject(words, 0.14 * count + 0.1, 0.5)


def gift(bench: Workbench) -> Subject:
    """A box in paper, with a ribbon and a bow."""
    rng = bench.rng
    name, colour = bench.colour(*CLOTH)
    other = rng.choice([choice for choice in CLOTH if choice != name])
    width, depth, height = rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.6)
    bench.add(box(width, depth, height).moved(z=height / 2), bench.painted(colour), smooth=False, bevel=0.01)
    satin = Material(COLOURS[other], roughness=0.3)
    bands = [box(0.08, depth + 0.01, height + 0.01), box(width + 0.01, 0.08, height + 0.01)]
    bench.add(joined(*bands).moved(z=height / 2), satin, smooth=False, name="ribbon")
    for side in (-1, 1):
        loop = spline([(0, 0, 0), (0.1, 0.03, 0.14), (0.22, 0, 0.1), (0.14, -0.02, 0.02), (0, 0, 0)], 6)
        bow = tube(loop, 0.03, 8).scaled(side, 1, 1).rotated("z", 0.4).moved(z=height + 0.01)
        bench.add(bow, satin, name="ribbon")
    bench.add(ball(0.045).moved(z=height + 0.03), satin, name="ribbon")
    return Subject(f"{with_article(name)} gift box with a {other} ribbon", height + 0.15, 0.48)


def cake(bench: Workbench) -> Subject:
    """One to three tiers with icing, cherries or candles."""
    rng = bench.rng
    name = rng.choice(["chocolate", "strawberry", "white", "lemon"])
    icing = {
        "chocolate": (0.09, 0.035, 0.015),
        "strawberry": (0.8, 0.3, 0.35),
        "white": (0.8, 0.78, 0.72),
        "lemon": (0.8, 0.65, 0.15),
    }[name]
    look = bench.natural(icing, 0.45, 0.15, 8, subsurface=0.1)
    bench.add(lathe([(0.001, 0), (0.52, 0), (0.54, 0.03), (0.001, 0.02)], 48), bench.painted(COLOURS["white"]), name="plate")
    tiers, level = rng.randint(1, 3), 0.03
    for tier in range(tiers):
        radius, height = 0.42 - 0.12 * tier, 0.22
        bench.add(lathe([(radius, 0), (radius, height - 0.03), (radius - 0.03, height), (0.001, height)], 48).moved(z=level), look)
        dots = int(radius * 50)
        drop = ball(0.035, 8, 10)
        ring = joined(*(drop.moved(radius, 0, level + 0.02).rotated("z", 2 * math.pi * k / dots) for k in range(dots)))
        bench.add(ring, bench.natural((0.8, 0.75, 0.7) if name != "white" else (0.8, 0.3, 0.35)), name="cream")
        level += height
    top = 0.3 - 0.12 * (tiers - 1)
    for place in range(6):
        angle = math.pi * place / 3
        cherry = ball(0.045).moved(top * math.cos(angle), top * math.sin(angle), level + 0.02)
        bench.add(cherry, Material((0.5, 0.01, 0.02), roughness=0.15), name="cherries")
    return Subject(with_article(f"{name} cake"), level + 0.06, 0.55)


def hat(bench: Workbench) -> Subject:
    """A brimmed hat with a band, or a tall one."""
    rng = bench.rng
    name, colour = bench.colour("black", "brown", "red", "blue", "beige", "white", "green")
    felt = bench.natural(colour, 0.95, 0.2, 50)
    style = rng.choice(["hat", "top hat", "witch hat"])
    brim, crown = rng.uniform(0.42, 0.55), rng.uniform(0.22, 0.27)
    tall = {"hat": 0.28, "top hat": 0.5, "witch hat": 0.75}[style]
    top = {"hat": 0.8 * crown, "top hat": 1.05 * crown, "witch hat": 0.001}[style]
    edge = [(brim, 0.05), (brim - 0.02, 0.02), (crown + 0.02, 0.03), (crown, 0.05)]
    bench.add(lathe([*edge, (0.5 * (crown + top), 0.6 * tall), (top, tall), (0.001, tall)], 48), felt)
    _, band = bench.colour("black", "red", "yellow", "white")
    ribbon = lathe([(crown + 0.008, 0.05), (crown + 0.004 - 0.1 * (crown - top), 0.12)], 48)
    bench.add(ribbon, Material(band, roughness=0.5), name="band")
    return Subject(with_article(f"{name} {style}"), tall, 0.52)


def boot(bench: Workbench) -> Subject:
    """A boot with a sole and a shaft; its toe points to the front."""
    rng = bench.rng
    name, colour = bench.colour("brown", "black", "red", "yellow", "blue", "green")
    leather = bench.natural(colour, 0.4, 0.1, 14)
    shaft = rng.uniform(0.5, 0.75)
    rings = [
        oval(w, h, 28, 2.4) + np.array([x, 0, 0.05 + h])
        for x, w, h in (
            (0.5, 0.03, 0.05),
            (0.45, 0.11, 0.08),
            (0.3, 0.14, 0.11),
            (0.1, 0.125, 0.16),
            (-0.1, 0.115, 0.2),
            (-0.2, 0.1, 0.18),
            (-0.23, 0.05, 0.1),
        )
    ]
    foot = loft(rings).rotated("z", -math.pi / 2)
    bench.add(foot, leather)
    leg = lathe([(0.12, 0.2), (0.125, 0.4), (0.16, shaft), (0.145, shaft), (0.1, 0.3)], 32)
    bench.add(leg.scaled(1, 1.15, 1).moved(y=0.07), leather)
    bench.add(torus(0.155, 0.018).scaled(1, 1.15, 1).moved(y=0.07, z=shaft), leather)
    outline = [(0.13 * math.cos(a), 0.37 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 33)[:-1]]
    sole = extruded(outline, 0.06).rotated("x", math.pi / 2).moved(y=-0.13, z=0.04)
    bench.add(sole, Material((0.04, 0.025, 0.02), roughness=0.9), smooth=False, name="sole")
    return Subject(with_article(f"{name} boot"), shaft, 0.45)


def umbrella(bench: Workbench) -> Subject:
    """Open, upright, in one colour or two."""
    rng = bench.rng
    name, colour = bench.colour(*CLOTH)
    other = rng.choice([choice for choice in CLOTH if choice != name])
    two = rng.random() < 0.4
    panels, drop = 8, rng.uniform(0.2, 0.3)
    looks = [Material(colour, roughness=0.7), Material(COLOURS[other] if two else colour, roughness=0.7)]

    def panel(u: float, v: float):
        angle, sag = u * math.pi / panels, 0.05 * (1 - u * u) * v * v
        radius = 0.55 * math.sin(0.5 * math.pi * v) * (1 - 0.06 * (1 - u * u) * v)
        return radius * math.cos(angle), radius * math.sin(angle), 1 - drop * v * v + sag * 0.3

    for place in range(panels):
        piece = sheet(panel, 6, 10).rotated("z", 2 * math.pi * place / panels)
        bench.add(piece, looks[place % 2])
    bench.add(tube([(0, 0, 0.12), (0, 0, 1.06)], 0.012), bench.metal("silver"), name="shaft")
    hook = spline([(0, 0, 0.2), (0, 0, 0.06), (0.05, 0, 0.015), (0.1, 0, 0.06), (0.1, 0, 0.1)], 5)
    bench.add(tube(hook, 0.022), bench.wood(), name="handle")
    bench.add(cylinder(0.015, 0.06).moved(z=1.0), bench.metal("silver"))
    words = f"{name} and {other} umbrella" if two else f"{name} umbrella"
    return Subject(with_article(words), 1.06, 0.55)


KINDS = (book, gift, cake, hat, boot, umbrella)
