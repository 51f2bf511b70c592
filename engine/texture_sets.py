"""Which faces of a model get which image: texture sets and their UDIM tiles, and which faces lie upon each other in UV space.

numpy only; the add-on asks before a job starts and its copy of this file is a link (addon/texture_sets.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError

FIRST_TILE = 1001
"""UDIM number of the square 0..1; one to the right is 1, one above is 10 more."""
TILES_ACROSS, MOST_TILES = 10, 100
"""A layout that reaches beyond so many tiles to the right, or over more in all, repeats its texture and has no tiles."""
CROSSING = 0.005
"""Share of the faces that may lie across a tile's border in a layout of tiles."""
BORDER = 1e-3
"""UV units by which a face may reach over its tile's border."""
FIT_CELLS = 512
"""Cells along a side of the square in which faces that lie upon each other are counted."""
SHARED_WORTH_SAYING = 0.02
"""Share of a layout that lies upon other faces from which on the user is told."""
APART = 0.02
"""Pieces fit together in one image where they share no more than this part of what either covers."""
LEAST_AREA = 1e-8
"""A layout with less area than this, in squares, holds no picture."""
CHUNK = 1 << 22


@dataclass(frozen=True)
class Piece:
    """The faces of one object that have one material: the least that can get an image of its own. `material` is empty without one."""

    object: str
    material: str = ""

    @property
    def label(self) -> str:
        """For people: 'Chair/Oak', 'Chair'."""
        return f"{self.object}/{self.material}" if self.material else self.object


@dataclass(frozen=True)
class TextureSet:
    """Pieces that share an image, or one image a tile.

    name    of its material
    pieces  indices
    tiles   UDIM numbers; FIRST_TILE alone for a layout in one square, which may repeat
    laid    whether its UVs can be used; otherwise a new layout has to be made
    shared  share of its UV area that lies upon other faces of its, 0..1
    """

    name: str
    pieces: tuple[int, ...]
    tiles: tuple[int, ...] = (FIRST_TILE,)
    laid: bool = True
    shared: float = 0.0

    @property
    def note(self) -> str | None:
        """What the user should know before the work about faces that lie upon each other; None where hardly any do."""
        if not self.laid or self.shared < SHARED_WORTH_SAYING:
            return None
        told = f"About {100 * self.shared:.0f} % of the UV layout of '{self.name}' lies upon other faces (mirrored or repeated)"
        return f"{told}: what shares a texel gets the mean of its colours. A new UV layer gives each its own."


def plan(pieces: Sequence[Piece], of_face: np.ndarray, uvs: np.ndarray | None, grouping: str = "auto") -> list[TextureSet]:
    """The texture sets of a model, in the order of their first pieces.

    of_face   int [F], the piece of each face; uvs [F, 3, 2], a row of NaN without a layout, or None where nothing has any
    grouping  "material": one set a material, of every object that has it; "object": one an object; "auto": one a material, but objects
              that lie upon each other in it are apart, and materials of one object that fit together share a set
    Pieces without a usable layout never share a set with others.
    """
    used = [index for index in range(len(pieces)) if (of_face == index).any()]
    laid = {index: uvs is not None and usable(uvs[of_face == index]) for index in used}
    groups: dict[tuple[str, bool], list[int]] = {}
    for index in used:
        piece = pieces[index]
        by_material = grouping != "object" and piece.material and laid[index]
        key = f"material {piece.material}" if by_material else f"object {piece.object}"
        groups.setdefault((key, laid[index]), []).append(index)
    if grouping == "auto" and uvs is not None:
        fitting = _Fitting(of_face, uvs, [members for (_, has), members in groups.items() if has])
        groups = _merged(_split(groups, pieces, fitting), pieces, fitting)
    sets = [_described(pieces, members, of_face, uvs if has else None) for (_, has), members in groups.items()]
    return _named_apart(sorted(sets, key=lambda one: one.pieces[0]))


def matching(pieces: Sequence[Piece], name: str) -> list[int]:
    """The pieces whose material, object or label has this name, letter case aside. InputError where none has."""
    wanted = name.strip().casefold()
    found = [index for index, one in enumerate(pieces) if wanted in (one.material.casefold(), one.object.casefold(), one.label.casefold())]
    if not found or not wanted:
        names = dict.fromkeys(label for one in pieces for label in (one.material or one.object, one.object))
        raise InputError("unknown_part", f"There is no part, slot or object '{name.strip()}'; there are {', '.join(map(repr, names))}.",
                         "Give one of those names.")  # fmt: skip
    return found


