"""glTF 2.0 (.glb and .gltf) read into triangles, colours and uvs. numpy and Pillow only.

Reads node transforms, instances, strided, normalized and sparse accessors, triangle lists, strips and fans, vertex colours and the
base colour's factor and texture (with KHR_texture_transform). Leaves out skins, morph targets, cameras, lights; lines and points
are counted and left out. Still in glTF's axes; `engine.formats.meshio` turns them.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from engine.conventions import srgb_to_linear
from engine.errors import InputError
from engine.formats.textures import sample_image

_COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
LARGEST_COUNT = 1 << 28
_COMPRESSION = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization")
_READABLE_REQUIRED = {"KHR_texture_transform", "KHR_materials_unlit", "KHR_mesh_quantization", "KHR_lights_punctual"}


@dataclass
class Part:
    """One primitive placed in the scene, in glTF's axes."""

    owner: int  # number of the node: parts of one node belong together
    vertices: np.ndarray  # float64 [V, 3]
    faces: np.ndarray  # int64 [F, 3]
    colours: np.ndarray | None  # float64 [V, 3], linear
    uvs: np.ndarray | None  # float32 [V, 2], v down


def read_gltf(path: Path, notes: list[str]) -> list[Part]:
    """The triangles of the file's scene. What was left out is added to notes. InputError for anything that cannot be read."""
    document, binary = _open(path)
    try:
        return _Reader(document, binary, path.parent, notes).parts()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise corrupt(path.name, f"its tables contradict each other ({type(error).__name__}: {error})") from error


def corrupt(name: str, why: str) -> InputError:
    """The error for a file that is not what its name says."""
    return InputError("corrupt_file", f"'{name}' cannot be read: {why}.", "Export the file again, or open and save it in Blender.")


def _open(path: Path) -> tuple[dict[str, Any], bytes | None]:
    data = path.read_bytes()
    binary = None
    if data[:4] == b"glTF":
        text, binary = _chunks(path.name, data)
    elif path.suffix.lower() == ".glb":
        raise corrupt(path.name, "it does not begin as a binary glTF file does")
    else:
        text = data
    try:
        document = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise corrupt(path.name, "its JSON part is broken") from error
    if not isinstance(document, dict) or not str(document.get("asset", {}).get("version", "")).startswith("2"):
        raise corrupt(path.name, "it is not glTF 2.0")
    return document, binary


