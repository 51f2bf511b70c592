"""Roughness and metallic of a material by its word in the prompt: what no view of a small picture can tell. Standard library
and numpy only.

The values are those that artists' reference charts give for a Principled shader; they are starting points to turn, not measurements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Material:
    """How a surface reflects: `roughness` 0 mirror .. 1 matt, `metallic` 0 or 1; `word` of the prompt that said so, "" where none did."""

    roughness: float
    metallic: float
    word: str = ""


UNSAID = Material(0.6, 0.0)
"""Where no word speaks for anything: matt enough to show its colour, and no metal."""

_ROUGHNESS = {
    0.05: "chrome mirror glass crystal ice",
    0.15: "ceramic porcelain glazed lacquer lacquered glossy polished plastic gem jade amber obsidian latex enamel",
    0.25: "marble pearl resin varnished wet water candy silk satin patent",
    0.35: "leather wax paint painted acrylic ivory horn fruit apple cherry skin",
    0.5: "oak walnut mahogany wood wooden pine birch bamboo timber leaf petal bone rubber tile",
    0.65: "paper cardboard cork stone granite slate wicker straw thatch bread",
    0.8: "brick concrete cement plaster clay terracotta sandstone soil bark coal chalk cotton linen denim canvas",
    0.9: "velvet wool felt fur moss fabric cloth plush carpet sand snow rust rusty",
}
_METALS = {
    0.08: "mirrored chromed chromium",
    0.2: "gold golden silver silvery platinum",
    0.3: "brass copper bronze steel stainless nickel titanium",
    0.4: "metal metallic aluminium aluminum tin pewter",
    0.55: "iron lead zinc gunmetal",
}
_METALLIC_WORDS = {"chrome"}
_SPOKEN_AGAINST = {"paint", "painted", "rust", "rusty", "enamel"}
"""Words of a coat that is no metal, whatever lies under it."""


def _table() -> dict[str, Material]:
    found = {word: Material(value, float(word in _METALLIC_WORDS), word) for value, words in _ROUGHNESS.items() for word in words.split()}
    return found | {word: Material(value, 1.0, word) for value, words in _METALS.items() for word in words.split()}


MATERIALS: dict[str, Material] = _table()
"""Word -> material."""

_MATT, _SHINY = {"matt", "matte", "rough", "dull", "worn", "dusty"}, {"shiny", "glossy", "polished", "wet", "lacquered", "glazed"}
_TURNED = 0.6
"""What a word of finish multiplies the roughness by (shiny), or the distance from it to 1 (matt)."""


def material_of(prompt: str) -> Material:
    """The material that a prompt names. Of several the first, but metallic only where no other word speaks against it.

    A word of finish turns it: "polished oak" is smoother than oak, "rough brass" rougher than brass.
    """
    words = re.findall(r"[^\W\d_]+", prompt.lower())
    named = [MATERIALS[word] for word in words if word in MATERIALS]
    substance = [entry for entry in named if entry.word not in _SHINY] or named
    if not substance:
        return _finished(UNSAID, words) if {*words} & (_MATT | _SHINY) else UNSAID
    first = substance[0]
    metallic = min(entry.metallic for entry in substance) if not {*words} & _SPOKEN_AGAINST else 0.0
    coat = next((entry for entry in substance if entry.word in _SPOKEN_AGAINST), None)
    return _finished(Material((coat or first).roughness, metallic, (coat or first).word), words)


def _finished(material: Material, words: list[str]) -> Material:
    roughness = material.roughness
    if {*words} & _MATT:
        roughness = 1 - _TURNED * (1 - roughness)
    elif {*words} & _SHINY - {material.word}:
        roughness = _TURNED * roughness
    return Material(round(roughness, 3), material.metallic, material.word)


@dataclass(frozen=True)
class MaterialsOfParts:
    """The materials of a mesh: of all of it, and of the pieces (engine.mesh.Parts) that have prompts of their own, by number.

    labels  of the pieces, for people
    """

    whole: Material = UNSAID
    of_piece: Mapping[int, Material] = field(default_factory=dict)
    labels: Sequence[str] = ()

    @classmethod
    def of(cls, prompt: str, named: Sequence[tuple[str, list[int]]], labels: Sequence[str]) -> MaterialsOfParts:
        """Of a prompt and of prompts of pieces."""
        return cls(material_of(prompt), {piece: material_of(own) for own, pieces in named for piece in pieces}, labels)

    def of_faces(self, pieces: np.ndarray | None) -> np.ndarray:
        """float32 [F, 2] roughness and metallic of faces by their pieces [F]; [1, 2] where the whole is one."""
        if pieces is None or not self.of_piece:
            return np.array([[self.whole.roughness, self.whole.metallic]], np.float32)
        found = [self.of_piece.get(piece, self.whole) for piece in range(int(pieces.max(initial=0)) + 1)]
        return np.array([[one.roughness, one.metallic] for one in found], np.float32)[pieces]

    def told(self) -> list[str]:
        """What to tell the user."""
        return [_told(self.whole), *(f"{self.labels[piece]}: {_told(one)}" for piece, one in self.of_piece.items())]


NOTHING_SAID = MaterialsOfParts()


def _told(material: Material) -> str:
    numbers = f"roughness {material.roughness:g}, metallic {material.metallic:g}"
    if not material.word:
        return f"No word of the prompt names a material: {numbers}."
    return f"'{material.word}' in the prompt gives {numbers}, by the table of materials (docs/texturing.md)."
