"""The add-on's preferences: where the engine is, and whether it answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from . import report


class SketchbridgePreferences(bpy.types.AddonPreferences):
    """Shown in Preferences > Add-ons > Sketchbridge."""

    bl_idname = __package__

    engine_command: StringProperty(  # type: ignore[valid-type]
        name="Engine Command",
        description="Starts the engine, for example '~/sketchbridge/bin/sketchbridge engine' or 'ssh HOST sketchbridge engine'. "
        "Empty looks for the variable SKETCHBRIDGE_ENGINE, then for sketchbridge on the PATH",
    )

    show_colours: BoolProperty(  # type: ignore[valid-type]
        name="Show Colours in Solid View",
        description="Views in Solid shading that show the materials' one colour each show the growing surface's colours, and then the "
        "result's texture",
        default=True,
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.prop(self, "engine_command")
        layout.prop(self, "show_colours")
        row = layout.row()
        row.operator("sketchbridge.test_connection", icon="LINKED")
        row.operator("sketchbridge.doctor", icon="CHECKMARK")
        report.draw(layout, report.columns(context))


def engine_command(context: bpy.types.Context) -> str:
    """The command typed by the user, empty where there is none."""
    addon = context.preferences.addons.get(__package__)
    return "" if addon is None or addon.preferences is None else addon.preferences.engine_command


def shows_colours(context: bpy.types.Context) -> bool:
    """Whether views may be switched so that they show colours."""
    addon = context.preferences.addons.get(__package__)
    return addon is not None and addon.preferences is not None and addon.preferences.show_colours


def log_folder() -> Path:
    """Where the engine's logs go: the extension's own folder, not made yet."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, path="logs"))  # its own create=True hides the reason of a failure
    except ValueError:  # not installed as an extension
        return Path(tempfile.gettempdir()) / "sketchbridge-logs"


CLASSES = (SketchbridgePreferences,)
