"""Mugs, teapots, vases, bottles, bowls and candles."""

from __future__ import annotations

import math

import numpy as np

from scripts.prior.data.palette import COLOURS
from scripts.prior.data.shapes import (
    ball,
    disc,
    dome_points,
    joined,
    lathe,
    smooth_lathe,
    spline,
    torus,
    tube,
)
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

CERAMIC = ("white", "red", "blue", "green", "yellow", "black", "orange", "pink", "turquoise")


def mug(bench: Workbench) -> Subject:
    """A cup with a handle, filled with coffee."""
    rng = bench.rng
    name, colour = bench.colour("white", "red", "blue", "green", "yellow", "black", "orange", "pink")
    height, radius = rng.uniform(0.6, 0.85), rng.uniform(0.28, 0.36)
    taper, wall = rng.uniform(-0.05, 0.06), 0.03
    outside = [(0.001, 0), (0.92 * radius - taper, 0), (radius - taper, 0.03), (radius, height / 2)]
    rim = [(radius + taper, height), (radius + taper - wall / 2, height + 0.01)]
    inside = [(radius + taper - wall, height), (radius - wall, height / 2)]
    bottom = [(radius - taper - wall, 0.05), (0.001, 0.04)]
    glaze = bench.painted(colour)
    bench.add(lathe([*outside, *rim, *inside, *bottom], 48), glaze)
    coffee = (0.05, 0.02, 0.008) if rng.random() < 0.7 else (0.3, 0.15, 0.05)
    bench.add(disc(radius + 0.6 * taper - wall, 0.82 * height), Material(coffee, roughness=0.15), name="coffee")
    reach = rng.uniform(0.16, 0.22)
    turns = [math.pi * step / 12 for step in range(13)]
    handle = [(0.97 * radius + reach * math.sin(t), 0, height * (0.5 + 0.3 * math.cos(t))) for t in turns]
    bench.add(tube(handle, 0.035).rotated("z", rng.uniform(0, 2 * math.pi)), glaze, name="handle")
    return Subject(with_article(f"{name} coffee mug"), height, 0.45)


def teapot(bench: Workbench) -> Subject:
    """A round body with spout, handle and lid."""
    rng = bench.rng
    words, glaze = bench.glazed(*CERAMIC, "brown", "silver", "copper", "gold")
    width, height = rng.uniform(0.32, 0.4), rng.uniform(0.42, 0.56)
    body = [(0.001, 0), (0.6 * width, 0), (0.95 * width, 0.25 * height), (width, 0.5 * height)]
    shoulder = [(0.8 * width, 0.82 * height), (0.4 * width, height), (0.001, height)]
    bench.add(smooth_lathe([*body, *shoulder], 48), glaze)
    lid = [(r, 0.97 * height + z) for r, z in dome_points(0.42 * width, 0.14 * height)]
    knob = ball(0.05, 10, 16).moved(z=1.16 * height)
    bench.add(joined(lathe(lid), knob), glaze, name="lid")
    low, tip = (0.85 * width, 0, 0.35 * height), (width + 0.3, 0, 0.95 * height)
    spout = spline([low, (width + 0.12, 0, 0.45 * height), (width + 0.2, 0, 0.75 * height), tip], 5)
    bench.add(tube(spout, np.linspace(0.1, 0.04, len(spout)), 16), glaze, name="spout")
    handle = spline(
        [
            (-0.8 * width, 0, 0.85 * height),
            (-width - 0.15, 0, 0.9 * height),
            (-width - 0.2, 0, 0.55 * height),
            (-0.95 * width, 0, 0.25 * height),
        ],
        6,
    )
    bench.add(tube(handle, 0.035), glaze, name="handle")
    return Subject(with_article(f"{words} teapot"), 1.25 * height, 0.62)


def vase(bench: Workbench) -> Subject:
    """A random curved profile from foot to lip."""
    rng = bench.rng
    words, glaze = bench.glazed(*CERAMIC, "brown", "gold")
    belly, neck = rng.uniform(0.2, 0.34), rng.uniform(0.07, 0.15)
    lip, swell = neck + rng.uniform(0.02, 0.12), rng.uniform(0.25, 0.55)
    profile = [(0.001, 0), (0.15, 0), (belly, swell), (neck, 0.82), (lip, 0.98), (lip - 0.02, 0.97)]
    bench.add(smooth_lathe([*profile, (neck - 0.02, 0.8), (0.001, 0.6)], 56, 8), glaze)
    return Subject(with_article(f"{words} vase"), 1.0, 0.36)


