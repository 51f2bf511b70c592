"""Evaluated objects of the scene -> arrays: world-space triangles, sRGB-encoded vertex colours, UVs of the corners.

Meshes, curves, surfaces, text and metaballs come with their modifiers; strokes without thickness (hair curves, curves
without bevel, Grease Pencil) become tubes. Reading leaves the file as it found it; to unwrap, a copy is linked for a
moment, and mode and selection are put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import bpy
import numpy as np

from . import geometry, scene_colours, scene_strokes
from .errors import InputError
from .geometry import Part

MESH_LIKE = ("MESH", "CURVE", "SURFACE", "FONT", "META")
READABLE = (*MESH_LIKE, "CURVES", *scene_strokes.GREASE_PENCIL)
"""Types of objects that can be read."""


class SceneError(InputError):
    """The selection cannot be used."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("selection", message, fix)


@dataclass(frozen=True, eq=False)
class Reading:
    """What is sent, and what is needed to put the answer back.

    `part` float32, world axes, relative to `origin` so that nothing is lost far from the world's centre;
    `names` the objects read, `uids` their session ids, which outlive a renaming;
    `active` the one whose transform, parent and collections the result takes;
    `matrix` [4, 4] that object's world matrix when it was read; `new_uvs` float32 [corners, 2] of its mesh where it had none
    """

    part: Part
    origin: np.ndarray
    names: tuple[str, ...]
    uids: tuple[int, ...]
    active: str
    matrix: np.ndarray
    notes: tuple[str, ...] = ()
    new_uvs: np.ndarray | None = None


def read_sketch(context: bpy.types.Context) -> Reading:
    """The selected objects as one sketch. SceneError where nothing usable is selected."""
    objects = selected_objects(context)
    depsgraph = context.evaluated_depsgraph_get()
    parts, names, notes = [], [], []
    for obj in objects:
        part = read_object(obj, depsgraph)
        if part is None:
            notes.append(f"'{obj.name}' has no faces or strokes and was left out.")
        else:
            parts.append(part)
            names.append(obj.name)
    if not parts:
        kinds = ", ".join(f"'{obj.name}' ({obj.type.replace('_', ' ').lower()})" for obj in objects[:4])
        fix = "Select a mesh with faces, a curve or a Grease Pencil drawing."
        raise SceneError(f"The selection has no faces or strokes: {kinds}.", fix)
    active = context.view_layer.objects.active
    leader = active.name if active is not None and active.name in names else names[0]
    return _reading(geometry.join(parts), tuple(names), leader, tuple(notes))


def read_texture_target(context: bpy.types.Context) -> Reading:
    """The one selected object with the UVs of its corners, unwrapped on a temporary copy where it has none. SceneError otherwise."""
    objects = selected_objects(context)
    if len(objects) > 1:
        fix = "Select one, or join them first (Ctrl+J)."
        raise SceneError(f"Texture works on one object at a time, {len(objects)} are selected.", fix)
    source = objects[0]
    if source.type not in MESH_LIKE:
        raise SceneError(
            f"'{source.name}' is of type {source.type.lower()}, which has no surface to texture.", "Convert it to a mesh first."
        )
    if source.type == "MESH" and source.data.uv_layers.active is not None:
        part = read_object(source, context.evaluated_depsgraph_get())
        new_uvs = None
    else:
        with temporary_mesh_copy(context, source) as copy:
            if len(copy.data.polygons):
                new_uvs = unwrap(context, copy)
                part = read_object(copy, context.evaluated_depsgraph_get())
            else:
                part, new_uvs = None, None
    if part is None or part.uvs is None:
        raise SceneError(f"'{source.name}' has no faces to texture.", "Select a mesh with faces.")
    return _reading(part, (source.name,), source.name, (), new_uvs)


def named_now(reading: Reading) -> Reading:
    """The reading with the names that its objects have by now; those that are gone keep the name they had."""
    names = tuple(current_name(name, uid) for name, uid in zip(reading.names, reading.uids, strict=True))
    return replace(reading, names=names, active=names[reading.names.index(reading.active)])


def current_name(name: str, uid: int) -> str:
    """The name of the object with this session id, `name` where there is none."""
    return next((obj.name for obj in bpy.data.objects if obj.session_uid == uid), name)


