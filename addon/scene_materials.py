"""Materials of results: Principled BSDF with the baked maps as packed images, and the roll-back of an attempt that fails."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import bpy
import numpy as np

from . import geometry

COLOUR_SPACES = {"albedo": "sRGB", "roughness": "Non-Color", "metallic": "Non-Color", "normal": "Non-Color"}


class Attempt:
    """New datablocks, all or none: leaving the context by an error removes them again, objects first."""

    _COLLECTIONS = (
        (bpy.types.Object, "objects"), (bpy.types.Mesh, "meshes"), (bpy.types.Material, "materials"), (bpy.types.Image, "images"),
    )  # fmt: skip

    def __init__(self) -> None:
        self._made: list[bpy.types.ID] = []

    def add(self, block: Any) -> Any:
        """Note that `block` is new, and return it."""
        self._made.append(block)
        return block

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            return
        for wanted, collection in self._COLLECTIONS:
            for block in [block for block in self._made if isinstance(block, wanted)]:
                getattr(bpy.data, collection).remove(block)


def new_material(name: str, maps: Mapping[str, bytes], mean_colour: np.ndarray | None, layer: str, attempt: Attempt) -> bpy.types.Material:
    """Principled BSDF with the maps, PNG files, as images packed in the file, looked up by the UV layer of that name.

    mean_colour [3], sRGB-encoded, is what a view without textures shows.
    """
    material = attempt.add(node_material(name))
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = principled(material)
    shader.inputs["Roughness"].default_value = 0.7
    coordinates = nodes.new("ShaderNodeUVMap")
    coordinates.uv_map, coordinates.location = layer, (-700, 0)
    if mean_colour is not None:  # what the solid view shows of a material
        material.diffuse_color = (*geometry.srgb_to_linear(mean_colour).tolist(), 1.0)
    sockets = {"albedo": "Base Color", "roughness": "Roughness", "metallic": "Metallic", "normal": "Normal"}
    for row, kind in enumerate(kind for kind in sockets if kind in maps):
        texture = nodes.new("ShaderNodeTexImage")
        texture.image = _image(f"{name} {kind}", maps[kind], COLOUR_SPACES[kind], attempt)
        if kind == "albedo":
            nodes.active = texture  # what the solid view shows as texture, and Texture Paint paints on
        texture.location = (-450, 300 - 300 * row)
        links.new(coordinates.outputs["UV"], texture.inputs["Vector"])
        output = texture.outputs["Color"]
        if kind == "normal":
            bend = nodes.new("ShaderNodeNormalMap")
            bend.uv_map, bend.location = layer, (-180, 300 - 300 * row)
            links.new(output, bend.inputs["Color"])
            output = bend.outputs["Normal"]
        links.new(output, shader.inputs[sockets[kind]])
    return material


def node_material(name: str) -> bpy.types.Material:
    """A new material whose surface is made of nodes."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    return material


def principled(material: bpy.types.Material) -> bpy.types.Node:
    """The shader of a new material, added where Blender gave none."""
    nodes = material.node_tree.nodes
    shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        shader, output = nodes.new("ShaderNodeBsdfPrincipled"), nodes.new("ShaderNodeOutputMaterial")
        output.location = (300, 0)
        material.node_tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return shader


def _image(name: str, file: bytes, colour_space: str, attempt: Attempt) -> bpy.types.Image:
    """A PNG file as an image packed in the file; Blender decodes it when it is first drawn."""
    image = attempt.add(bpy.data.images.new(name, 1, 1))
    image.pack(data=file, data_len=len(file))
    image.source = "FILE"
    image.colorspace_settings.name = colour_space
    return image


def replace_materials(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    """The one material on every face of a mesh object."""
    for slot in obj.material_slots:
        slot.link = "DATA"
    obj.data.materials.clear()
    obj.data.materials.append(material)
    obj.data.polygons.foreach_set("material_index", np.zeros(len(obj.data.polygons), np.int32))
    obj.data.update()
