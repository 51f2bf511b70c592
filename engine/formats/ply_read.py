"""PLY read into one part: any polygons, colours of vertices or faces, uvs and the texture that its comments name. +Z up. numpy only.

Text and binary of either byte order (Turk, The PLY Polygon File Format, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.conventions import srgb_to_linear
from engine.errors import InputError
from engine.formats.beside import Beside, read_regular
from engine.formats.parts import Appearance, Part, corrupt
from engine.formats.references import textures_named
from engine.formats.textures import UnreadableImage, read_image
from engine.formats.triangulate import triangulate_all

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
LARGEST_COUNT = 1 << 28


@dataclass
class _Element:
    """One table of the file: for each property its type, and of its lists' counts, None where it is a single value."""

    name: str
    count: int
    properties: dict[str, tuple[str, str | None]]


@dataclass
class _Lists:
    """Lists of different lengths: their values in a row, and how many each has."""

    values: np.ndarray
    counts: np.ndarray


_Table = dict[str, "np.ndarray | _Lists"]


def read_ply(path: Path, notes: list[str]) -> list[Part]:
    """The polygons of a PLY file as triangles. InputError for anything that cannot be read."""
    try:
        tables, textures = _tables(read_regular(path))
        vertex, face = tables.get("vertex", {}), tables.get("face", {})
        points = _columns(vertex, (("x", "y", "z"),))
        if points is None or not face:
            return []
        polygons = _polygons(face)
        if len(polygons.values) and not 0 <= polygons.values.min() <= polygons.values.max() < len(points):
            raise ValueError(f"a face refers to vertex {polygons.values.max()} of {len(points)}")
    except (KeyError, IndexError, ValueError, OverflowError, UnicodeDecodeError) as error:
        raise corrupt(path.name, f"it is not a valid PLY file ({type(error).__name__}: {error})") from error
    points = points.astype(np.float64)
    corners, owners = triangulate_all(points, polygons.values.astype(np.int64), polygons.counts)
    return [_part(path, points, polygons.values.astype(np.int64)[corners], corners, owners, tables, textures, notes)]


def _part(path: Path, points: np.ndarray, faces: np.ndarray, corners: np.ndarray, owners: np.ndarray, tables: dict[str, _Table],
          textures: list[str], notes: list[str]) -> Part:  # fmt: skip
    vertex, face = tables["vertex"], tables["face"]
    colours, uvs = _shares(_columns(vertex, _COLOURS)), _columns(vertex, _UVS)
    of_faces, of_corners = _shares(_columns(face, _COLOURS)), face.get("texcoord")
    if not (isinstance(of_corners, _Lists) and len(of_corners.values) == 2 * len(_polygons(face).values)):
        of_corners = None
    if (colours is None and of_faces is not None) or of_corners is not None:  # each face gets vertices of its own
        index = faces.reshape(-1)
        points, faces = points[index], np.arange(len(index)).reshape(-1, 3)
        colours = None if colours is None else colours[index]
        colours = np.repeat(of_faces[owners], 3, axis=0) if colours is None and of_faces is not None else colours
        uvs = None if uvs is None else uvs[index]
        uvs = uvs if of_corners is None else of_corners.values.reshape(-1, 2)[corners.reshape(-1)]
    image = None if uvs is None else _texture(path, textures, notes)
    appearance = None
    if colours is not None or image is not None:
        rgba = None if colours is None else np.concatenate([srgb_to_linear(colours), np.ones((len(colours), 1))], axis=1)
        appearance = Appearance(vertex=rgba, image=image, uvs=None if uvs is None else uvs.astype(np.float64))
    return Part(0, points, faces, appearance, None if uvs is None else uvs.astype(np.float32))


def _polygons(face: _Table) -> _Lists:
    """The corners of the faces. KeyError where there are none."""
    found = face["vertex_indices"] if "vertex_indices" in face else face["vertex_index"]
    if not isinstance(found, _Lists):
        raise ValueError("its faces are no lists")
    return found


def _header(data: bytes) -> tuple[list[str], int]:
    """The lines of a PLY file's header, and where its content begins. ValueError where there is none."""
    if not data.startswith(b"ply"):
        raise ValueError("it does not begin with 'ply'")
    end = data.find(b"end_header")
    after = data.find(b"\n", end)
    if end < 0 or after < 0:
        raise ValueError("its header does not end")
    return data[:end].decode("utf-8", errors="replace").splitlines(), after + 1


def _tables(data: bytes) -> tuple[dict[str, _Table], list[str]]:
    lines, start = _header(data)
    form, elements = "", []
    for line in lines:
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append(_Element(words[1], int(words[2]), {}))
            if not 0 <= elements[-1].count <= LARGEST_COUNT:
                raise ValueError(f"it announces {words[2]} entries of '{words[1]}'")
        elif words[:1] == ["property"]:
            is_list = words[1] == "list"
            elements[-1].properties[words[-1]] = (_TYPES[words[3]], _TYPES[words[2]]) if is_list else (_TYPES[words[1]], None)
    if form == "ascii":
        return _read_text(data[start:], elements), textures_named(lines)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[form]
    return _read_binary(data[start:], elements, order), textures_named(lines)


