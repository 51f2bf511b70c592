"""Cars, boats, aeroplanes and rockets; they head for -y, so that the front view shows the nose."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import COLOURS
from scripts.prior.data.shapes import (
    Mesh,
    ball,
    box,
    cylinder,
    extruded,
    joined,
    loft,
    oval,
    smooth_lathe,
    torus,
    tube,
)
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

PAINTS = ("red", "blue", "yellow", "white", "green", "black", "orange", "silver", "pink")
RUBBER = Material((0.02, 0.02, 0.02), roughness=0.85)
GLASS = Material((0.03, 0.05, 0.07), roughness=0.06)


def _along_y(mesh: Mesh) -> Mesh:
    """Turn a vehicle built along +x so that it heads for -y."""
    return mesh.rotated("z", -math.pi / 2)


def _hull(stations: list[tuple[float, float, float, float]], power: float = 3.0) -> Mesh:
    """A skin along x over ovals of (x, centre height, half width, half height)."""
    rings = [oval(w, h, 28, power) + np.array([x, 0, z]) for x, z, w, h in stations]
    return loft(rings)


def car(bench: Workbench) -> Subject:
    """A rounded body and cabin on four wheels."""
    rng = bench.rng
    name, colour = bench.colour(*PAINTS)
    paint = bench.painted(colour, coat=0.8, roughness=0.25)
    long, tall = rng.uniform(0.62, 0.72), rng.uniform(0.13, 0.18)
    body = _hull(
        [
            (-long, 0.22, 0.2, 0.08),
            (-0.95 * long, 0.23, 0.27, 0.11),
            (0, 0.25, 0.3, 0.14),
            (0.9 * long, 0.21, 0.27, 0.1),
            (long, 0.19, 0.2, 0.06),
        ],
        4,
    )
    bench.add(_along_y(body), paint)
    rear, front = rng.uniform(-0.6, -0.4), rng.uniform(0.15, 0.3)
    cabin = [(rear, 0.36, 0.25, 0.03), (rear + 0.12, 0.4, 0.24, tall), (front - 0.18, 0.4, 0.24, tall)]
    bench.add(_along_y(_hull([*cabin, (front, 0.34, 0.25, 0.02)], 4)), GLASS, name="windows")
    roof = box(front - rear - 0.34, 0.42, 0.03).moved((front + rear - 0.06) / 2, 0, 0.4 + tall)
    bench.add(_along_y(roof), paint, bevel=0.01, name="roof")
    wheel = cylinder(0.13, 0.1, 28).moved(z=-0.05).rotated("x", math.pi / 2)
    hub = cylinder(0.07, 0.11, 20).moved(z=-0.055).rotated("x", math.pi / 2)
    places = [(x * 0.62 * long, y * 0.26, 0.13) for x in (-1, 1) for y in (-1, 1)]
    bench.add(_along_y(joined(*(wheel.moved(*p) for p in places))), RUBBER, smooth=False, name="wheels")
    bench.add(_along_y(joined(*(hub.moved(*p) for p in places))), bench.metal("silver"), smooth=False, name="hubcaps")
    lights = joined(*(ball(0.045).scaled(0.5, 1, 1).moved(0.99 * long, y, 0.22) for y in (-0.16, 0.16)))
    bench.add(_along_y(lights), Material((0.9, 0.88, 0.75), roughness=0.1), name="lights")
    tails = joined(*(box(0.02, 0.09, 0.05).moved(-0.99 * long, y, 0.25) for y in (-0.15, 0.15)))
    bench.add(_along_y(tails), Material((0.5, 0.01, 0.01)), smooth=False)
    return Subject(with_article(f"{name} car"), 0.6, 0.7)


def boat(bench: Workbench) -> Subject:
    """A sailing boat: a hull, a mast, two sails."""
    rng = bench.rng
    name, colour = bench.colour("red", "blue", "white", "green", "yellow", "brown")
    hull_look = bench.wood() if name == "brown" else bench.painted(colour)
    stations = []
    for place in np.linspace(0, 1, 12):
        width = 0.2 * math.sin(math.pi * min(1, 0.25 + 0.74 * place)) ** 0.7 + 0.004
        stations.append((place * 1.1 - 0.55, 0.2 + 0.06 * place**3, width, 0.13))
    flat = _hull(stations, 2.2).shaped(lambda v: np.column_stack([v[:, 0], v[:, 1], np.minimum(v[:, 2], 0.22 + 0.05 * (v[:, 0] > 0.3))]))
    bench.add(_along_y(flat.moved(z=-0.07)), hull_look, smooth=False, name="hull")
    bench.add(_along_y(tube([(0.05, 0, 0.1), (0.05, 0, 1.05)], 0.016)), bench.wood(), name="mast")
    _, sail_colour = bench.colour("white", "white", "beige", "red")
    cloth = Material(sail_colour, roughness=0.9, bump=0.1, scale=4)
    main = extruded([(0.02, 0.28), (0.02, 1.0), (-0.45, 0.3)], 0.01)
    jib = extruded([(0.08, 0.9), (0.08, 0.3), (0.5, 0.26)], 0.01)
    belly = rng.uniform(0.05, 0.16)
    for sail in (main, jib):
        bench.add(_along_y(sail.rotated("z", belly)), cloth, smooth=False, name="sails")
    return Subject(with_article(f"{name} sailing boat"), 1.05, 0.55)


def airplane(bench: Workbench) -> Subject:
    """A propeller or jet plane, standing on its wheels."""
    rng = bench.rng
    name, colour = bench.colour("white", "red", "yellow", "blue", "green", "silver", "orange")
    paint = bench.metal("silver") if name == "silver" else bench.painted(colour)
    size = rng.uniform(0.085, 0.11)
    body = [(0.6, 0.35, 0.01, 0.01), (0.52, 0.35, 0.7 * size, 0.7 * size), (0.3, 0.35, size, size)]
    tail = [(-0.1, 0.35, size, size), (-0.6, 0.41, 0.02, 0.03)]
    bench.add(_along_y(_hull([*body, *tail], 2.2)), paint)
    _, stripe = bench.colour("white", "red", "blue", "black")
    trim = bench.painted(stripe)
    sweep = rng.uniform(0.0, 0.25)
    for side in (-1, 1):
        bench.add(_along_y(_wing(side, 0.68, 0.24, sweep).moved(0.12, 0, 0.34)), paint, smooth=False, name="wings")
        bench.add(_along_y(_wing(side, 0.26, 0.14, 0.08).moved(-0.5, 0, 0.4)), trim, smooth=False, name="tail")
        wheel = cylinder(0.05, 0.04, 20).rotated("x", math.pi / 2).moved(0.15, side * 0.16, 0.05)
        bench.add(_along_y(wheel), RUBBER, smooth=False, name="wheels")
        leg = tube([(0.15, side * 0.14, 0.06), (0.12, side * 0.06, 0.28)], 0.012)
        bench.add(_along_y(leg), paint)
    fin = extruded([(-0.42, 0.42), (-0.62, 0.44), (-0.64, 0.64), (-0.54, 0.64)], 0.02)
    bench.add(_along_y(fin), trim, smooth=False, name="tail")
    cabin = ball(1).scaled(0.14, 0.07, 0.07).moved(0.3, 0, 0.35 + 0.8 * size)
    bench.add(_along_y(cabin), GLASS, name="windows")
    blade = box(0.015, 0.035, 0.36).rotated("x", rng.uniform(0, math.pi)).moved(0.6, 0, 0.35)
    bench.add(_along_y(blade), bench.painted(COLOURS["black"]), smooth=False, name="propeller")
    return Subject(with_article(f"{name} airplane"), 0.62, 0.68)


def _wing(side: int, reach: float, chord: float, sweep: float) -> Mesh:
    """A thin tapered plate from the origin outward along y."""
    root, tip = (0.5 * chord, -0.5 * chord), (0.3 * chord - sweep, -0.3 * chord - sweep)
    corners = [(x, side * y, z) for z in (-0.012, 0.012) for x, y in ((root[0], 0), (root[1], 0), (tip[1], reach), (tip[0], reach))]
    faces = [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    return Mesh(np.array(corners, float), faces)


def rocket(bench: Workbench) -> Subject:
    """A pointed body with fins and a porthole, upright."""
    rng = bench.rng
    name, colour = bench.colour("white", "red", "blue", "silver", "yellow", "orange")
    skin = bench.metal("silver") if name == "silver" else bench.painted(colour)
    trim_name = rng.choice([n for n in ("red", "blue", "black", "white", "yellow") if n != name])
    trim = bench.painted(COLOURS[trim_name])
    width = rng.uniform(0.13, 0.18)
    bench.add(smooth_lathe([(0.6 * width, 0.1), (width, 0.3), (width, 0.55), (0.7 * width, 0.78)]), skin)
    bench.add(smooth_lathe([(0.7 * width, 0.78), (0.4 * width, 0.9), (0.001, 1.02)]), trim, name="nose")
    fins = rng.randint(3, 4)
    fin = extruded([(0.8 * width, 0.38), (0.34, 0.16), (0.34, 0.0), (0.6 * width, 0.14)], 0.025)
    bench.add(joined(*(fin.rotated("z", 2 * math.pi * k / fins) for k in range(fins))), trim, smooth=False, name="fins")
    hole = torus(0.06, 0.014, 24).rotated("x", math.pi / 2).moved(0, -width, 0.55)
    bench.add(hole, bench.metal("gold"))
    pane = ball(0.055).scaled(1, 0.4, 1).moved(0, -width, 0.55)
    bench.add(pane, GLASS, name="window")
    bench.add(cylinder(0.5 * width, 0.06).moved(z=0.05), Material((0.05, 0.05, 0.05), metallic=0.8))
    return Subject(with_article(f"{name} rocket"), 1.02, 0.36)


KINDS = (car, boat, airplane, rocket)
