"""Enters the add-on's classes, properties, handlers and command line into Blender, and takes them out again."""

from __future__ import annotations

import atexit
from typing import Any

import bpy

from . import (
    checks,
    cli,
    engine_operators,
    jobs,
    operators,
    panel_job,
    panels,
    preferences,
    properties,
    pulse,
    status,
    translations,
    variant_operators,
)  # fmt: skip

_CLASSES = (
    *properties.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *engine_operators.CLASSES,
    *variant_operators.CLASSES,
    *panels.CLASSES,
)
_HANDLERS = (
    ("load_pre", jobs.before_load), ("load_post", jobs.after_load), ("save_pre", jobs.before_save),
    ("undo_post", jobs.after_undo), ("redo_post", jobs.after_undo),
)  # fmt: skip
_commands: list[Any] = []
_keys: list[tuple[Any, Any]] = []


def register() -> None:
    """Everything in, in the order in which parts need each other."""
    for entry in _CLASSES:
        bpy.utils.register_class(entry)
    bpy.types.Scene.sketchbridge = bpy.props.PointerProperty(type=properties.SketchbridgeSettings)
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)
    status.register()
    translations.register()
    bpy.types.VIEW3D_MT_object.append(panels.draw_in_menu)
    _add_key()
    atexit.register(jobs.abandon)
    atexit.register(checks.abandon)
    _commands.append(bpy.utils.register_cli_command("sketchbridge", cli.main))


def unregister() -> None:
    """Everything out; a running job ends."""
    pulse.stop()
    jobs.abandon()
    checks.abandon()
    atexit.unregister(jobs.abandon)
    atexit.unregister(checks.abandon)
    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    _remove_keys()
    bpy.types.VIEW3D_MT_object.remove(panels.draw_in_menu)
    status.unregister()
    translations.unregister()
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(function)
    panel_job.free_preview()
    del bpy.types.Scene.sketchbridge
    for entry in reversed(_CLASSES):
        bpy.utils.unregister_class(entry)


def _add_key() -> None:
    """Quitting asks while a job runs; the operator lets the key through otherwise."""
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is not None:  # there is none without a window
        keymap = configuration.keymaps.new(name="Window", space_type="EMPTY")
        _keys.append((keymap, keymap.keymap_items.new("sketchbridge.quit", "Q", "PRESS", ctrl=True)))


def _remove_keys() -> None:
    while _keys:
        keymap, item = _keys.pop()
        keymap.keymap_items.remove(item)
