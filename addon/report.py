"""Text of several lines in Blender's interface, and the newest report of a check, for the panel and the preferences."""

from __future__ import annotations

import textwrap

import bpy

from . import checks
from .checks import Finding, Report

_CHARACTER_PIXELS = 6.2  # of the interface's font at scale 1; sentences take less, names in capitals more
_MARGIN_PIXELS = 70  # borders and the icon
_ICONS = {"works": "CHECKMARK", "optional": "DOT", "fails": "CANCEL"}


def columns(context: bpy.types.Context) -> int:
    """How many characters fit into a line of the region."""
    scale = context.preferences.system.ui_scale
    width = context.region.width / scale if context.region is not None else 250
    return max(16, int((width - _MARGIN_PIXELS) / _CHARACTER_PIXELS))


def paragraph(layout: bpy.types.UILayout, text: str, icon: str, width: int, alert: bool = False) -> None:
    """The text in lines of `width` characters, the icon before the first, room for one before the others; "NONE" for neither."""
    column = layout.column(align=True)
    column.scale_y, column.alert = 0.8, alert
    for index, line in enumerate(textwrap.wrap(text, width, break_long_words=True)):
        column.label(text=line, icon=icon if index == 0 or icon == "NONE" else "BLANK1", translate=False)


def draw(layout: bpy.types.UILayout, width: int) -> None:
    """What is being asked or done, else what was answered last."""
    running, last = checks.running, checks.last
    if running is not None:
        box = layout.box()
        box.label(text=running.title, icon="SORTTIME")
        if running.fraction > 0:
            box.progress(factor=running.fraction, type="BAR", text=f"{running.fraction:.0%}")
        paragraph(box, running.text, "BLANK1", width)
        box.operator("sketchbridge.cancel_check", icon="X")
    elif last is not None:
        _draw_report(layout.box(), last, width)


def _draw_report(box: bpy.types.UILayout, last: Report, width: int) -> None:
    head = box.row()
    title = head.row()
    title.alert = not last.healthy
    title.label(text=last.title, icon="CHECKMARK" if last.healthy else "ERROR")
    head.operator("sketchbridge.copy_report", text="", icon="COPYDOWN")
    if last.findings:
        for finding in last.findings:
            _draw_finding(box, finding, width)
    else:
        for line in last.lines:
            paragraph(box, line, "BLANK1", width)


def _draw_finding(layout: bpy.types.UILayout, finding: Finding, width: int) -> None:
    fails = finding.state == "fails"
    paragraph(layout, f"{finding.name}: {finding.detail}", _ICONS[finding.state], width, alert=fails)
    if finding.fix:
        paragraph(layout, finding.fix, "BLANK1" if not fails else "TOOL_SETTINGS", width)
