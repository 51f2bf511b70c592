"""Binary glTF 2.0 written from a mesh and its maps: Principled-compatible metallic-roughness PBR. numpy and Pillow only.

Specification: Khronos, glTF 2.0. +Y up, v down, vertex colours linear; `engine.conventions` states ours.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from engine.conventions import gltf_from_world, srgb_to_linear
from engine.mesh import Mesh, Painted
from engine.texture_sets import repeats

_FLOAT, _UINT, _USHORT = 5126, 5125, 5123
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
_REPEAT, _CLAMP = 10497, 33071
DEFAULT_ROUGHNESS = 0.6
UNKNOWN_GREY = 0.6
"""sRGB of vertices whose colour nobody chose."""


def glb_bytes(
    mesh: Mesh, painted: Sequence[Painted], name: str, extras: dict[str, Any], *, smooth: bool, factors: dict[str, float],
    creased: bool = False,
) -> bytes:  # fmt: skip
    """The whole .glb file.

    mesh      world space; vertices are doubled where their corners' uvs differ, faces of one material keep their order and corners; each of
              its objects becomes one of the file
    painted   a material each; every face is in one of them
    extras    JSON-able, stored on the objects (Blender shows them as custom properties)
    smooth    write area-weighted vertex normals; otherwise viewers shade flat
    creased   those normals stay apart at hard edges (engine.texture.creases); a mesh with maps only
    factors   "roughness" and "metallic" constants where there is no map
    """
    writer = _Writer()
    if creased:
        from engine.texture.creases import crease_groups  # needs scipy

        source, parted = crease_groups(mesh.vertices, mesh.faces)
        mesh = replace(mesh, vertices=np.ascontiguousarray(mesh.vertices[source]), faces=parted, colours=None)
    materials = [_material(writer, one.maps, one.name, factors, mesh.uvs is None or repeats(mesh.uvs[one.faces])) for one in painted]
    normals = vertex_normals(mesh.vertices, mesh.faces) if smooth else None
    material = np.zeros(len(mesh.faces), dtype=np.int64)
    for index, one in enumerate(painted):
        material[one.faces] = index
    coloured = not any("albedo" in one.maps for one in painted)  # a base colour texture would be multiplied by vertex colours
    nodes, meshes = [], []
    for own, faces in _objects(mesh, name):
        primitives = _primitives(writer, mesh, normals, faces, material[faces], coloured)
        nodes.append({"name": own, "mesh": len(meshes), **_placed(mesh), **({"extras": extras} if extras else {})})
        meshes.append({"name": own, "primitives": primitives})
    document = {
        "asset": {"version": "2.0", "generator": "Sketchbridge"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        **writer.tables(),
    }
    return _container(document, bytes(writer.payload))


def _objects(mesh: Mesh, name: str) -> list[tuple[str, np.ndarray]]:
    """(name, indices of its faces) of each object of a mesh; all under this name where there is but one."""
    every = np.arange(len(mesh.faces))
    if mesh.parts is None:
        return [(name, every)]
    names = list(dict.fromkeys(piece.object for piece in mesh.parts.pieces))
    of_piece = np.array([names.index(piece.object) for piece in mesh.parts.pieces])
    of_face = of_piece[mesh.parts.of_face]
    found = [(own, np.flatnonzero(of_face == index)) for index, own in enumerate(names)]
    found = [(own, faces) for own, faces in found if len(faces)]
    return found if len(found) > 1 else [(name, every)]


def _primitives(writer: _Writer, mesh: Mesh, normals: np.ndarray | None, faces: np.ndarray, material: np.ndarray,
                coloured: bool) -> list[dict[str, Any]]:  # fmt: skip
    """One object's faces [N], a primitive for each of their materials [N]; all of them share their vertices."""
    source, corners, uvs = split_seams(mesh if len(faces) == len(mesh.faces) else mesh.of_faces(faces))
    if len(faces) < len(mesh.faces) and uvs is None:
        source, local = np.unique(corners, return_inverse=True)
        corners = local.reshape(-1, 3).astype(np.int32)
    attributes = {"POSITION": writer.array(gltf_from_world(mesh.vertices)[source], "VEC3", _ARRAY_BUFFER, bounds=True)}
    if normals is not None:
        attributes["NORMAL"] = writer.array(gltf_from_world(normals)[source], "VEC3", _ARRAY_BUFFER)
    if uvs is not None:
        attributes["TEXCOORD_0"] = writer.array(np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=-1), "VEC2", _ARRAY_BUFFER)
    if mesh.colours is not None and coloured:
        linear = srgb_to_linear(np.nan_to_num(mesh.colours, nan=UNKNOWN_GREY))[source]
        rgba = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
        attributes["COLOR_0"] = writer.array(np.rint(rgba * 65535).astype(np.uint16), "VEC4", _ARRAY_BUFFER, normalized=True)
    index_type = np.uint16 if len(source) < 65535 else np.uint32
    return [
        {
            "attributes": attributes,
            "indices": writer.array(corners[material == index].astype(index_type).reshape(-1), "SCALAR", _ELEMENT_BUFFER),
            "material": int(index),
            "mode": 4,
        }
        for index in np.unique(material)
    ]


def _placed(mesh: Mesh) -> dict[str, list[float]]:
    """The node's translation: where the mesh's origin lies; JSON keeps it in double precision."""
    return {"translation": gltf_from_world(np.array([mesh.origin]))[0].tolist()} if any(mesh.origin) else {}


