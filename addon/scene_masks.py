"""What the artist wants painted, on any mesh of an object: selected faces, material slots, a vertex group, a colour attribute, an image.

Weights are 0..1 at the corners of faces; the same question is put to an evaluated mesh, for the engine, and to the object's own, for the
faces that get a new material.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from . import geometry
from .errors import InputError
from .texture_sets import Piece, matching

LARGEST_SIDE = 8192


@dataclass(frozen=True, eq=False)
class Painting:
    """kind, name  a job's `paint` and `paint_name`; pieces  those that are chosen by name; image  uint8 [H, W], row 0 at the top."""

    kind: str
    name: str
    pieces: frozenset[int] = frozenset()
    image: np.ndarray | None = None

    @classmethod
    def of(cls, kind: str, name: str, objects: Sequence[bpy.types.Object], pieces: Sequence[Piece]) -> Painting | None:
        """None where everything is painted. InputError for a name that there is not."""
        if kind == "all":
            return None
        if kind == "slots":
            chosen = frozenset(index for word in name.split(",") for index in matching(pieces, word))
            return cls(kind, name, chosen)
        if kind == "image":
            return cls(kind, name, image=_brightness(_image(name)))
        found = {
            "group": [group.name for obj in objects for group in obj.vertex_groups],
            "colour": [one.name for obj in objects if obj.type == "MESH" for one in obj.data.color_attributes],
        }.get(kind)
        if found is not None and (name not in found if name or kind == "group" else not found):
            what = "vertex group" if kind == "group" else "colour attribute"
            there = ", ".join(f"'{one}'" for one in dict.fromkeys(found)) or "none"
            raise InputError("no_mask", f"No object that is selected has a {what} '{name}'; there are: {there}.", "Choose one of those.")
        return cls(kind, name)

    def weights(self, mesh: bpy.types.Mesh, group: int, of_slot: Sequence[int]) -> np.ndarray:
        """float32 [corners] of a mesh: group is the vertex group's index on its object, -1 without it; of_slot the piece of each slot."""
        sizes = np.empty(len(mesh.polygons), np.int32)
        mesh.polygons.foreach_get("loop_total", sizes)
        if self.kind == "faces":
            chosen = np.empty(len(mesh.polygons), bool)
            mesh.polygons.foreach_get("select", chosen)
            return np.repeat(chosen.astype(np.float32), sizes)
        if self.kind == "slots":
            slots = np.empty(len(mesh.polygons), np.int32)
            mesh.polygons.foreach_get("material_index", slots)
            painted = np.array([piece in self.pieces for piece in of_slot], np.float32)
            return np.repeat(painted[np.clip(slots, 0, len(of_slot) - 1)], sizes)
        if self.kind == "image":
            return np.ones(len(mesh.loops), np.float32)
        corners = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", corners)
        if self.kind == "group":
            of_vertex = [next((entry.weight for entry in vertex.groups if entry.group == group), 0.0) for vertex in mesh.vertices]
            return np.array(of_vertex, np.float32)[corners]
        return _attribute(mesh, self.name, corners)


def group_index(obj: bpy.types.Object, painting: Painting) -> int:
    """The index of the painting's vertex group on an object, -1 where it has none."""
    group = obj.vertex_groups.get(painting.name) if painting.kind == "group" else None
    return -1 if group is None else group.index


def touched(obj: bpy.types.Object, painting: Painting | None, of_slot: Sequence[int]) -> np.ndarray:
    """bool [P]: the faces of the object's own mesh any corner of which is painted; all of what is no mesh."""
    if painting is None or obj.type != "MESH":
        return np.ones(len(obj.data.polygons) if obj.type == "MESH" else 1, bool)
    sizes = np.empty(len(obj.data.polygons), np.int32)
    obj.data.polygons.foreach_get("loop_total", sizes)
    painted = painting.weights(obj.data, group_index(obj, painting), of_slot) > 0
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes), painted, len(sizes)) > 0


def pictures(materials: Sequence[tuple[int, bpy.types.Material | None]], skip: Collection[int]) -> list[tuple[int, np.ndarray]]:
    """(piece, uint8 [H, W, 3], row 0 at the top) of each of (piece, material) whose base colour is a picture and nothing else."""
    found = []
    for piece, material in materials:
        image = None if piece in skip or material is None else _base_image(material)
        if image is not None:
            found.append((piece, np.rint(_pixels(image)[..., :3] * 255).astype(np.uint8)))
    return found


def _base_image(material: bpy.types.Material) -> bpy.types.Image | None:
    """The picture that is linked to a Principled BSDF's base colour, by the object's UVs as they are; None for anything else."""
    tree = material.node_tree
    shader = None if tree is None else next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    links = [] if shader is None else list(shader.inputs["Base Color"].links)
    node = links[0].from_node if links else None
    if node is None or node.type != "TEX_IMAGE" or links[0].from_socket.name != "Color" or node.projection != "FLAT":
        return None
    fed = [link.from_node.type for link in node.inputs["Vector"].links]
    image = node.image
    if image is None or fed not in ([], ["UVMAP"]) or image.source == "TILED" or image.is_float or not 0 < max(image.size) <= LARGEST_SIDE:
        return None
    return image if image.colorspace_settings.name == "sRGB" else None


def _image(name: str) -> bpy.types.Image:
    """An image of the file by its name, else a file's. InputError where there is neither."""
    image = bpy.data.images.get(name)
    path = bpy.path.abspath(name)
    if image is None and os.path.isfile(path):
        image = bpy.data.images.load(path, check_existing=True)
    if image is None or not 0 < max(image.size) <= LARGEST_SIDE:
        raise InputError(
            "no_mask", f"There is no image '{name}' with pixels to take a mask from.", "Give the name of an image in this file."
        )
    return image


def _pixels(image: bpy.types.Image) -> np.ndarray:
    """float32 [H, W, 4] as they are stored, row 0 at the top."""
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(height, width, image.channels)[::-1]
    if image.channels < 3:
        values = np.repeat(values[..., :1], 3, axis=-1)
    return values if values.shape[-1] == 4 else np.concatenate([values, np.ones((height, width, 1), np.float32)], axis=-1)


def _brightness(image: bpy.types.Image) -> np.ndarray:
    rgba = _pixels(image)
    return np.rint(255 * (rgba[..., :3].mean(axis=-1) * rgba[..., 3]).clip(0, 1)).astype(np.uint8)


def _attribute(mesh: bpy.types.Mesh, name: str, vertex_of_corner: np.ndarray) -> np.ndarray:
    """Brightness, sRGB-encoded, of a colour attribute at the corners; the active one where there is no name, 0 without it."""
    attribute = mesh.color_attributes.get(name) if name else mesh.color_attributes.active_color
    if attribute is None or not len(attribute.data):
        return np.zeros(len(vertex_of_corner), np.float32)
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    values = values.reshape(-1, 4)[:, :3]
    shade = geometry.linear_to_srgb(values).mean(axis=1)
    return shade[vertex_of_corner] if attribute.domain == "POINT" else shade
