"""Named colours as linear RGB, and small changes of them."""

from __future__ import annotations

import random

Colour = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "red": (0.6, 0.02, 0.02),
    "orange": (0.8, 0.2, 0.02),
    "yellow": (0.8, 0.5, 0.03),
    "green": (0.06, 0.35, 0.04),
    "turquoise": (0.02, 0.35, 0.38),
    "blue": (0.03, 0.12, 0.55),
    "purple": (0.25, 0.04, 0.4),
    "pink": (0.8, 0.2, 0.35),
    "brown": (0.2, 0.08, 0.03),
    "white": (0.8, 0.8, 0.76),
    "grey": (0.3, 0.3, 0.3),
    "black": (0.02, 0.02, 0.02),
    "beige": (0.55, 0.42, 0.25),
    "silver": (0.6, 0.6, 0.62),
    "gold": (0.7, 0.45, 0.1),
    "copper": (0.6, 0.25, 0.12),
}

METALS = ("silver", "gold", "copper")
LEAF_GREEN: Colour = (0.07, 0.25, 0.05)
BARK: Colour = (0.15, 0.08, 0.04)
WOOD: Colour = (0.3, 0.13, 0.05)


def varied(colour: Colour, rng: random.Random, amount: float = 0.15) -> Colour:
    """Each channel up or down by up to `amount` of itself, kept in 0..1."""
    red, green, blue = (min(1.0, max(0.0, value * (1 + rng.uniform(-amount, amount)))) for value in colour)
    return red, green, blue


def dimmed(colour: Colour, factor: float) -> Colour:
    """Darker by the factor."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor
