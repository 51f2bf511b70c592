"""Enters the add-on's classes, properties, handlers and command line into Blender, and takes them out again."""

from __future__ import annotations

import atexit
from typing import Any

import bpy

from . import checks, cli, jobs, operators, panels, preferences, properties, pulse, status

_CLASSES = (*properties.CLASSES, *preferences.CLASSES, *operators.CLASSES, *panels.CLASSES)
_HANDLERS = (
    ("load_pre", jobs.before_load), ("load_post", jobs.after_load), ("save_pre", jobs.before_save),
    ("undo_post", jobs.after_undo), ("redo_post", jobs.after_undo),
)  # fmt: skip
_commands: list[Any] = []


def register() -> None:
    """Everything in, in the order in which parts need each other."""
    for entry in _CLASSES:
        bpy.utils.register_class(entry)
    bpy.types.Scene.sketchbridge = bpy.props.PointerProperty(type=properties.SketchbridgeSettings)
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)
    status.register()
    atexit.register(jobs.abandon)
    _commands.append(bpy.utils.register_cli_command("sketchbridge", cli.main))


def unregister() -> None:
    """Everything out; a running job ends."""
    pulse.stop()
    jobs.abandon()
    checks.abandon()
    atexit.unregister(jobs.abandon)
    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    status.unregister()
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(function)
    panels.free_preview()
    del bpy.types.Scene.sketchbridge
    for entry in reversed(_CLASSES):
        bpy.utils.unregister_class(entry)
