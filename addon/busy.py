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
    if context.mode != "OBJECT":
        return f"leave {mode_name(context)}"
    tool = "" if blocking else tool_in_use(context)
    return f"end '{tool}'" if tool else ""


def renders() -> bool:
    """True while a still or an animation is rendered; between two frames, too."""
    return bpy.app.is_job_running("RENDER")


def mode_name(context: bpy.types.Context) -> str:
    """'Edit Mode', 'Sculpt Mode', ... as Blender's menu has it."""
    active = context.view_layer.objects.active
    return active.bl_rna.properties["mode"].enum_items[active.mode].name if active is not None else "this mode"


def tool_in_use(context: bpy.types.Context) -> str:
    """The name of a modal operator that changes something, in any window; empty where there is none."""
    for window in context.window_manager.windows:
        for operator in window.modal_operators:
            if not operator.bl_idname.startswith("SKETCHBRIDGE_OT_") and _TOOL_OPTIONS & set(operator.bl_options):
                return operator.name
    return ""
