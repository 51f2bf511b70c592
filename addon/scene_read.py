"""Evaluated objects of the scene -> arrays: world-space triangles, sRGB-encoded vertex colours, UVs of the corners.

Reading changes nothing in the file. Meshes, curves, surfaces, text and metaballs come with their modifiers; strokes
without thickness (hair curves, curves without bevel, Grease Pencil) become tubes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import bpy
import numpy as np

from . import geometry, scene_colours
from .geometry import Part

MESH_LIKE = ("MESH", "CURVE", "SURFACE", "FONT", "META")
GREASE_PENCIL = ("GREASEPENCIL", "GPENCIL")
LEGACY_PIXEL_RADIUS = 0.0005
"""Blender units that one pixel of a legacy Grease Pencil stroke's width is worth, as a radius; Blender's own conversion."""
LINE_SHARE = 0.01
"""Radius, as a share of the object's diagonal, of lines that have no thickness of their own."""


class SceneError(Exception):
    """The selection cannot be used. `message` and `fix` are for the user."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message} {fix}")
        self.message = message
        self.fix = fix


@dataclass(frozen=True, eq=False)
class Reading:
    """What is sent, and what is needed to put the answer back.

    vertices float32 [V, 3], world axes, relative to `origin` so that nothing is lost far from the world's centre;
    `names` the objects read, `uids` their session ids, which outlive a renaming;
    `active` the one whose transform, parent and collections the result takes;
    `matrix` [4, 4] that object's world matrix when it was read; `new_uvs` float32 [corners, 2] of its mesh where it had none
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None
    uvs: np.ndarray | None
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
        part = _tubes(_hair_strokes(evaluated))
    elif obj.type in GREASE_PENCIL:
        part = _tubes(_drawn_strokes(obj, evaluated))
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
    vertices = np.ascontiguousarray(part.vertices - origin, dtype=np.float32)
    uvs = None if part.uvs is None else np.ascontiguousarray(part.uvs, dtype=np.float32)
    return Reading(
        vertices, np.ascontiguousarray(part.faces, dtype=np.int32), part.colours, uvs, origin, names, uids, active, matrix, notes, new_uvs
    )


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
        return _tubes(_edge_strokes(mesh, vertices)) if obj.type in ("CURVE", "FONT") and len(mesh.edges) else None
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


@dataclass(frozen=True, eq=False)
class _Stroke:
    """points [N, 3] and radii [N] in the object's space; colours [N, 3] sRGB-encoded, or None."""

    points: np.ndarray
    radii: np.ndarray
    cyclic: bool = False
    colours: np.ndarray | None = None


def _tubes(strokes: Sequence[_Stroke]) -> Part | None:
    parts = []
    for stroke in strokes:
        if len(stroke.points):
            vertices, faces, owner = geometry.tube(stroke.points, stroke.radii, stroke.cyclic)
            parts.append(Part(vertices, faces, None if stroke.colours is None else stroke.colours[owner]))
    return geometry.join(parts) if parts else None


def _edge_strokes(mesh: bpy.types.Mesh, vertices: np.ndarray) -> list[_Stroke]:
    edges = np.empty(len(mesh.edges) * 2, np.int32)
    mesh.edges.foreach_get("vertices", edges)
    radius = LINE_SHARE * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    found = geometry.chains(edges.reshape(-1, 2), len(vertices))
    return [_Stroke(vertices[path], np.full(len(path), radius), closed) for path, closed in found]


def _hair_strokes(evaluated: bpy.types.Object) -> list[_Stroke]:
    curves = evaluated.data
    points = _attribute(curves, "position", "vector", 3)
    if points is None:
        return []
    radii = _attribute(curves, "radius", "value", 1)
    radius = LINE_SHARE * float(np.linalg.norm(np.ptp(points, axis=0)))
    widths = np.full(len(points), radius) if radii is None or not radii.any() else radii[:, 0]
    offsets = np.empty(len(curves.curve_offset_data), np.int32)
    curves.curve_offset_data.foreach_get("value", offsets)
    cyclic = _attribute(curves, "cyclic", "value", 1)
    spans = pairwise(offsets)
    return [_Stroke(points[a:b], widths[a:b], bool(cyclic is not None and cyclic[index, 0])) for index, (a, b) in enumerate(spans)]


