"""What the user is in the middle of, so that nothing is put into the scene meanwhile."""

from __future__ import annotations

import bpy

_TOOL_OPTIONS = {"UNDO", "BLOCKING", "GRAB_CURSOR"}
"""An operator with one of these that waits for the mouse is a tool in use: a move, a knife cut. Others run for hours beside the work."""


def obstacle(context: bpy.types.Context, blocking: bool = False) -> str:
    """What the user has to do before the scene may be touched, such as "leave Edit Mode"; empty where it may be touched now.

    `blocking` where the caller waits for it itself: no tool could end meanwhile.
    """
    if renders():
        return "let the render end"
    mode = mode_in_use(context)
    if mode:
        return f"leave {mode}"
    tool = "" if blocking else tool_in_use(context)
    return f"end '{tool}'" if tool else ""


def waiting_text(context: bpy.types.Context) -> str:
    """What a finished job asks of the user."""
    return f"Finished: {obstacle(context) or 'wait a moment'} to receive the result"


def renders() -> bool:
    """True while a still or an animation is rendered; between two frames, too."""
    return bpy.app.is_job_running("RENDER")


def mode_in_use(context: bpy.types.Context) -> str:
    """'Edit Mode', 'Sculpt Mode', ... as Blender's menu has it, in any window; empty in Object Mode."""
    layers = [context.view_layer, *(window.view_layer for window in context.window_manager.windows)]
    for active in (layer.objects.active for layer in layers):
        if active is not None and active.mode != "OBJECT":
            return active.bl_rna.properties["mode"].enum_items[active.mode].name
    return ""


def tool_in_use(context: bpy.types.Context) -> str:
    """The name of a modal operator that changes something, in any window; empty where there is none."""
    for window in context.window_manager.windows:
        for operator in window.modal_operators:
            if not operator.bl_idname.startswith("SKETCHBRIDGE_OT_") and _TOOL_OPTIONS & set(operator.bl_options):
                return operator.name
    return ""
