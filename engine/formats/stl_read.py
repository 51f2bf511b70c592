"""STL read into one part a solid, text or binary. +Z up in the file. numpy only."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from engine.formats.beside import read_regular
from engine.formats.parts import Part, corrupt

_HEADER, _TRIANGLE = 84, 50  # bytes
_COLOURED = 1 << 15
"""The bit that says that a triangle's other bits are a colour (VisCAM), or that it has the file's (Magics)."""
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)


def read_stl(path: Path, notes: list[str]) -> list[Part]:
    """The triangles of every solid; of a binary file whose count is wrong, as many as there are bytes for."""
    data = read_regular(path)
    if _is_text(data):
        solids = [_text(path.name, solid) for solid in re.split(rb"endsolid", data, flags=re.IGNORECASE)]
    else:
        solids = [_binary(path.name, data, notes)]
    return [Part(owner, corners, np.arange(len(corners)).reshape(-1, 3)) for owner, corners in enumerate(solids) if len(corners)]


def _is_text(data: bytes) -> bool:
    """Whether a file is text: binary ones may begin with "solid" too, but are as long as their count says."""
    if len(data) >= _HEADER and len(data) == _HEADER + _TRIANGLE * struct.unpack_from("<I", data, 80)[0]:
        return False
    return data.lstrip()[:5].lower() == b"solid" and re.search(rb"facet", data, re.IGNORECASE) is not None


def _text(name: str, solid: bytes) -> np.ndarray:
    """The corners [3 F, 3] of one solid."""
    try:
        corners = np.array(_VERTEX.findall(solid), dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise corrupt(name, f"a vertex is no three numbers ({error})") from error
    if len(corners) % 3:
        raise corrupt(name, f"it has {len(corners)} vertices, which are no whole triangles; it was probably cut off")
    return corners


def _binary(name: str, data: bytes, notes: list[str]) -> np.ndarray:
    """The corners [3 F, 3] of a binary file."""
    if len(data) < _HEADER:
        raise corrupt(name, "it is no STL file")
    announced, whole = struct.unpack_from("<I", data, 80)[0], (len(data) - _HEADER) // _TRIANGLE
    if announced != whole and (len(data) - _HEADER) % _TRIANGLE:
        raise corrupt(name, f"it announces {announced} triangles and has bytes for {whole}; it was probably cut off")
    if announced != whole:
        notes.append(f"The file announces {announced} triangles; the {whole} that it holds are read.")
    rows = np.frombuffer(data, np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]), whole, _HEADER)
    if b"COLOR=" in data[:80] or (rows["attribute"] & _COLOURED).any():
        notes.append("The file has colours for its triangles in a way that is not read; they are left out. Export a .ply or .glb for them.")
    return rows["corners"].astype(np.float64).reshape(-1, 3)
