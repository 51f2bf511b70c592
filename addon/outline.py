"""What a press of Refine or Texture would send, in words, told before the start. Cheap: it counts and looks, it reads nothing whole.

Called while the panel is drawn, so nothing of the scene is changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import bpy
import numpy as np

from . import colour_source, scene_objects, scene_read, scene_show, texture_sets
from .errors import SketchbridgeError
from .scene_strokes import GREASE_PENCIL

UV_FACES = 10_000
"""Meshes of more corners' triangles than this are looked at for overlapping UVs at the start only."""
TOLD_SECONDS = 1.0
_told: tuple[float, object, str] = (0.0, None, "")
_uvs: dict[str, object] = {"key": None, "lines": ()}


def colours_told(context: bpy.types.Context) -> str:
    """What a job on the selection would take for the artist's colours; looked at again when the selection or the switch changes, and
    every second."""
    global _told
    keep = context.scene.sketchbridge.keep_colours
    try:
        objects = scene_read.chosen_objects(context, "refine", False)
    except SketchbridgeError:
        return ""
    asked, now = (keep, [obj.session_uid for obj in objects]), time.monotonic()
    if _told[1] != asked or now - _told[0] > TOLD_SECONDS:
        _told = now, asked, colour_source.told(objects, keep)
    return _told[2]


def lines(context: bpy.types.Context) -> tuple[tuple[str, str], ...]:
    """(icon, text) of what the selection would send; empty where nothing can be sent."""
    layer = context.view_layer
    selected = [obj for obj in layer.objects if obj.select_get() and obj.visible_get()]
    results = [obj for obj in selected if scene_show.is_result(obj) and scene_show.sources_of(obj)]
    if results:
        sources = scene_show.originals_of(results[0], "refine")
        return (("FILE_REFRESH", f"Starts again from {_names(sources)}"),)
    readable = [obj for obj in selected if scene_objects.is_readable(obj)]
    if not readable:
        return ()
    told = [("OUTLINER_OB_MESH", f"{_names(readable)}: {_counts(context, readable)}")]
    left_out = [obj for obj in selected if obj not in readable]
    if left_out:
        told.append(("INFO", f"Left out: {_names(left_out)}"))
    told += [("UV", line) for line in _overlaps(readable)]
    return tuple(told)


def _names(objects: Sequence[bpy.types.Object]) -> str:
    shown = ", ".join(f"'{obj.name}'" for obj in objects[:3])
    return shown if len(objects) <= 3 else f"{shown} and {len(objects) - 3} more"


def _counts(context: bpy.types.Context, objects: Sequence[bpy.types.Object]) -> str:
    """'1,234 faces, 12 strokes' as they are evaluated."""
    depsgraph = context.evaluated_depsgraph_get()
    faces = strokes = 0
    others: list[str] = []
    for obj in objects:
        evaluated = obj.evaluated_get(depsgraph)
        if obj.type == "MESH":
            mesh = evaluated.data
            faces += max(len(mesh.loops) - 2 * len(mesh.polygons), 0)
            strokes += bool(len(mesh.edges) and not len(mesh.polygons))
        elif obj.type in ("CURVE", "SURFACE"):
            strokes += len(obj.data.splines)
        elif obj.type == "CURVES":
            strokes += len(obj.data.curves)
        elif obj.type in GREASE_PENCIL:
            strokes += _drawn(obj)
        else:
            others.append({"FONT": "text", "META": "metaballs"}.get(obj.type, "instances"))
    counted = [f"{number:,} {word}{'s' * (number != 1)}" for number, word in ((faces, "triangle"), (strokes, "stroke")) if number]
    return ", ".join([*counted, *dict.fromkeys(others)]) or "nothing to see"


def _drawn(obj: bpy.types.Object) -> int:
    """Strokes of a Grease Pencil object in the current frame."""
    count = 0
    for layer in obj.data.layers:
        frame = layer.active_frame if obj.type == "GPENCIL" else layer.current_frame()
        if frame is not None and not layer.hide:
            count += len(frame.strokes) if obj.type == "GPENCIL" else max(len(frame.drawing.curve_offsets) - 1, 0)
    return count


def _overlaps(objects: Sequence[bpy.types.Object]) -> tuple[str, ...]:
    """Of a single mesh with UVs, which is what Texture takes."""
    if len(objects) != 1 or objects[0].type != "MESH" or objects[0].mode != "OBJECT":
        return ()
    mesh = objects[0].data
    if mesh.uv_layers.active is None or not 0 < len(mesh.loops) < 3 * UV_FACES:
        return ()
    key = (mesh.session_uid, len(mesh.loops), mesh.uv_layers.active.name, _sample(mesh))
    if key != _uvs["key"]:
        _uvs.update(key=key, lines=_overlap_lines(mesh))
    return _uvs["lines"]  # type: ignore[return-value]


def _sample(mesh: bpy.types.Mesh) -> bytes:
    """A few UVs, by which a change of the layout is noticed."""
    uvs = mesh.uv_layers.active.uv
    return np.array([uvs[place].vector[:] for place in range(0, len(uvs), max(1, len(uvs) // 16))], np.float32).tobytes()


def _overlap_lines(mesh: bpy.types.Mesh) -> tuple[str, ...]:
    corners = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_start", corners)
    totals = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", totals)
    fans = [
        np.stack([corners[totals > k], corners[totals > k] + k - 1, corners[totals > k] + k], axis=1)
        for k in range(2, int(totals.max(initial=0)))
    ]
    if not fans:
        return ()
    share = texture_sets.shared_part(scene_objects.read_uvs(mesh)[np.concatenate(fans)])
    if share < texture_sets.SHARED_WORTH_SAYING:
        return ()
    return (f"Texture: {100 * share:.0f} % of the UV layout lies upon other faces",)
