"""The sidebar's tab in the 3D view."""

from __future__ import annotations

from typing import ClassVar

import bpy

from . import checks, jobs, known_words, lists, outline, panel_job, panel_variants, preferences, properties, remembered, report, scene_show
from .dream_fields import DREAMING
from .errors import InputError
from .fields import Field, Unit
from .job_fields import ADVANCED, DREAM, GUIDANCE, MAIN, OUTPUT, PAINTING, STAGES
from .report import columns, paragraph
from .words import duration

_MENUS = {"prompt": "SKETCHBRIDGE_MT_prompts", "model": "SKETCHBRIDGE_MT_models"}
"""Settings that have a list to choose from beside them."""


class _Panel:
    """Where all of them are, and how each shows its section's settings."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    section: ClassVar[str]
    layout: bpy.types.UILayout

    def draw_settings(self, context: bpy.types.Context) -> None:
        """The section's settings; they are those of the next job, also while one runs."""
        column = self.layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        for field in properties.FIELDS.values():
            if field.spec.section == self.section:
                draw_setting(column, context.scene.sketchbridge, field)


class SKETCHBRIDGE_PT_main(_Panel, bpy.types.Panel):
    """Prompt, buttons, progress, what the last job made."""

    bl_idname = "SKETCHBRIDGE_PT_main"
    bl_label = "Sketchbridge"
    section = MAIN

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        lists.SKETCHBRIDGE_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        layout, width = self.layout, columns(context)
        if not preferences.has_engine(context):
            draw_set_up(layout, width)
        self.draw_settings(context)
        draw_before(layout, context, width)
        draw_buttons(layout, context)
        if jobs.running is not None:
            panel_job.draw_progress(layout, jobs.running, width)
            panel_job.draw_line(layout)
        else:
            panel_job.draw_left(layout, width)
        panel_job.draw_outcome(layout, jobs.last, width)


def draw_set_up(layout: bpy.types.UILayout, width: int) -> None:
    """What a newcomer needs first."""
    box = layout.box()
    if checks.running is None:
        paragraph(box, "The engine, a program of its own that does the work, is not installed yet.", "INFO", width)
        if not bpy.app.online_access and not preferences.of(bpy.context).wheels:
            told = "Installing downloads packages, and Blender may not go online. Allow it, or name a folder of wheels in the preferences."
            paragraph(box, told, "INTERNET_OFFLINE", width)
            box.operator("extensions.userpref_allow_online", text="Allow Online Access", icon="INTERNET")
        column = box.column(align=True)
        column.scale_y = 1.3
        column.operator("sketchbridge.install_engine", icon="IMPORT")
        column.operator("sketchbridge.use_environment", icon="FILE_FOLDER")
        box.operator("sketchbridge.open_preferences", icon="PREFERENCES")
    report.draw(box, width)


def draw_before(layout: bpy.types.UILayout, context: bpy.types.Context, width: int) -> None:
    """What would be sent, words that the model does not know, and about how long it will take: a refine job, or a dream where nothing
    could be sent. While a job runs, which needs the room, only the first."""
    settings = context.scene.sketchbridge
    column = layout.column(align=True)
    lines = outline.lines(context)
    for icon, line in lines:
        paragraph(column, line, icon, width)
    colours = outline.colours_told(context)
    if colours:
        paragraph(column, colours, "COLOR", width)
    if jobs.running is not None:
        return
    unknown = known_words.warning(settings.prompt, settings.model)
    if unknown:
        paragraph(column, unknown, "INFO", width)
    seconds = estimated(settings, "refine" if lines else DREAM)
    if seconds is not None:
        each = f", {settings.variations} times" if settings.variations > 1 else ""
        paragraph(column, f"{'About' if lines else 'Text to 3D: about'} {duration(seconds)}{each}", "TIME", width)


def estimated(settings: properties.SketchbridgeSettings, mode: str) -> float | None:
    """Seconds that a job of these settings takes by what was measured; None where nothing was, or they cannot be used."""
    try:
        return remembered.data().estimate(properties.job_settings(settings, mode))
    except InputError:
        return None


