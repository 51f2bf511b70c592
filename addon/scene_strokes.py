"""Drawn strokes -> tubes: hair curves, Grease Pencil of 4.2 and of 4.3 on, loose edges. The twin of scene_colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import bpy
import numpy as np

from . import geometry, scene_colours
from .geometry import Part

GREASE_PENCIL = ("GREASEPENCIL", "GPENCIL")
LEGACY_PIXEL_RADIUS = 0.0005
"""Blender units that one pixel of a legacy Grease Pencil stroke's width is worth, as a radius; Blender's own conversion."""
LINE_SHARE = 0.01
"""Radius, as a share of the object's diagonal, of lines that have no thickness of their own."""


@dataclass(frozen=True, eq=False)
class _Stroke:
    """points [N, 3] and radii [N] in the object's space; colours [N, 3] sRGB-encoded, or None."""

    points: np.ndarray
    radii: np.ndarray
    cyclic: bool = False
    colours: np.ndarray | None = None


def tubes(strokes: Sequence[_Stroke]) -> Part | None:
    """One part of a tube round each stroke, in the object's space; None where there is no stroke."""
    parts = []
    for stroke in strokes:
        if len(stroke.points):
            vertices, faces, owner = geometry.tube(stroke.points, stroke.radii, stroke.cyclic)
            parts.append(Part(vertices, faces, None if stroke.colours is None else stroke.colours[owner]))
    return geometry.join(parts) if parts else None


def edge_strokes(mesh: bpy.types.Mesh, vertices: np.ndarray) -> list[_Stroke]:
    """The polylines of a mesh's edges; vertices [V, 3] are its own."""
    edges = np.empty(len(mesh.edges) * 2, np.int32)
    mesh.edges.foreach_get("vertices", edges)
    radius = LINE_SHARE * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    found = geometry.chains(edges.reshape(-1, 2), len(vertices))
    return [_Stroke(vertices[path], np.full(len(path), radius), closed) for path, closed in found]


def hair_strokes(evaluated: bpy.types.Object) -> list[_Stroke]:
    """The curves of a hair curves object."""
    curves = evaluated.data
    points = _attribute(curves, "position", "vector", 3)
    if points is None:
        return []
    radii = _attribute(curves, "radius", "value", 1)
    radius = LINE_SHARE * float(np.linalg.norm(np.ptp(points, axis=0)))
    widths = np.full(len(points), radius) if radii is None or not radii.any() else radii[:, 0]
    offsets = np.empty(len(curves.curve_offset_data), np.int32)
    curves.curve_offset_data.foreach_get("value", offsets)
    cyclic = _attribute(curves, "cyclic", "value", 1)
    spans = pairwise(offsets)
    return [_Stroke(points[a:b], widths[a:b], bool(cyclic is not None and cyclic[index, 0])) for index, (a, b) in enumerate(spans)]


def drawn_strokes(obj: bpy.types.Object, evaluated: bpy.types.Object) -> list[_Stroke]:
    """What a Grease Pencil object shows in the current frame."""
    if obj.type == "GPENCIL":
        return [stroke for layer in evaluated.data.layers if not layer.hide for stroke in _legacy_strokes(layer, evaluated)]
    # The geometry set, which owns what its modifiers made, must live as long as that is read.
    modified = evaluated.evaluated_geometry() if hasattr(evaluated, "evaluated_geometry") else None
    data = (modified and modified.grease_pencil) or evaluated.data
    return [stroke for layer in data.layers if not layer.hide for stroke in _layer_strokes(layer, evaluated)]


def _layer_strokes(layer: bpy.types.GreasePencilLayer, evaluated: bpy.types.Object) -> list[_Stroke]:
    frame = layer.current_frame()
    if frame is None:
        return []
    drawing = frame.drawing
    points = _attribute(drawing, "position", "vector", 3)
    if points is None:
        return []
    points = geometry.transform(np.array(layer.matrix_local), points)
    radii = _attribute(drawing, "radius", "value", 1)
    widths = np.full(len(points), 0.01) if radii is None else radii[:, 0]
    offsets = np.array([offset.value for offset in drawing.curve_offsets], dtype=np.int64)
    cyclic, material = _attribute(drawing, "cyclic", "value", 1), _attribute(drawing, "material_index", "value", 1)
    tint = _attribute(drawing, "vertex_color", "color", 4)
    strokes = []
    for index, (a, b) in enumerate(pairwise(offsets)):
        base = scene_colours.stroke_colour(evaluated, 0 if material is None else int(material[index, 0]))
        colours = scene_colours.tinted(base, np.zeros((b - a, 4)) if tint is None else tint[a:b])
        strokes.append(_Stroke(points[a:b], widths[a:b], bool(cyclic is not None and cyclic[index, 0]), colours))
    return strokes


def _legacy_strokes(layer: bpy.types.GPencilLayer, evaluated: bpy.types.Object) -> list[_Stroke]:
    """Of Blender 4.2, whose drawings are made of stroke.points."""
    if layer.active_frame is None:
        return []
    strokes, pixel = [], LEGACY_PIXEL_RADIUS * evaluated.data.pixel_factor
    for stroke in layer.active_frame.strokes:
        count = len(stroke.points)
        points, pressure, tint = np.empty(count * 3, np.float32), np.empty(count, np.float32), np.empty(count * 4, np.float32)
        stroke.points.foreach_get("co", points)
        stroke.points.foreach_get("pressure", pressure)
        stroke.points.foreach_get("vertex_color", tint)
        placed = geometry.transform(np.array(layer.matrix_layer), points.reshape(-1, 3))
        colours = scene_colours.tinted(scene_colours.stroke_colour(evaluated, stroke.material_index), tint.reshape(-1, 4))
        radii = pixel * max(stroke.line_width + layer.line_change, 1) * pressure
        strokes.append(_Stroke(placed, radii, stroke.use_cyclic, colours))
    return strokes


def _attribute(owner: object, name: str, field: str, width: int) -> np.ndarray | None:
    """A named attribute [N, width] in float64, None where it is missing."""
    attribute = owner.attributes.get(name)  # type: ignore[attr-defined]
    if attribute is None or not len(attribute.data):
        return None
    kind = {"INT": np.int32, "BOOLEAN": bool}.get(attribute.data_type, np.float32)
    values = np.empty(len(attribute.data) * width, kind)
    attribute.data.foreach_get(field, values)
    return values.reshape(-1, width).astype(np.float64)
