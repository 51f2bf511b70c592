"""Wavefront material libraries (.mtl): which file is meant, and what it says. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from engine.errors import InputError
from engine.formats.beside import Beside

LARGEST_LIBRARY = 2**24
"""Bytes of a material library, at most."""


@dataclass
class LibraryMaterial:
    """What a .mtl file says of one material: its statements that matter here, by keyword in lower case, without the keyword."""

    name: str
    statements: dict[str, str]

    def texture(self) -> tuple[str, tuple[float, float], tuple[float, float]] | None:
        """(file name, scale, offset) of map_Kd; None without one."""
        return texture_statement(self.statements["map_kd"]) if "map_kd" in self.statements else None


_OPTION_WORDS = {"-s": 3, "-o": 3, "-t": 3, "-mm": 2, "-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-bm": 1, "-boost": 1,
                 "-texres": 1, "-imfchan": 1, "-type": 1, "-colorspace": 1}  # fmt: skip


def texture_statement(text: str) -> tuple[str, tuple[float, float], tuple[float, float]]:
    """(file name, scale, offset) of what follows map_Kd: options first, then a name that may hold spaces."""
    scale, offset = (1.0, 1.0), (0.0, 0.0)
    rest = text.strip()
    while rest.startswith("-"):
        words = rest.split()
        count = _OPTION_WORDS.get(words[0])
        if count is None:
            break
        values = words[1 : 1 + count]
        if words[0] in ("-s", "-o", "-t"):  # one to three numbers
            values = list(takewhile(lambda value: number(value) is not None, values))
        numbers = [number(value) for value in values]
        pair = (numbers[0], numbers[1] if len(numbers) > 1 else numbers[0]) if numbers else None
        if pair is not None and words[0] == "-s":
            scale = (pair[0] or 1.0, pair[1] or 1.0)
        elif pair is not None and words[0] == "-o":
            offset = (pair[0] or 0.0, (numbers[1] if len(numbers) > 1 else 0.0) or 0.0)
        pieces = rest.split(None, 1 + len(values))
        rest = pieces[-1] if len(pieces) > 1 + len(values) else ""
    return rest.strip('"'), scale, offset


def read_library(text: str) -> list[LibraryMaterial]:
    """The materials of a .mtl file in their order."""
    found: list[LibraryMaterial] = []
    for line in text.splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if "\t" in keyword:
            keyword, _, rest = line.strip().partition("\t")
        if keyword.lower() == "newmtl":
            found.append(LibraryMaterial(rest.strip(), {}))
        elif found and keyword and not keyword.startswith("#"):
            found[-1].statements[keyword.lower()] = rest.strip()
    return found


def libraries_named(text: str, beside: Beside) -> list[str]:
    """The libraries that a mtllib statement means: one whose name may hold spaces, or several."""
    try:
        beside.find(text.strip())
    except InputError:
        words = text.split()
        return words if len(words) > 1 and all(word.lower().endswith(".mtl") for word in words) else [text.strip()]
    return [text.strip()]


def number(text: str) -> float | None:
    """A number, also one with a decimal comma; None for anything else."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
