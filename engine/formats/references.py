"""All files that a mesh is made of. Standard library only, so that scripts can ask without numpy."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.formats.beside import Beside, decoded, read_regular
from engine.formats.mtl_read import LARGEST_LIBRARY, libraries_named, read_library, texture_statement
from engine.user_path import user_path


def files_of(mesh: Path) -> list[Path]:
    """The mesh file and all files that it names and that can be found: buffers, textures, material libraries and their textures.

    What a result depends on; never raises for what is missing or broken.
    """
    beside = Beside(mesh)
    found: list[Path | None] = [mesh]
    try:
        for name in names_in(mesh):
            path = _found(beside, name)
            if path is not None and path.suffix.lower() == ".mtl":
                found += [path, *(_found(beside, inner) for inner in names_in(path))]
            else:
                found.append(path)
    except (InputError, OSError, ValueError, TypeError, AttributeError, RecursionError, struct.error):
        pass
    return list(dict.fromkeys(path for path in found if path is not None))


def _found(beside: Beside, name: str) -> Path | None:
    try:
        return beside.find(name)
    except InputError:
        return None


def folder_contents(folder: str) -> list[tuple[str, int, int]]:
    """Name, size and time of the files of a folder and of the folders in it, as a model's are; empty for what is no folder."""
    root = user_path(folder)
    files = sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_file())
    return [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def textures_named(lines: list[str]) -> list[str]:
    """The pictures that the comments in a PLY file's header name."""
    return [line.split(None, 2)[2].strip() for line in lines if line.lower().startswith("comment texturefile ")]


def names_in(mesh: Path) -> list[str]:
    """The names in a mesh file, or in a material library, of the files beside it; may raise whatever for a broken one."""
    kind = mesh.suffix.lower()
    if kind in (".gltf", ".glb"):
        data = read_regular(mesh)
        if data[:4] == b"glTF":
            data = data[20 : 20 + struct.unpack_from("<I", data, 12)[0]]
        document: dict[str, Any] = json.loads(decoded(data))
        entries = [*document.get("buffers", []), *document.get("images", [])]
        return [entry["uri"] for entry in entries if not str(entry.get("uri", "data:")).startswith("data:")]
    if kind == ".obj":
        lines = [line.strip() for line in decoded(read_regular(mesh)).splitlines() if line.lstrip().startswith("mtllib")]
        return [name for line in lines for name in libraries_named(line[len("mtllib") :], Beside(mesh))]
    if kind == ".mtl":
        statements = [material.statements for material in read_library(decoded(read_regular(mesh, LARGEST_LIBRARY)))]
        maps = [statement for held in statements for keyword, statement in held.items() if keyword.startswith("map_")]
        return [texture_statement(statement)[0] for statement in maps]
    if kind == ".ply":
        with mesh.open("rb") as file:
            head = file.read(65536).partition(b"end_header")[0].decode("utf-8", errors="replace")
        return textures_named(head.splitlines())
    return []
