"""The selection -> what is sent: one sketch of several objects (objects to texture: see scene_targets).

Reading leaves the file as it found it. What is hidden is shown while it is read, and mode, visibility and selection are put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import bpy
import numpy as np

from . import geometry
from .errors import InputError
from .geometry import Part
from .job_fields import COLOURS_OF_ALL
from .scene_objects import collect_instances, read_object
from .scene_show import Place, Selection, hide, originals_of

if TYPE_CHECKING:
    from .scene_targets import Targets


class SceneError(InputError):
    """The selection cannot be used."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("selection", message, fix)


@dataclass(frozen=True, eq=False)
class Reading:
    """What is sent, and what is needed to put the answer back.

    `part` float32, world axes, relative to `origin` so that nothing is lost far from the world's centre;
    `names` the objects read, `uids` their session ids, which outlive a renaming; none of a dream, which is made of nothing;
    `active` the one whose transform, parent and collections the result takes, of a dream the result's name;
    `matrix` [4, 4] that object's world matrix when it was read; `targets` what is known of objects to texture;
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
    targets: Targets | None = None

    def objects(self) -> list[bpy.types.Object]:
        """The objects read that are still in the file."""
        found = (find_object(name, uid) for name, uid in zip(self.names, self.uids, strict=True))
        return [obj for obj in found if obj is not None]

    def leader(self) -> bpy.types.Object | None:
        """The object whose transform the result takes, None where it is gone or there never was one."""
        return find_object(self.active, self.uids[self.names.index(self.active)]) if self.names else None


def read_sketch(context: bpy.types.Context, objects: Sequence[bpy.types.Object] | None = None, keep: str = COLOURS_OF_ALL) -> Reading:
    """Objects, by default those that the selection stands for, as one sketch. SceneError without any of use.

    keep: whose colours count, of KEEP_COLOURS.
    """
    objects = chosen_objects(context, "refine", False) if objects is None else objects
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
    return reading_of(context, geometry.join(parts), tuple(names), leader, tuple(notes))


def named_now(reading: Reading) -> Reading:
    """The reading with the names that its objects have by now; those that are gone keep the name they had."""
    found = (find_object(name, uid) for name, uid in zip(reading.names, reading.uids, strict=True))
    names = tuple(name if obj is None else obj.name for name, obj in zip(reading.names, found, strict=True))
    return replace(reading, names=names, active=names[reading.names.index(reading.active)]) if names else reading


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


def _left_out(obj: bpy.types.Object, objects: Sequence[bpy.types.Object]) -> list[str]:
    """The note about an object without anything to read; none for a metaball whose shape is in another's of its family."""
    family = obj.name.split(".")[0]
    if obj.type == "META" and any(other != obj and other.type == "META" and other.name.split(".")[0] == family for other in objects):
        return []
    return [f"'{obj.name}' has no faces or strokes and was left out."]


def reading_of(context: bpy.types.Context, part: Part, names: tuple[str, ...], active: str, notes: tuple[str, ...]) -> Reading:
    """The reading of objects by name, one of them active, that look like this. SceneError for vertices that are nowhere."""
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
        part.pieces,
        None if part.mask is None else np.ascontiguousarray(part.mask, dtype=np.float32),
    )
    return Reading(sent, origin, names, uids, active, matrix, Place.of(context), Selection.of(context.view_layer), notes)
