"""The add-on's preferences: which engine there is, how one is installed, and whether it answers."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from . import engine_install, engine_process, report
from .errors import SketchbridgeError

PACKAGE = __package__
KNOWN_SECONDS = 3.0
"""How long it is not looked for an engine again; the panel asks at every drawing."""


def _engine_changed(held: SketchbridgePreferences, context: bpy.types.Context) -> None:
    forget_engine()


class SketchbridgePreferences(bpy.types.AddonPreferences):
    """Shown in Preferences > Add-ons > Sketchbridge."""

    bl_idname = __package__

    engine_command: StringProperty(  # type: ignore[valid-type]
        name="Engine Command",
        description="Starts another engine than the installed one, for example '~/sketchbridge/bin/sketchbridge engine' or "
        "'ssh HOST sketchbridge engine'. Empty takes the variable SKETCHBRIDGE_ENGINE, the installed one, or sketchbridge on the PATH",
        update=_engine_changed,
    )
    python: StringProperty(  # type: ignore[valid-type]
        name="Python",
        description="Program of a Python 3.11, 3.12 or 3.13 to install the engine with. Empty takes Blender's own, or one on the PATH",
        subtype="FILE_PATH",
    )
    torch_index: StringProperty(  # type: ignore[valid-type]
        name="Torch Index",
        description="Address of the package index to take torch from, for the CPU build or the CUDA build of your choice, as PyTorch's "
        "install page names it. Empty takes what pip is configured for",
    )
    wheels: StringProperty(  # type: ignore[valid-type]
        name="Folder of Wheels",
        description="Install from the wheels in this folder, without a network",
        subtype="DIR_PATH",
    )
    show_colours: BoolProperty(  # type: ignore[valid-type]
        name="Show Colours in Solid View",
        description="Views in Solid shading that show the materials' one colour each show the growing surface's colours, and then the "
        "result's texture",
        default=True,
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        width = report.columns(context)
        draw_engine(layout, context, width)
        layout.prop(self, "show_colours")
        report.draw(layout, width)


def draw_engine(layout: bpy.types.UILayout, context: bpy.types.Context, width: int) -> None:
    """Which engine there is, and what can be done about it."""
    held, box = of(context), layout.box()
    try:
        report.paragraph(box, f"Engine: {engine_process.shown_command(engine_command(context))}", "CHECKMARK", width)
    except SketchbridgeError as error:
        report.paragraph(box, error.message, "ERROR", width, alert=True)
    state = engine_install.state(engine_folder())
    row = box.row()
    words = {"complete": "Repair Engine", "changed": "Update Engine", "broken": "Repair Engine"}.get(state, "Install Engine")
    row.operator("sketchbridge.install_engine", text=words, icon="IMPORT").anew = state == "complete"
    row.operator("sketchbridge.use_environment", icon="FILE_FOLDER")
    if state != "absent":
        row.operator("sketchbridge.remove_engine", text="", icon="TRASH")
    column = box.column()
    column.use_property_split = True
    for name in ("engine_command", "python", "torch_index", "wheels"):
        column.prop(held, name)
    row = box.row()
    row.operator("sketchbridge.test_connection", icon="LINKED")
    row.operator("sketchbridge.doctor", icon="CHECKMARK")


def of(context: bpy.types.Context) -> SketchbridgePreferences:
    """The add-on's preferences."""
    return context.preferences.addons[__package__].preferences


def engine_command(context: bpy.types.Context) -> list[str]:
    """The engine's command line. EngineError where there is no engine."""
    addon = context.preferences.addons.get(__package__)
    typed = "" if addon is None or addon.preferences is None else addon.preferences.engine_command
    return engine_process.find_command(typed, installed=lambda: engine_install.command(engine_folder()))


_known = {"at": -KNOWN_SECONDS, "engine": False}


def has_engine(context: bpy.types.Context) -> bool:
    """Whether there is a command to start; cheap, some seconds old."""
    now = time.monotonic()
    if now - _known["at"] > KNOWN_SECONDS:
        try:
            _known.update(at=now, engine=bool(engine_command(context)))
        except SketchbridgeError:
            _known.update(at=now, engine=False)
    return bool(_known["engine"])


def forget_engine() -> None:
    """Look for an engine anew at the next question."""
    _known["at"] = -KNOWN_SECONDS


def shows_colours(context: bpy.types.Context) -> bool:
    """Whether views may be switched so that they show colours."""
    addon = context.preferences.addons.get(__package__)
    return addon is not None and addon.preferences is not None and addon.preferences.show_colours


def log_folder() -> Path:
    """Where the engine's logs go; not made yet."""
    return own_folder("logs")


def engine_folder() -> Path:
    """Where Install Engine makes the engine's environment; not made yet. Blender deletes it with the extension."""
    return own_folder("engine")


def own_folder(name: str) -> Path:
    """A folder of the extension's own, not made yet."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, path=name))  # its own create=True hides the reason of a failure
    except ValueError:  # not installed as an extension
        return Path(tempfile.gettempdir()) / f"sketchbridge-{name}"


CLASSES = (SketchbridgePreferences,)
