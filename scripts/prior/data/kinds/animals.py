"""Fish, birds and ducks; they look to the front, -y, or swim along it."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import COLOURS, dimmed
from scripts.prior.data.shapes import Mesh, ball, cone, extruded, joined, loft, oval, tube
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

EYE = Material((0.01, 0.01, 0.01), roughness=0.05)


def _along_y(mesh: Mesh) -> Mesh:
    """Turn an animal built along +x so that it looks to -y."""
    return mesh.rotated("z", -math.pi / 2)


def fish(bench: Workbench) -> Subject:
    """A flat body with fins and a forked tail, some striped, held up by a stand."""
    rng = bench.rng
    name, colour = bench.colour("orange", "blue", "yellow", "red", "silver", "green")
    striped = name != "silver" and rng.random() < 0.4
    second = COLOURS["white"] if striped else None
    skin = Material(colour, second, pattern="stripes", scale=5, roughness=0.3, coat=0.4)
    tall = rng.uniform(0.17, 0.28)
    stations = np.linspace(0, 1, 16)
    rings = [
        oval(0.45 * size + 0.005, size + 0.005, 24) + np.array([0.5 - x, 0, 0.5])
        for x, size in ((s, tall * math.sin(math.pi * min(1, s**0.8 * 0.93 + 0.02)) ** 0.8) for s in stations)
    ]
    bench.add(_along_y(loft(rings)), skin)
    tail = extruded([(-0.42, 0.5), (-0.72, 0.72), (-0.62, 0.5), (-0.72, 0.28)], 0.02)
    fin = extruded([(0.15, 0.48 + tall), (-0.25, 0.62 + tall), (-0.25, 0.46 + 0.8 * tall)], 0.02)
    under = extruded([(0.05, 0.52 - tall), (-0.15, 0.4 - tall), (-0.15, 0.54 - tall)], 0.02)
    bench.add(_along_y(joined(tail, fin, under)), bench.painted(colour), smooth=False, name="fins")
    eyes = [ball(0.03).moved(0.36, side * 0.07, 0.54) for side in (-1, 1)]
    bench.add(_along_y(joined(*eyes)), EYE, name="eyes")
    bench.add(tube([(0, 0, 0), (0, 0, 0.5)], 0.012), bench.metal("silver"), name="stand")
    words = f"{name} and white striped fish" if striped else f"{name} fish"
    return Subject(with_article(words), 0.85, 0.6)


def bird(bench: Workbench) -> Subject:
    """A small bird on thin legs."""
    name, colour = bench.colour("red", "blue", "yellow", "brown", "white", "black", "green")
    feathers = bench.natural(colour, 0.85, 0.5, 40)
    pale = bench.natural((0.7, 0.62, 0.5), 0.85, 0.5, 40)
    body = ball(1).scaled(0.32, 0.19, 0.2).rotated("y", -0.45).moved(0, 0, 0.42)
    bench.add(_along_y(body), feathers)
    bench.add(_along_y(ball(0.16).moved(0.08, 0, 0.37)), pale, name="belly")
    bench.add(_along_y(ball(0.145).moved(0.25, 0, 0.66)), feathers)
    beak = cone(0.035, 0.13).rotated("y", math.pi / 2).moved(0.37, 0, 0.65)
    bench.add(_along_y(beak), Material((0.75, 0.35, 0.03)), name="beak")
    eyes = [ball(0.022).moved(0.33, side * 0.1, 0.7) for side in (-1, 1)]
    bench.add(_along_y(joined(*eyes)), EYE, name="eyes")
    tail = extruded([(-0.2, 0.33), (-0.58, 0.2), (-0.6, 0.15), (-0.2, 0.25)], 0.12)
    bench.add(_along_y(tail), feathers, smooth=False, name="tail")
    for side in (-1, 1):
        wing = ball(1).scaled(0.24, 0.04, 0.12).rotated("y", -0.5).moved(-0.06, side * 0.18, 0.43)
        bench.add(_along_y(wing), bench.natural(dimmed(colour, 0.6), 0.85, 0.5, 30), name="wings")
        leg = tube([(0, side * 0.07, 0.28), (0.02, side * 0.07, 0.0)], 0.012, 8)
        toes = tube([(-0.04, side * 0.07, 0.01), (0.1, side * 0.07, 0.01)], 0.01, 8)
        bench.add(_along_y(joined(leg, toes)), Material((0.4, 0.2, 0.05)), name="legs")
    return Subject(with_article(f"{name} bird"), 0.82, 0.48)


def duck(bench: Workbench) -> Subject:
    """A rubber duck."""
    rng = bench.rng
    name, colour = bench.colour("yellow", "yellow", "yellow", "pink", "blue", "green")
    rubber = bench.painted(colour, roughness=0.3)
    body = ball(1).scaled(0.42, 0.3, 0.24).moved(z=0.22)
    tail = cone(0.13, 0.3).rotated("y", -0.9).moved(-0.28, 0, 0.28)
    size = rng.uniform(0.19, 0.23)
    head = ball(size).moved(0.2, 0, 0.36 + size)
    wings = [ball(1).scaled(0.2, 0.06, 0.11).moved(-0.05, s * 0.28, 0.27) for s in (-1, 1)]
    bench.add(_along_y(joined(body, tail, head, *wings)), rubber)
    beak = ball(1).scaled(0.12, 0.09, 0.035).moved(0.2 + size, 0, 0.33 + size)
    bench.add(_along_y(beak), Material((0.8, 0.2, 0.02), roughness=0.3), name="beak")
    eyes = [ball(0.03).moved(0.2 + 0.8 * size, s * 0.5 * size, 0.43 + size) for s in (-1, 1)]
    bench.add(_along_y(joined(*eyes)), EYE, name="eyes")
    return Subject(with_article(f"{name} rubber duck"), 0.36 + 2 * size, 0.5)


KINDS = (fish, bird, duck)