def _drawn_strokes(obj: bpy.types.Object, evaluated: bpy.types.Object) -> list[_Stroke]:
    if obj.type == "GPENCIL":
        return [stroke for layer in evaluated.data.layers if not layer.hide for stroke in _legacy_strokes(layer, evaluated)]
    # The geometry set, which owns what its modifiers made, must live as long as that is read.
    modified = evaluated.evaluated_geometry() if hasattr(evaluated, "evaluated_geometry") else None
    data = (modified and modified.grease_pencil) or evaluated.data
    return [stroke for layer in data.layers if not layer.hide for stroke in _layer_strokes(layer, evaluated)]


def _layer_strokes(layer: bpy.types.GreasePencilLayer, evaluated: bpy.types.Object) -> list[_Stroke]:
    frame = layer.current_frame()
    if frame is None:
        return []
    drawing = frame.drawing
    points = _attribute(drawing, "position", "vector", 3)
    if points is None:
        return []
    points = geometry.transform(np.array(layer.matrix_local), points)
    radii = _attribute(drawing, "radius", "value", 1)
    widths = np.full(len(points), 0.01) if radii is None else radii[:, 0]
    offsets = np.array([offset.value for offset in drawing.curve_offsets], dtype=np.int64)
    cyclic, material = _attribute(drawing, "cyclic", "value", 1), _attribute(drawing, "material_index", "value", 1)
    tint = _attribute(drawing, "vertex_color", "color", 4)
    strokes = []
    for index, (a, b) in enumerate(pairwise(offsets)):
        base = scene_colours.stroke_colour(evaluated, 0 if material is None else int(material[index, 0]))
        colours = scene_colours.tinted(base, np.zeros((b - a, 4)) if tint is None else tint[a:b])
        strokes.append(_Stroke(points[a:b], widths[a:b], bool(cyclic is not None and cyclic[index, 0]), colours))
    return strokes


def _legacy_strokes(layer: bpy.types.GPencilLayer, evaluated: bpy.types.Object) -> list[_Stroke]:
    """Of Blender 4.2, whose drawings are made of stroke.points."""
    if layer.active_frame is None:
        return []
    strokes, pixel = [], LEGACY_PIXEL_RADIUS * evaluated.data.pixel_factor
    for stroke in layer.active_frame.strokes:
        count = len(stroke.points)
        points, pressure, tint = np.empty(count * 3, np.float32), np.empty(count, np.float32), np.empty(count * 4, np.float32)
        stroke.points.foreach_get("co", points)
        stroke.points.foreach_get("pressure", pressure)
        stroke.points.foreach_get("vertex_color", tint)
        placed = geometry.transform(np.array(layer.matrix_layer), points.reshape(-1, 3))
        colours = scene_colours.tinted(scene_colours.stroke_colour(evaluated, stroke.material_index), tint.reshape(-1, 4))
        radii = pixel * max(stroke.line_width + layer.line_change, 1) * pressure
        strokes.append(_Stroke(placed, radii, stroke.use_cyclic, colours))
    return strokes


def _attribute(owner: object, name: str, field: str, width: int) -> np.ndarray | None:
    """A named attribute [N, width] in float64, None where it is missing."""
    attribute = owner.attributes.get(name)  # type: ignore[attr-defined]
    if attribute is None or not len(attribute.data):
        return None
    kind = {"INT": np.int32, "BOOLEAN": bool}.get(attribute.data_type, np.float32)
    values = np.empty(len(attribute.data) * width, kind)
    attribute.data.foreach_get(field, values)
    return values.reshape(-1, width).astype(np.float64)