def selected_objects(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects of the view layer, the active one first. SceneError where nothing is selected."""
    objects = [obj for obj in context.view_layer.objects if obj.select_get()]
    if not objects:
        raise SceneError("Nothing is selected.", "Select the sketch: one or more meshes, curves or Grease Pencil drawings.")
    active = context.view_layer.objects.active
    return sorted(objects, key=lambda obj: obj != active)


def read_object(obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Part | None:
    """World-space triangles of one object as it is displayed; None where it has none."""
    evaluated = obj.evaluated_get(depsgraph)
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    if obj.type in MESH_LIKE:
        part = _read_mesh_like(obj, evaluated, depsgraph)
    elif obj.type == "CURVES":
        part = scene_strokes.tubes(scene_strokes.hair_strokes(evaluated))
    elif obj.type in scene_strokes.GREASE_PENCIL:
        part = scene_strokes.tubes(scene_strokes.drawn_strokes(obj, evaluated))
    else:
        return None
    if part is None:
        return None
    world = geometry.transform(matrix, part.vertices)
    if not geometry.is_mirrored(matrix):
        return Part(world, part.faces, part.colours, part.uvs)
    return Part(world, part.faces[:, ::-1], part.colours, None if part.uvs is None else part.uvs[:, ::-1])


@contextmanager
def temporary_mesh_copy(context: bpy.types.Context, source: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """A mesh copy of `source` with the same modifiers and transform, in the scene while the context lasts; selection as before."""
    if source.type == "MESH":
        copy = source.copy()
        copy.data = source.data.copy()
    else:
        copy = bpy.data.objects.new(source.name, mesh_from(source, context.evaluated_depsgraph_get()))
        copy.matrix_world = source.matrix_world
    layer = context.view_layer
    active, selected = layer.objects.active, [obj for obj in layer.objects if obj.select_get()]
    context.scene.collection.objects.link(copy)
    try:
        yield copy
    finally:
        mesh = copy.data
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        for obj in selected:
            obj.select_set(True)
        layer.objects.active = active


def mesh_from(source: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> bpy.types.Mesh:
    """A new mesh datablock of what a curve, surface, text or metaball looks like."""
    return bpy.data.meshes.new_from_object(source.evaluated_get(depsgraph), depsgraph=depsgraph)


def unwrap(context: bpy.types.Context, obj: bpy.types.Object) -> np.ndarray:
    """Give the mesh object a UV layer by Blender's Smart UV Project and return its UVs, float32 [corners, 2]."""
    layer = context.view_layer
    for other in layer.objects:
        other.select_set(False)
    obj.hide_set(False)
    obj.select_set(True)
    layer.objects.active = obj
    if obj.data.uv_layers.active is None:
        obj.data.uv_layers.new(name="UVMap")
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bpy.ops.mesh.reveal(select=False)
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.uv.smart_project(angle_limit=1.15, island_margin=0.01)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    return read_uvs(obj.data)


def read_uvs(mesh: bpy.types.Mesh) -> np.ndarray:
    """The active UV layer, float32 [corners, 2]."""
    values = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers.active.uv.foreach_get("vector", values)
    return values.reshape(-1, 2)


def _reading(part: Part, names: tuple[str, ...], active: str, notes: tuple[str, ...], new_uvs: np.ndarray | None = None) -> Reading:
    broken = int((~np.isfinite(part.vertices)).any(axis=1).sum())
    if broken:
        raise SceneError(f"{broken} vertices of {', '.join(names)} have coordinates that are not finite numbers.",
                         "Delete those vertices or check the object's scale and modifiers.")  # fmt: skip
    origin = (part.vertices.min(axis=0) + part.vertices.max(axis=0)) / 2
    matrix = np.array(bpy.data.objects[active].matrix_world, dtype=np.float64)
    uids = tuple(bpy.data.objects[name].session_uid for name in names)
    sent = Part(
        np.ascontiguousarray(part.vertices - origin, dtype=np.float32),
        np.ascontiguousarray(part.faces, dtype=np.int32),
        part.colours,
        None if part.uvs is None else np.ascontiguousarray(part.uvs, dtype=np.float32),
    )
    return Reading(sent, origin, names, uids, active, matrix, notes, new_uvs)


def _read_mesh_like(obj: bpy.types.Object, evaluated: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Part | None:
    mesh = evaluated.to_mesh(preserve_all_data_layers=True, depsgraph=depsgraph)
    if mesh is None:
        return None
    try:
        vertices = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", vertices)
        vertices = vertices.reshape(-1, 3).astype(np.float64)
        if len(mesh.polygons):
            return _triangles(mesh, vertices, evaluated)
        open_lines = obj.type in ("CURVE", "FONT") and len(mesh.edges)
        return scene_strokes.tubes(scene_strokes.edge_strokes(mesh, vertices)) if open_lines else None
    finally:
        evaluated.to_mesh_clear()


def _triangles(mesh: bpy.types.Mesh, vertices: np.ndarray, evaluated: bpy.types.Object) -> Part:
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    faces, corners, polygons = np.empty(count * 3, np.int32), np.empty(count * 3, np.int32), np.empty(count, np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)
    mesh.loop_triangles.foreach_get("loops", corners)
    mesh.loop_triangles.foreach_get("polygon_index", polygons)
    faces = faces.reshape(-1, 3)
    uvs = read_uvs(mesh)[corners].reshape(-1, 3, 2) if mesh.uv_layers.active is not None else None
    slots = [slot.material for slot in evaluated.material_slots]
    return Part(vertices, faces, scene_colours.vertex_colours(mesh, slots, faces, polygons, uvs), uvs)