def split_seams(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(source [W] index of the vertex each written vertex copies, faces [F, 3] into those, uvs [W, 2] or None)."""
    if mesh.uvs is None:
        return np.arange(len(mesh.vertices)), mesh.faces, None
    corners = np.empty(mesh.faces.size, dtype=[("vertex", np.int32), ("u", np.int32), ("v", np.int32)])
    corners["vertex"] = mesh.faces.reshape(-1)
    bits = np.ascontiguousarray(mesh.uvs.reshape(-1, 2), dtype=np.float32).view(np.int32)  # compared bit by bit: exact and fast
    corners["u"], corners["v"] = bits[:, 0], bits[:, 1]
    unique, inverse = np.unique(corners, return_inverse=True)
    uvs = np.stack([unique["u"], unique["v"]], axis=-1).view(np.float32)
    return unique["vertex"], inverse.reshape(-1, 3).astype(np.int32), uvs


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals float32 [V, 3]; +Z where a vertex has no area around it."""
    corners = vertices[faces].astype(np.float64)
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], weights=doubled[:, axis], minlength=len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-30, total / np.maximum(length, 1e-30), [0.0, 0.0, 1.0]).astype(np.float32)


class _Writer:
    """Grows the binary chunk and the tables that describe it."""

    def __init__(self) -> None:
        self.payload = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._samplers: list[int] = []

    def tables(self) -> dict[str, Any]:
        tables: dict[str, Any] = {"accessors": self._accessors, "bufferViews": self._views, "buffers": [{"byteLength": len(self.payload)}]}
        if self._images:
            tables["images"] = self._images
            tables["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": wrap, "wrapT": wrap} for wrap in (_REPEAT, _CLAMP)]
            tables["textures"] = [{"sampler": sampler, "source": index} for index, sampler in enumerate(self._samplers)]
        return tables

    def array(self, values: np.ndarray, kind: str, target: int, *, bounds: bool = False, normalized: bool = False) -> int:
        """Index of a new accessor."""
        if values.dtype.kind == "f":
            values = values.astype("<f4")
        component = {"f": _FLOAT, "u": _UINT if values.dtype.itemsize == 4 else _USHORT}[values.dtype.kind]
        view = self._view(np.ascontiguousarray(values).tobytes(), target)
        accessor: dict[str, Any] = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor["min"], accessor["max"] = values.min(axis=0).tolist(), values.max(axis=0).tolist()
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def texture(self, pixels: np.ndarray, name: str, repeated: bool) -> dict[str, int]:
        """A PNG image as a texture that goes on across its border or ends there; answers the reference to it."""
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=6)
        self._images.append({"name": name, "mimeType": "image/png", "bufferView": self._view(buffer.getvalue(), None)})
        self._samplers.append(0 if repeated else 1)
        return {"index": len(self._images) - 1}

    def _view(self, data: bytes, target: int | None) -> int:
        self.payload.extend(b"\0" * (-len(self.payload) % 4))
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.payload), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.payload.extend(data)
        self._views.append(view)
        return len(self._views) - 1


def _material(writer: _Writer, maps: dict[str, np.ndarray], name: str, factors: dict[str, float], repeated: bool) -> dict[str, Any]:
    pbr: dict[str, Any] = {"metallicFactor": factors.get("metallic", 0.0), "roughnessFactor": factors.get("roughness", DEFAULT_ROUGHNESS)}
    material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": pbr, "doubleSided": True}
    if "albedo" in maps:
        pbr["baseColorTexture"] = writer.texture(maps["albedo"], f"{name} albedo", repeated)
    if any(key in maps for key in _PACKED):
        shared = writer.texture(_occlusion_roughness_metallic(maps), f"{name} occlusion roughness metallic", repeated)
        if "roughness" in maps or "metallic" in maps:
            pbr["metallicRoughnessTexture"] = shared
            pbr["roughnessFactor"] = 1.0 if "roughness" in maps else pbr["roughnessFactor"]
            pbr["metallicFactor"] = 1.0 if "metallic" in maps else pbr["metallicFactor"]
        if "occlusion" in maps:
            material["occlusionTexture"] = shared
    if "normal" in maps:
        material["normalTexture"] = writer.texture(maps["normal"], f"{name} normal", repeated)
    return material


_PACKED = ("occlusion", "roughness", "metallic")
"""What glTF keeps in red, green and blue of one image."""


def _occlusion_roughness_metallic(maps: dict[str, np.ndarray]) -> np.ndarray:
    """The image that holds those of the three that there are; a missing one is 1, so that its factor decides."""
    shape = next(maps[key] for key in _PACKED if key in maps).shape[:2]
    packed = np.full((*shape, 3), 255, dtype=np.uint8)
    for channel, key in enumerate(_PACKED):
        if key in maps:
            packed[..., channel] = maps[key].reshape(shape)
    return packed


def _container(document: dict[str, Any], payload: bytes) -> bytes:
    """Header, JSON chunk padded with spaces, binary chunk padded with zeros."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    payload += b"\0" * (-len(payload) % 4)
    length = 12 + 8 + len(text) + 8 + len(payload)
    return b"".join([struct.pack("<4sII", b"glTF", 2, length), struct.pack("<I4s", len(text), b"JSON"), text,
                     struct.pack("<I4s", len(payload), b"BIN\0"), payload])  # fmt: skip
