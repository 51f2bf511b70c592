"""One evaluated object -> triangles: sRGB-encoded vertex colours, UVs of the corners; and what objects show without owning it.

Meshes, curves, surfaces, text and metaballs come with their modifiers; strokes without thickness (hair curves, curves
without bevel, Grease Pencil, edges without faces) become tubes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import bpy
import numpy as np

from . import geometry, scene_colours, scene_strokes
from .geometry import Part
from .job_fields import COLOURS_OF_ALL

MESH_LIKE = ("MESH", "CURVE", "SURFACE", "FONT", "META")


def is_readable(obj: bpy.types.Object) -> bool:
    """True where the object is of a type that can be read, or shows a collection's instances."""
    return obj.type in (*MESH_LIKE, "CURVES", *scene_strokes.GREASE_PENCIL) or obj.instance_type == "COLLECTION"


Weights = Callable[[bpy.types.Mesh], np.ndarray]
"""A mesh -> how far it is painted at its corners, float32 [corners]."""


def read_object(
    obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph, keep: str = COLOURS_OF_ALL, weights: Weights | None = None
) -> Part | None:
    """World-space triangles of one object as it is displayed, without its instances; None where it has none.

    keep: whose colours count, of KEEP_COLOURS; those of strokes without faces always do. weights: of the mask, of what has faces.
    """
    evaluated = obj.evaluated_get(depsgraph)
    if obj.type in MESH_LIKE:
        part = _read_mesh_like(evaluated, depsgraph, keep, weights)
    elif obj.type == "CURVES":
        part = scene_strokes.tubes(scene_strokes.hair_strokes(evaluated))
    elif obj.type in scene_strokes.GREASE_PENCIL:
        part = scene_strokes.tubes(scene_strokes.drawn_strokes(obj, evaluated))
    else:
        return None
    return None if part is None else geometry.placed(part, np.array(evaluated.matrix_world, dtype=np.float64))


def collect_instances(
    depsgraph: bpy.types.Depsgraph, objects: Sequence[bpy.types.Object], keep: str = COLOURS_OF_ALL
) -> dict[bpy.types.Object, list[Part]]:
    """World-space triangles of the instances of each of `objects`; keep as in `read_object`."""
    found: dict[bpy.types.Object, list[Part]] = {}
    if not any(_may_instance(obj) for obj in objects):
        return found
    for instance in depsgraph.object_instances:  # what it gives is valid until the next one only
        owner = instance.parent.original if instance.is_instance and instance.parent is not None else None
        if owner not in objects or instance.object.type not in MESH_LIKE:
            continue
        part = _read_instanced(instance.object, depsgraph, keep)
        if part is not None:
            found.setdefault(owner, []).append(geometry.placed(part, np.array(instance.matrix_world, dtype=np.float64)))
    return found


def _may_instance(obj: bpy.types.Object) -> bool:
    """False where going through all that the scene shows would be in vain."""
    return obj.instance_type != "NONE" or any(modifier.type in ("NODES", "PARTICLE_SYSTEM") for modifier in obj.modifiers)


def _read_mesh_like(evaluated: bpy.types.Object, depsgraph: bpy.types.Depsgraph, keep: str, weights: Weights | None = None) -> Part | None:
    """What an evaluated object of its own looks like, in its own space."""
    mesh = evaluated.to_mesh(preserve_all_data_layers=True, depsgraph=depsgraph)
    if mesh is None:
        return None
    try:
        return _read_mesh(mesh, [slot.material for slot in evaluated.material_slots], keep, weights)
    finally:
        evaluated.to_mesh_clear()


def _read_instanced(shown: bpy.types.Object, depsgraph: bpy.types.Depsgraph, keep: str) -> Part | None:
    """An instance's own geometry; `to_mesh` would give that of the object which Geometry Nodes made it in."""
    if isinstance(shown.data, bpy.types.Mesh):
        return _read_mesh(shown.data, [slot.material for slot in shown.material_slots] or list(shown.data.materials), keep)
    return _read_mesh_like(shown, depsgraph, keep)


def _read_mesh(
    mesh: bpy.types.Mesh, materials: Sequence[bpy.types.Material | None], keep: str, weights: Weights | None = None
) -> Part | None:
    """Triangles of a mesh; tubes round its edges where it has no faces; None where it has neither."""
    vertices = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", vertices)
    vertices = vertices.reshape(-1, 3).astype(np.float64)
    if not len(mesh.polygons):
        return scene_strokes.tubes(scene_strokes.edge_strokes(mesh, vertices)) if len(mesh.edges) else None
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    faces, corners, polygons = np.empty(count * 3, np.int32), np.empty(count * 3, np.int32), np.empty(count, np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)
    mesh.loop_triangles.foreach_get("loops", corners)
    mesh.loop_triangles.foreach_get("polygon_index", polygons)
    faces = faces.reshape(-1, 3)
    uvs = read_uvs(mesh)[corners].reshape(-1, 3, 2) if mesh.uv_layers.active is not None else None
    colours, paint = scene_colours.colours_of(mesh, materials, vertices, faces, corners.reshape(-1, 3), polygons, keep)
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    slots = np.clip(slots, 0, max(len(materials) - 1, 0))
    mask = None if weights is None else weights(mesh)[corners].reshape(-1, 3)
    return Part(vertices, faces, colours, uvs, paint, slots[polygons], mask)


def read_uvs(mesh: bpy.types.Mesh) -> np.ndarray:
    """The active UV layer, float32 [corners, 2]."""
    values = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers.active.uv.foreach_get("vector", values)
    return values.reshape(-1, 2)
