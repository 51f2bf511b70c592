"""What a job would take for the artist's colours, told before it starts; no mesh is evaluated and no picture read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from . import scene_strokes
from .job_fields import COLOURS_OF_ATTRIBUTES, COLOURS_OF_MATERIALS, COLOURS_OF_NONE
from .scene_shaders import Points, base_colour

NAMED = 4
"""Objects that are named; of more only how many."""
LEFT_TO_THE_PROMPT = "All colours are left to the prompt."


def told(objects: Sequence[bpy.types.Object], keep: str) -> str:
    """A sentence: whose colours are kept for which of the objects, and which have none; empty without objects."""
    if keep == COLOURS_OF_NONE or not objects:
        return LEFT_TO_THE_PROMPT if objects else ""
    found: dict[str, list[str]] = {}
    for obj in objects:
        found.setdefault(" and ".join(dict.fromkeys(_sources(obj, keep))), []).append(obj.name)
    unknown = found.pop("", [])
    parts = [f"{_names(names)}: from {source}" for source, names in found.items()]
    if not parts:
        return f"No colour was chosen: {_names(unknown)} starts in grey." if unknown else ""
    return f"Colours kept: {'; '.join(parts)}." + (f" {_names(unknown)}: none, starts in grey." if unknown else "")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _sources(obj: bpy.types.Object, keep: str) -> Iterator[str]:
    """Where the colours of one object come from, by material slot."""
    if obj.type in scene_strokes.GREASE_PENCIL:
        yield "its strokes"
        return
    mesh = obj.data if isinstance(obj.data, bpy.types.Mesh) else None
    for material in [slot.material for slot in obj.material_slots] or [None]:
        if material is not None and keep != COLOURS_OF_ATTRIBUTES:
            if _has_picture(material.node_tree):
                yield "textures"
                continue
            if mesh is None or not len(mesh.loops):
                chosen = material.node_tree is not None or np.ptp(material.diffuse_color[:3]) > 1e-3
            else:
                chosen = base_colour(material, Points(mesh, np.zeros((1, 1), np.int64), np.ones((1, 1)))) is not None
            if chosen:
                yield "materials"
                continue
        if keep != COLOURS_OF_MATERIALS and mesh is not None and _is_painted(mesh):
            yield "colour attributes"


def _has_picture(tree: bpy.types.NodeTree | None, depth: int = 8) -> bool:
    """Whether an image's colour goes anywhere in a tree."""
    if tree is None or depth == 0:
        return False
    for node in tree.nodes:
        if node.type == "TEX_IMAGE" and node.image is not None and node.outputs["Color"].is_linked:
            return True
        if node.type == "GROUP" and _has_picture(node.node_tree, depth - 1):
            return True
    return False


def _is_painted(mesh: bpy.types.Mesh) -> bool:
    """Whether the active colour attribute is anything but white all over, as a new one is."""
    attribute = mesh.color_attributes.active_color
    if attribute is None or not len(attribute.data):
        return False
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    return bool(values.reshape(-1, 4)[:, :3].min() <= 1 - 1e-3)
