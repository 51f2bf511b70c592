"""Scenarios of an artist's hour: the new user's path by mouse and keyboard, results, the line, quitting and resuming."""

from __future__ import annotations

import bpy
from stage import (
    ENGINE,
    PACKAGE,
    Scenario,
    click,
    clicks,
    close_other_windows,
    find,
    found,
    fresh,
    inside,
    key,
    move,
    open_tab,
    part,
    press,
    screenshot,
    select,
    sidebar,
    typed,
    view,
    window,
)  # fmt: skip

TAB_BELOW_TOP = 186
"""The tab 'Sketchbridge' below three others of the factory settings, in pixels from the sidebar's top."""


def meshes() -> list[str]:
    return sorted(obj.name for obj in bpy.data.objects if obj.type == "MESH")


def a_new_users_path() -> Scenario:
    """From the factory's scene to a result: N, a click on the tab, a click into the prompt and words, a click on Refine."""
    fresh("")
    view().spaces.active.show_region_ui = False
    yield 0.5
    jobs, area = part("jobs"), view()
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    yield from key("N")
    yield 1.0
    region = sidebar()
    clicks["count"] = 0
    yield from move(region.x + region.width - 12, region.y + region.height - TAB_BELOW_TOP)
    yield from click()
    found["tab"] = sidebar().active_panel_category
    screenshot("path_tab")
    yield from press("sketchbridge.prompt")
    yield from typed("steps 90000")
    found["prompt"] = bpy.context.scene.sketchbridge.prompt
    yield 1.5  # the sub-panels move down
    screenshot("path_prompt")
    yield from press("bpy.ops.sketchbridge.refine(")
    found["clicks_to_the_first_job"] = clicks["count"]
    yield lambda: jobs.running is not None and part("scene_preview").PREVIEW_NAME in bpy.data.objects
    yield 0.6
    screenshot("path_running")
    found["bar"] = jobs.running.session.fraction > 0
    yield from press("bpy.ops.sketchbridge.cancel(", 0.75)
    yield lambda: jobs.running is None
    found["cancelled"] = jobs.last.phase.value
    bpy.context.scene.sketchbridge.prompt = "steps 20"
    yield from press("bpy.ops.sketchbridge.refine(")
    yield lambda: jobs.running is None and jobs.last is not None
    yield 0.6
    screenshot("path_result")
    found["outcome"], found["made"] = jobs.last.phase.value, meshes()
    yield from press("bpy.ops.sketchbridge.toggle(", 0.3)
    found["before"] = sorted(obj.name for obj in bpy.context.selected_objects)
    yield from press("bpy.ops.sketchbridge.toggle(", 0.3)
    found["after"] = sorted(obj.name for obj in bpy.context.selected_objects)
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    for _ in range(3):  # both looks, and the result
        yield from key("Z", ctrl=True)
        yield 0.3
    found["undone"] = meshes()
    yield from key("Z", ctrl=True, shift=True)
    yield 0.5
    found["redone"] = meshes()


def results_of_one_sketch() -> Scenario:
    """Three variations in one press, a row of the list, side by side, the line, Pause, Keep This."""
    cube, jobs = fresh("steps 1200"), part("jobs")
    settings = bpy.context.scene.sketchbridge
    settings.variations = 3
    yield from open_tab()
    yield from press("bpy.ops.sketchbridge.refine(")
    yield lambda: jobs.waiting
    found["in_line"] = [planned.title for planned in jobs.waiting]
    yield lambda: part("scene_preview").PREVIEW_NAME in bpy.data.objects
    yield from press("bpy.ops.sketchbridge.pause(", 0.2)
    yield 0.3
    screenshot("variants_line")
    found["paused"] = jobs.running is not None and jobs.running.session.stage
    yield from press("bpy.ops.sketchbridge.pause(", 0.2)
    yield lambda: jobs.running is None
    settings.variations = 1
    yield 0.6
    made = part("scene_show").variants_of([cube])
    found["made"] = [(obj.name, obj["sketchbridge_seed"], obj.hide_get()) for obj in made]
    settings.variant = list(bpy.data.objects).index(made[0])
    yield 0.5
    found["row_shows"] = [obj.name for obj in bpy.context.selected_objects]
    screenshot("variants_list")
    yield from press("bpy.ops.sketchbridge.compare(", 0.8)
    with inside():
        bpy.ops.view3d.view_all()
    yield 0.8
    screenshot("variants_compared")
    found["compared"] = len(bpy.data.collections["Sketchbridge Comparison"].objects)
    yield from press("bpy.ops.sketchbridge.compare(", 0.8)
    found["compared_after"] = "Sketchbridge Comparison" in bpy.data.collections


