"""What scenarios in a real Blender window use: simulated mouse and keyboard, the buttons of the panel, and what was found so far."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy
import hand

ARCHIVE, ENGINE, OUT, *WANTED = sys.argv[sys.argv.index("--") + 1 :]
PACKAGE = "bl_ext.user_default.sketchbridge"
STEP_SECONDS = 0.05
SIMULATED = "--enable-event-simulate" in sys.argv
"""Whether Blender makes the events itself; else they come from the X server."""
Scenario = Generator[float | Callable[[], object], None, Any]
found: dict[str, Any] = {}
place = {"x": 0, "y": 0}
clicks = {"count": 0}
last_seen: dict[str, int] = {}
ROW_STEP = 12
"""Pixels; a button is 20 high."""


def part(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def close_other_windows() -> None:
    """Those that Blender has opened for a picture or the preferences: nothing else would keep them from covering the first."""
    for other in list(bpy.context.window_manager.windows)[1:]:
        with bpy.context.temp_override(window=other):
            bpy.ops.wm.window_close()


def view() -> bpy.types.Area:
    return next(area for area in window().screen.areas if area.type == "VIEW_3D")


def inside(area: bpy.types.Area | None = None) -> Any:
    """The context of a mouse over the 3D view."""
    area = area or view()
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window(), area=area, region=region)


def event(kind: str, value: str = "PRESS", **keys: bool) -> None:
    if not SIMULATED:
        real_event(kind, value, **keys)
        return
    window().event_simulate(type=kind, value=value, x=place["x"], y=place["y"], **keys)


def real_event(kind: str, value: str, **keys: bool) -> None:
    """The same by the X server, as a person's hand does it."""
    down = value == "PRESS"
    if kind == "MOUSEMOVE":
        hand.move(place["x"], window().height - place["y"])
    elif kind == "LEFTMOUSE":
        hand.button(down)
    else:
        held = [name for name, used in (("LEFT_CTRL", keys.get("ctrl")), ("LEFT_SHIFT", keys.get("shift"))) if used]
        for name in [*held, kind] if down else [kind, *reversed(held)]:
            hand.key(name, down)


def key(kind: str, **keys: bool) -> Scenario:
    event(kind, "PRESS", **keys)
    if SIMULATED or kind == "LEFTMOUSE":  # a key of the X server that is held for long repeats itself
        yield STEP_SECONDS
    event(kind, "RELEASE", **keys)
    yield STEP_SECONDS


def move(x: int, y: int) -> Scenario:
    place.update(x=x, y=y)
    event("MOUSEMOVE", "NOTHING")
    yield STEP_SECONDS


def screenshot(name: str) -> None:
    subprocess.run(["import", "-window", "root", str(Path(OUT) / f"{name}.png")], check=False)


def fresh(prompt: str) -> bpy.types.Object:
    """Two cubes and a camera, the first cube selected; an undo step; the sidebar open."""
    for obj in list(bpy.data.objects):
        if obj.type != "CAMERA":
            bpy.data.objects.remove(obj)
    for mesh in list(bpy.data.meshes):
        bpy.data.meshes.remove(mesh)
    part("jobs").last = None
    with inside():
        bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))
        bpy.context.object.name = "Other"
        bpy.ops.mesh.primitive_cube_add(location=(0, 0, 0))  # not at the cursor, which a scenario before may have moved
        bpy.context.object.name = "Cube"
        bpy.context.scene.sketchbridge.prompt = prompt
        view().spaces.active.show_region_ui = True
        bpy.ops.ed.undo_push(message="Fresh")
    return bpy.data.objects["Cube"]


def select(*objects: bpy.types.Object) -> None:
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in objects)
    bpy.context.view_layer.objects.active = objects[0] if objects else None


def sidebar() -> bpy.types.Region:
    return next(region for region in view().regions if region.type == "UI")


def open_tab() -> Scenario:
    """The sidebar's tab; it can be chosen once the sidebar has been drawn."""
    view().spaces.active.show_region_ui = True
    for _ in range(40):
        view().tag_redraw()
        yield 0.5
        try:
            sidebar().active_panel_category = "Sketchbridge"
            break
        except AttributeError:
            continue
    yield 1.0


def click() -> Scenario:
    """The left button where the mouse is."""
    clicks["count"] += 1
    yield from key("LEFTMOUSE")
    yield 0.2


def typed(text: str) -> Scenario:
    """A text in small letters, one key after another, and Return."""
    for letter in text:
        yield from key(letter)
    yield 0.3
    yield from key("RET")


def under_the_mouse() -> str:
    """The button there, as Blender's own 'Copy Python Command' and 'Copy Data Path' name it."""
    manager, told = bpy.context.window_manager, ""
    with bpy.context.temp_override(window=window(), area=view(), region=sidebar()):
        for operator in (bpy.ops.ui.copy_python_command_button, bpy.ops.ui.copy_data_path_button):
            if not told and operator.poll():
                manager.clipboard = ""
                operator()
                told = manager.clipboard
    return told


def find(button: str, across: float = 0.6) -> Scenario:
    """Move the mouse to where the button was last, else down the sidebar until it is over it, as a person would look for it.
    LookupError where there is none."""
    region = sidebar()
    down = range(region.y + region.height - 34, region.y + 8, -ROW_STEP)
    seen = []
    for y in [*([last_seen[button]] if button in last_seen else []), *down]:
        yield from move(region.x + int(region.width * across), y)
        yield STEP_SECONDS  # the event must have come in
        told = under_the_mouse()
        seen.append(told)
        if button in told:
            last_seen[button] = y
            return
    raise LookupError(f"no {button!r} in the sidebar; there are {sorted({told for told in seen if told})}")


def press(button: str, across: float = 0.6) -> Scenario:
    """Find the button and click it; the panel may have been drawn anew meanwhile, then it is looked for again."""
    yield 0.4
    for _ in range(3):
        yield from find(button, across)
        yield 0.4
        if button in under_the_mouse():
            break
    yield from click()


def shown_in(name: str) -> Scenario:
    """What the header or panel of that name draws next, in Blender's own words for its buttons."""
    drawn: list[str] = []

    def look(shown: bpy.types.Header, context: bpy.types.Context) -> None:
        drawn.append(str(shown.layout.introspect()))

    getattr(bpy.types, name).append(look)
    part("pulse").redraw()
    yield lambda: drawn
    getattr(bpy.types, name).remove(look)
    return drawn[-1]


def press_refine() -> set[str]:
    with inside():
        return bpy.ops.sketchbridge.refine("INVOKE_DEFAULT")
