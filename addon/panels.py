"""The sidebar's tab in the 3D view."""

from __future__ import annotations

from typing import Any, ClassVar

import bpy
import bpy.utils.previews
import numpy as np

from . import busy, jobs, known_words, properties, report, scene_show
from .fields import Field, Unit
from .job_fields import ADVANCED, MAIN, OUTPUT, PAINTING, STAGES
from .protocol import stage_label
from .report import columns, paragraph
from .session import Phase, Session
from .words import duration

_previews: dict[str, Any] = {}


class _Panel:
    """Where all of them are, and how each shows its section's settings."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    section: ClassVar[str]
    layout: bpy.types.UILayout

    def draw_settings(self, context: bpy.types.Context) -> None:
        """The section's settings; grey while a job runs."""
        column = self.layout.column()
        column.enabled = jobs.running is None
        column.use_property_split, column.use_property_decorate = True, False
        for field in properties.FIELDS.values():
            if field.spec.section == self.section:
                draw_setting(column, context.scene.sketchbridge, field)


class SKETCHBRIDGE_PT_main(_Panel, bpy.types.Panel):
    """Prompt, buttons, progress, result."""

    bl_idname = "SKETCHBRIDGE_PT_main"
    bl_label = "Sketchbridge"
    section = MAIN

    def draw(self, context: bpy.types.Context) -> None:
        self.draw_settings(context)
        layout, job = self.layout, jobs.running
        if job is None:
            settings = context.scene.sketchbridge
            unknown = known_words.warning(settings.prompt, settings.model)
            if unknown:
                paragraph(layout, unknown, "INFO", columns(context))
            colours = jobs.colours_told(context)
            if colours:
                paragraph(layout, colours, "COLOR", columns(context))
            buttons = layout.column(align=True)
            buttons.scale_y = 1.3
            buttons.operator("sketchbridge.refine", icon="SHADERFX")
            buttons.operator("sketchbridge.texture", icon="TEXTURE")
            active = context.view_layer.objects.active
            if active is not None and active.select_get() and scene_show.is_result(active):
                buttons.operator("sketchbridge.refine", text="Refine the Result Itself", icon="FORWARD").result_itself = True
            draw_outcome(layout, jobs.last, columns(context))
        else:
            draw_progress(layout, job.session, columns(context))
        result = jobs.find_result(context)
        if result is not None and job is None:
            draw_result(layout, result)


class _SubPanel(_Panel):
    """One section, closed at first."""

    bl_parent_id = "SKETCHBRIDGE_PT_main"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        self.draw_settings(context)


class SKETCHBRIDGE_PT_stages(_SubPanel, bpy.types.Panel):
    """The two stages and what the second starts from."""

    bl_idname = "SKETCHBRIDGE_PT_stages"
    bl_label = "Stages"
    section = STAGES


class SKETCHBRIDGE_PT_output(_SubPanel, bpy.types.Panel):
    """How large the result may be."""

    bl_idname = "SKETCHBRIDGE_PT_output"
    bl_label = "Output"
    section = OUTPUT


class SKETCHBRIDGE_PT_painting(_SubPanel, bpy.types.Panel):
    """What a texture paints, by which prompts, and what it starts from."""

    bl_idname = "SKETCHBRIDGE_PT_painting"
    bl_label = "Painting"
    section = PAINTING


class SKETCHBRIDGE_PT_advanced(_SubPanel, bpy.types.Panel):
    """What is rarely changed."""

    bl_idname = "SKETCHBRIDGE_PT_advanced"
    bl_label = "Advanced"
    section = ADVANCED

    def draw(self, context: bpy.types.Context) -> None:
        self.draw_settings(context)
        column = self.layout.column()
        column.enabled = jobs.running is None
        column.operator("sketchbridge.test_connection", icon="LINKED")
        column.operator("sketchbridge.doctor", icon="CHECKMARK")
        report.draw(self.layout, columns(context))


def draw_setting(layout: bpy.types.UILayout, settings: properties.SketchbridgeSettings, field: Field) -> None:
    """One setting; of a number that is left to the preset, the switch and the preset's."""
    if field.spec.offered or not properties.left_to_preset(field):
        layout.prop(settings, field.name)
        return
    row = layout.row(align=True, heading=field.spec.label)
    row.prop(settings, f"use_{field.name}", text="")
    if getattr(settings, f"use_{field.name}"):
        row.prop(settings, field.name, text="")
    else:
        row.label(text=preset_text(field, settings.preset))


def preset_text(field: Field, preset: str) -> str:
    """The preset's number as the panel shows it: '20,000', '1.88%', 'Calibrated'."""
    value = properties.preset_value(field, preset)
    if field.spec.choices:
        return next(choice.label for choice in field.spec.choices if choice.value == value)
    if field.spec.unit is Unit.LENGTH:
        return f"{value:.2f}%"
    return f"{value:,}" if field.kind is int else f"{value:g}"


def draw_progress(layout: bpy.types.UILayout, session: Session, width: int) -> None:
    """Bar, time left, preview, Cancel; of a finished job, what it waits for."""
    box = layout.box()
    if session.phase is Phase.DONE:
        paragraph(box, busy.waiting_text(bpy.context), "INFO", width)
        box.operator("sketchbridge.cancel", icon="X")
        return
    box.label(text=stage_label(session.stage) + step_text(session))
    left = duration(session.seconds_left)
    box.progress(factor=session.fraction, type="BAR", text=f"{session.fraction:.0%}" + (f", {left} left" if left else ""))
    if session.quiet:
        box.label(text="The engine does not answer", icon="ERROR")
    icon = _preview_icon(session.preview)
    if icon:
        box.template_icon(icon_value=icon, scale=8.0)
    for note in session.notes[-2:]:
        paragraph(box, note, "INFO", width)
    row = box.row()
    row.enabled = session.phase is not Phase.CANCELLING
    row.operator("sketchbridge.cancel", icon="X")


def draw_outcome(layout: bpy.types.UILayout, outcome: jobs.Outcome | None, width: int) -> None:
    """How the last job ended, with the fix where it failed."""
    if outcome is None:
        return
    box = layout.box()
    icon = {Phase.DONE: "CHECKMARK", Phase.CANCELLED: "CANCEL"}.get(outcome.phase, "ERROR")
    paragraph(box, outcome.text, icon, width)
    if outcome.fix:
        paragraph(box, outcome.fix, "TOOL_SETTINGS", width)
    for note in outcome.notes[-3:]:
        paragraph(box, note, "INFO", width)


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


def step_text(session: Session) -> str:
    """' 12 / 240', empty where the stage has a single step."""
    progress = session.progress
    return f"  {progress.step} / {progress.total}" if progress is not None and progress.total > 1 and session.phase is Phase.RUNNING else ""


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


CLASSES = (SKETCHBRIDGE_PT_main, SKETCHBRIDGE_PT_stages, SKETCHBRIDGE_PT_output, SKETCHBRIDGE_PT_painting, SKETCHBRIDGE_PT_advanced)