def bottle(bench: Workbench) -> Subject:
    """Coloured glass with a cork or a cap, often with a label."""
    rng = bench.rng
    name = rng.choice(["green", "brown", "blue", "white"])
    glass = Material(
        {"green": (0.05, 0.3, 0.08), "brown": (0.25, 0.1, 0.02)}.get(name, COLOURS[name]),
        roughness=0.05,
        transmission=0.6,
    )
    width, shoulder = rng.uniform(0.15, 0.2), rng.uniform(0.5, 0.6)
    profile = [(0.001, 0), (width, 0.0), (width, 0.02), (width, shoulder)]
    neck = [(0.055, shoulder + 0.18), (0.05, 0.92), (0.06, 0.93), (0.06, 0.97), (0.001, 0.97)]
    bench.add(lathe([*profile, (0.8 * width, shoulder + 0.08), *neck], 48), glass)
    if rng.random() < 0.7:
        _, colour = bench.colour("white", "beige", "red", "yellow")
        label = lathe([(width + 0.003, 0.15), (width + 0.003, 0.4)], 48)
        bench.add(label, Material(colour, roughness=0.8), name="label")
    cork = lathe([(0.045, 0.97), (0.05, 1.03), (0.001, 1.03)], 20)
    bench.add(cork, bench.natural((0.4, 0.25, 0.12), 0.9), name="cork")
    return Subject(with_article(f"{name} bottle"), 1.03, 0.25)


def bowl(bench: Workbench) -> Subject:
    """Wide and open; empty, or with fruit or soup in it."""
    rng = bench.rng
    words, glaze = bench.glazed(*CERAMIC, "brown")
    depth = rng.uniform(0.26, 0.36)
    outside = [(0.001, 0), (0.2, 0), (0.2, 0.03), (0.36, 0.45 * depth), (0.46, depth)]
    inside = [(0.43, depth), (0.32, 0.5 * depth), (0.15, 0.06), (0.001, 0.05)]
    bench.add(smooth_lathe([*outside, *inside], 56, 4), glaze)
    filling = rng.choice(["", "soup", "fruit"])
    if filling == "soup":
        _, colour = bench.colour("orange", "red", "green", "yellow")
        bench.add(disc(0.4, 0.8 * depth), Material(colour, roughness=0.2))
    elif filling == "fruit":
        for place in range(6):
            _, colour = bench.colour("red", "orange", "yellow", "green")
            angle = 2.4 * place
            reach = 0.2 if place else 0.0
            fruit = ball(0.13).moved(reach * math.cos(angle), reach * math.sin(angle), depth)
            bench.add(fruit, bench.natural(colour, 0.3, 0.1))
    ending = f" of {filling}" if filling else ""
    return Subject(with_article(f"{words} bowl{ending}"), depth + 0.15, 0.5)


def candle(bench: Workbench) -> Subject:
    """Wax with a burning wick, on a dish or in a brass stick."""
    rng = bench.rng
    name, colour = bench.colour("white", "red", "blue", "green", "purple", "yellow")
    width, height = rng.uniform(0.08, 0.17), rng.uniform(0.45, 0.7)
    foot = 0.05
    holder = bench.metal(rng.choice(["gold", "silver"]))
    dish = [(0.001, 0), (0.24, 0), (0.3, 0.05), (0.28, 0.06), (0.2, 0.02), (0.001, 0.02)]
    bench.add(lathe(dish), holder, name="holder")
    bench.add(torus(0.06, 0.015, 20).rotated("x", math.pi / 2).moved(x=0.33, z=0.05), holder, name="holder")
    edge = [(width, foot + height - 0.02), (0.9 * width, foot + height)]
    wax = lathe([(0.001, 0.02), (width, 0.02), *edge, (0.001, foot + height - 0.03)])
    bench.add(wax, Material(colour, roughness=0.4, subsurface=0.5))
    top = foot + height
    bench.add(tube([(0, 0, top - 0.04), (0.005, 0, top + 0.05)], 0.008), Material((0.02, 0.02, 0.02)))
    flame = smooth_lathe([(0.001, 0), (0.028, 0.04), (0.022, 0.09), (0.001, 0.17)], 20)
    fire = Material((1.0, 0.5, 0.1), glow=12.0)
    bench.add(flame.moved(z=top + 0.02), fire)
    return Subject(with_article(f"{name} candle"), top + 0.2, 0.34)


KINDS = (mug, teapot, vase, bottle, bowl, candle)
