"""What the subjects of the training pictures stand on. Colours are linear, as materials take them; what a render makes of those that the
engine renders before too is in `engine.views.BACKGROUNDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.prior.data.palette import Colour


@dataclass(frozen=True)
class Ground:
    """What the subject stands on, and whether a wall of the same colour is behind it."""

    words: str
    colour: Colour
    second: Colour | None = None

    @property
    def has_wall(self) -> bool:
        """Plain backgrounds go on behind the subject; grounds lie under an open sky."""
        return self.second is None


GROUNDS = (
    Ground("on a grass field", (0.06, 0.16, 0.03), (0.03, 0.08, 0.015)),
    Ground("on a wooden table", (0.3, 0.15, 0.06), (0.16, 0.07, 0.03)),
    Ground("on sand", (0.5, 0.4, 0.25), (0.4, 0.3, 0.18)),
    Ground("on a stone floor", (0.3, 0.3, 0.3), (0.18, 0.18, 0.18)),
    Ground("on a white background", (0.8, 0.8, 0.8)),
    Ground("on a grey background", (0.3, 0.3, 0.3)),
    Ground("on a black background", (0.008, 0.008, 0.008)),
    Ground("on a blue background", (0.1, 0.2, 0.45)),
    Ground("on a green background", (0.1, 0.3, 0.12)),
    Ground("on a beige background", (0.6, 0.48, 0.34)),
    Ground("on a pink background", (0.7, 0.35, 0.4)),
)
