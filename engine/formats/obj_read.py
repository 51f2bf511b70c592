"""Wavefront OBJ read into one part an object and material: vertex colours, diffuse colour and texture, one uv a corner.

Blender's and most tools' default axes are +Y up, the same as glTF's; that is what is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.conventions import srgb_to_linear
from engine.errors import InputError
from engine.formats.beside import Beside, decoded, read_regular
from engine.formats.mtl_read import LARGEST_LIBRARY, LibraryMaterial, libraries_named, number, read_library
from engine.formats.parts import Appearance, Part, corrupt, is_default
from engine.formats.textures import UnreadableImage, read_image
from engine.formats.triangulate import triangulate_all

LARGEST_SHARE = 4.0
"""Of a colour of 0..1 that was left brighter than white."""


@dataclass
class _Object:
    """Polygons as they stand in the file: for each the indices of its corners into the file's lists, uvs -1 where absent."""

    polygons: list[list[int]] = field(default_factory=list)
    uvs: list[list[int]] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    name: str = ""


@dataclass
class _File:
    """What stands in an OBJ file."""

    positions: list[list[float]] = field(default_factory=list)
    texture: list[list[float]] = field(default_factory=list)
    objects: list[_Object] = field(default_factory=lambda: [_Object()])
    materials: dict[str, int] = field(default_factory=lambda: {"": 0})  # numbered in the order of their first use
    libraries: list[str] = field(default_factory=list)
    left_out: int = 0  # lines, points, free-form curves and surfaces
    painted: list[str] = field(default_factory=list)  # ZBrush's #MRGB: MMRRGGBB for each vertex


def read_obj(path: Path, notes: list[str]) -> list[Part]:
    """Triangles of every object (o) in the file. InputError for anything that cannot be read."""
    held = _parse(path)
    if held.left_out:
        notes.append(f"{held.left_out} lines, points or free-form curves and surfaces were left out: only polygons are read.")
    if not held.positions:
        return []
    if any(len(row) < 3 for row in held.positions):
        raise corrupt(path.name, "a vertex has fewer than three coordinates")
    points = np.array([row[:3] for row in held.positions], dtype=np.float64)
    vertex_colours = _vertex_colours(held)
    coordinates = np.array(held.texture, dtype=np.float32).reshape(-1, 2)
    library = _Library(path, held, notes)
    names = list(held.materials)
    parts = []
    for owner, entry in enumerate(held.objects):
        faces, uvs, materials = _triangulated(entry, points)
        for material in dict.fromkeys(materials.tolist()):  # in their order
            chosen = materials == material
            part, used = _part(points, coordinates, faces[chosen], uvs[chosen])
            part.owner, part.material = owner, material
            part.object_name, part.material_name = entry.name, names[material]
            part.appearance = library.appearance(material, None if vertex_colours is None else vertex_colours[used], part.uvs)
            parts.append(part)
    library.tell()
    return parts


