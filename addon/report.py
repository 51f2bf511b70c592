"""Text of several lines in Blender's interface, and the newest report of a check, for the panel and the preferences."""

from __future__ import annotations

import textwrap

import bpy

from . import checks

_CHARACTER_PIXELS = 7.0  # of the interface's font at scale 1, on average
_MARGIN_PIXELS = 70  # borders and the icon


def columns(context: bpy.types.Context) -> int:
    """How many characters fit into a line of the region."""
    scale = context.preferences.system.ui_scale
    width = context.region.width / scale if context.region is not None else 250
    return max(16, int((width - _MARGIN_PIXELS) / _CHARACTER_PIXELS))


def paragraph(layout: bpy.types.UILayout, text: str, icon: str, width: int) -> None:
    """The text in lines of `width` characters, the icon before the first."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for index, line in enumerate(textwrap.wrap(text, width, break_long_words=True)):
        column.label(text=line, icon=icon if index == 0 else "BLANK1")


def draw(layout: bpy.types.UILayout, width: int) -> None:
    """What is being asked, else what was answered last."""
    if checks.running is not None:
        layout.label(text=f"{checks.running.title}: waiting for the answer", icon="SORTTIME")
    elif checks.last is not None:
        box = layout.box()
        box.label(text=checks.last.title, icon="CHECKMARK" if checks.last.healthy else "ERROR")
        for line in checks.last.lines:
            paragraph(box, line, "BLANK1", width)
