"""Enters the add-on's classes, properties, handlers and command line into Blender, and takes them out again."""

from __future__ import annotations

import atexit
from typing import Any

import bpy

from . import cli, jobs, operators, panels, preferences, properties

_CLASSES = (*properties.CLASSES, *preferences.CLASSES, *operators.CLASSES, *panels.CLASSES)
_commands: list[Any] = []
LATE_SECONDS = 0.3


def register() -> None:
    """Everything in, in the order in which parts need each other."""
    if bpy.app.timers.is_registered(_unregister_late):
        bpy.app.timers.unregister(_unregister_late)
    for entry in _CLASSES:
        if not entry.is_registered:
            bpy.utils.register_class(entry)
    bpy.types.Scene.sketchbridge = bpy.props.PointerProperty(type=properties.SketchbridgeSettings)
    bpy.app.handlers.load_pre.append(jobs.before_load)
    bpy.app.handlers.load_post.append(jobs.after_load)
    bpy.app.handlers.save_pre.append(jobs.before_save)
    bpy.app.handlers.undo_post.append(jobs.after_undo)
    bpy.app.handlers.redo_post.append(jobs.after_undo)
    atexit.register(jobs.abandon)
    _commands.append(bpy.utils.register_cli_command("sketchbridge", cli.main))


def unregister() -> None:
    """Everything out; a running job ends."""
    jobs.abandon()
    atexit.unregister(jobs.abandon)
    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    for handlers, function in (
        (bpy.app.handlers.load_pre, jobs.before_load), (bpy.app.handlers.load_post, jobs.after_load),
        (bpy.app.handlers.save_pre, jobs.before_save),
        (bpy.app.handlers.undo_post, jobs.after_undo), (bpy.app.handlers.redo_post, jobs.after_undo),
    ):  # fmt: skip
        if function in handlers:
            handlers.remove(function)
    panels.free_preview()
    del bpy.types.Scene.sketchbridge
    waits = operators.is_modal()
    for entry in reversed(_CLASSES):
        if not (waits and entry in operators.MODAL_CLASSES):
            bpy.utils.unregister_class(entry)
    if waits:
        bpy.app.timers.register(_unregister_late, first_interval=LATE_SECONDS)
        atexit.register(_forget_timer)


def _unregister_late() -> float | None:
    """Takes out an operator that was running: Blender crashes where its class goes before it has ended, at its next tick."""
    if operators.is_modal():
        return LATE_SECONDS
    for entry in operators.MODAL_CLASSES:
        if entry.is_registered:
            bpy.utils.unregister_class(entry)
    return None


def _forget_timer() -> None:
    if bpy.app.timers.is_registered(_unregister_late):
        bpy.app.timers.unregister(_unregister_late)