def _parse(path: Path) -> _File:
    held = _File()
    material = 0
    for count, line in enumerate(decoded(read_regular(path)).replace("\\\r\n", " ").replace("\\\n", " ").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            match words[0]:
                case "v":
                    held.positions.append([float(word) for word in words[1:7]])
                case "vt":
                    held.texture.append([float(word) for word in [*words[1:3], "0", "0"][:2]])
                case "f":
                    _add_face(held, words[1:], material)
                case "o":
                    held.objects.append(_Object(name=" ".join(words[1:])))
                case "usemtl":
                    material = held.materials.setdefault(line.split(None, 1)[1].strip() if len(words) > 1 else "", len(held.materials))
                case "l" | "p" | "curv" | "curv2" | "surf":
                    held.left_out += 1
                case "mtllib" if len(words) > 1:
                    held.libraries.append(line.split(None, 1)[1].strip())
                case "#MRGB" if len(words) > 1:
                    held.painted.append(words[1])
        except (ValueError, IndexError) as error:
            raise corrupt(path.name, f"line {count} is '{line[:60]}'") from error
    return held


def _add_face(held: _File, corners: list[str], material: int) -> None:
    """A polygon; negative indices count back from the last one."""
    positions, texture = len(held.positions), len(held.texture)
    places, uvs = [], []
    for corner in corners:
        fields = corner.split("/")
        place = int(fields[0])
        uv = int(fields[1]) if len(fields) > 1 and fields[1] else 0
        places.append(place - 1 if place > 0 else positions + place)
        uvs.append(uv - 1 if uv > 0 else texture + uv if uv < 0 else -1)
        if not 0 <= places[-1] < positions or uvs[-1] >= texture:
            raise ValueError(corner)
    if len(places) >= 3:
        held.objects[-1].polygons.append(places)
        held.objects[-1].uvs.append(uvs)
        held.objects[-1].materials.append(material)


def _triangulated(entry: _Object, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertices [F, 3], uvs [F, 3], material [F]) of an object's polygons, cut into triangles in their order."""
    counts = np.array([len(polygon) for polygon in entry.polygons], dtype=np.int64)
    flat = np.array([corner for polygon in entry.polygons for corner in polygon], dtype=np.int64)
    flat_uvs = np.array([corner for polygon in entry.uvs for corner in polygon], dtype=np.int64)
    places, owners = triangulate_all(points, flat, counts)
    return flat[places], flat_uvs[places], np.array(entry.materials, dtype=np.int64)[owners]


def _part(points: np.ndarray, coordinates: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> tuple[Part, np.ndarray]:
    """The triangles of one object and material, a vertex for each pair of place and uv, and which of the file's vertices those are."""
    corners, corner_uvs = faces.reshape(-1), uvs.reshape(-1)
    keys = np.stack([corners, corner_uvs], axis=-1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)  # ordered by vertex, as the file is
    used, used_uvs = corners[first], corner_uvs[first]
    placed = None
    if (corner_uvs >= 0).all() and len(corner_uvs):
        placed = coordinates[used_uvs]
    return Part(0, points[used], inverse.reshape(-1, 3), None, placed), used


def _vertex_colours(held: _File) -> np.ndarray | None:
    """Linear RGBA [V, 4] of vertices with six numbers or of #MRGB, NaN where a vertex has none. None where no vertex has any."""
    known = np.array([len(row) >= 6 for row in held.positions])
    colours = np.full((len(known), 3), np.nan)
    if known.any():
        colours[known] = [row[3:6] for row in held.positions if len(row) >= 6]
        if _are_bytes(colours[np.isfinite(colours)]):
            colours /= 255
    elif held.painted:
        try:
            shades = np.frombuffer(bytes.fromhex("".join(held.painted)), dtype=np.uint8).reshape(-1, 4)
        except ValueError:
            return None
        count = min(len(shades), len(known))
        colours[:count] = shades[:count, 1:] / 255
    else:
        return None
    return np.concatenate([srgb_to_linear(colours), np.ones((len(known), 1))], axis=1)


def _are_bytes(shares: np.ndarray) -> bool:
    """Whether colours were written as 0..255: beyond 1 in whole numbers, or far beyond it. What is a little more than 1 was rounded."""
    most = shares.max(initial=0)
    return bool(most > LARGEST_SHARE or (most > 1 and (shares == np.rint(shares)).all()))


class _Library:
    """The materials of an OBJ file; what cannot be read is noted and left out."""

    def __init__(self, path: Path, held: _File, notes: list[str]) -> None:
        self._beside = Beside(path)
        self._notes = notes
        self._images: dict[str, np.ndarray | None] = {}
        self._defaults: set[str] = set()
        found: dict[str, LibraryMaterial] = {}
        for statement in held.libraries:
            for name in libraries_named(statement, self._beside):
                try:
                    text = decoded(self._beside.read(name, LARGEST_LIBRARY))
                except InputError as error:
                    notes.append(f"The material file '{name}' could not be read ({error.message}); its colours are left out.")
                    continue
                found.update((material.name, material) for material in read_library(text))
        self._materials = [found.get(name) for name in held.materials]

    def appearance(self, index: int, vertex: np.ndarray | None, uvs: np.ndarray | None) -> Appearance | None:
        """The appearance of a part with these vertex colours and uvs; None where nobody chose a colour. A texture stands for itself,
        vertex colours before Kd: exporters write some Kd beside either."""
        material = self._materials[index]
        texture = None if material is None else material.texture()
        if texture is not None and uvs is not None:
            name, scale, offset = texture
            image = self._image(name)
            if image is not None:
                cutoff = 0.5 if material is not None and "map_d" in material.statements else 0.0
                return Appearance(vertex=vertex, image=image, uvs=uvs.astype(np.float64) * scale + offset, cutoff=cutoff)
        if vertex is not None and np.isfinite(vertex).all(axis=1).any():
            return Appearance(vertex=vertex)
        colour = None if material is None else self._diffuse(material)
        return None if colour is None else Appearance(np.array([*colour, 1.0]))

    def tell(self) -> None:
        """Note which materials were taken as untouched."""
        if self._defaults:
            names = ", ".join(f"'{name}'" for name in sorted(self._defaults)[:4])
            self._notes.append(f"The colour of material {names} is its application's default: taken as one that nobody chose.")

    def _diffuse(self, material: LibraryMaterial) -> np.ndarray | None:
        """Kd, taken as linear as Blender does; None without one that somebody chose."""
        if "kd" not in material.statements:
            return None
        values = [number(word) for word in material.statements["kd"].split()[:3]]
        if len(values) < 3 or any(value is None or not np.isfinite(value) for value in values):
            self._notes.append(f"The colour of material '{material.name}' could not be read ('{material.statements['kd'][:40]}').")
            return None
        colour = np.array(values, dtype=np.float64).clip(0, 1)
        if is_default(colour):
            self._defaults.add(material.name)
            return None
        return colour

    def _image(self, name: str) -> np.ndarray | None:
        """uint8 [H, W, 4], or None with a note where it cannot be read."""
        if name not in self._images:
            try:
                self._images[name] = read_image(self._beside.read(name))
            except (UnreadableImage, InputError) as error:
                why = error.message if isinstance(error, InputError) else str(error)
                self._notes.append(f"The texture '{name}' could not be read ({why}); its colours are left out.")
                self._images[name] = None
        return self._images[name]
