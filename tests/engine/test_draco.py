"""Draco-compressed glTF, decoded by the package DracoPy; without it the user is told what to do."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from engine.formats.meshio import load_mesh

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.uint32)


def draco_file(path: Path, payload: bytes, attributes: dict[str, int], required: bool = True) -> Path:
    """A .glb of one primitive whose accessors have no data but Draco's."""
    kinds = {"POSITION": (5126, "VEC3"), "COLOR_0": (5121, "VEC4")}
    accessors = [{"componentType": kinds[name][0], "type": kinds[name][1], "count": len(VERTICES)} for name in attributes]
    accessors.append({"componentType": 5125, "type": "SCALAR", "count": FACES.size})
    extension = {"bufferView": 0, "attributes": attributes}
    document: dict[str, Any] = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {name: index for index, name in enumerate(attributes)}, "indices": len(attributes),
                                    "extensions": {"KHR_draco_mesh_compression": extension}}]}],
        "accessors": accessors, "bufferViews": [{"buffer": 0, "byteLength": len(payload)}], "buffers": [{"byteLength": len(payload)}],
        "extensionsUsed": ["KHR_draco_mesh_compression"],
    }  # fmt: skip
    if required:
        document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    payload += b"\0" * (-len(payload) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(payload))
    path.write_bytes(head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(payload), b"BIN\0") + payload)
    return path


def test_a_compressed_mesh_is_decoded_with_its_colours(tmp_path: Path) -> None:
    draco = pytest.importorskip("DracoPy", reason="needs the package DracoPy")
    colours = np.array([[255, 0, 0, 255]] * 4, np.uint8)
    payload = draco.encode(VERTICES, FACES, quantization_bits=14, colors=colours, preserve_order=True)
    numbers = {attribute["attribute_type"]: attribute["unique_id"] for attribute in draco.decode(payload).attributes}
    mesh = load_mesh(draco_file(tmp_path / "a.glb", payload, {"POSITION": numbers[0], "COLOR_0": numbers[2]}))
    assert len(mesh.faces) == 4 and len(mesh.vertices) == 4
    expected = {tuple(row) for row in np.stack([VERTICES[:, 0], -VERTICES[:, 2], VERTICES[:, 1]], axis=-1).round(2) + 0.0}
    assert {tuple(row) for row in mesh.vertices.round(2) + 0.0} == expected
    assert mesh.colours is not None and np.allclose(mesh.colours, [1, 0, 0])


def test_damaged_draco_data_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("DracoPy", reason="needs the package DracoPy")
    with pytest.raises(InputError) as caught:
        load_mesh(draco_file(tmp_path / "a.glb", b"DRACO\2\2 and nothing after", {"POSITION": 0}))
    assert caught.value.code == "corrupt_file" and "Draco" in caught.value.message


def test_without_the_package_the_fix_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)  # an import of it fails
    with pytest.raises(InputError) as caught:
        load_mesh(draco_file(tmp_path / "a.glb", b"DRACO", {"POSITION": 0}))
    assert "KHR_draco_mesh_compression" in caught.value.message
    assert "without compression" in caught.value.fix and "DracoPy" in caught.value.fix
