"""The timer that carries a job and a check on while there is a window, and draws anew what tells of them.

One of Blender's application timers, not a modal operator: those keep Blender from saving by itself, end with the window that they
were started in, and take part in every event. Without a window nothing of this runs; the operators wait then.
"""

from __future__ import annotations

import atexit
import time
from typing import Any

import bpy

from . import busy, checks, jobs, preferences
from .pace import Pace

TICK_SECONDS = 0.1
_drawn: dict[str, Any] = {"pace": Pace(TICK_SECONDS), "news": (-1, -1)}


def start() -> None:
    """Tick as long as a job or a check runs."""
    if not bpy.app.timers.is_registered(_tick):
        _drawn["pace"] = Pace(TICK_SECONDS)
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)
        atexit.register(stop)  # a timer that is left at the end crashes Blender 4.2 and hangs 4.5
    redraw()


def stop() -> None:
    """Tick no more."""
    atexit.unregister(stop)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)


def _tick() -> float | None:
    try:
        with jobs.windowed(bpy.context):
            _advance(bpy.context)
    except BaseException:
        jobs.abandon()  # Blender drops a timer that raised
        checks.abandon()
        redraw()
        raise
    if jobs.running is None and checks.running is None:
        atexit.unregister(stop)
        return None
    return TICK_SECONDS


def _advance(context: bpy.types.Context) -> None:
    may_draw = _drawn["pace"].tick(time.monotonic())
    if jobs.running is not None:
        if jobs.step(context, show=may_draw):
            jobs.finish(context)
            redraw()
        else:
            _keep_unsaved(context)
    if checks.running is not None and checks.step() is not None:
        preferences.forget_engine()
        redraw()
    news = (jobs.running.session.news if jobs.running is not None else -1, checks.running.news if checks.running is not None else -1)
    if may_draw and news != _drawn["news"]:
        _drawn["news"] = news
        redraw()


def _keep_unsaved(context: bpy.types.Context) -> None:
    """While a job runs the file counts as changed, so that Blender asks before it quits, however that is asked for."""
    if not bpy.data.is_dirty and not busy.obstacle(context) and bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message="Sketchbridge Job")


def redraw() -> None:
    """Draw the sidebars, the preferences and the status bar anew; the views themselves are drawn by Blender where something changed."""
    _drawn["pace"].drawn(time.monotonic())
    manager = bpy.context.window_manager
    for window in manager.windows if manager is not None else ():
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                for region in area.regions:
                    if region.type in ("UI", "WINDOW") and (region.type == "UI") == (area.type == "VIEW_3D"):
                        region.tag_redraw()
        if not busy.tool_in_use(bpy.context):  # whose own hints stand there
            window.workspace.status_text_set(None)
