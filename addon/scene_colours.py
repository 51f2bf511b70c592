"""The colours of what is read: colour attributes, else what the materials show. sRGB-encoded 0..1, one a vertex.

Blender's `.color` of an attribute, of a socket and of a material is linear light, also where it is stored as encoded bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from . import geometry

_SHADERS = {"BSDF_PRINCIPLED": "Base Color", "BSDF_DIFFUSE": "Color", "EMISSION": "Color"}
"""Shader nodes that tell an albedo, best first, and the socket that holds it."""
MAX_IMAGE_PIXELS = 8192 * 8192
UNKNOWN = np.full(3, np.nan)
"""The colour of what nobody coloured: the engine neither shows nor holds it."""
_DEFAULT_GREY = 0.8
"""Linear albedo that Blender gives every new material."""


def vertex_colours(
    mesh: bpy.types.Mesh, materials: Sequence[bpy.types.Material | None], faces: np.ndarray, polygons: np.ndarray, uvs: np.ndarray | None
) -> np.ndarray | None:
    """float32 [V, 3] of an evaluated mesh, a row of NaN where nobody chose a colour; None where nobody chose any.

    faces [F, 3] and the polygon [F] and uvs [F, 3, 2] of each triangle.
    """
    attribute = mesh.color_attributes.active_color
    if attribute is not None and len(attribute.data):
        return _attribute_colours(mesh, attribute)
    if not any(materials):
        return None
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    slot_of_face = np.minimum(slots[polygons], len(materials) - 1)
    corners = np.empty((len(faces), 3, 3), np.float32)
    for index in np.unique(slot_of_face):
        chosen = slot_of_face == index
        corners[chosen] = _material_corners(mesh, materials[index], faces[chosen], None if uvs is None else uvs[chosen])
    colours = geometry.linear_to_srgb(geometry.corners_to_vertices(corners.reshape(-1, 3), faces.ravel(), len(mesh.vertices)))
    return None if np.isnan(colours[faces]).all() else colours


def stroke_colour(evaluated: bpy.types.Object, slot: int) -> np.ndarray:
    """Linear colour [3] of a Grease Pencil object's material."""
    materials = [entry.material for entry in evaluated.material_slots]
    material = materials[min(slot, len(materials) - 1)] if materials else None
    style = None if material is None else material.grease_pencil
    if style is None:
        return np.full(3, 0.0)
    return np.array((style.fill_color if style.show_fill and not style.show_stroke else style.color)[:3])


def tinted(base: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """Grease Pencil's vertex colours [N, 4], whose alpha is their strength, over the material's; sRGB-encoded [N, 3]."""
    return geometry.linear_to_srgb(base * (1 - tint[:, 3:]) + tint[:, :3] * tint[:, 3:])


def _attribute_colours(mesh: bpy.types.Mesh, attribute: bpy.types.Attribute) -> np.ndarray:
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    light = values.reshape(-1, 4)[:, :3]
    if attribute.domain == "CORNER":
        vertex_of_corner = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", vertex_of_corner)
        light = geometry.corners_to_vertices(light, vertex_of_corner, len(mesh.vertices))
    return geometry.linear_to_srgb(light)


def _material_corners(mesh: bpy.types.Mesh, material: bpy.types.Material | None, faces: np.ndarray, uvs: np.ndarray | None) -> np.ndarray:
    """Linear albedo at the corners of triangles with one material: [3] or [F, 3, 3]; `UNKNOWN` where nobody can tell or chose it."""
    if material is None:
        return UNKNOWN
    socket = _albedo_socket(material)
    if socket is None:
        return _chosen(material.diffuse_color)
    source = _source(socket)
    if source is not None and source.type == "TEX_IMAGE" and source.image is not None and uvs is not None:
        sampled = _sample(source.image, uvs)
        if sampled is not None:
            return sampled
    if source is not None and source.type in ("VERTEX_COLOR", "ATTRIBUTE"):
        attribute = mesh.color_attributes.get(getattr(source, "layer_name", "") or getattr(source, "attribute_name", ""))
        if attribute is not None:
            return geometry.srgb_to_linear(_attribute_colours(mesh, attribute))[faces]
    if source is not None and source.type == "RGB":
        return np.array(source.outputs[0].default_value[:3])
    return _chosen(socket.default_value) if source is None else UNKNOWN


def _chosen(colour: Sequence[float]) -> np.ndarray:
    """Somebody's linear colour; `UNKNOWN` for the one that Blender gives by itself."""
    value = np.array(colour[:3])
    return UNKNOWN if np.allclose(value, _DEFAULT_GREY, atol=1e-3) else value


def _source(socket: bpy.types.NodeSocket) -> bpy.types.Node | None:
    """The node that a socket gets its value from, past reroutes; None where nothing is plugged in."""
    seen = 0
    while socket.is_linked and seen < 100:  # a loop of reroutes is a mistake that Blender allows
        node = socket.links[0].from_node
        if node.type != "REROUTE":
            return node
        socket, seen = node.inputs[0], seen + 1
    return None


def _albedo_socket(material: bpy.types.Material) -> bpy.types.NodeSocket | None:
    if material.node_tree is None or not (bpy.app.version >= (5, 0) or material.use_nodes):
        return None
    for kind, name in _SHADERS.items():
        for node in material.node_tree.nodes:
            if node.type == kind:
                return node.inputs[name]
    return None


def _sample(image: bpy.types.Image, uvs: np.ndarray) -> np.ndarray | None:
    """Linear colours of the nearest texels at uvs [..., 2], repeated beyond 0..1; None where the image has no pixels."""
    width, height = image.size
    if not 0 < width * height <= MAX_IMAGE_PIXELS or image.channels < 3:
        return None
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    if len(pixels) == 0:
        return None
    pixels = pixels.reshape(height, width, image.channels)
    column = np.floor(uvs[..., 0] % 1.0 * width).astype(int).clip(0, width - 1)
    row = np.floor(uvs[..., 1] % 1.0 * height).astype(int).clip(0, height - 1)
    texels = pixels[row, column, :3]
    encoded = not image.is_float and image.colorspace_settings.name == "sRGB"
    return geometry.srgb_to_linear(texels) if encoded else texels
