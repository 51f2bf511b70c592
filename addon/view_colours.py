"""Colours in the views' Solid shading, which shows one colour a material unless it is told otherwise.

Views that show materials, Blender's own choice, show the growing surface's vertex colours and then the result's texture; where there is no
result they go back. Views that somebody has set to something else are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy

DEFAULT, GROWING, RESULT = "MATERIAL", "VERTEX", "TEXTURE"
_switched: dict[int, str] = {}
"""What each view was switched to, by the address of its space; addresses are compared, never followed."""


def show(context: bpy.types.Context, kind: str) -> None:
    """Switch the Solid views that show materials, or that were switched before, to `kind`."""
    for space in _solid_views(context):
        shown = space.shading.color_type
        if shown == DEFAULT or shown == _switched.get(space.as_pointer()):
            space.shading.color_type = _switched[space.as_pointer()] = kind


def end(context: bpy.types.Context, with_result: bool) -> None:
    """The job is over: show the result's texture, or what was shown before."""
    if with_result:
        show(context, RESULT)
    else:
        for space in _solid_views(context):
            if space.shading.color_type == _switched.get(space.as_pointer()):
                space.shading.color_type = DEFAULT
    _switched.clear()


def _solid_views(context: bpy.types.Context) -> Iterator[bpy.types.SpaceView3D]:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D" and area.spaces.active.shading.type == "SOLID":
                yield area.spaces.active
