"""The selection -> what is sent: one sketch of several objects, or one object with UVs to texture.

Reading leaves the file as it found it. What is hidden is shown while it is read, to unwrap, a copy is linked for a
moment, and mode, visibility and selection are put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import bpy
import numpy as np

from . import geometry
from .errors import InputError
from .geometry import Part
from .job_fields import COLOURS_OF_ALL
from .scene_objects import MESH_LIKE, collect_instances, read_object, read_uvs
from .scene_show import Place, Selection, hide, originals_of

OVERLAP_WORTH_SAYING = 0.02


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
    `matrix` [4, 4] that object's world matrix when it was read; `new_uvs` float32 [corners, 2] of its mesh where it had none;
    `place` the scene and layer they were read in, `selection` what was selected there
    """

    part: Part
    origin: np.ndarray
    names: tuple[str, ...]
    uids: tuple[int, ...]
    active: str
    matrix: np.ndarray
    place: Place
    selection: Selection
    notes: tuple[str, ...] = ()
    new_uvs: np.ndarray | None = None

    def objects(self) -> list[bpy.types.Object]:
        """The objects read that are still in the file."""
        found = (find_object(name, uid) for name, uid in zip(self.names, self.uids, strict=True))
        return [obj for obj in found if obj is not None]

    def leader(self) -> bpy.types.Object | None:
        """The object whose transform the result takes, None where it is gone."""
        return find_object(self.active, self.uids[self.names.index(self.active)])


def read_sketch(context: bpy.types.Context, result_itself: bool = False, keep: str = COLOURS_OF_ALL) -> Reading:
    """The selected objects as one sketch; for a result what it was made from, unless `result_itself`. SceneError without any of use.

    keep: whose colours count, of KEEP_COLOURS.
    """
    objects = chosen_objects(context, "refine", result_itself)
    parts, names, notes = [], [], []
    with shown(context, objects):
        depsgraph = context.evaluated_depsgraph_get()
        instances = collect_instances(depsgraph, objects, keep)
        for obj in objects:
            part = geometry.join_all([read_object(obj, depsgraph, keep), *instances.get(obj, [])])
            if part is None:
                notes += _left_out(obj, objects)
            else:
                parts.append(part)
                names.append(obj.name)
    if not parts:
        kinds = ", ".join(f"'{obj.name}' ({obj.type.replace('_', ' ').lower()})" for obj in objects[:4])
        fix = "Select a mesh with faces or edges, a curve or a Grease Pencil drawing."
        raise SceneError(f"The selection has no faces or strokes: {kinds}.", fix)
    active = context.view_layer.objects.active
    leader = active.name if active is not None and active.name in names else names[0]
    return _reading(context, geometry.join(parts), tuple(names), leader, tuple(notes))


def read_texture_target(
    context: bpy.types.Context, result_itself: bool = False, new_uv_layer: bool = False, keep: str = COLOURS_OF_ALL
) -> Reading:
    """The one selected object with the UVs of its corners. SceneError otherwise.

    Where it has none, or where a `new_uv_layer` is asked for, a temporary copy is unwrapped. For a textured result what it was made
    from, unless `result_itself`. keep: whose colours count, of KEEP_COLOURS.
    """
    objects = chosen_objects(context, "texture", result_itself)
    if len(objects) > 1:
        fix = "Select one, or join them first (Ctrl+J)."
        raise SceneError(f"Texture works on one object at a time, {len(objects)} are selected.", fix)
    source = objects[0]
    if source.type not in MESH_LIKE:
        raise SceneError(
            f"'{source.name}' is of type {source.type.lower()}, which has no surface to texture.", "Convert it to a mesh first."
        )
    with shown(context, objects):
        part, new_uvs = _read_with_uvs(context, source, new_uv_layer, keep)
    if part is None or part.uvs is None:
        raise SceneError(f"'{source.name}' has no faces to texture.", "Select a mesh with faces.")
    return _reading(context, part, (source.name,), source.name, overlap_notes(part.uvs) if new_uvs is None else (), new_uvs)


def overlap_notes(uvs: np.ndarray) -> tuple[str, ...]:
    """What to say, before the work, about UVs [F, 3, 2] whose faces lie upon each other; empty where hardly any do."""
    share = geometry.uv_overlap(uvs)
    if share < OVERLAP_WORTH_SAYING:
        return ()
    told = f"About {100 * share:.0f} % of the UV layout lies upon other faces (mirrored, repeated or in UDIM tiles)"
    return (f"{told}, which would share their colours. A new UV layer gives each its own.",)


