"""Scenarios of text to 3D: a prompt and a click with nothing selected, what grows meanwhile, where it arrives, and a cancel."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import radians
from typing import Any

import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Euler
from stage import Scenario, clicks, found, fresh, open_tab, part, press, screenshot, select, sidebar, typed, view

CURSOR = (1.5, -1.0, 0.5)
SHORT = {"dream_steps": 14, "dream_grid": 32, "grid": 48, "fit_steps": 4, "stage1_steps": 8, "stage2_steps": 4, "finish_steps": 0}
"""A dream of seconds: a blob, which is all that these scenarios need of it."""
DREAM_BUTTON = "bpy.ops.sketchbridge.dream("
RIGHT = 0.75
"""Across the panel: the button is the right one of its row."""


def preview() -> bpy.types.Object | None:
    return bpy.data.objects.get(part("scene_preview").PREVIEW_NAME)


def everything() -> list[str]:
    """Names of all that a cancelled job could leave behind."""
    return sorted(f"{kind}/{one.name}" for kind in ("objects", "meshes", "materials", "images") for one in getattr(bpy.data, kind))


def watched(seen: list[dict[str, Any]]) -> Callable[[], bool]:
    """Notes each surface that the view shows until the job has ended: its stage, size, centre, the bar and the time left."""

    def ended() -> bool:
        job, shown = part("jobs").running, preview()
        if job is not None and shown is not None:
            vertices = np.empty(3 * len(shown.data.vertices), np.float32)
            shown.data.vertices.foreach_get("co", vertices)
            mark = [len(vertices) // 3, float(np.abs(vertices).sum())]
            if not seen or seen[-1]["mark"] != mark:
                session = job.session
                seen.append({
                    "mark": mark, "centre": vertices.reshape(-1, 3).mean(axis=0).tolist() if len(vertices) else None,
                    "stage": session.stage, "fraction": session.fraction, "left": session.seconds_left,
                })  # fmt: skip
        return job is None and part("jobs").last is not None

    return ended


def in_sight(obj: bpy.types.Object) -> float:
    """The share of the object's vertices that a ray from the eye meets first, in the part of the view that the sidebar leaves free."""
    region = next(region for region in view().regions if region.type == "WINDOW")
    seen = view().spaces.active.region_3d
    free = region.width - sidebar().width
    depsgraph = bpy.context.evaluated_depsgraph_get()
    step = max(1, len(obj.data.vertices) // 400)
    points = [obj.matrix_world @ obj.data.vertices[place].co for place in range(0, len(obj.data.vertices), step)]
    eye = seen.view_matrix.inverted().translation
    count = 0
    for point in points:
        there = location_3d_to_region_2d(region, seen, point)
        hit, met, *_, first, _ = bpy.context.scene.ray_cast(depsgraph, eye, point - eye)
        inside_window = there is not None and 0 <= there.x < free and 0 <= there.y < region.height
        count += inside_window and hit and first.name == obj.name and (met - point).length < 0.02
    return count / len(points)


def words_alone() -> Scenario:
    """Nothing is selected: a prompt is typed, Text to 3D is clicked, the surface grows at the cursor, the result arrives there."""
    fresh("")
    jobs, settings = part("jobs"), bpy.context.scene.sketchbridge
    select()
    bpy.context.scene.cursor.location = CURSOR
    settings.overrides = json.dumps(SHORT)
    before = everything()
    yield from open_tab()
    clicks["count"] = 0
    yield from press("sketchbridge.prompt")
    yield from typed("a red mushroom")
    found["prompt"] = settings.prompt
    yield 1.5  # the sub-panels move down
    screenshot("dream_prompt")
    yield from press(DREAM_BUTTON, RIGHT)
    found["clicks"] = clicks["count"]
    yield lambda: jobs.running is not None or jobs.last is not None
    seen: list[dict[str, Any]] = []
    ended = watched(seen)
    yield lambda: ended() or len(seen) > 1
    yield 0.6
    screenshot("dream_running")
    yield ended
    yield 2.0
    screenshot("dream_result")
    found["outcome"], found["text"], found["seen"] = jobs.last.phase.value, jobs.last.text, seen
    found["cursor"] = list(CURSOR)
    found["new"] = sorted(set(everything()) - set(before))
    made = bpy.context.view_layer.objects.active
    found["made"] = {
        "name": made.name, "place": list(made.matrix_world.translation), "selected": made.select_get(), "faces": len(made.data.polygons),
        "in_sight": in_sight(made), "size": list(made.dimensions),
    }  # fmt: skip


def words_alone_cancelled() -> Scenario:
    """The cursor is inside of the cube, as in a new file: the surface grows beside it, in sight. Cancel is clicked: nothing of it stays."""
    fresh("")
    jobs, settings = part("jobs"), bpy.context.scene.sketchbridge
    bpy.data.objects["Other"].location = (0, 6, 0)
    select()
    bpy.context.scene.cursor.location = (0, 0, 0)
    settings.overrides = json.dumps({**SHORT, "dream_steps": 5000})
    yield from open_tab()
    yield from press("sketchbridge.prompt")
    yield from typed("a blue mug")
    yield 1.5
    before = everything()
    yield from press(DREAM_BUTTON, RIGHT)
    yield lambda: jobs.running is not None or jobs.last is not None
    yield lambda: jobs.running is None or preview() is not None
    yield 0.6
    found["stage"], found["in_sight"] = jobs.running.session.stage, in_sight(preview())
    found["notes"] = list(jobs.running.session.notes)
    pid = jobs.running.session.pid
    screenshot("dream_cancels")
    yield from press("bpy.ops.sketchbridge.cancel(", RIGHT)
    yield lambda: jobs.running is None
    yield 0.6
    screenshot("dream_cancelled")
    found["outcome"], found["text"], found["pid"] = jobs.last.phase.value, jobs.last.text, pid
    found["left"] = sorted(set(everything()) ^ set(before))
    found["unfinished"] = len(jobs.unfinished_jobs())
    found["selected"] = [obj.name for obj in bpy.context.selected_objects]


def dream_pictures() -> Scenario:
    """For the documentation: a dream as it is by default, while its surface is refined, and what arrives."""
    fresh("a photo of a red mushroom")
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    jobs, space = part("jobs"), view().spaces.active
    bpy.context.scene.cursor.location = (0, 0, 0)
    space.region_3d.view_rotation = Euler((radians(76), 0, radians(30))).to_quaternion()
    space.region_3d.view_distance, space.region_3d.view_location = 3.6, (0.4, 0.2, 0)
    bpy.context.scene.sketchbridge.overrides = ""
    yield from open_tab()
    yield from press(DREAM_BUTTON, RIGHT)
    yield lambda: jobs.running is not None or jobs.last is not None
    yield lambda: jobs.running is None or jobs.running.session.stage == "stage 2"
    yield 3.0
    screenshot("dream_window_running")
    yield lambda: jobs.running is None
    yield 10.0
    found["outcome"] = jobs.last.text
    screenshot("dream_window_result")


SCENARIOS = (words_alone, words_alone_cancelled, dream_pictures)
