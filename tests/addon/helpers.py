"""What several of the add-on's tests need: sketches in the scene, and a fingerprint of everything in the file."""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import bpy
import numpy as np
from mathutils import Euler, Matrix

PACKAGE = "bl_ext.user_default.sketchbridge"


def part(extension: ModuleType, name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"{extension.__name__}.{name}")


def select(*objects: bpy.types.Object) -> None:
    """Select exactly these; the first becomes the active one."""
    bpy.context.view_layer.update()  # so that the layer knows objects that were just linked
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in objects)
    bpy.context.view_layer.objects.active = objects[0] if objects else None


def add_object(
    name: str, vertices: Sequence[Sequence[float]], faces: Sequence[Sequence[int]], edges: Sequence[Sequence[int]] = ()
) -> bpy.types.Object:
    """A mesh object in the scene, selected."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(vertex) for vertex in vertices], [tuple(edge) for edge in edges], [tuple(face) for face in faces])
    obj = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(obj)
    select(obj)
    return obj


def run_until(jobs: ModuleType, moment: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < deadline and not jobs.step(bpy.context)
        jobs.running.session.wait(0.02)


CUBE = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
CUBE_FACES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def add_cube(name: str = "Sketch") -> bpy.types.Object:
    """A cube of side 2 without UVs or material, selected; outward faces."""
    return add_object(name, CUBE, CUBE_FACES)


def matrix(location: Sequence[float] = (0, 0, 0), rotation: Sequence[float] = (0, 0, 0), scale: Sequence[float] = (1, 1, 1)) -> Matrix:
    """A transform from its parts, angles in radians."""
    return Matrix.LocRotScale(location, Euler(rotation), scale)


def world_vertices(obj: bpy.types.Object) -> np.ndarray:
    """float64 [V, 3]: the vertices of a mesh object in world space."""
    local = np.empty(len(obj.data.vertices) * 3, np.float32)
    obj.data.vertices.foreach_get("co", local)
    placed = np.array(obj.matrix_world, dtype=np.float64)
    return local.reshape(-1, 3).astype(np.float64) @ placed[:3, :3].T + placed[:3, 3]


def no_preview() -> bool:
    """True where no preview is left in the file."""
    return not any("sketchbridge_preview" in obj for obj in bpy.data.objects) and not any(
        "Preview" in mesh.name for mesh in bpy.data.meshes
    )


def fingerprint() -> dict[str, str]:
    """A hash of each datablock of the file by its name: every property that can be read, every array, and the selection."""
    bpy.context.view_layer.update()
    found = {}
    for collection in (
        "scenes",
        "collections",
        "objects",
        "meshes",
        "curves",
        "materials",
        "images",
        "textures",
        "node_groups",
        "actions",
        "lights",
    ):
        for block in getattr(bpy.data, collection):
            found[f"{collection}/{block.name}"] = hashlib.sha256(repr(_described(block)).encode()).hexdigest()
    layer = bpy.context.view_layer
    shown = [(obj.name, obj.select_get(), obj.hide_get(), obj == layer.objects.active) for obj in layer.objects]
    found["view layer"] = hashlib.sha256(repr(shown).encode()).hexdigest()
    return found


def _described(block: bpy.types.ID) -> list[Any]:
    # Before 5.0 other extensions' settings are among them, and come into being when they are looked at.
    stored = {key: block[key] for key in block.keys() if key == "sketchbridge" or key not in block.bl_rna.properties}  # noqa: SIM118
    told: list[Any] = sorted((key, repr(value.to_dict() if hasattr(value, "to_dict") else value)) for key, value in stored.items())
    for prop in block.bl_rna.properties:
        if prop.identifier in ("rna_type", "users", "is_evaluated", "tag", "session_uid", "is_updated", "is_updated_data", "preview"):
            continue
        value = getattr(block, prop.identifier, None)
        if prop.type in ("BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"):
            told.append((prop.identifier, [tuple(row) if hasattr(row, "__len__") and not isinstance(row, str) else row for row in value]
                         if hasattr(value, "__iter__") and not isinstance(value, str | set) else repr(value)))  # fmt: skip
        elif prop.type == "POINTER" and isinstance(value, bpy.types.ID):
            told.append((prop.identifier, value.name))
        elif prop.type == "COLLECTION" and value is not None:
            told.append((prop.identifier, [getattr(entry, "name", "") for entry in value][:1000], len(value)))
    if isinstance(block, bpy.types.Mesh):
        told.append(mesh_bytes(block))
    return told


def mesh_bytes(mesh: bpy.types.Mesh) -> dict[str, bytes]:
    """Vertices, faces, and each UV layer of a mesh as bytes."""

    def read(collection: Any, field: str, count: int, kind: type) -> bytes:
        values = np.empty(count, kind)
        collection.foreach_get(field, values)
        return values.tobytes()

    told = {
        "vertices": read(mesh.vertices, "co", len(mesh.vertices) * 3, np.float32),
        "corners": read(mesh.loops, "vertex_index", len(mesh.loops), np.int32),
        "faces": read(mesh.polygons, "loop_start", len(mesh.polygons), np.int32),
    }
    for layer in mesh.uv_layers:
        told[f"uv {layer.name}"] = read(layer.uv, "vector", len(mesh.loops) * 2, np.float32)
    return told


def everything(obj: bpy.types.Object) -> dict[str, Any]:
    """Bytes of vertices, faces and UV layers, normals, groups with their weights, shape keys, modifiers and materials' slots of faces."""
    mesh = obj.data
    normals, slots = np.empty(len(mesh.loops) * 3, np.float32), np.empty(len(mesh.polygons), np.int32)
    mesh.corner_normals.foreach_get("vector", normals)
    mesh.polygons.foreach_get("material_index", slots)
    groups = [[(entry.group, entry.weight) for entry in vertex.groups] for vertex in mesh.vertices]
    keys = {} if mesh.shape_keys is None else {
        block.name: np.array([point.co for point in block.data], np.float32).tobytes() for block in mesh.shape_keys.key_blocks
    }  # fmt: skip
    found: dict[str, Any] = {**mesh_bytes(mesh), "normals": normals.tobytes(), "slots": slots.tobytes(), "groups": groups, "keys": keys}
    return {**found, "names": obj.vertex_groups.keys(), "modifiers": [(one.name, one.type) for one in obj.modifiers]}
