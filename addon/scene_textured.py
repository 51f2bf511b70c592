"""A finished texture job -> copies of its objects with the painted materials. Vertices, faces and existing UV layers are the originals'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from . import messages
from .scene_materials import Attempt, Images
from .scene_read import Reading, SceneError, mesh_from, named_now
from .scene_write import copy_transform, link_beside, mark, select_results


def apply_textured(
    context: bpy.types.Context, reading: Reading, done: messages.Done, provenance: Mapping[str, Any]
) -> list[bpy.types.Object]:
    """A copy of each original that is painted, with its materials, in the reading's order, variation after variation, of which the
    first is shown; all of them, or none and the error.

    In the scene and view layer of the job. SceneError where an original was deleted or edited while the engine worked.
    """
    reading = named_now(reading)
    sources = reading.objects()
    if len(sources) < len(reading.names):
        there = {source.name for source in sources}
        lost = next(name for name in reading.names if name not in there)
        raise SceneError(f"'{lost}' was deleted while it was textured.", "Undo that and try again.")
    with reading.place.entered(context) as layer, Attempt() as attempt:
        selected = reading.selection.holds(layer)
        images = Images(done, attempt)
        assert reading.targets is not None
        painted = [index for index, faces in enumerate(reading.targets.touched) if faces.any()]
        results = []
        for variation in reversed(range(images.variations)):  # the first one last: it is shown, and the others are its variants
            made = [_textured(context, reading, index, sources[index], images, variation, attempt) for index in painted]
            copies = dict(zip([sources[index] for index in painted], made, strict=True))
            told = {**provenance, "seed": provenance.get("seed", 0) + variation} if variation else provenance
            for source, obj in copies.items():
                if source.parent in copies:
                    inverse = obj.matrix_parent_inverse.copy()
                    obj.parent = copies[source.parent]
                    obj.matrix_parent_inverse = inverse
                mark(layer, obj, [source], told)
            results = made + results
        select_results(layer, results[: len(painted)], selected)
    return results


def _textured(
    context: bpy.types.Context, reading: Reading, index: int, source: bpy.types.Object, images: Images, variation: int, attempt: Attempt
) -> bpy.types.Object:
    """The copy of one object for one variation."""
    name = f"{source.name} textured" + (f" {variation + 1}" if variation else "")
    if source.type == "MESH":
        obj = attempt.add(source.copy())
        obj.data = attempt.add(source.data.copy())
    else:
        mesh = attempt.add(mesh_from(source, context.evaluated_depsgraph_get()))
        obj = attempt.add(bpy.data.objects.new(name, mesh))
    obj.name = obj.data.name = name
    link_beside(context, obj, source)
    if source.type != "MESH":
        copy_transform(obj, source)
    assert reading.targets is not None
    faces = reading.targets.touched[index]
    layer = _uv_layer(obj.data, source.name, reading.targets.new_uvs[index], bool(faces.all()))
    of_slot = reading.targets.of_slot[index]
    wanted = [images.of_piece(piece, variation) for piece in of_slot]
    if not faces.all():
        _materials_of_faces(obj, faces, [images.material(number, name, layer) for number in wanted])
    elif len(set(wanted)) == 1:
        _one_material(obj, images.material(wanted[0], name, layer))
    else:
        _a_material_a_slot(obj, [images.material(number, name, layer) for number in wanted])
    return obj


def _uv_layer(mesh: bpy.types.Mesh, name: str, new_uvs: np.ndarray | None, everywhere: bool) -> str:
    """The layer that the images are for, the one that was or a new one with these UVs: active, in renders too where all faces are for it.

    Otherwise the materials that stay go on looking where they did.
    """
    if new_uvs is None:
        layer = mesh.uv_layers.active
    else:
        layer = mesh.uv_layers.new(name="UVMap")
        if len(new_uvs) != len(mesh.loops):
            raise SceneError(f"'{name}' was edited while it was textured.", "Try again.")
        if layer is not None:
            layer.uv.foreach_set("vector", new_uvs.ravel())
    if layer is None:
        raise SceneError(f"The UV layer of '{name}' was removed while it was textured.", "Try again.")
    layer.active = True
    if everywhere:
        layer.active_render = True
    return layer.name


def _one_material(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    """The one material on every face."""
    for slot in obj.material_slots:
        slot.link = "DATA"
    obj.data.materials.clear()
    obj.data.materials.append(material)
    obj.data.polygons.foreach_set("material_index", np.zeros(len(obj.data.polygons), np.int32))
    obj.data.update()


def _materials_of_faces(obj: bpy.types.Object, faces: np.ndarray, of_slot: list[bpy.types.Material]) -> None:
    """Each slot's new material, in slots after those that there are, for these faces bool [P] alone; all others stay as they are."""
    mesh = obj.data
    if len(faces) != len(mesh.polygons):
        raise SceneError(f"'{obj.name}' was edited while it was textured.", "Try again.")
    if not len(mesh.materials):
        mesh.materials.append(None)
    before = len(mesh.materials)
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    used = {material: before + index for index, material in enumerate(dict.fromkeys(of_slot))}
    for material in used:
        mesh.materials.append(material)
    new = np.array([used[material] for material in of_slot], np.int32)[np.clip(slots, 0, len(of_slot) - 1)]
    mesh.polygons.foreach_set("material_index", np.where(faces, new, slots).astype(np.int32))
    mesh.update()


def _a_material_a_slot(obj: bpy.types.Object, materials: list[bpy.types.Material]) -> None:
    """Each slot's material; the faces keep their slots."""
    for slot, material in zip(obj.material_slots, materials, strict=True):
        slot.link = "DATA"
        slot.material = material
    obj.data.update()
