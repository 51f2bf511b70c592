"""The file that Blender has opened for a command: whether it is the one that was asked for, and what of it is worked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy

from .errors import InputError
from .scene_objects import is_readable


def check_file(words: Sequence[str], opened: str) -> None:
    """Blender goes on with its start-up scene where the file that it was given cannot be opened; a command must not."""
    before = next((place for place, word in enumerate(words) if word in ("-c", "--command")), 0)
    asked = [path for path in map(Path, words[1:before]) if path.suffix.lower() == ".blend"]
    if asked and not (opened and asked[-1].exists() and asked[-1].samefile(opened)):
        shown_file = f"'{opened}'" if opened else "the start-up scene"
        raise InputError("missing_file", f"Blender could not open '{asked[-1]}'; open is {shown_file}.",
                         "Check the path, and that the file is whole.")  # fmt: skip


def select(names: Sequence[str]) -> None:
    """Select the named objects, or keep the selection, or select all that is visible and can be read."""
    layer = bpy.context.view_layer
    missing = [name for name in names if name not in layer.objects]
    if missing:
        there = ", ".join(f"'{obj.name}'" for obj in layer.objects if is_readable(obj))
        raise InputError("missing_object", f"There is no object '{missing[0]}' in the file's view layer.",
                         f"Readable objects there: {there or 'none'}.")  # fmt: skip
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    visible = [obj for obj in layer.objects if is_readable(obj) and obj.visible_get()]
    chosen = [layer.objects[name] for name in names] or [obj for obj in visible if obj.select_get()] or visible
    for obj in layer.objects:
        obj.select_set(obj in chosen)
    hidden = [obj.name for obj in chosen if not obj.select_get()]
    if hidden:
        raise InputError("hidden_object", f"'{hidden[0]}' is hidden or cannot be selected.",
                         "Show it in the file first, in the viewport and in its collection.")  # fmt: skip
    if chosen and layer.objects.active not in chosen:
        layer.objects.active = chosen[0]
