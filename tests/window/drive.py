"""Plays scenarios in a real Blender window with simulated mouse and keyboard, and writes down what it saw as JSON.

    blender --factory-startup --enable-event-simulate --python drive.py -- EXTENSION.zip ENGINE_COMMAND OUT_FOLDER [SCENARIO ...]

The scenarios of artist.py want a real mouse: the same without --enable-event-simulate, where hand.py moves that of the X server.

Each scenario is a generator that yields while Blender's own loop goes on: a number waits that many seconds, a function until it is true.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).parent))
import artist
import dreams
from stage import (
    ARCHIVE,
    ENGINE,
    OUT,
    PACKAGE,
    STEP_SECONDS,
    WANTED,
    Scenario,
    close_other_windows,
    found,
    fresh,
    inside,
    key,
    move,
    open_tab,
    part,
    place,
    press_refine,
    screenshot,
    select,
    shown_in,
    view,
    window,
)  # fmt: skip

LIMIT_SECONDS = (
    3000.0 if {"pictures", "dream_pictures"} & set(WANTED) else 900.0 if set(WANTED) & {one.__name__ for one in dreams.SCENARIOS} else 240.0
)
"""For what a scenario waits for; the product's engine takes longer than the tests' own."""


def refine_with_the_mouse_elsewhere() -> Scenario:
    """Jobs from the button to cancel and to the result, seen in the status bar though the sidebar is closed; Esc, pressed in the view,
    does nothing to them; undo and redo."""
    cube = fresh("steps 5000")
    jobs = part("jobs")
    view().spaces.active.show_region_ui = False
    yield 0.5
    area = view()
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    started = time.monotonic()
    found["invoke_returns"] = sorted(press_refine())
    found["invoke_seconds"] = time.monotonic() - started
    yield lambda: part("scene_preview").PREVIEW_NAME in bpy.data.objects
    yield 0.5
    screenshot("running")
    found["status_bar"] = yield from shown_in("STATUSBAR_HT_header")
    yield from key("ESC")
    yield 0.5
    found["after_esc"] = jobs.running is not None and jobs.running.session.phase.value
    found["growing_colours"] = view().spaces.active.shading.color_type
    with inside():
        bpy.ops.sketchbridge.cancel()
    yield lambda: jobs.running is None
    found["cancelled"] = {"phase": jobs.last.phase.value, "hidden": cube.hide_get(), "selected": cube.select_get()}
    bpy.context.scene.sketchbridge.prompt = "steps 50"
    press_refine()
    yield lambda: jobs.running is None
    yield 0.5
    found["outcome"] = jobs.last.phase.value
    found["result"] = bpy.context.view_layer.objects.active.name
    found["cube_hidden"] = cube.hide_get()
    found["result_colours"] = view().spaces.active.shading.color_type
    found["status_bar_after"] = yield from shown_in("STATUSBAR_HT_header")
    screenshot("done")
    for name in ("undo", "redo"):
        with inside():
            getattr(bpy.ops.ed, name)()
        yield 0.2
        found[f"after_{name}"] = sorted(obj.name for obj in bpy.data.objects if obj.type == "MESH")


def a_result_in_the_middle_of_a_move() -> Scenario:
    """G, the mouse moves, the job ends: nothing arrives until the move is confirmed; undo goes to the confirmed place only."""
    fresh("steps 15")
    other = bpy.data.objects["Other"]
    yield 0.5
    area = view()
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    press_refine()
    select(other)
    with inside():
        bpy.ops.ed.undo_push(message="Select")
    yield from key("G")
    yield from move(place["x"] + 90, place["y"] + 40)
    found["tools"] = [(op.bl_idname, sorted(op.bl_options)) for op in window().modal_operators]
    jobs = part("jobs")
    yield jobs.has_result
    yield 0.6
    preview = part("scene_preview").PREVIEW_NAME
    found["meanwhile"] = {
        "text": part("busy").waiting_text(bpy.context), "ended": jobs.running is None, "preview": preview in bpy.data.objects,
        "selected": [obj.name for obj in bpy.context.selected_objects],
    }  # fmt: skip
    screenshot("waits_for_the_move")
    yield from move(place["x"] + 40, place["y"])
    yield from key("LEFTMOUSE")
    yield lambda: jobs.running is None
    yield 0.3
    confirmed = tuple(round(value, 4) for value in other.location)
    found["moved"] = confirmed != (4, 0, 0)
    found["selected_after"] = [obj.name for obj in bpy.context.selected_objects]
    found["result"] = jobs.last.result
    with inside():
        bpy.ops.ed.undo()
    yield 0.2
    found["undo_keeps_the_place"] = tuple(round(value, 4) for value in bpy.data.objects["Other"].location) == confirmed
    found["undo_takes_the_result"] = jobs.last.result not in bpy.data.objects


def a_result_in_the_middle_of_a_render() -> Scenario:
    """A render job runs: neither preview nor result is put in; afterwards they are."""
    fresh("steps 15")
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device = "CYCLES", "CPU"
    scene.cycles.samples, scene.cycles.use_denoising = 1024, False
    scene.render.resolution_x = scene.render.resolution_y = 320
    yield 0.5
    jobs = part("jobs")
    with inside():
        found["render"] = sorted(bpy.ops.render.render("INVOKE_DEFAULT"))
    yield 0.3
    press_refine()
    yield jobs.has_result
    found["renders"] = part("busy").renders()
    yield 0.5
    found["text"] = part("busy").waiting_text(bpy.context)
    found["meanwhile"] = {"ended": jobs.running is None, "renders": part("busy").renders(), "objects": len(bpy.data.objects)}
    yield lambda: not part("busy").renders()
    yield lambda: jobs.running is None
    found["outcome"] = jobs.last.phase.value
    close_other_windows()


def drawings_without_news() -> Scenario:
    """While the engine says nothing new, nothing is drawn."""
    fresh("deaf")
    yield 0.5
    press_refine()
    jobs = part("jobs")
    yield lambda: jobs.running.session.progress
    yield 1.5
    count = {"view": 0}
    handle = bpy.types.SpaceView3D.draw_handler_add(lambda: count.update(view=count["view"] + 1), (), "WINDOW", "POST_PIXEL")
    yield 3.0
    found["views_drawn_in_3_s"] = count["view"]
    bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    with inside():
        bpy.ops.sketchbridge.cancel()
    yield lambda: jobs.running is None


def checks_do_not_block() -> Scenario:
    """Test Connection and Check Set-up return at once, and the loop goes on until the answer is there."""
    fresh("x")
    yield 0.5
    checks, gaps = part("checks"), [time.monotonic()]

    def beat() -> float:
        gaps.append(time.monotonic())
        return 0.02

    bpy.app.timers.register(beat)
    for name in ("test_connection", "doctor"):
        started = time.monotonic()
        with inside():
            found[name] = sorted(getattr(bpy.ops.sketchbridge, name)("INVOKE_DEFAULT"))
        found[f"{name}_seconds"] = time.monotonic() - started
        yield lambda: checks.running is None
        found[f"{name}_report"] = [checks.last.title, checks.last.healthy, list(checks.last.lines)[:3]]
    bpy.app.timers.unregister(beat)
    found["longest_gap"] = max(after - before for before, after in itertools.pairwise(gaps))
    screenshot("checked")


def overlapping_uvs_ask_first() -> Scenario:
    """Texture on faces that lie upon each other asks; its OK makes a new UV layer."""
    cube = fresh("steps 20")
    cube.data.uv_layers.active.uv.foreach_set("vector", [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0] * 6)
    yield 0.5
    area, jobs = view(), part("jobs")
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    with inside():
        found["asks"] = sorted(bpy.ops.sketchbridge.texture("INVOKE_DEFAULT"))
    yield 1.0
    found["runs_before_the_answer"] = jobs.running is not None
    screenshot("asks")
    yield from key("RET")
    yield lambda: jobs.running is not None or jobs.last is not None
    yield lambda: jobs.running is None
    yield 0.3
    found["outcome"] = jobs.last.phase.value
    found["layers"] = bpy.data.objects[jobs.last.result].data.uv_layers.keys()
    found["layers_of_the_original"] = cube.data.uv_layers.keys()


def pictures() -> Scenario:
    """For the documentation, with a real engine: the flower sketch, half way, and the result. Played only where it is asked for."""
    bpy.ops.wm.open_mainfile(filepath=str(Path(__file__).resolve().parents[2] / "examples" / "flower.blend"))
    yield 1.0
    sketches = [obj for obj in bpy.context.view_layer.objects if obj.type == "MESH"]
    for obj in bpy.context.view_layer.objects:
        obj.hide_set(obj.type != "MESH")
    select(*sketches)
    with inside():
        view().spaces.active.show_region_ui = True
        view().spaces.active.overlay.show_floor = False
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_orbit(angle=0.5, type="ORBITRIGHT")
        bpy.ops.view3d.view_selected()
    yield 1.0
    yield from open_tab()
    bpy.context.scene.sketchbridge.prompt = "a red tulip flower"
    view().tag_redraw()
    yield 2.0
    screenshot("window_prompt")
    jobs, settings = part("jobs"), bpy.context.scene.sketchbridge
    settings.variations = 2
    if "shortened" in WANTED:
        settings.use_stage1_steps, settings.stage1_steps, settings.use_stage2_steps, settings.stage2_steps = True, 40, True, 30
    press_refine()
    yield lambda: jobs.running is None or (jobs.running.session.progress and jobs.running.session.progress.stage == "stage 2")
    yield 2.0
    screenshot("window_running")
    yield lambda: jobs.running is None
    settings.variations = 1
    yield 10.0
    found["outcome"] = jobs.last.text
    screenshot("window_result")
    with inside():
        bpy.ops.sketchbridge.compare()
        bpy.ops.view3d.view_all()
    yield 10.0
    screenshot("window_side_by_side")


SCENARIOS = {
    function.__name__: function for function in (
        refine_with_the_mouse_elsewhere, a_result_in_the_middle_of_a_move, a_result_in_the_middle_of_a_render, drawings_without_news,
        checks_do_not_block, overlapping_uvs_ask_first, pictures, *artist.SCENARIOS, *dreams.SCENARIOS,
    )
}  # fmt: skip
ON_DEMAND = ("pictures", *(scenario.__name__ for scenario in (*artist.SCENARIOS, *dreams.SCENARIOS)))
"""Played only where they are asked for."""


def play() -> Scenario:
    """All that is wanted, one after another; a scenario's failure is written down and the next is played."""
    told: dict[str, Any] = {}
    for name in [name for name in WANTED if name in SCENARIOS] or [name for name in SCENARIOS if name not in ON_DEMAND]:
        found.clear()
        try:
            yield from SCENARIOS[name]()
        except Exception:
            found["error"] = traceback.format_exc()
            part("jobs").abandon()
        told[name] = dict(found)
        (Path(OUT) / "found.json").write_text(json.dumps(told, indent=1, default=str))
    (Path(OUT) / "finished").write_text("")
    if "quits_in_mid_job" in told:
        yield from artist.quit_for_good()
    bpy.ops.wm.quit_blender()


