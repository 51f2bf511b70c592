"""The selected objects that are to be textured: their faces, pieces and UVs. What has no usable layout, or is to get a new one, is
unwrapped on a copy; the file stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np

from . import geometry
from .errors import InputError
from .geometry import Part
from .scene_masks import Painting, group_index, pictures, touched
from .scene_objects import MESH_LIKE, Weights, read_object, read_uvs
from .scene_read import Reading, SceneError, chosen_objects, reading_of, shown, temporary_mesh_copy
from .texture_sets import SHARED_WORTH_SAYING, Piece, TextureSet, plan, prompts_of_parts


@dataclass(frozen=True, eq=False)
class Targets:
    """What a reading of objects to texture holds beside their faces; entry by entry for its objects.

    pieces    of all of them
    of_slot   the piece of each material slot, -1 for one without faces
    new_uvs   float32 [corners, 2] of the object's own mesh where it gets a new layer, else None
    touched   bool [P], the faces of the object's own mesh that are painted
    own_uvs   float32 [F, 3, 2] of all faces that were read, before any was unwrapped; None where everything is painted
    image     uint8 [H, W] that multiplies the mask, by own_uvs; or None
    pictures  (piece, uint8 [H, W, 3]) that pieces show by own_uvs
    """

    pieces: tuple[Piece, ...]
    of_slot: tuple[tuple[int, ...], ...]
    new_uvs: tuple[np.ndarray | None, ...]
    touched: tuple[np.ndarray, ...]
    own_uvs: np.ndarray | None = None
    image: np.ndarray | None = None
    pictures: tuple[tuple[int, np.ndarray], ...] = ()


def read_targets(context: bpy.types.Context, settings: Mapping[str, Any], chosen: Sequence[bpy.types.Object] | None = None) -> Reading:
    """Objects, by default those that the selection stands for, with the UVs of their corners.

    SceneError where none has faces; InputError for a part or mask that there is not. settings: of a job (JobSettings).
    """
    objects, notes = _with_surface(chosen_objects(context, "texture", False) if chosen is None else chosen)
    bare = [obj for obj in objects if obj.type == "MESH" and not len(obj.data.polygons) and not obj.modifiers]
    notes += [f"'{obj.name}' has no faces and was left out." for obj in bare]
    objects = [obj for obj in objects if obj not in bare]
    if not objects:
        raise SceneError(f"'{bare[0].name}' has no faces to texture.", "Select a mesh with faces.")
    pieces, of_slot = _pieces(objects)
    if settings["part_prompts"]:
        prompts_of_parts(settings["part_prompts"], pieces)  # an unknown part is told at once
    painting = Painting.of(settings["paint"], settings["paint_name"] or "", objects, pieces)
    with shown(context, objects):
        reader = _Reader(context, settings["keep_colours"], painting)
        numbered = [reader.read(obj, slots) for obj, slots in zip(objects, of_slot, strict=True)]
        own_uvs = None if painting is None else np.concatenate([part.uvs for part in numbered if part.uvs is not None])
        anew = _to_unwrap(_sets(pieces, numbered, settings["texture_sets"]), settings["uv_layout"])
        new_uvs: list[np.ndarray | None] = [None] * len(objects)
        for index, obj in enumerate(objects):
            slots = [slot for slot, piece in enumerate(of_slot[index]) if piece in anew]
            if slots or obj.type != "MESH":
                numbered[index], new_uvs[index] = reader.unwrapped(obj, slots, of_slot[index])
    if painting is not None and not any(part.mask is not None and part.mask.any() for part in numbered):
        raise InputError(
            "nothing_to_paint", "Nothing is chosen to paint: " + _NOTHING[painting.kind], "Choose some, or set Paint to Everything."
        )
    notes += [note for one in _sets(pieces, numbered, settings["texture_sets"]) if (note := one.note) is not None]
    notes += _shared_meshes(objects)
    names = tuple(obj.name for obj in objects)
    reading = reading_of(context, geometry.join(numbered), names, _leader(context, names), tuple(notes))
    faces = tuple(touched(obj, painting, slots) for obj, slots in zip(objects, of_slot, strict=True))
    shows = () if painting is None else tuple(_pictures(objects, of_slot))
    image = None if painting is None else painting.image
    return replace(reading, targets=Targets(pieces, of_slot, tuple(new_uvs), faces, own_uvs, image, shows))


_NOTHING = {
    "faces": "no face is selected.",
    "slots": "no face has that slot.",
    "group": "no vertex has a weight.",
    "colour": "the attribute is black all over.",
    "image": "the image is black.",
}


class _Reader:
    """Reads objects with their masks."""

    def __init__(self, context: bpy.types.Context, keep: str, painting: Painting | None) -> None:
        self._context, self._keep, self._painting = context, keep, painting

    def read(self, obj: bpy.types.Object, of_slot: tuple[int, ...]) -> Part:
        """The faces of an object, numbered by piece. SceneError where it has none."""
        part = read_object(obj, self._context.evaluated_depsgraph_get(), self._keep, self._weights(obj, of_slot))
        if part is None or part.pieces is None:
            raise SceneError(f"'{obj.name}' has no faces to texture.", "Select a mesh with faces.")
        return _numbered(part, of_slot)

    def unwrapped(self, source: bpy.types.Object, slots: Sequence[int], of_slot: tuple[int, ...]) -> tuple[Part, np.ndarray]:
        """An object with the UVs that a copy of it was given for the faces of these slots, all where it is no mesh; and those UVs."""
        with temporary_mesh_copy(self._context, source) as copy:
            if not len(copy.data.polygons):
                raise SceneError(f"'{source.name}' has no faces to texture.", "Select a mesh with faces.")
            whole = source.type != "MESH" or set(slots) == set(range(len(of_slot)))
            new_uvs = unwrap(self._context, copy, None if whole else slots)
            weights = self._weights(source, of_slot)
            part = read_object(copy, self._context.evaluated_depsgraph_get(), self._keep, weights)
        if part is None or part.uvs is None:
            raise SceneError(f"'{source.name}' could not be unwrapped.", "Give it UVs (UV > Unwrap) and try again.")
        return _numbered(part, of_slot), new_uvs

    def _weights(self, obj: bpy.types.Object, of_slot: tuple[int, ...]) -> Weights | None:
        painting = self._painting
        if painting is None:
            return None
        group = group_index(obj, painting)
        return lambda mesh: painting.weights(mesh, group, of_slot)


def _pictures(objects: Sequence[bpy.types.Object], of_slot: Sequence[tuple[int, ...]]) -> list[tuple[int, np.ndarray]]:
    """The pictures that pieces show, each piece once."""
    found: list[tuple[int, np.ndarray]] = []
    for obj, slots in zip(objects, of_slot, strict=True):
        materials = [slot.material for slot in obj.material_slots] or [None]
        found += pictures(list(zip(slots, materials, strict=True)), [piece for piece, _ in found])
    return found


def uv_notes(context: bpy.types.Context, result_itself: bool, grouping: str) -> tuple[str, ...]:
    """What is to be said of the UVs of the selected meshes that have some, before a job; nothing is unwrapped."""
    objects, _ = _with_surface(chosen_objects(context, "texture", result_itself))
    objects = [obj for obj in objects if obj.type == "MESH" and obj.data.uv_layers.active is not None]
    with shown(context, objects):
        depsgraph = context.evaluated_depsgraph_get()
        read = {obj: part for obj in objects if (part := read_object(obj, depsgraph)) is not None and part.pieces is not None}
    if not read:
        return ()
    pieces, of_slot = _pieces(list(read))
    parts = [_numbered(part, slots) for part, slots in zip(read.values(), of_slot, strict=True)]
    return tuple(note for one in _sets(pieces, parts, grouping) if (note := one.note) is not None)


def _with_surface(objects: Sequence[bpy.types.Object]) -> tuple[list[bpy.types.Object], list[str]]:
    """Those that can have faces, and notes of the others. SceneError where none can."""
    with_surface = [obj for obj in objects if obj.type in MESH_LIKE]
    others = [obj for obj in objects if obj.type not in MESH_LIKE]
    if not with_surface:
        kind = others[0].type.replace("_", " ").lower()
        raise SceneError(f"'{others[0].name}' is of type {kind}, which has no surface to texture.", "Convert it to a mesh first.")
    return with_surface, [f"'{obj.name}' has no surface and was left out." for obj in others]


def _pieces(objects: Sequence[bpy.types.Object]) -> tuple[tuple[Piece, ...], tuple[tuple[int, ...], ...]]:
    """The pieces of objects, and for each object the piece of each of its material slots, at least one."""
    pieces: dict[Piece, int] = {}
    of_slot = []
    for obj in objects:
        materials = [slot.material for slot in obj.material_slots] or [None]
        own = [Piece(obj.name, "" if material is None else material.name) for material in materials]
        of_slot.append(tuple(pieces.setdefault(piece, len(pieces)) for piece in own))
    return tuple(pieces), tuple(of_slot)


def _numbered(part: Part, of_slot: tuple[int, ...]) -> Part:
    """The part with pieces in place of slots, and a row of NaN for each UV that it lacks."""
    assert part.pieces is not None
    uvs = np.full((len(part.faces), 3, 2), np.nan, np.float32) if part.uvs is None else part.uvs
    return replace(part, uvs=uvs, pieces=np.array(of_slot, np.int32)[np.minimum(part.pieces, len(of_slot) - 1)])


def _sets(pieces: tuple[Piece, ...], parts: Sequence[Part], grouping: str) -> list[TextureSet]:
    of_face = np.concatenate([part.pieces for part in parts if part.pieces is not None])
    return plan(pieces, of_face, np.concatenate([part.uvs for part in parts if part.uvs is not None]), grouping)


def _to_unwrap(sets: Sequence[TextureSet], layout: str) -> set[int]:
    """The pieces that get a new layout: those without a usable one, and those that the setting says."""
    least = {"new": 0.0, "apart": SHARED_WORTH_SAYING}.get(layout, 2.0)
    return {piece for one in sets if not one.laid or one.shared >= least for piece in one.pieces}


def unwrap(context: bpy.types.Context, obj: bpy.types.Object, slots: Sequence[int] | None = None) -> np.ndarray:
    """Give the mesh object a new UV layer and return its UVs, float32 [corners, 2]: by Blender's Smart UV Project for the faces of these
    material slots, or for all of them, and the rest as in the layer that was active."""
    layer, mesh = context.view_layer, obj.data
    for other in layer.objects:
        other.select_set(False)
    obj.hide_set(False)
    obj.select_set(True)
    layer.objects.active = obj
    added = mesh.uv_layers.new(name="UVMap")
    if added is None:
        raise SceneError(f"'{obj.name}' has as many UV layers as Blender allows.", "Remove one that is not needed.")
    mesh.uv_layers.active = added
    selected = np.empty(len(mesh.polygons), bool)
    mesh.polygons.foreach_get("select", selected)
    chosen = np.ones(len(mesh.polygons), bool) if slots is None else np.isin(_slots_of(mesh, len(obj.material_slots)), slots)
    tools = context.scene.tool_settings  # Blender 4.2's `context.tool_settings` leaves the scene in the context, also when it is freed
    modes, tools.mesh_select_mode = tuple(tools.mesh_select_mode), (False, False, True)
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bpy.ops.mesh.reveal(select=False)
        bpy.ops.mesh.select_all(action="DESELECT")
        bpy.ops.object.mode_set(mode="OBJECT")
        mesh.polygons.foreach_set("select", chosen)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.uv.smart_project(angle_limit=1.15, island_margin=0.01)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
        tools.mesh_select_mode = modes
    mesh.polygons.foreach_set("select", selected)  # which faces are painted may hang on it
    mesh.update()  # else Blender 4.2 evaluates it as it was when it left Edit Mode
    return read_uvs(mesh)


def _slots_of(mesh: bpy.types.Mesh, count: int) -> np.ndarray:
    """The material slot of each polygon, one of `count`."""
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    return np.clip(slots, 0, max(count - 1, 0))


def _shared_meshes(objects: Sequence[bpy.types.Object]) -> list[str]:
    """Notes about objects that have a mesh together with others: their results do not."""
    notes = []
    for obj in objects:
        if obj.type == "MESH" and obj.data.users > 1:
            others = [one.name for one in bpy.data.objects if one != obj and one.data == obj.data]
            if others:
                notes.append(f"'{obj.name}' shares its mesh with '{others[0]}': the result has a mesh of its own, the others keep theirs.")
    return notes


def _leader(context: bpy.types.Context, names: Sequence[str]) -> str:
    active = context.view_layer.objects.active
    return active.name if active is not None and active.name in names else names[0]
