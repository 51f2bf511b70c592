"""What is shown: which of a result and its originals, in a view layer; and how results are found by their marks."""

from __future__ import annotations

import json
from collections.abc import Sequence

import bpy

MARK = "sketchbridge"
"""Prefix of the custom properties on results; the preview object carries MARK + "_preview"."""


def sources_of(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """The originals of a result that are still in the file."""
    try:
        names = json.loads(obj.get(f"{MARK}_sources", "[]"))
    except (ValueError, TypeError):
        return []
    return [bpy.data.objects[name] for name in names if isinstance(name, str) and name in bpy.data.objects]


def result_of(obj: bpy.types.Object) -> bpy.types.Object | None:
    """`obj` itself where it is a result, else the newest result made from it, else None."""
    if f"{MARK}_sources" in obj:
        return obj
    results = [other for other in bpy.data.objects if f"{MARK}_sources" in other and obj in sources_of(other)]
    return results[-1] if results else None


def toggle(result: bpy.types.Object) -> bool:
    """Swap which of the result and its originals is shown. Returns True where the result is shown afterwards."""
    show_result = result.hide_get() or result.hide_render
    hide([result.name], hidden=not show_result, render=True)
    hide([obj.name for obj in sources_of(result)], hidden=show_result, render=True)
    return show_result


def hide(names: Sequence[str], hidden: bool, render: bool = False) -> None:
    """Hide or show objects of the view layer by name, in renders too where asked."""
    layer = bpy.context.view_layer
    for name in names:
        obj = layer.objects.get(name)
        if obj is not None:
            obj.hide_set(hidden)
            if render:
                obj.hide_render = hidden
