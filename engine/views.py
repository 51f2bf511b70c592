"""Words for what a picture of an object shows beside the object: the side it is seen from, and the background. Standard library only,
so that the engine, the training pictures' generator and the boards, in Blender's Python, name them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

VIEWS = ("front", "side", "back", "overhead")

FRONT_BACK_LIMIT = 40.0
"""Degrees of azimuth from straight before or behind, up to which a view is the front's or the back's."""

OVERHEAD_LIMIT = 55.0
"""Degrees of elevation above which a view is from overhead."""


def view_word(azimuth: float, elevation: float) -> str:
    """Which of VIEWS a camera has. Degrees: azimuth 0 looks at the front (from -Y), +90 stands at +X; elevation is above the ground."""
    if elevation > OVERHEAD_LIMIT:
        return "overhead"
    turned = abs((azimuth + 180.0) % 360.0 - 180.0)
    if turned <= FRONT_BACK_LIMIT:
        return "front"
    return "back" if turned >= 180.0 - FRONT_BACK_LIMIT else "side"


@dataclass(frozen=True)
class Background:
    """A plain background: the words a caption would use for it and its sRGB colour."""

    words: str
    colour: tuple[float, float, float]


BACKGROUNDS = (
    Background("on a white background", (0.82, 0.82, 0.82)),
    Background("on a grey background", (0.59, 0.59, 0.61)),
    Background("on a beige background", (0.74, 0.69, 0.63)),
    Background("on a blue background", (0.37, 0.53, 0.72)),
    Background("on a pink background", (0.80, 0.67, 0.69)),
)
"""What the engine renders before: the mean colours that grounds of these words have in the training pictures (scripts.prior.data)."""