def _chunks(name: str, data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk of a .glb."""
    if len(data) < 20:
        raise corrupt(name, f"it ends after {len(data)} bytes")
    _, version, length = struct.unpack_from("<4sII", data)
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


class _Reader:
    """Walks the scene of one document."""

    def __init__(self, document: dict[str, Any], binary: bytes | None, folder: Path, notes: list[str]) -> None:
        self._document = document
        self._binary = binary
        self._folder = folder
        self._notes = notes
        self._buffers: dict[int, bytes] = {}
        self._images: dict[int, np.ndarray | None] = {}
        self._skipped = 0

    def parts(self) -> list[Part]:
        required = set(self._document.get("extensionsRequired", [])) - _READABLE_REQUIRED
        if required:
            packed = any(name in _COMPRESSION for name in required)
            fix = "Export it again without compression." if packed else "Open it in Blender and export a plain .glb."
            names = ", ".join(sorted(required))
            raise InputError("unsupported_gltf", f"The file needs the glTF extension {names}, which is not read here.", fix)
        nodes = self._document.get("nodes", [])
        parts: list[Part] = []
        todo = [(root, np.eye(4)) for root in self._roots(nodes)]
        visited: set[int] = set()
        while todo:
            index, parent = todo.pop(0)
            if index in visited:
                raise ValueError(f"node {index} has two parents")
            visited.add(index)
            node = nodes[index]
            matrix = parent @ _matrix(node)
            todo.extend((child, matrix) for child in node.get("children", []))
            if "mesh" in node:
                for primitive in self._document["meshes"][node["mesh"]]["primitives"]:
                    part = self._part(index, primitive, matrix)
                    parts.extend([part] if part is not None else [])
        if self._skipped:
            self._notes.append(f"{self._skipped} sets of lines or points were left out: only triangles are read.")
        return parts

    def _roots(self, nodes: list[dict[str, Any]]) -> list[int]:
        scenes = self._document.get("scenes", [])
        if scenes:
            return list(scenes[self._document.get("scene", 0)].get("nodes", []))
        children = {child for node in nodes for child in node.get("children", [])}
        return [index for index in range(len(nodes)) if index not in children]

    def _part(self, owner: int, primitive: dict[str, Any], matrix: np.ndarray) -> Part | None:
        attributes = primitive["attributes"]
        mode = primitive.get("mode", 4)
        if mode < 4 or "POSITION" not in attributes:
            self._skipped += 1
            return None
        vertices = self._accessor(attributes["POSITION"]).astype(np.float64)
        if "indices" in primitive:
            indices = self._accessor(primitive["indices"]).reshape(-1).astype(np.int64)
        else:
            indices = np.arange(len(vertices), dtype=np.int64)
        faces = _triangles(indices, mode)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f"a face refers to vertex {faces.max()} of {len(vertices)}")
        if not np.array_equal(matrix, np.eye(4)):
            vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
            if np.linalg.det(matrix[:3, :3]) < 0:
                faces = faces[:, ::-1]  # a mirror turns triangles inside out
        uvs = self._accessor(attributes["TEXCOORD_0"]).astype(np.float32) if "TEXCOORD_0" in attributes else None
        return Part(owner, vertices, faces, self._colours(primitive, attributes, len(vertices)), uvs)

    def _colours(self, primitive: dict[str, Any], attributes: dict[str, int], count: int) -> np.ndarray | None:
        """Linear base colour a vertex: vertex colour x factor x texture, None where the file says nothing."""
        colours: np.ndarray | None = None
        if "COLOR_0" in attributes:
            colours = self._accessor(attributes["COLOR_0"]).astype(np.float64)[:, :3]
        if "material" not in primitive:
            return colours
        pbr = self._document["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        if "baseColorFactor" in pbr:
            colours = (np.ones((count, 3)) if colours is None else colours) * np.asarray(pbr["baseColorFactor"][:3], dtype=np.float64)
        if "baseColorTexture" in pbr:
            sampled = self._sample(pbr["baseColorTexture"], attributes)
            if sampled is not None:
                colours = sampled if colours is None else colours * sampled
        return colours

    def _sample(self, reference: dict[str, Any], attributes: dict[str, int]) -> np.ndarray | None:
        transform = reference.get("extensions", {}).get("KHR_texture_transform", {})
        channel = f"TEXCOORD_{transform.get('texCoord', reference.get('texCoord', 0))}"
        if channel not in attributes:
            return None
        uvs = self._accessor(attributes[channel]).astype(np.float64)
        scale, turn = np.asarray(transform.get("scale", (1, 1))), transform.get("rotation", 0.0)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        uvs = (uvs * scale) @ rotation.T + np.asarray(transform.get("offset", (0, 0)))
        image = self._image(self._document["textures"][reference["index"]].get("source"))
        if image is None:
            return None
        return srgb_to_linear(sample_image(image, np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=-1)) / 255)

    def _image(self, index: int | None) -> np.ndarray | None:
        """uint8 [H, W, 3], or None with a note where it cannot be read: colours are a hint, not a condition."""
        from PIL import Image

        if index is None:
            return None
        if index not in self._images:
            entry = self._document["images"][index]
            try:
                data = self._view(entry["bufferView"])[0] if "bufferView" in entry else self._uri(entry["uri"])
                with Image.open(io.BytesIO(data)) as image:
                    self._images[index] = np.asarray(image.convert("RGB"))
            except (OSError, SyntaxError, InputError, Image.DecompressionBombError) as error:
                self._notes.append(f"The texture '{entry.get('name') or index}' could not be read ({error}); its colours are left out.")
                self._images[index] = None
        return self._images[index]

    def _accessor(self, index: int) -> np.ndarray:
        """[count, width] in the stored type, floats where normalized."""
        accessor = self._document["accessors"][index]
        kind, width, count = _COMPONENTS[accessor["componentType"]], _WIDTHS[accessor["type"]], accessor["count"]
        if not 0 <= count <= LARGEST_COUNT:
            raise ValueError(f"an accessor announces {count} elements")
        values = np.zeros((count, width), dtype=kind)
        if "bufferView" in accessor:
            values = self._elements(accessor["bufferView"], accessor.get("byteOffset", 0), kind, width, count)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            where, what, changed = sparse["indices"], sparse["values"], sparse["count"]
            places = self._elements(where["bufferView"], where.get("byteOffset", 0), _COMPONENTS[where["componentType"]], 1, changed)
            values = values.copy()
            values[places[:, 0].astype(np.int64)] = self._elements(what["bufferView"], what.get("byteOffset", 0), kind, width, changed)
        if accessor.get("normalized") and np.dtype(kind).kind in "iu":
            return np.maximum(values / np.iinfo(kind).max, -1.0)
        return values

    def _elements(self, view: int, offset: int, kind: type, width: int, count: int) -> np.ndarray:
        """count elements of width components from a view, wherever its stride puts them."""
        data, stride = self._view(view)
        size = np.dtype(kind).itemsize * width
        stride = stride or size
        if count == 0:
            return np.zeros((0, width), dtype=kind)
        if min(offset, count, stride) < 0 or offset + stride * (count - 1) + size > len(data):
            raise ValueError(f"an accessor reaches beyond buffer view {view}")
        little = np.dtype(kind).newbyteorder("<")
        return np.ndarray((count, width), little, data, offset, (stride, little.itemsize)).astype(kind)

    def _view(self, index: int) -> tuple[bytes, int]:
        """Bytes and stride (0 where packed) of a buffer view."""
        view = self._document["bufferViews"][index]
        data = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0)
        if start < 0 or start + view["byteLength"] > len(data):
            raise ValueError(f"buffer view {index} reaches beyond its buffer")
        return data[start : start + view["byteLength"]], view.get("byteStride", 0)

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            entry = self._document["buffers"][index]
            if "uri" in entry:
                self._buffers[index] = self._uri(entry["uri"])
            elif self._binary is not None and index == 0:
                self._buffers[index] = self._binary
            else:
                raise ValueError("the binary part is missing")
        return self._buffers[index]

    def _uri(self, uri: str) -> bytes:
        """A data: URI or a file beside the document."""
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        if "://" in uri:
            raise InputError("remote_file", f"The file refers to '{uri}' on a network.", "Put that file beside it, or export one .glb.")
        try:
            return (self._folder / unquote(uri)).read_bytes()
        except OSError as error:
            raise InputError("missing_file", f"The file '{uri}' that the mesh refers to cannot be read: {error.strerror}.",
                             "Put it beside the mesh, or export one .glb that holds everything.") from error  # fmt: skip


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """A node's own transform [4, 4], column vectors."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    rotation = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """[F, 3] from a list (4), a strip (5) or a fan (6)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if len(indices) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    if mode == 6:
        return np.stack([np.full(len(indices) - 2, indices[0]), indices[1:-1], indices[2:]], axis=-1)
    faces = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=-1)
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces
