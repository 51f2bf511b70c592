"""The running job in the status bar, where it is seen whatever is open."""

from __future__ import annotations

import time
from typing import Any

import bpy

from . import busy, jobs
from .session import Phase
from .stages import stage_label
from .words import duration

TOLD_SECONDS = 20.0
"""How long the end of a job is told."""
BAR_UNITS = 8
"""The bar's width in buttons of 20 pixels: for itself it is made so narrow that the time left is cut off."""


def draw(header: Any, context: bpy.types.Context) -> None:
    """Appended to the status bar's own drawing."""
    job = jobs.running
    if job is None:
        if jobs.last is not None and time.monotonic() - jobs.last.at < TOLD_SECONDS:
            header.layout.label(text=f"Sketchbridge: {jobs.last.text}", icon="CHECKMARK" if jobs.last.phase is Phase.DONE else "INFO")
        return
    session, row = job.session, header.layout.row(align=True)
    if jobs.has_result():
        row.label(text=f"Sketchbridge: {busy.waiting_text(context)}", icon="INFO")
    else:
        left = duration(session.seconds_left)
        row.label(text=f"Sketchbridge: {stage_label(session.stage)}")
        bar = row.row(align=True)
        bar.ui_units_x = BAR_UNITS
        bar.progress(factor=session.fraction, type="BAR", text=f"{session.fraction:.0%}" + (f", {left} left" if left else ""))
    row.operator("sketchbridge.cancel", text="", icon="X")


def register() -> None:
    """Show it from now on."""
    bpy.types.STATUSBAR_HT_header.append(draw)


def unregister() -> None:
    """Show it no more."""
    bpy.types.STATUSBAR_HT_header.remove(draw)
