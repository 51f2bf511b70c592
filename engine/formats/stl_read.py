"""STL read by trimesh, which copes with both kinds and with several solids. +Z up in the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np

from engine.formats.beside import read_regular
from engine.formats.parts import Part, corrupt

_HEADER, _TRIANGLE = 84, 50  # bytes


def read_stl(path: Path, notes: list[str]) -> list[Part]:
    """The triangles of every solid; of a binary file whose count is wrong, as many as there are bytes for."""
    import trimesh

    data = read_regular(path)
    if not (b"facet" in data.lower() and data.lstrip()[:5].lower() == b"solid"):
        data = _binary(path.name, data, notes)
    try:
        loaded = trimesh.load(io.BytesIO(data), file_type="stl", process=False)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise corrupt(path.name, f"it is not a valid STL file ({type(error).__name__}: {error})") from error
    geometries = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
    meshes = [geometry for geometry in geometries if isinstance(geometry, trimesh.Trimesh)]
    return [
        Part(owner, np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 3))
        for owner, mesh in enumerate(meshes)
    ]


def _binary(name: str, data: bytes, notes: list[str]) -> bytes:
    """A binary file with the count that its size has room for."""
    if len(data) < _HEADER:
        raise corrupt(name, "it is no STL file")
    announced, whole = struct.unpack_from("<I", data, 80)[0], (len(data) - _HEADER) // _TRIANGLE
    if announced == whole:
        return data
    if (len(data) - _HEADER) % _TRIANGLE:
        raise corrupt(name, f"it announces {announced} triangles and has bytes for {whole}; it was probably cut off")
    notes.append(f"The file announces {announced} triangles; the {whole} that it holds are read.")
    return data[:80] + struct.pack("<I", whole) + data[_HEADER:]