def draw_buttons(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Refine, Texture and Text to 3D; while a job runs they put the next into the line."""
    settings = context.scene.sketchbridge
    row = layout.row(align=True)
    row.prop(settings, "variations")
    several = sum(obj.select_get() for obj in context.view_layer.objects) > 1
    if several:
        row.prop(settings, "each", toggle=True)
    buttons = layout.column(align=True)
    buttons.scale_y = 1.3
    runs = jobs.running is not None
    buttons.operator("sketchbridge.refine", text="Refine Next" if runs else "Refine", icon="ADD" if runs else "SHADERFX")
    beside = buttons.row(align=True)  # no third line: what a running job shows must stay in sight below
    beside.operator("sketchbridge.texture", icon="ADD" if runs else "TEXTURE")  # no room for "next" in most languages
    beside.operator("sketchbridge.dream", icon="ADD" if runs else "OUTLINER_OB_FONT")
    active = context.view_layer.objects.active
    if active is not None and active.select_get() and scene_show.is_result(active) and scene_show.sources_of(active):
        buttons.operator("sketchbridge.refine", text="Refine the Result Itself", icon="FORWARD").result_itself = True


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


class SKETCHBRIDGE_PT_guidance(_SubPanel, bpy.types.Panel):
    """How strongly the prompt is followed, and by which method."""

    bl_idname = "SKETCHBRIDGE_PT_guidance"
    bl_label = "Guidance"
    section = GUIDANCE


class SKETCHBRIDGE_PT_dream(_SubPanel, bpy.types.Panel):
    """How a model is made from words alone."""

    bl_idname = "SKETCHBRIDGE_PT_dream"
    bl_label = "Text to 3D"
    section = DREAMING


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
        column.operator("sketchbridge.test_connection", icon="LINKED")
        column.operator("sketchbridge.doctor", icon="CHECKMARK")
        report.draw(self.layout, columns(context))


def draw_setting(layout: bpy.types.UILayout, settings: properties.SketchbridgeSettings, field: Field) -> None:
    """One setting; of a number that is left to the preset, the switch and the preset's."""
    if field.name in _MENUS:
        row = layout.row(align=True)
        if field.name == "prompt":  # the whole width: prompts are long
            row.prop(settings, field.name, text="", placeholder="What it should become")
        else:
            row.prop(settings, field.name)
        row.menu(_MENUS[field.name], text="", icon="DOWNARROW_HLT")
        return
    if field.spec.offered or not properties.left_to_preset(field):
        layout.prop(settings, field.name, text=panel_label(field))
        return
    row = layout.row(align=True, heading=field.spec.label)
    row.prop(settings, f"use_{field.name}", text="")
    if getattr(settings, f"use_{field.name}"):
        row.prop(settings, field.name, text="")
    else:
        row.label(text=preset_text(field, settings.preset, settings.model))


def panel_label(field: Field) -> str:
    """The label as its section shows it, whose heading says already that it is of a dream: the room is short."""
    return field.spec.label.removeprefix("Dream ") if field.spec.section == DREAMING else field.spec.label


def preset_text(field: Field, preset: str, model: str = "") -> str:
    """The number that is taken where the artist gives none, as the panel shows it: '20,000', '1.88%', 'Calibrated'."""
    value = properties.preset_value(field, preset, model)
    if field.spec.choices:
        return next(choice.label for choice in field.spec.choices if choice.value == value)
    if field.spec.unit is Unit.LENGTH:
        return f"{value:.2f}%"
    return f"{value:,}" if field.kind is int else f"{value:g}"


def draw_in_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """In the Object menu, where F3 finds it."""
    menu.layout.separator()
    menu.layout.operator("sketchbridge.refine", text="Refine Sketch", icon="SHADERFX")
    menu.layout.operator("sketchbridge.texture", text="Texture by Prompt", icon="TEXTURE")
    menu.layout.operator("sketchbridge.dream", icon="OUTLINER_OB_FONT")
    menu.layout.operator("sketchbridge.toggle", text="Sketch Before / After", icon="ARROW_LEFTRIGHT")


CLASSES = (
    *lists.CLASSES, SKETCHBRIDGE_PT_main, *panel_variants.CLASSES, SKETCHBRIDGE_PT_stages, SKETCHBRIDGE_PT_guidance,
    SKETCHBRIDGE_PT_painting, SKETCHBRIDGE_PT_dream, SKETCHBRIDGE_PT_output, SKETCHBRIDGE_PT_advanced,
)  # fmt: skip
