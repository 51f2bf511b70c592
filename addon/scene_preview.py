"""The preview: the growing surface in place of the hidden originals, and its removal. No datablock is kept between calls."""

from __future__ import annotations

import json
import os

import bpy
import numpy as np

from . import geometry, protocol, scene_materials
from .scene_read import Reading, current_name, named_now
from .scene_show import MARK, hide
from .scene_write import fill_mesh, link_beside

PREVIEW_NAME = "Sketchbridge Preview"


def show(context: bpy.types.Context, reading: Reading, update: protocol.MeshUpdate) -> None:
    """Put the growing surface into the scene, in place of the hidden originals."""
    obj = bpy.data.objects.get(PREVIEW_NAME)
    if obj is None or f"{MARK}_preview" not in obj:
        obj = _new_preview(context, reading)
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


def remove() -> None:
    """Take the preview out of the file and show the originals that it replaced again, selected as they were."""
    for obj in [obj for obj in bpy.data.objects if f"{MARK}_preview" in obj]:
        replaced = _replaced_by(obj)
        mesh, materials = obj.data, [slot.material for slot in obj.material_slots]
        bpy.data.objects.remove(obj)
        bpy.data.meshes.remove(mesh)
        for material in materials:
            if material is not None and material.users == 0:
                bpy.data.materials.remove(material)
        hide(replaced, hidden=False)
        for name in replaced:
            if name in bpy.context.view_layer.objects:
                bpy.context.view_layer.objects[name].select_set(True)  # hiding took that away


def _new_preview(context: bpy.types.Context, reading: Reading) -> bpy.types.Object:
    remove()
    reading = named_now(reading)
    obj = bpy.data.objects.new(PREVIEW_NAME, bpy.data.meshes.new(PREVIEW_NAME))
    layer = context.view_layer.objects
    replaced = [name for name in reading.names if name in layer and not layer[name].hide_get()]
    uids = [layer[name].session_uid for name in replaced]
    obj[f"{MARK}_preview"] = json.dumps({"process": os.getpid(), "names": replaced, "uids": uids})
    obj.hide_select = True
    material = scene_materials.node_material(PREVIEW_NAME)
    nodes, links = material.node_tree.nodes, material.node_tree.links
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "Colour"
    links.new(colour.outputs["Color"], scene_materials.principled(material).inputs["Base Color"])
    obj.data.materials.append(material)
    link_beside(context, obj, bpy.data.objects.get(reading.active))
    hide(replaced, hidden=True)
    return obj


def _replaced_by(preview: bpy.types.Object) -> list[str]:
    """The names by now of what the preview stands for; session ids mean nothing in another process than the one that gave them."""
    mark = json.loads(preview[f"{MARK}_preview"])
    if mark["process"] != os.getpid():
        return mark["names"]
    return [current_name(name, uid) for name, uid in zip(mark["names"], mark["uids"], strict=True)]


def _set_colours(mesh: bpy.types.Mesh, colours: np.ndarray) -> None:
    attribute = mesh.color_attributes.get("Colour")
    if attribute is None:
        attribute = mesh.color_attributes.new("Colour", "FLOAT_COLOR", "POINT")
    light = np.ones((len(colours), 4), np.float32)
    light[:, :3] = geometry.srgb_to_linear(colours)
    attribute.data.foreach_set("color", light.ravel())