def _read_text(body: bytes, elements: list[_Element]) -> dict[str, _Table]:
    """The tables of a text file."""
    values = np.array(body.split(), dtype=np.float64)
    tables: dict[str, _Table] = {}
    at = 0
    for element in elements:
        if all(counted is None for _, counted in element.properties.values()):
            width = len(element.properties)
            block = values[at : at + width * element.count].reshape(element.count, width)
            at += block.size
            tables[element.name] = {
                name: _typed(block[:, column], kind) for column, (name, (kind, _)) in enumerate(element.properties.items())
            }
            continue
        rows: dict[str, list[np.ndarray]] = {name: [] for name in element.properties}
        for _ in range(element.count):
            for name, (_kind, counted) in element.properties.items():
                count = 1 if counted is None else int(values[at])
                at += counted is not None
                rows[name].append(values[at : at + count])
                if count < 0 or len(rows[name][-1]) != count:
                    raise ValueError(f"its '{element.name}' table is cut off")
                at += count
        tables[element.name] = _gathered(element, rows)
    return tables


def _read_binary(body: bytes, elements: list[_Element], order: str) -> dict[str, _Table]:
    """The tables of a binary file."""
    tables: dict[str, _Table] = {}
    at = 0
    for element in elements:
        table, used = _uniform(body, at, element, order)
        if table is None:
            table, used = _row_by_row(body, at, element, order)
        tables[element.name] = table
        at += used
    return tables


def _uniform(body: bytes, at: int, element: _Element, order: str) -> tuple[_Table | None, int]:
    """A binary table whose lists all are as long as those of its first row, at once; (None, 0) where they are not."""
    fields, offset = [], at
    lengths: dict[str, int] = {}
    for name, (kind, counted) in element.properties.items():
        if counted is None:
            fields.append((name, order + kind))
            offset += np.dtype(kind).itemsize
        elif element.count:
            lengths[name] = int(np.frombuffer(body, order + counted, 1, offset)[0])
            fields += [(f"{name} count", order + counted), (name, order + kind, (lengths[name],))]
            offset += np.dtype(counted).itemsize + lengths[name] * np.dtype(kind).itemsize
        else:
            fields.append((name, order + kind, (0,)))
            lengths[name] = 0
    row = np.dtype(fields)
    if at + row.itemsize * element.count > len(body):
        if not lengths:
            raise ValueError(f"its '{element.name}' table is cut off")
        return None, 0
    block = np.frombuffer(body, row, element.count, at)
    if element.count and any((block[f"{name} count"] != length).any() for name, length in lengths.items()):
        return None, 0
    table: _Table = {}
    for name, (kind, _) in element.properties.items():
        values = block[name].astype(kind)
        table[name] = _Lists(values.reshape(-1), np.full(element.count, lengths[name])) if name in lengths else values
    return table, row.itemsize * element.count


def _row_by_row(body: bytes, at: int, element: _Element, order: str) -> tuple[_Table, int]:
    rows: dict[str, list[np.ndarray]] = {name: [] for name in element.properties}
    start = at
    for _ in range(element.count):
        for name, (kind, counted) in element.properties.items():
            count = 1
            if counted is not None:
                count = int(np.frombuffer(body, order + counted, 1, at)[0])
                at += np.dtype(counted).itemsize
            rows[name].append(np.frombuffer(body, order + kind, count, at) if count else np.zeros(0, kind))
            at += count * np.dtype(kind).itemsize
    return _gathered(element, rows), at - start


def _gathered(element: _Element, rows: dict[str, list[np.ndarray]]) -> _Table:
    table: _Table = {}
    for name, (kind, counted) in element.properties.items():
        values = _typed(np.concatenate(rows[name]) if rows[name] else np.zeros(0), kind)
        table[name] = values if counted is None else _Lists(values, np.array([len(row) for row in rows[name]], dtype=np.int64))
    return table


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    """float64 text values as their property's type; doubles and floats stay as they are."""
    return values.astype(np.int64).astype(kind) if kind[0] in "iu" and values.dtype.kind == "f" else values


def _columns(table: _Table, names: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    """The first set of these properties that a table has, [N, K]."""
    for wanted in names:
        columns = [column for name in wanted if isinstance(column := table.get(name), np.ndarray)]
        if len(columns) == len(wanted):
            return np.stack(columns, axis=-1)
    return None


def _shares(values: np.ndarray | None) -> np.ndarray | None:
    """Integers as shares of their type's range, 0..1."""
    return values / np.iinfo(values.dtype).max if values is not None and values.dtype.kind in "iu" else values


def _texture(path: Path, names: list[str], notes: list[str]) -> np.ndarray | None:
    for name in names[:1]:
        try:
            return read_image(Beside(path).read(name))
        except (UnreadableImage, InputError) as error:
            why = error.message if isinstance(error, InputError) else str(error)
            notes.append(f"The texture '{name}' could not be read ({why}); its colours are left out.")
    return None
