"""Wavefront OBJ read into one part an object: vertex colours, material diffuse colour and texture, one uv a corner.

Blender's and most tools' default axes are +Y up, the same as glTF's; that is what is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.conventions import srgb_to_linear
from engine.errors import InputError
from engine.formats.gltf_read import Part, corrupt
from engine.formats.textures import sample_image


@dataclass
class _Material:
    colour: tuple[float, float, float] | None = None  # Kd, taken as linear as Blender does
    texture: Path | None = None


@dataclass
class _Object:
    """Corners as they stand in the file: indices into the file's lists, -1 where absent."""

    faces: list[tuple[int, int, int]] = field(default_factory=list)
    uvs: list[tuple[int, int, int]] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)


def read_obj(path: Path, notes: list[str]) -> list[Part]:
    """Triangles of every object (o) in the file; polygons become fans. InputError for anything that cannot be read."""
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").splitlines()
    positions: list[list[float]] = []
    texture: list[list[float]] = []
    objects = [_Object()]
    names: list[str] = [""]
    libraries: list[str] = []
    material = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            match words[0]:
                case "v":
                    positions.append([float(word) for word in words[1:7]])
                case "vt":
                    texture.append([float(word) for word in [*words[1:3], "0"][:2]])
                case "f":
                    _add_face(objects[-1], words[1:], len(positions), len(texture), material)
                case "o":
                    objects.append(_Object())
                case "usemtl":
                    name = line.split(None, 1)[1].strip() if len(words) > 1 else ""
                    material = names.index(name) if name in names else len(names)
                    names.extend([name] if material == len(names) else [])
                case "mtllib":
                    libraries.append(line.split(None, 1)[1].strip())
        except (ValueError, IndexError) as error:
            raise corrupt(path.name, f"line {number} is '{line[:60]}'") from error
    materials = _materials(path, libraries, notes)
    known = [materials.get(name, _Material()) for name in names]
    return _parts(path, objects, positions, texture, known, notes)


def _add_face(target: _Object, corners: list[str], positions: int, texture: int, material: int) -> None:
    """A polygon as a fan of triangles; negative indices count back from the last one."""
    places, uvs = [], []
    for corner in corners:
        fields = corner.split("/")
        place = int(fields[0])
        uv = int(fields[1]) if len(fields) > 1 and fields[1] else 0
        places.append(place - 1 if place > 0 else positions + place)
        uvs.append(uv - 1 if uv > 0 else texture + uv if uv < 0 else -1)
        if not 0 <= places[-1] < positions or uvs[-1] >= texture:
            raise ValueError(corner)
    for second in range(1, len(places) - 1):
        target.faces.append((places[0], places[second], places[second + 1]))
        target.uvs.append((uvs[0], uvs[second], uvs[second + 1]))
        target.materials.append(material)


def _parts(path: Path, objects: list[_Object], positions: list[list[float]], texture: list[list[float]], materials: list[_Material],
           notes: list[str]) -> list[Part]:  # fmt: skip
    if not positions:
        return []
    if any(len(row) < 3 for row in positions):
        raise corrupt(path.name, "a vertex has fewer than three coordinates")
    points = np.array([row[:3] for row in positions], dtype=np.float64)
    painted = all(len(row) >= 6 for row in positions)
    vertex_colours = srgb_to_linear(np.array([row[3:6] for row in positions])) if painted else None
    coordinates = np.array(texture, dtype=np.float32).reshape(-1, 2)
    parts = []
    for owner, entry in enumerate(objects):
        if not entry.faces:
            continue
        corners, corner_uvs = np.array(entry.faces).reshape(-1), np.array(entry.uvs).reshape(-1)
        keys = np.stack([corners, corner_uvs], axis=-1)
        _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)  # ordered by vertex, as the file is
        used, used_uvs = corners[first], corner_uvs[first]
        uvs = None
        if (corner_uvs >= 0).any():
            uvs = np.where(used_uvs[:, None] >= 0, coordinates[used_uvs], 0).astype(np.float32)
        colours = vertex_colours[used] if vertex_colours is not None else None
        colours = _material_colours(colours, uvs, np.repeat(entry.materials, 3)[first], materials, notes)
        if uvs is not None:
            uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=-1)
        parts.append(Part(owner, points[used], inverse.reshape(-1, 3), colours, uvs))
    return parts


def _material_colours(colours: np.ndarray | None, uvs: np.ndarray | None, which: np.ndarray, materials: list[_Material],
                      notes: list[str]) -> np.ndarray | None:  # fmt: skip
    """Vertex colours, multiplied by what each corner's material says."""
    if all(entry.colour is None and entry.texture is None for entry in materials):
        return colours
    result = np.ones((len(which), 3)) if colours is None else colours.copy()
    for index in np.unique(which):
        entry, here = materials[index], which == index
        if entry.texture is not None and uvs is not None:
            sampled = _sample(entry.texture, uvs[here], notes)
            if sampled is not None:
                result[here] *= sampled
                continue
        if entry.colour is not None and colours is None:
            result[here] = entry.colour
    return result


def _sample(texture: Path, uvs: np.ndarray, notes: list[str]) -> np.ndarray | None:
    from PIL import Image

    try:
        with Image.open(texture) as image:
            return srgb_to_linear(sample_image(np.asarray(image.convert("RGB")), uvs) / 255)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        notes.append(f"The texture '{texture.name}' could not be read ({error}); its colours are left out.")
        return None


def _materials(path: Path, libraries: list[str], notes: list[str]) -> dict[str, _Material]:
    """Kd and map_Kd of every material in the libraries that can be read."""
    found: dict[str, _Material] = {}
    for library in libraries:
        try:
            lines = (path.parent / library).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            notes.append(f"The material file '{library}' is missing; its colours are left out.")
            continue
        current = _Material()
        for line in lines:
            words = line.split()
            if len(words) < 2:
                continue
            if words[0] == "newmtl":
                current = found[line.split(None, 1)[1].strip()] = _Material()
            elif words[0] == "Kd" and len(words) >= 4:
                try:
                    current.colour = (float(words[1]), float(words[2]), float(words[3]))
                except ValueError as error:
                    raise InputError("corrupt_file", f"'{library}' cannot be read: '{line[:60]}'.", "Export the file again.") from error
            elif words[0] == "map_Kd":
                current.texture = path.parent / words[-1]
    return found