def run(steps: Scenario) -> None:
    waiting: dict[str, Any] = {"for": 0.0, "since": time.monotonic()}

    def tick() -> float | None:
        want = waiting["for"]
        elapsed = time.monotonic() - waiting["since"]
        ready = want() if callable(want) else elapsed >= want
        try:
            if not ready:
                if elapsed > LIMIT_SECONDS:
                    waiting.update({"for": steps.throw(TimeoutError(f"waited {elapsed:.0f} s")), "since": time.monotonic()})
                return STEP_SECONDS
            waiting.update({"for": next(steps), "since": time.monotonic()})
        except StopIteration:
            return None
        return STEP_SECONDS

    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)


def prepare() -> None:
    """The extension from its zip in a fresh user folder, no splash, no tips; a view that is drawn once for each change, and no glide."""
    bpy.context.preferences.system.viewport_aa = "FXAA"
    bpy.context.preferences.view.smooth_view = 0
    bpy.context.preferences.view.show_splash = bpy.context.preferences.view.use_save_prompt = False
    bpy.ops.extensions.package_install_files(filepath=ARCHIVE, repo="user_default", enable_on_install=True)
    bpy.context.preferences.addons[PACKAGE].preferences.engine_command = "" if "without_an_engine" in WANTED else ENGINE


def time_ticks() -> None:
    """Notes the longest time for which the add-on's timer kept Blender's loop."""
    pulse = part("pulse")
    advance = pulse._advance

    def timed(context: bpy.types.Context) -> None:
        started = time.perf_counter()
        advance(context)
        found["longest_tick"] = max(found.get("longest_tick", 0.0), time.perf_counter() - started)

    pulse._advance = timed


prepare()
time_ticks()
run(play())
