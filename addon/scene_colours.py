"""The colours of what is read, where the artist chose them: what the materials show, else colour attributes. sRGB-encoded 0..1.

Blender's `.color` of an attribute, of a socket and of a material is linear light, also where it is stored as encoded bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from . import geometry
from .geometry import Paint
from .job_fields import COLOURS_OF_ALL, COLOURS_OF_ATTRIBUTES, COLOURS_OF_MATERIALS, COLOURS_OF_NONE
from .scene_shaders import Points, base_colour
from .surface_samples import sample_surface

PAINT_POINTS = 40_000
"""Points of one object at which its textures are looked at."""
SAME_SHADE = 2 / 255
SEEN = 0.5
"""Alpha from which a point of a texture counts as painted."""


def colours_of(
    mesh: bpy.types.Mesh, materials: Sequence[bpy.types.Material | None], vertices: np.ndarray, faces: np.ndarray, loops: np.ndarray,
    polygons: np.ndarray, keep: str = COLOURS_OF_ALL,
) -> tuple[np.ndarray | None, Paint | None]:  # fmt: skip
    """What the artist chose of an evaluated mesh: (colours float32 [V, 3] of its vertices, what lies between them or None).

    vertices [V, 3]; faces [F, 3], the loops [F, 3] and the polygon [F] of each triangle. Rows are NaN where nobody chose a colour, None
    where nobody chose any. A material's colour counts before an attribute that the material does not use; keep: whose colours count at
    all, of KEEP_COLOURS.
    """
    if keep == COLOURS_OF_NONE:
        return None, None
    slots, corners = np.empty(len(mesh.polygons), np.int32), np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    mesh.polygons.foreach_get("loop_total", corners)
    slots = np.minimum(slots, max(len(materials) - 1, 0))
    vertex_of_loop = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertex_of_loop)
    at_loops = Points(mesh, np.arange(len(mesh.loops))[:, None], np.ones((len(mesh.loops), 1)))
    light = _evaluated(at_loops, np.repeat(slots, corners), materials, keep)
    known = np.isfinite(light).all(axis=1)
    if not known.any() and not at_loops.pixels:
        return None, None
    colours = _mean(light[known], vertex_of_loop[known], len(mesh.vertices))
    apart = np.abs(geometry.linear_to_srgb(light[known]) - colours[vertex_of_loop[known]]).max(initial=0)
    if apart < SAME_SHADE and not at_loops.pixels:
        return colours, None
    face, weights = sample_surface(vertices[faces], PAINT_POINTS)
    light = _evaluated(Points(mesh, loops[face], weights, at_loops.pixels), slots[polygons[face]], materials, keep, seen_only=True)
    seen = ~np.isinf(light[:, 0])
    points = np.einsum("nk,nkd->nd", weights, vertices[faces[face]])
    if not np.isfinite(light[seen]).any():
        return None, None
    return colours if known.any() else None, Paint(points[seen], geometry.linear_to_srgb(light[seen]))


def _evaluated(
    points: Points, slots: np.ndarray, materials: Sequence[bpy.types.Material | None], keep: str, seen_only: bool = False
) -> np.ndarray:
    """Linear colour [N, 3] at points, each with the material of its slot; NaN where nobody chose one, with `seen_only` infinite where the
    surface is transparent."""
    light = np.full((len(points), 3), np.nan)
    for slot in np.unique(slots):
        here = slots == slot
        chosen = points.chosen(here)
        material = materials[slot] if slot < len(materials) else None
        rgba = None if material is None or keep == COLOURS_OF_ATTRIBUTES else base_colour(material, chosen)
        if rgba is None and keep != COLOURS_OF_MATERIALS:
            rgba = _painted_attribute(chosen)
        if rgba is not None:
            light[here] = np.where(rgba[:, 3:] < SEEN, np.inf if seen_only else np.nan, rgba[:, :3])
    return light


def _painted_attribute(points: Points) -> np.ndarray | None:
    """The active colour attribute at points; None without one, and where it is white all over, as a new one is."""
    rgba = points.attribute("")
    if rgba is None or (len(rgba) and rgba[:, :3].min() > 1 - 1e-3):
        return None
    return np.concatenate([rgba[:, :3], np.ones((len(rgba), 1))], axis=1)


def _mean(light: np.ndarray, vertex_of_loop: np.ndarray, count: int) -> np.ndarray:
    """sRGB-encoded float32 [count, 3]: the mean of the known loops' colours [L, 3] at each vertex, NaN where there is none."""
    mean = geometry.corners_to_vertices(light, vertex_of_loop, count)
    mean[np.bincount(vertex_of_loop, minlength=count) == 0] = np.nan
    return geometry.linear_to_srgb(mean)


def stroke_colour(evaluated: bpy.types.Object, slot: int) -> np.ndarray:
    """Linear colour [3] of a Grease Pencil object's material."""
    materials = [entry.material for entry in evaluated.material_slots]
    material = materials[min(slot, len(materials) - 1)] if materials else None
    style = None if material is None else material.grease_pencil
    if style is None:
        return np.full(3, 0.0)  # Blender draws such strokes black
    return np.array((style.fill_color if style.show_fill and not style.show_stroke else style.color)[:3])


def tinted(base: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """Grease Pencil's vertex colours [N, 4], whose alpha is their strength, over the material's; sRGB-encoded [N, 3]."""
    return geometry.linear_to_srgb(base * (1 - tint[:, 3:]) + tint[:, :3] * tint[:, 3:])