def named_now(reading: Reading) -> Reading:
    """The reading with the names that its objects have by now; those that are gone keep the name they had."""
    found = (find_object(name, uid) for name, uid in zip(reading.names, reading.uids, strict=True))
    names = tuple(name if obj is None else obj.name for name, obj in zip(reading.names, found, strict=True))
    return replace(reading, names=names, active=names[reading.names.index(reading.active)])


def find_object(name: str, uid: int) -> bpy.types.Object | None:
    """The object with this session id, or of that name where the id is 0; None where there is none."""
    return next((obj for obj in bpy.data.objects if obj.session_uid == uid), None) if uid else bpy.data.objects.get(name)


def chosen_objects(context: bpy.types.Context, mode: str, result_itself: bool) -> list[bpy.types.Object]:
    """The selected objects that can be seen, the active one first; in place of a result what a job of this mode starts from.

    SceneError where nothing is selected.
    """
    layer = context.view_layer
    objects = [obj for obj in layer.objects if obj.select_get() and obj.visible_get()]
    if not objects:
        hidden = next((obj.name for obj in layer.objects if obj.select_get()), None)
        message = "Nothing is selected." if hidden is None else f"What is selected cannot be seen: '{hidden}' is hidden."
        raise SceneError(message, "Select the sketch: one or more meshes, curves or Grease Pencil drawings.")
    objects.sort(key=lambda obj: obj != layer.objects.active)
    if result_itself:
        return objects
    return list(dict.fromkeys(source for obj in objects for source in originals_of(obj, mode)))


@contextmanager
def shown(context: bpy.types.Context, objects: Sequence[bpy.types.Object]) -> Iterator[None]:
    """What is hidden among `objects`, such as a result's originals, is evaluated as if it were in sight; it is hidden again afterwards."""
    layer = context.view_layer
    for obj in objects:
        if obj.name not in layer.objects:
            raise SceneError(f"'{obj.name}' is not in this view layer.", "Select the result in the scene that it was made in.")
    hidden = [obj for obj in objects if obj.hide_get()]
    hide(layer, hidden, hidden=False)
    try:
        if hidden:
            layer.update()
        yield
    finally:
        hide(layer, hidden, hidden=True)


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
    """Give the mesh object a new UV layer by Blender's Smart UV Project and return its UVs, float32 [corners, 2]."""
    layer = context.view_layer
    for other in layer.objects:
        other.select_set(False)
    obj.hide_set(False)
    obj.select_set(True)
    layer.objects.active = obj
    added = obj.data.uv_layers.new(name="UVMap")
    if added is None:
        raise SceneError(f"'{obj.name}' has as many UV layers as Blender allows.", "Remove one that is not needed.")
    obj.data.uv_layers.active = added
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bpy.ops.mesh.reveal(select=False)
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.uv.smart_project(angle_limit=1.15, island_margin=0.01)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    return read_uvs(obj.data)


def _read_with_uvs(
    context: bpy.types.Context, source: bpy.types.Object, new_layer: bool, keep: str
) -> tuple[Part | None, np.ndarray | None]:
    """The object and its own UVs, or those that a copy of it was given."""
    if not new_layer and source.type == "MESH" and source.data.uv_layers.active is not None:
        return read_object(source, context.evaluated_depsgraph_get(), keep), None
    with temporary_mesh_copy(context, source) as copy:
        if not len(copy.data.polygons):
            return None, None
        new_uvs = unwrap(context, copy)
        return read_object(copy, context.evaluated_depsgraph_get(), keep), new_uvs


def _left_out(obj: bpy.types.Object, objects: Sequence[bpy.types.Object]) -> list[str]:
    """The note about an object without anything to read; none for a metaball whose shape is in another's of its family."""
    family = obj.name.split(".")[0]
    if obj.type == "META" and any(other != obj and other.type == "META" and other.name.split(".")[0] == family for other in objects):
        return []
    return [f"'{obj.name}' has no faces or strokes and was left out."]


def _reading(
    context: bpy.types.Context, part: Part, names: tuple[str, ...], active: str, notes: tuple[str, ...], new_uvs: np.ndarray | None = None
) -> Reading:
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
        None if part.paint is None else geometry.Paint((part.paint.points - origin).astype(np.float32), part.paint.colours),
    )
    return Reading(sent, origin, names, uids, active, matrix, Place.of(context), Selection.of(context.view_layer), notes, new_uvs)
