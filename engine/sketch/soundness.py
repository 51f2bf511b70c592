"""What mean distances do not notice: holes, loose parts and lost volume of a result, against the solid that the sketch stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.sketch.strokes import face_components

MORE_HANDLES = 2
"""An artist calls a result torn that has more handles than this over the sketch's own."""

LESS_VOLUME = 0.25
"""And hollowed that has lost more than this share of the volume."""


@dataclass(frozen=True)
class Soundness:
    """Of a closed surface.

    genus       handles, summed over the components: 0 for a ball, 1 for a cup with a handle
    components  connected parts
    volume      in the cube of the mesh's unit
    """

    genus: int
    components: int
    volume: float

    @classmethod
    def of(cls, vertices: np.ndarray, faces: np.ndarray) -> Soundness:
        """Of vertices [V, 3] and faces int [F, 3]; vertices that no face uses do not count. All 0 where there are no faces."""
        if not len(faces):
            return cls(0, 0, 0.0)
        points, corners = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
        label = face_components(corners)
        components = int(label.max()) + 1
        edges = np.unique(np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
        euler = len(np.unique(corners)) - len(edges) + len(corners)
        a, b, c = (points[corners] - points.mean(axis=0)).transpose(1, 0, 2)
        return cls(components - euler // 2, components, float(np.einsum("fi,fi->", np.cross(a, b), c)) / 6)

    def against(self, start: Soundness) -> dict[str, Any]:
        """The report's figures: this result beside the solid that it started from, in the same unit."""
        change = self.volume / start.volume - 1 if start.volume > 0 else 0.0
        return {
            "genus": self.genus,
            "genus_of_sketch": start.genus,
            "components": self.components,
            "components_of_sketch": start.components,
            "volume_change_percent": 100 * change,
        }

    def faults(self, start: Soundness) -> list[str]:
        """A sentence for each thing that an artist would call broken, with what helps."""
        found = []
        if self.genus > start.genus + MORE_HANDLES:
            found.append(
                f"The result has {self.genus} holes or handles where the sketch has {start.genus}: it is torn. "
                "Raise the adherence, the thickness or the closing radius."
            )
        if start.volume > 0 and self.volume < (1 - LESS_VOLUME) * start.volume:
            lost = 100 * (1 - self.volume / start.volume)
            found.append(f"The result has lost {lost:.0f} % of the sketch's volume. Raise the adherence or the thickness.")
        if self.components > start.components:
            found.append(
                f"The result is in {self.components} loose parts where the sketch is in {start.components}. "
                "Raise the adherence or the closing radius."
            )
        return found
