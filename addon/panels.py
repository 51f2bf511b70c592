"""The sidebar's tab in the 3D view."""

from __future__ import annotations

import textwrap
from typing import Any, ClassVar

import bpy
import bpy.utils.previews
import numpy as np

from . import jobs
from .protocol import stage_label
from .session import Phase, Session

_CHARACTER_PIXELS = 7.0  # of the interface's font at scale 1, on average
_MARGIN_PIXELS = 70  # borders and the icon
_previews: dict[str, Any] = {}


class SKETCHBRIDGE_PT_main(bpy.types.Panel):
    """Prompt, buttons, progress, result."""

    bl_idname = "SKETCHBRIDGE_PT_main"
    bl_label = "Sketchbridge"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"

    def draw(self, context: bpy.types.Context) -> None:
        settings, layout = context.scene.sketchbridge, self.layout
        job = jobs.running
        inputs = layout.column()
        inputs.enabled = job is None
        inputs.use_property_split, inputs.use_property_decorate = True, False
        for name in ("prompt", "preset", "seed", "adherence", "model"):
            inputs.prop(settings, name)
        if job is None:
            buttons = layout.column(align=True)
            buttons.scale_y = 1.3
            buttons.operator("sketchbridge.refine", icon="SHADERFX")
            buttons.operator("sketchbridge.texture", icon="TEXTURE")
            draw_outcome(layout, jobs.last, columns(context))
        else:
            draw_progress(layout, job.session, columns(context))
        result = jobs.find_result(context)
        if result is not None and job is None:
            draw_result(layout, result)


class SKETCHBRIDGE_PT_advanced(bpy.types.Panel):
    """What is rarely changed."""

    bl_idname = "SKETCHBRIDGE_PT_advanced"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    bl_label = "Advanced"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        settings, layout = context.scene.sketchbridge, self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.enabled = jobs.running is None
        layout.prop(settings, "source")
        for name in ("closing", "thickness"):
            row = layout.row(align=True, heading=settings.bl_rna.properties[name].name)
            row.prop(settings, f"use_{name}", text="")
            value = row.row(align=True)
            value.enabled = getattr(settings, f"use_{name}")
            value.prop(settings, name, text="")
        for name in ("faces", "texture_size", "device"):
            layout.prop(settings, name)
        layout.operator("sketchbridge.test_connection", icon="LINKED")
        layout.operator("sketchbridge.doctor", icon="CHECKMARK")


def draw_progress(layout: bpy.types.UILayout, session: Session, width: int) -> None:
    """Bar, time left, preview, Cancel; of a finished job, what it waits for."""
    box = layout.box()
    if session.phase is Phase.DONE:
        _paragraph(box, waiting_text(bpy.context), "INFO", width)
        box.operator("sketchbridge.cancel", icon="X")
        return
    box.label(text=stage_label(session.stage) + step_text(session))
    left = time_text(session.seconds_left)
    box.progress(factor=session.fraction, type="BAR", text=f"{session.fraction:.0%}" + (f", {left} left" if left else ""))
    if session.quiet:
        box.label(text="The engine does not answer", icon="ERROR")
    icon = _preview_icon(session.preview)
    if icon:
        box.template_icon(icon_value=icon, scale=8.0)
    for note in session.notes[-2:]:
        _paragraph(box, note, "INFO", width)
    row = box.row()
    row.enabled = session.phase is not Phase.CANCELLING
    row.operator("sketchbridge.cancel", icon="X")


def draw_outcome(layout: bpy.types.UILayout, outcome: jobs.Outcome | None, width: int) -> None:
    """How the last job ended, with the fix where it failed."""
    if outcome is None:
        return
    box = layout.box()
    icon = {Phase.DONE: "CHECKMARK", Phase.CANCELLED: "CANCEL"}.get(outcome.phase, "ERROR")
    _paragraph(box, outcome.text, icon, width)
    if outcome.fix:
        _paragraph(box, outcome.fix, "TOOL_SETTINGS", width)
    for note in outcome.notes[-3:]:
        _paragraph(box, note, "INFO", width)


def draw_result(layout: bpy.types.UILayout, result: bpy.types.Object) -> None:
    """Before / after, and what is stored on the result."""
    layout.operator("sketchbridge.toggle", icon="ARROW_LEFTRIGHT")
    column = layout.column(align=True)
    column.scale_y = 0.8
    column.label(text=result.name, icon="OBJECT_DATA")
    column.label(text=f"'{result.get('sketchbridge_prompt', '')}', seed {result.get('sketchbridge_seed', 0)}", icon="BLANK1")
    mean, p95 = (result.get(f"sketchbridge_deviation_{name}_percent") for name in ("mean", "p95"))
    if isinstance(mean, float) and isinstance(p95, float) and result.get("sketchbridge_mode") == "refine":
        column.label(text=f"Deviation {mean:.2f} %, 95 % in {p95:.2f} %", icon="BLANK1")


def columns(context: bpy.types.Context) -> int:
    """How many characters fit into a line of the panel."""
    scale = context.preferences.system.ui_scale
    width = context.region.width / scale if context.region is not None else 250
    return max(16, int((width - _MARGIN_PIXELS) / _CHARACTER_PIXELS))


def waiting_text(context: bpy.types.Context) -> str:
    """What a finished job asks of a user who is in Edit Mode, Sculpt Mode, ..."""
    active = context.view_layer.objects.active
    mode = active.bl_rna.properties["mode"].enum_items[active.mode].name if active is not None else "this mode"
    return f"Finished: leave {mode} to receive the result"


def step_text(session: Session) -> str:
    """' 12 / 240', empty where the stage has a single step."""
    progress = session.progress
    return f"  {progress.step} / {progress.total}" if progress is not None and progress.total > 1 and session.phase is Phase.RUNNING else ""


def time_text(seconds: float | None) -> str:
    """'45 s', '3 min 20 s', '2 h 05 min'; empty while unknown."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def squared(image: np.ndarray) -> np.ndarray:
    """A strip of square pictures side by side, [H, k H, 3], laid out in rows as near to a square as they fill."""
    height, width, _ = image.shape
    count = width // height if height else 0
    across = max((n for n in range(1, count + 1) if count % n == 0 and n * n <= count), default=1)
    if count < 2 or width % height or across == 1:
        return image
    return np.concatenate(np.split(image, across, axis=1), axis=0)


def free_preview() -> None:
    """Give the preview's icon back."""
    collection = _previews.pop("collection", None)
    _previews.clear()
    if collection is not None:
        bpy.utils.previews.remove(collection)


def _preview_icon(image: np.ndarray | None) -> int:
    """Icon id of the newest picture, 0 where there is none; an icon is no datablock and leaves the file alone."""
    if image is None:
        return 0
    if "collection" not in _previews:
        _previews["collection"] = bpy.utils.previews.new()
        _previews["icon"] = _previews["collection"].new("preview")
    icon = _previews["icon"]
    if _previews.get("image") is not image:
        _previews["image"] = image
        tiles = squared(image)
        height, width, _ = tiles.shape
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = tiles[::-1] / np.float32(255)
        icon.image_size = (width, height)
        icon.image_pixels_float.foreach_set(pixels.ravel())
    return icon.icon_id


def _paragraph(layout: bpy.types.UILayout, text: str, icon: str, width: int) -> None:
    column = layout.column(align=True)
    column.scale_y = 0.8
    for index, line in enumerate(textwrap.wrap(text, width, break_long_words=True)):
        column.label(text=line, icon=icon if index == 0 else "BLANK1")


CLASSES = (SKETCHBRIDGE_PT_main, SKETCHBRIDGE_PT_advanced)