def prompts_of_parts(text: str, pieces: Sequence[Piece]) -> list[tuple[str, list[int]]]:
    """'legs: oak; seat: green velvet' -> (prompt, pieces) in order. InputError for what is not of that form, and for an unknown name."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, prompt = entry.partition(":")
        if not colon or not name.strip() or not prompt.strip():
            raise InputError(
                "bad_setting", f"Prompts of parts are 'NAME: PROMPT; NAME: PROMPT', got '{entry}'.", "Write 'legs: oak; seat: velvet'."
            )
        found.append((prompt.strip(), matching(pieces, name)))
    return found


def usable(uvs: np.ndarray) -> bool:
    """Whether a layout [F, 3, 2] can hold a texture: finite, and with some area."""
    if not np.isfinite(uvs).all():
        return False
    edges = uvs[:, 1:].astype(np.float64) - uvs[:, :1]
    return float(np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum()) / 2 > LEAST_AREA


def repeats(uvs: np.ndarray) -> bool:
    """Whether a layout [..., 2] goes beyond the square, so that its texture has to go on across its border; otherwise what lies
    opposite must not be mixed in there."""
    return bool(((uvs < -BORDER) | (uvs > 1 + BORDER)).any())


def tiles_of(uvs: np.ndarray) -> np.ndarray:
    """int [F]: the UDIM number of each face's tile, FIRST_TILE for all where the layout [F, 3, 2] is not one of tiles.

    It is one where its faces lie in several tiles, each within its own, none of them below or to the left of the first.
    """
    corners = uvs.astype(np.float64)
    tile = np.floor(corners.mean(axis=1)).astype(np.int64)
    across = ((corners < tile[:, None] - BORDER) | (corners > tile[:, None] + 1 + BORDER)).any(axis=(1, 2))
    numbers = FIRST_TILE + tile[:, 0] + TILES_ACROSS * tile[:, 1]
    outside = (tile < 0).any() or (tile[:, 0] >= TILES_ACROSS).any()
    if outside or not 1 < len(np.unique(numbers)) <= MOST_TILES or across.mean() > CROSSING:
        return np.full(len(uvs), FIRST_TILE)
    return numbers


def in_tile(uvs: np.ndarray, number: int) -> np.ndarray:
    """UVs [..., 2] relative to a tile's lower left corner."""
    return uvs - np.array([(number - FIRST_TILE) % TILES_ACROSS, (number - FIRST_TILE) // TILES_ACROSS], dtype=uvs.dtype)


def covered(uvs: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(face, row, column) int [N], a chunk at a time: every texel whose centre a face [F, 3, 2] covers.

    Rows count from the bottom; both go on beyond 0..size - 1 where uvs do. Faces that share an edge never both cover a centre upon it.
    All faces must be finite.
    """
    corners = uvs.astype(np.float64) * size - 0.5  # centres are whole numbers
    corners = np.take_along_axis(corners, corners[:, :, 1:].argsort(axis=1), axis=1)
    first, last = np.ceil(corners[:, 0, 1]).astype(np.int64), np.ceil(corners[:, 2, 1]).astype(np.int64)
    for start, stop in _runs(last - first, CHUNK):
        face, row = _counted(np.arange(start, stop), first[start:stop], last[start:stop])
        left, right = _cut(corners[face], row.astype(np.float64))
        low, high = np.ceil(left).astype(np.int64), np.ceil(right).astype(np.int64)
        for begin, end in _runs(high - low, CHUNK):
            spans, column = _counted(np.arange(begin, end), low[begin:end], high[begin:end])
            yield face[spans], row[spans], column


def folded(row: np.ndarray, column: np.ndarray, size: int) -> np.ndarray:
    """The texel, counted row by row, that a row and a column mean on a texture that repeats."""
    return np.mod(row, size) * size + np.mod(column, size)


def times_covered(uvs: np.ndarray, size: int) -> np.ndarray:
    """int32 [size * size]: how many faces [F, 3, 2] cover each texel's centre, repeats folded."""
    times = np.zeros(size * size, dtype=np.int32)
    for _, row, column in covered(uvs, size):
        np.add.at(times, folded(row, column, size), 1)
    return times


def shared_part(uvs: np.ndarray, size: int = FIT_CELLS) -> float:
    """Share of the area of a layout [F, 3, 2] in one square, repeats folded, that lies upon other faces, 0..1."""
    times = times_covered(uvs, size)
    total = int(times.sum())
    return 1 - float(np.count_nonzero(times)) / total if total else 0.0


def map_name(index: int, tile: int, kind: str) -> str:
    """The name in `protocol.Done.maps` of a map of one of several texture sets."""
    return f"{index}/{tile}/{kind}"


def set_of_map(name: str) -> tuple[int, int, str]:
    """(set, UDIM tile, kind) of a name in `protocol.Done.maps`; a plain one is the first set's only tile's."""
    parts = name.split("/")
    return (int(parts[0]), int(parts[1]), parts[2]) if len(parts) == 3 else (0, FIRST_TILE, name)


class _Fitting:
    """Which pieces lie upon each other in UV space, tile by tile; the tiles are those of each group of pieces as a whole."""

    def __init__(self, of_face: np.ndarray, uvs: np.ndarray, groups: Sequence[Sequence[int]]) -> None:
        self._cells: dict[int, np.ndarray] = {}
        for members in groups:
            faces = np.flatnonzero(np.isin(of_face, members))
            tiles = tiles_of(uvs[faces])
            for index in members:
                own = of_face[faces] == index
                found = [np.zeros(0, np.int64)]
                for number in np.unique(tiles[own]):
                    times = times_covered(uvs[faces[own & (tiles == number)]], FIT_CELLS)
                    found.append(np.flatnonzero(times) + int(number) * FIT_CELLS**2)
                self._cells[index] = np.concatenate(found)

    def together(self, members: Sequence[Sequence[int]]) -> bool:
        """Whether groups of pieces fit side by side in one image."""
        cells = [np.unique(np.concatenate([self._cells[index] for index in group])) for group in members]
        every, times = np.unique(np.concatenate(cells), return_counts=True)
        twice = every[times > 1]
        return all(np.isin(own, twice, assume_unique=True).sum() <= APART * max(len(own), 1) for own in cells)


_Groups = dict[tuple[str, bool], list[int]]


def _split(groups: _Groups, pieces: Sequence[Piece], fitting: _Fitting) -> _Groups:
    """Groups of one material whose objects lie upon each other become one an object."""
    found: _Groups = {}
    for (key, laid), members in groups.items():
        objects: dict[str, list[int]] = {}
        for index in members:
            objects.setdefault(pieces[index].object, []).append(index)
        if not laid or len(objects) == 1 or fitting.together(list(objects.values())):
            found[key, laid] = members
        else:
            found.update({(f"{key} of {name}", laid): own for name, own in objects.items()})
    return found


def _merged(groups: _Groups, pieces: Sequence[Piece], fitting: _Fitting) -> _Groups:
    """Groups within one object that fit together all become one."""
    of_object: dict[str, list[tuple[str, bool]]] = {}
    for key, members in groups.items():
        objects = {pieces[index].object for index in members}
        if key[1] and len(objects) == 1:
            of_object.setdefault(objects.pop(), []).append(key)
    found = dict(groups)
    for name, keys in of_object.items():
        if len(keys) > 1 and fitting.together([groups[key] for key in keys]):
            for key in keys:
                del found[key]
            found[f"object {name}", True] = sorted(index for key in keys for index in groups[key])
    return found


def _described(pieces: Sequence[Piece], members: Sequence[int], of_face: np.ndarray, uvs: np.ndarray | None) -> TextureSet:
    materials, objects = {pieces[index].material for index in members}, {pieces[index].object for index in members}
    only = materials.pop() if len(materials) == 1 else ""
    name = only or (objects.pop() if len(objects) == 1 else "all")
    if uvs is None:
        return TextureSet(name, tuple(members), laid=False)
    own = uvs[np.isin(of_face, members)]
    tiles = tiles_of(own)
    numbers, counts = np.unique(tiles, return_counts=True)
    shared = [shared_part(own[tiles == number]) for number in numbers]
    return TextureSet(name, tuple(members), tuple(numbers.tolist()), True, float(np.average(shared, weights=counts)))


def _named_apart(sets: list[TextureSet]) -> list[TextureSet]:
    """The sets with names of their own."""
    taken: dict[str, int] = {}
    found = []
    for one in sets:
        taken[one.name] = number = taken.get(one.name, 0) + 1
        name = one.name if number == 1 else f"{one.name} {number}"
        found.append(TextureSet(name, one.pieces, one.tiles, one.laid, one.shared))
    return found


def _runs(counts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of entries whose counts add up to about `most` each."""
    total = np.cumsum(np.maximum(counts, 0))
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, before + most, side="right")), start + 1)
        yield start, stop
        start = stop


def _counted(index: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every whole number low <= n < high of each entry: (the entry's index, n)."""
    counts = np.maximum(high - low, 0)
    begins = np.cumsum(counts) - counts
    return np.repeat(index, counts), np.arange(counts.sum()) + np.repeat(low - begins, counts)


def _cut(corners: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N]: where level lines enter and leave triangles [N, 3, 2] whose corners are sorted by v."""
    x, y = corners[..., 0], corners[..., 1]
    long_side = x[:, 0] + (x[:, 2] - x[:, 0]) * (level - y[:, 0]) / np.maximum(y[:, 2] - y[:, 0], 1e-300)
    upper = level > y[:, 1]
    start, end = np.where(upper, x[:, 1], x[:, 0]), np.where(upper, x[:, 2], x[:, 1])
    under, over = np.where(upper, y[:, 1], y[:, 0]), np.where(upper, y[:, 2], y[:, 1])
    short_side = start + (end - start) * (level - under) / np.maximum(over - under, 1e-300)
    return np.minimum(long_side, short_side), np.maximum(long_side, short_side)
