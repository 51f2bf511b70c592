"""What a kind builds with: parts with materials, collected without Blender.

A kind asks for materials by what they look like, adds meshes, and tells what it made. The
studio turns the collected parts into Blender objects.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from scripts.prior.data.palette import COLOURS, METALS, WOOD, Colour, dimmed, varied
from scripts.prior.data.shapes import Mesh


@dataclass(frozen=True)
class Material:
    """The look of a surface.

    colour   linear RGB.
    second   the other colour of the pattern; None for a plain surface.
    pattern  noise, stripes, spots, wood or bricks.
    scale    how fine the pattern is, in features per unit length.
    bump     strength of the relief, 0..1.
    coat     clear lacquer, 0..1.
    glow     emitted light, in the unit of Blender's emission strength.
    """

    colour: Colour
    second: Colour | None = None
    pattern: str = "noise"
    scale: float = 10.0
    roughness: float = 0.5
    bump: float = 0.0
    metallic: float = 0.0
    coat: float = 0.0
    subsurface: float = 0.0
    transmission: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Part:
    """A mesh with its material.

    name: what a caption may call it ("roof", "leaves"); empty for what the subject's own caption is about.
    """

    mesh: Mesh
    material: Material
    smooth: bool = True
    bevel: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Subject:
    """What a kind made.

    caption  with its article, "an orange tulip flower".
    height   of the subject, which stands on z = 0.
    radius   about its axis.
    """

    caption: str
    height: float
    radius: float


@dataclass
class Workbench:
    """Collects the parts of one subject; all chance comes from `rng`."""

    rng: random.Random
    parts: list[Part] = field(default_factory=list)

    @property
    def generator(self) -> np.random.Generator:
        """A numpy generator that follows from `rng`."""
        return np.random.default_rng(self.rng.randrange(2**31))

    def add(self, mesh: Mesh, material: Material, *, smooth: bool = True, bevel: float = 0.0, name: str = "") -> None:
        """Put a part on the bench."""
        self.parts.append(Part(mesh, material, smooth, bevel, name))

    def colour(self, *names: str) -> tuple[str, Colour]:
        """One of the named colours, a little varied."""
        name = self.rng.choice(names)
        return name, varied(COLOURS[name], self.rng)

    def natural(self, colour: Colour, roughness: float = 0.5, bump: float = 0.3, scale: float = 12.0, **look) -> Material:
        """Uneven in colour and relief, as grown things are."""
        base = varied(colour, self.rng)
        return Material(base, dimmed(base, 0.65), scale=scale, roughness=roughness, bump=bump, **look)

    def painted(self, colour: Colour, **look) -> Material:
        """Even and smooth: paint, plastic, glaze."""
        look.setdefault("roughness", self.rng.uniform(0.15, 0.45))
        look.setdefault("coat", self.rng.choice([0.0, 0.6]))
        return Material(varied(colour, self.rng, 0.08), **look)

    def metal(self, name: str) -> Material:
        """Bare metal."""
        roughness = self.rng.uniform(0.15, 0.4)
        return Material(varied(COLOURS[name], self.rng, 0.08), roughness=roughness, metallic=1.0)

    def wood(self, colour: Colour = WOOD, scale: float = 5.0) -> Material:
        """Grained."""
        base = varied(colour, self.rng, 0.25)
        return Material(base, dimmed(base, 0.5), pattern="wood", scale=scale, bump=0.1)

    def glazed(self, *names: str) -> tuple[str, Material]:
        """A ceramic or metal surface and its words: "blue", "red and white striped", "copper"."""
        name, colour = self.colour(*names)
        if name in METALS:
            return name, self.metal(name)
        if self.rng.random() < 0.7:
            return name, self.painted(colour)
        other = self.rng.choice([choice for choice in names if choice not in (name, *METALS)])
        pattern, adjective = self.rng.choice([("stripes", "striped"), ("spots", "spotted")])
        material = Material(
            colour,
            varied(COLOURS[other], self.rng),
            pattern=pattern,
            scale=self.rng.uniform(5, 9),
            roughness=self.rng.uniform(0.1, 0.35),
        )
        return f"{name} and {other} {adjective}", material


def with_article(words: str) -> str:
    """ "red tulip" -> "a red tulip", "orange tulip" -> "an orange tulip"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
