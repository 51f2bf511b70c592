"""Prompts and models to choose from, and settings kept under a name: menus, and the operators behind their entries."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from . import known_words, properties, remembered

PRESET_FOLDER = "sketchbridge"
_LONGEST_ENTRY = 60


class SKETCHBRIDGE_OT_set_text(bpy.types.Operator):
    """Take this"""

    bl_idname = "sketchbridge.set_text"
    bl_label = "Take"
    bl_options: ClassVar[set[str]] = {"INTERNAL", "UNDO"}
    name: bpy.props.StringProperty(options={"SKIP_SAVE"})  # type: ignore[valid-type]
    text: bpy.props.StringProperty(options={"SKIP_SAVE"})  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: bpy.types.Context, given: bpy.types.OperatorProperties) -> str:
        return given.text

    def execute(self, context: bpy.types.Context) -> set[str]:
        setattr(context.scene.sketchbridge, self.name, self.text)
        return {"FINISHED"}


class SKETCHBRIDGE_OT_forget_prompts(bpy.types.Operator):
    """Empty the list of earlier prompts"""

    bl_idname = "sketchbridge.forget_prompts"
    bl_label = "Clear History"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        remembered.data().forget_prompts()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_choose_model(bpy.types.Operator):
    """Choose a folder with a diffusers model, or a folder of images"""

    bl_idname = "sketchbridge.choose_model"
    bl_label = "Choose a Folder"
    bl_options: ClassVar[set[str]] = {"INTERNAL", "UNDO"}
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.sketchbridge.model = str(Path(self.directory).resolve())
        return {"FINISHED"}


class SKETCHBRIDGE_MT_prompts(bpy.types.Menu):
    """What the model knows, and prompts of earlier jobs."""

    bl_idname = "SKETCHBRIDGE_MT_prompts"
    bl_label = "Choose a Prompt"

    def draw(self, context: bpy.types.Context) -> None:
        examples, prompts = known_words.examples(context.scene.sketchbridge.model), remembered.data().prompts
        row = self.layout.row()
        if examples:
            column = row.column()
            column.label(text="The Model Knows")
            for prompt in examples:
                _entry(column, "prompt", prompt, "NONE")
        column = row.column()
        column.label(text="Earlier Prompts")
        for prompt in prompts:
            _entry(column, "prompt", prompt, "NONE")
        if prompts:
            column.separator()
            column.operator("sketchbridge.forget_prompts", icon="TRASH")
        else:
            column.label(text="No prompt yet")


class SKETCHBRIDGE_MT_models(bpy.types.Menu):
    """The embedded model, those used before, and the file browser."""

    bl_idname = "SKETCHBRIDGE_MT_models"
    bl_label = "Models"

    def draw(self, context: bpy.types.Context) -> None:
        _entry(self.layout, "model", "embedded", "PACKAGE")
        for model in remembered.data().models:
            _entry(self.layout, "model", model, "FILE_FOLDER" if Path(model).is_dir() else "URL")
        self.layout.separator()
        self.layout.operator("sketchbridge.choose_model", icon="FILEBROWSER")


def _entry(layout: bpy.types.UILayout, name: str, text: str, icon: str) -> None:
    shown = text if len(text) <= _LONGEST_ENTRY else f"{text[: _LONGEST_ENTRY - 1]}…"
    entry = layout.operator("sketchbridge.set_text", text=shown, icon=icon, translate=False)
    entry.name, entry.text = name, text


class SKETCHBRIDGE_PT_presets(PresetPanel, bpy.types.Panel):
    """Settings kept under a name, in the panel's head."""

    bl_label = "Sketchbridge Presets"
    preset_subdir = PRESET_FOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "sketchbridge.preset_add"


class SKETCHBRIDGE_OT_preset_add(AddPresetBase, bpy.types.Operator):
    """Keep all settings but prompt and seed under a name, or remove such a name"""

    bl_idname = "sketchbridge.preset_add"
    bl_label = "Add Settings Preset"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    preset_menu = "SKETCHBRIDGE_PT_presets"
    preset_subdir = PRESET_FOLDER
    preset_defines: ClassVar[list[str]] = ["settings = bpy.context.scene.sketchbridge"]

    @property
    def preset_values(self) -> list[str]:
        """What a preset holds, as Blender's own operator wants it."""
        shown = [field.name for field in properties.FIELDS.values() if field.spec.section]
        kept = [name for name in shown if name not in ("prompt", "seed")]
        switches = [f"use_{name}" for name in kept if hasattr(bpy.context.scene.sketchbridge, f"use_{name}")]
        return [f"settings.{name}" for name in (*kept, *switches)]


CLASSES = (
    SKETCHBRIDGE_OT_set_text, SKETCHBRIDGE_OT_forget_prompts, SKETCHBRIDGE_OT_choose_model, SKETCHBRIDGE_MT_prompts, SKETCHBRIDGE_MT_models,
    SKETCHBRIDGE_PT_presets, SKETCHBRIDGE_OT_preset_add,
)  # fmt: skip
