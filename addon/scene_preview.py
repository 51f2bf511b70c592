"""The preview: the growing surface in place of the hidden originals, and its removal. No datablock is kept between calls."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from . import geometry, messages, scene_materials
from .scene_materials import Attempt
from .scene_read import Reading, find_object, named_now
from .scene_show import MARK, Place, Selection, hide, variants_of
from .scene_write import fill_mesh, link_beside, note

PREVIEW_NAME = "Sketchbridge Preview"


def show(context: bpy.types.Context, reading: Reading, update: messages.MeshUpdate) -> None:
    """Put the growing surface into the job's scene, in place of the hidden originals and earlier results."""
    obj = next(iter(_previews()), None) or _new_preview(context, reading)
    mesh = obj.data
    vertices = np.ascontiguousarray(update.vertices + reading.origin, dtype=np.float32)
    same = len(mesh.vertices) == len(vertices) and len(mesh.polygons) == len(update.faces)
    if not same:
        mesh.clear_geometry()
        fill_mesh(mesh, vertices, update.faces)
    else:
        mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
        mesh.attributes[".corner_vert"].data.foreach_set("value", np.ascontiguousarray(update.faces, dtype=np.int32).ravel())
    if update.colours is not None:
        _set_colours(mesh, update.colours)
    mesh.update(calc_edges=True)


def keep(context: bpy.types.Context, reading: Reading, provenance: Mapping[str, Any]) -> bpy.types.Object | None:
    """The surface as it is now as an object of its own, hidden beside the preview, marked as a result; None where there is no preview."""
    preview = next(iter(_previews()), None)
    if preview is None:
        return None
    name = f"{named_now(reading).active} unfinished"
    with Attempt() as attempt:
        kept = attempt.add(preview.copy())
        kept.data = attempt.add(preview.data.copy())
        kept.name = kept.data.name = name
        material = attempt.add(kept.data.materials[0].copy())
        kept.data.materials[0], material.name = material, name
        kept.data.shade_smooth()
        del kept[f"{MARK}_preview"]
        kept.hide_select = False
        with reading.place.entered(context) as layer:
            link_beside(context, kept, reading.leader())
            note(kept, named_now(reading).names, provenance)
            layer.update()  # which makes the layer know it
            hide(layer, [kept], hidden=True, render=True)
    return kept


def remove() -> None:
    """Take the preview out of the file and show what it stood for again; selected as it was, unless the user has selected anew."""
    for obj in _previews():
        mark = obj[f"{MARK}_preview"]
        mesh, materials = obj.data, [slot.material for slot in obj.material_slots]
        bpy.data.objects.remove(obj)
        bpy.data.meshes.remove(mesh)
        for material in materials:
            if material is not None and material.users == 0:
                bpy.data.materials.remove(material)
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a mark of another version, or by another hand
            _show_again(json.loads(mark))


def _show_again(mark: dict[str, Any]) -> None:
    """Session ids mean nothing in another process than the one that gave them; there names must do, and nothing is selected."""
    own = mark["process"] == os.getpid()
    place = Place(mark["scene"], mark["scene_uid"] if own else 0, mark["layer"])
    with place.entered(bpy.context) as layer:
        untouched = own and Selection(frozenset(mark["selected_after"]), mark["active_after"]).holds(layer)
        for name, uid, was_selected in mark["hidden"]:
            obj = find_object(name, uid if own else 0)
            if obj is not None:
                hide(layer, [obj], hidden=False)
                if untouched and was_selected and obj.name in layer.objects:
                    obj.select_set(True, view_layer=layer)  # hiding took that away


def _previews() -> list[bpy.types.Object]:
    return [obj for obj in bpy.data.objects if f"{MARK}_preview" in obj]


def _new_preview(context: bpy.types.Context, reading: Reading) -> bpy.types.Object:
    remove()
    obj = bpy.data.objects.new(PREVIEW_NAME, bpy.data.meshes.new(PREVIEW_NAME))
    obj.hide_select = obj.hide_render = True  # what is rendered meanwhile is what the file holds
    material = scene_materials.node_material(PREVIEW_NAME)
    nodes, links = material.node_tree.nodes, material.node_tree.links
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "Colour"
    links.new(colour.outputs["Color"], scene_materials.principled(material).inputs["Base Color"])
    obj.data.materials.append(material)
    with reading.place.entered(context) as layer:
        sources = reading.objects()
        link_beside(context, obj, reading.leader())
        replaced = [one for one in [*sources, *variants_of(sources)] if one.name in layer.objects and not one.hide_get(view_layer=layer)]
        hidden = [(one.name, one.session_uid, one.select_get(view_layer=layer)) for one in replaced]
        hide(layer, replaced, hidden=True)
        after = Selection.of(layer)
    obj[f"{MARK}_preview"] = json.dumps({
        "process": os.getpid(), "scene": reading.place.scene, "scene_uid": reading.place.uid, "layer": reading.place.layer,
        "hidden": hidden, "selected_after": sorted(after.selected), "active_after": after.active,
    })  # fmt: skip
    return obj


def _set_colours(mesh: bpy.types.Mesh, colours: np.ndarray) -> None:
    attribute = mesh.color_attributes.get("Colour")
    if attribute is None:
        attribute = mesh.color_attributes.new("Colour", "FLOAT_COLOR", "POINT")
        mesh.color_attributes.active_color = attribute
    light = np.ones((len(colours), 4), np.float32)
    light[:, :3] = geometry.srgb_to_linear(colours)
    attribute.data.foreach_set("color", light.ravel())