def without_an_engine() -> Scenario:
    """The set-up box, and the preferences, where no engine is there. Played only where it is asked for."""
    fresh("a red mug")
    yield from open_tab()
    screenshot("set_up_box")
    yield from find("bpy.ops.extensions.userpref_allow_online(")
    yield from click()
    yield 0.6
    found["online"] = bpy.app.online_access
    held = bpy.context.preferences.addons[PACKAGE].preferences
    yield from press("bpy.ops.sketchbridge.install_engine(")
    yield 1.0
    screenshot("install_dialog")
    yield from key("ESC")
    yield 0.5
    held.engine_command = ENGINE
    bpy.ops.preferences.addon_show(module=PACKAGE)
    close_other_windows()
    area = view()
    area.ui_type = "PREFERENCES"
    with bpy.context.temp_override(window=window(), area=area, region=next(region for region in area.regions if region.type == "WINDOW")):
        bpy.ops.screen.screen_full_area()
    checks = part("checks")
    with bpy.context.temp_override(window=window()):
        bpy.ops.sketchbridge.doctor("INVOKE_DEFAULT")
    yield lambda: checks.running is None
    yield 1.5
    screenshot("preferences")
    found["report"] = checks.last.title, len(checks.last.lines)


def quits_in_mid_job() -> Scenario:
    """Ctrl+Q asks; Esc stays, with the job. The last scenario: afterwards Blender is quit for good (see quit_for_good)."""
    fresh("steps 4000")
    jobs = part("jobs")
    bpy.context.scene.sketchbridge.variations = 1
    yield 0.5
    with inside():
        bpy.ops.sketchbridge.refine("INVOKE_DEFAULT")
    yield lambda: jobs.running is not None and jobs.running.session.preview is not None
    yield 2.0  # the panel makes room for the picture
    found["counts_as_changed"] = bpy.data.is_dirty
    area = view()
    yield from move(area.x + area.width // 3, area.y + area.height // 2)
    yield from key("Q", ctrl=True)
    yield 1.0
    screenshot("quit_asks")
    yield from key("ESC")
    yield 0.5
    found["stays"] = jobs.running is not None
    found["pid"] = jobs.running.session.pid


def quit_for_good() -> Scenario:
    """Ctrl+Q and Return, while the job of `quits_in_mid_job` runs."""
    yield from key("Q", ctrl=True)
    yield 1.0
    yield from key("RET")
    yield 5.0


def resumes_at_the_next_start() -> Scenario:
    """In another Blender with the same user folder: what was left is offered and resumed. Played only where it is asked for."""
    jobs, cube = part("jobs"), fresh("something else")
    yield from open_tab()
    select(cube)
    found["left"] = [record.title for record in jobs.unfinished_jobs()]
    screenshot("resume_offered")
    yield from press("bpy.ops.sketchbridge.resume(", 0.25)
    yield lambda: jobs.running is not None
    found["resumed"] = jobs.running.planned.settings["prompt"]
    with inside():
        bpy.ops.sketchbridge.cancel()
    yield lambda: jobs.running is None
    found["left_after"] = len(jobs.unfinished_jobs())


SCENARIOS = (a_new_users_path, results_of_one_sketch, without_an_engine, resumes_at_the_next_start, quits_in_mid_job)
