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


def new_material(name: str, maps: Mapping[str, np.ndarray], layer: str, attempt: Attempt) -> bpy.types.Material:
    """Principled BSDF with the maps as images packed in the file, looked up by the UV layer of that name."""
    material = attempt.add(node_material(name))
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = principled(material)
    shader.inputs["Roughness"].default_value = 0.7
    coordinates = nodes.new("ShaderNodeUVMap")
    coordinates.uv_map, coordinates.location = layer, (-700, 0)
    if "albedo" in maps:  # what the solid view shows
        mean = geometry.srgb_to_linear(maps["albedo"].reshape(-1, maps["albedo"].shape[-1])[:, :3] / 255).mean(axis=0)
        material.diffuse_color = (*mean.tolist(), 1.0)
    sockets = {"albedo": "Base Color", "roughness": "Roughness", "metallic": "Metallic", "normal": "Normal"}
    for row, (kind, pixels) in enumerate((kind, maps[kind]) for kind in sockets if kind in maps):
        texture = nodes.new("ShaderNodeTexImage")
        texture.image = _image(f"{name} {kind}", pixels, COLOUR_SPACES[kind], attempt)
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


def _image(name: str, pixels: np.ndarray, colour_space: str, attempt: Attempt) -> bpy.types.Image:
    """uint8 [H, W, 1|3|4], row 0 at the top -> an 8-bit image packed in the file."""
    height, width, channels = pixels.shape
    image = attempt.add(bpy.data.images.new(name, width, height, alpha=channels == 4))
    image.colorspace_settings.name = colour_space
    values = np.ones((height, width, 4), np.float32)
    values[..., :3] = pixels[::-1, :, : max(channels, 1) if channels < 3 else 3] / np.float32(255)
    if channels == 4:
        values[..., 3] = pixels[::-1, :, 3] / np.float32(255)
    image.pixels.foreach_set(values.ravel())
    image.update()
    image.pack()
    return image


def replace_materials(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    """The one material on every face of a mesh object."""
    for slot in obj.material_slots:
        slot.link = "DATA"
    obj.data.materials.clear()
    obj.data.materials.append(material)
    obj.data.polygons.foreach_set("material_index", np.zeros(len(obj.data.polygons), np.int32))
    obj.data.update()
