"""Robots, snowmen and guitars; they look to the front, -y."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import COLOURS
from scripts.prior.data.shapes import (
    ball,
    box,
    cone,
    cylinder,
    extruded,
    joined,
    lumpy,
    spline,
    torus,
    tube,
)
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

DARK = Material((0.02, 0.02, 0.02), roughness=0.4)


def snowman(bench: Workbench) -> Subject:
    """Two or three balls of snow, coal, a carrot, a scarf and a hat."""
    rng = bench.rng
    snow = Material((0.85, 0.87, 0.9), (0.75, 0.79, 0.85), roughness=0.8, bump=0.5, scale=25)
    radii = [0.28, 0.2, 0.14] if rng.random() < 0.7 else [0.3, 0.19]
    level = 0.0
    for radius in radii:
        level += 0.85 * radius
        bench.add(lumpy(ball(radius), 0.02, 8, bench.generator).moved(z=level), snow)
        level += 0.75 * radius
    head, size = level - 0.75 * radii[-1], radii[-1]
    eyes = [ball(0.02).moved(x, -0.9 * size, head + 0.04) for x in (-0.05, 0.05)]
    buttons = [ball(0.024).moved(0, -0.98 * radii[0], 0.85 * radii[0] + z) for z in (-0.06, 0.06)]
    bench.add(joined(*eyes, *buttons), DARK, name="buttons")
    nose = cone(0.03, 0.16).rotated("x", math.pi / 2).moved(0, -0.9 * size, head - 0.01)
    bench.add(nose, Material((0.8, 0.25, 0.02)), name="nose")
    name, colour = bench.colour("red", "blue", "green", "yellow", "purple")
    scarf = torus(0.8 * size, 0.035).moved(z=head - 0.8 * size)
    bench.add(scarf, Material(colour, COLOURS["white"], pattern="stripes", scale=12, roughness=0.95), name="scarf")
    hat = joined(cylinder(0.17, 0.02), cylinder(0.11, 0.17)).moved(z=head + 0.8 * size)
    bench.add(hat, DARK, smooth=False, name="hat")
    for side in (-1, 1):
        arm = [(0.15 * side, 0, 0.55), (0.32 * side, -0.03, 0.68), (0.42 * side, 0, 0.8)]
        bench.add(tube(arm, [0.018, 0.014, 0.008], 8), bench.wood(), name="arms")
    return Subject(f"a snowman with a {name} scarf", head + size + 0.15, 0.42)


def robot(bench: Workbench) -> Subject:
    """A box body with a box head, jointed arms and legs, lit eyes."""
    rng = bench.rng
    name, colour = bench.colour("red", "blue", "silver", "green", "yellow", "white", "orange")
    skin = bench.metal("silver") if name == "silver" else bench.painted(colour)
    joint = bench.metal("silver")
    glow = Material(rng.choice([(0.1, 0.8, 1.0), (1.0, 0.5, 0.05), (0.2, 1.0, 0.2)]), glow=4.0)
    bench.add(box(0.36, 0.24, 0.36).moved(z=0.48), skin, smooth=False, bevel=0.03)
    head = box(0.26, 0.22, 0.2).moved(z=0.82)
    bench.add(head, skin, smooth=False, bevel=0.03, name="head")
    bench.add(cylinder(0.05, 0.08).moved(z=0.65), joint)
    eyes = [ball(0.035).moved(x, -0.11, 0.84) for x in (-0.06, 0.06)]
    bench.add(joined(*eyes), glow, name="eyes")
    bench.add(box(0.12, 0.02, 0.02).moved(0, -0.11, 0.76), DARK, smooth=False)
    bench.add(box(0.2, 0.02, 0.14).moved(0, -0.12, 0.52), DARK, smooth=False, bevel=0.01)
    bench.add(tube([(0, 0, 0.9), (0, 0, 1.02)], 0.01), joint)
    bench.add(ball(0.03).moved(z=1.03), glow)
    swing = rng.uniform(-0.15, 0.15)
    for side in (-1, 1):
        arm = [(0.2 * side, 0, 0.6), (0.3 * side, swing * side, 0.45), (0.3 * side, swing * side - 0.08, 0.3)]
        bench.add(tube(arm, 0.035), joint, name="arms")
        bench.add(ball(0.06).moved(0.3 * side, swing * side - 0.08, 0.28), skin, name="hands")
        bench.add(cylinder(0.05, 0.28).moved(0.1 * side, 0, 0.04), joint, name="legs")
        foot = box(0.13, 0.22, 0.07).moved(0.1 * side, -0.03, 0.035)
        bench.add(foot, skin, smooth=False, bevel=0.02, name="feet")
    return Subject(with_article(f"{name} toy robot"), 1.05, 0.4)


def guitar(bench: Workbench) -> Subject:
    """An acoustic guitar that stands upright, its strings to the front."""
    rng = bench.rng
    name = rng.choice(["wooden", "red", "black", "blue", "white"])
    top = bench.wood((0.5, 0.25, 0.08)) if name == "wooden" else bench.painted(COLOURS[name], coat=0.8)
    half = spline([(0, 0), (0.17, 0.02), (0.22, 0.14), (0.13, 0.27), (0.17, 0.4), (0.08, 0.48), (0, 0.48)], 6)
    outline = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    bench.add(extruded(outline, 0.11), top, smooth=False, bevel=0.01)
    dark_wood = bench.wood((0.09, 0.04, 0.02))
    bench.add(cylinder(0.06, 0.012).rotated("x", math.pi / 2).moved(0, -0.052, 0.32), DARK, smooth=False)
    bench.add(torus(0.062, 0.008).rotated("x", math.pi / 2).moved(0, -0.058, 0.32), dark_wood)
    bench.add(box(0.055, 0.03, 0.5).moved(0, -0.055, 0.65), dark_wood, smooth=False, name="neck")
    bench.add(box(0.09, 0.03, 0.14).moved(0, -0.045, 0.95), top, smooth=False, bevel=0.01, name="head")
    bench.add(box(0.12, 0.02, 0.03).moved(0, -0.062, 0.14), dark_wood, smooth=False)
    strings = [tube([(x, -0.075, 0.14), (x, -0.075, 0.95)], 0.003, 6) for x in (-0.015, 0, 0.015)]
    bench.add(joined(*strings), bench.metal("silver"), name="strings")
    pegs = [ball(0.016).moved(side * 0.055, -0.045, z) for side in (-1, 1) for z in (0.91, 0.95, 0.99)]
    bench.add(joined(*pegs), bench.metal("gold"))
    return Subject(with_article(f"{name} guitar"), 1.02, 0.3)


KINDS = (robot, snowman, guitar)
