"""The container of a glTF 2.0 file: its JSON, and the arrays and bytes that the JSON points to. numpy only.

Reads strided, normalized, sparse and quantized accessors, and Draco where the package DracoPy is installed.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.formats.beside import Beside, decoded, read_regular
from engine.formats.parts import corrupt

_COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
LARGEST_COUNT = 1 << 26
LARGEST_UNSTORED = 1 << 24
"""Elements of an accessor that has no bytes in the file."""
DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Document:
    """A glTF file opened: `json` is its description, the methods fetch what it refers to.

    Whatever contradicts itself raises one of KeyError, IndexError, TypeError, ValueError, AttributeError and OverflowError, which
    `engine.formats.gltf_read` turns into an InputError; InputError itself for files that are missing.
    """

    def __init__(self, path: Path) -> None:
        self.json, self._binary = _open(path)
        self._beside = Beside(path)
        self._buffers: dict[int, bytes] = {}

    def accessor(self, index: int, *, normalize: bool = False) -> np.ndarray:
        """[count, width] in the stored type; floats where the accessor is normalized, or integers that `normalize` says to be."""
        accessor = self.json["accessors"][index]
        kind, width, count = _COMPONENTS[accessor["componentType"]], _WIDTHS[accessor["type"]], accessor["count"]
        if not 0 <= count <= (LARGEST_COUNT if "bufferView" in accessor else LARGEST_UNSTORED):
            raise ValueError(f"an accessor announces {count} elements")
        if "bufferView" in accessor:
            values = self._elements(accessor["bufferView"], accessor.get("byteOffset", 0), kind, width, count)
        else:
            values = np.zeros((count, width), dtype=kind)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            where, what, changed = sparse["indices"], sparse["values"], sparse["count"]
            places = self._elements(where["bufferView"], where.get("byteOffset", 0), _COMPONENTS[where["componentType"]], 1, changed)
            values = values.copy()
            values[places[:, 0].astype(np.int64)] = self._elements(what["bufferView"], what.get("byteOffset", 0), kind, width, changed)
        return self._normalized(values, bool(accessor.get("normalized")) or normalize)

    def draco(self, primitive: dict[str, Any]) -> dict[str, np.ndarray] | None:
        """The arrays of a Draco-compressed primitive by attribute, and its "indices"; None where it is not, or has a plain copy."""
        extension = primitive.get("extensions", {}).get(DRACO)
        if extension is None or "bufferView" in self.json["accessors"][primitive["attributes"]["POSITION"]]:
            return None
        mesh = _decode_draco(self.view(extension["bufferView"])[0])
        arrays = {"indices": np.asarray(mesh.faces, dtype=np.int64).reshape(-1)}
        for name, number in extension["attributes"].items():
            described = self.json["accessors"][primitive["attributes"][name]]
            values = np.asarray(mesh.get_attribute_by_unique_id(number)["data"])
            values = values.reshape(len(mesh.points), -1)
            arrays[name] = self._normalized(values, bool(described.get("normalized")) or name.startswith("COLOR"))
        return arrays

    def view(self, index: int) -> tuple[bytes, int]:
        """Bytes and stride (0 where packed) of a buffer view."""
        view = self.json["bufferViews"][index]
        if any(name in view.get("extensions", {}) for name in MESHOPT):
            raise compressed("EXT_meshopt_compression")
        data = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0)
        if start < 0 or start + view["byteLength"] > len(data):
            raise ValueError(f"buffer view {index} reaches beyond its buffer")
        return data[start : start + view["byteLength"]], view.get("byteStride", 0)

    def uri(self, uri: str) -> bytes:
        """A data: URI or a file beside the document."""
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2])
            except binascii.Error as error:
                raise ValueError(f"a data URI is damaged ({error})") from error
        return self._beside.read(uri)

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            entry = self.json["buffers"][index]
            if "uri" in entry:
                self._buffers[index] = self.uri(entry["uri"])
            elif self._binary is not None and index == 0:
                self._buffers[index] = self._binary
            else:
                raise ValueError("the binary part is missing")
        return self._buffers[index]

    def _elements(self, view: int, offset: int, kind: type, width: int, count: int) -> np.ndarray:
        """count elements of width components from a view, wherever its stride puts them."""
        data, stride = self.view(view)
        size = np.dtype(kind).itemsize * width
        stride = stride or size
        if count == 0:
            return np.zeros((0, width), dtype=kind)
        if min(offset, count, stride) < 0 or offset + stride * (count - 1) + size > len(data):
            raise ValueError(f"an accessor reaches beyond buffer view {view}")
        little = np.dtype(kind).newbyteorder("<")
        return np.ndarray((count, width), little, data, offset, (stride, little.itemsize)).astype(kind)

    @staticmethod
    def _normalized(values: np.ndarray, wanted: bool) -> np.ndarray:
        """Integers as floats in -1..1 where wanted."""
        return np.maximum(values / np.iinfo(values.dtype).max, -1.0) if wanted and values.dtype.kind in "iu" else values


def compressed(extension: str, fix: str = "Export it again without compression.") -> InputError:
    """The error for geometry that is compressed in a way that cannot be read."""
    return InputError("unsupported_format", f"The file's geometry is compressed by {extension}, which cannot be read here.", fix)


def _decode_draco(data: bytes) -> Any:
    try:
        import DracoPy
    except ImportError as error:
        raise compressed(DRACO, "Export it again without compression, or install the Python package DracoPy beside the engine.") from error
    try:
        return DracoPy.decode(data)
    except Exception as error:  # DracoPy has errors of its own for every stage
        raise ValueError(f"its Draco data cannot be decoded ({error})") from error


def _open(path: Path) -> tuple[dict[str, Any], bytes | None]:
    data = read_regular(path)
    binary = None
    if data[:4] == b"glTF":
        raw, binary = _chunks(path.name, data)
    elif path.suffix.lower() == ".glb":
        raise corrupt(path.name, "it does not begin as a binary glTF file does")
    else:
        raw = data
    try:
        document = json.loads(decoded(raw))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is none that Python takes
        raise corrupt(path.name, "its JSON part is broken") from error
    version = str(document.get("asset", {}).get("version", "")) if isinstance(document, dict) and _is_table(document.get("asset")) else ""
    if version.startswith("1"):
        raise _first_version(path.name)
    if not version.startswith("2"):
        raise corrupt(path.name, "it is not glTF 2.0")
    return document, binary


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _first_version(name: str) -> InputError:
    return InputError("corrupt_file", f"'{name}' is glTF 1.0, which is not read here; expected glTF 2.0.",
                      "Export it as glTF 2.0, or convert it with the program that made it.")  # fmt: skip


def _chunks(name: str, data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk of a .glb."""
    if len(data) < 20:
        raise corrupt(name, f"it ends after {len(data)} bytes")
    _, version, length = struct.unpack_from("<4sII", data)
    if version == 1:
        raise _first_version(name)
    if version != 2 or length > len(data):
        raise corrupt(name, f"it announces version {version} and {length} bytes but has {len(data)}; it was probably cut off")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > length:
            raise corrupt(name, "a part of it is cut off")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    if b"JSON" not in chunks:
        raise corrupt(name, "its JSON part is missing")
    return chunks[b"JSON"], chunks.get(b"BIN\0")
