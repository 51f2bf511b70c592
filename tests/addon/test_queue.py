"""Several jobs in line, pauses, what is kept on the way, and jobs that nobody saw to their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import bpy
import numpy as np
import pytest
from helpers import add_cube, part, run_until, select


def results() -> list[str]:
    return sorted(obj.name for obj in bpy.data.objects if "sketchbridge_sources" in obj)


def test_variations_have_one_seed_after_the_other_and_only_the_last_is_in_sight(scene: ModuleType) -> None:
    sketch, settings = add_cube(), bpy.context.scene.sketchbridge
    settings.seed, settings.variations = 5, 3
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    made = [bpy.data.objects[name] for name in results()]
    assert sorted(obj["sketchbridge_seed"] for obj in made) == [5, 6, 7]
    assert [obj["sketchbridge_seed"] for obj in made if not obj.hide_get()] == [7] and sketch.hide_get()


def test_each_selected_object_has_its_own_job_or_all_are_one_sketch(scene: ModuleType) -> None:
    one, two = add_cube("One"), add_cube("Two")
    two.location.x = 5
    select(one, two)
    bpy.context.scene.sketchbridge.each = True
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    assert results() == ["One refined", "Two refined"]
    select(one, two)
    for obj in (one, two):
        obj.hide_set(False)
    select(one, two)
    bpy.context.scene.sketchbridge.each = False
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    joined = bpy.data.objects["One refined.001"]
    assert json.loads(joined["sketchbridge_sources"]) == ["One", "Two"]


def test_texture_takes_several_objects_one_by_one(scene: ModuleType) -> None:
    select(add_cube("One"), add_cube("Two"))
    bpy.context.scene.sketchbridge.each = True
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert results() == ["One textured", "Two textured"]


def test_a_second_press_waits_in_line_with_its_own_selection_and_settings(scene: ModuleType) -> None:
    jobs, settings = part(scene, "jobs"), bpy.context.scene.sketchbridge
    one, two = add_cube("One"), add_cube("Two")
    select(one)
    settings.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "refine") is None
    select(two)
    settings.prompt, settings.seed = "a pot", 3
    assert jobs.begin(bpy.context, "refine") is None and jobs.begin(bpy.context, "refine", {"prompt": "a mug"}) is None
    assert [planned.title for planned in jobs.waiting] == ["Two, seed 3", "Two, seed 0"]
    settings.prompt = "nothing of this"
    jobs.take_out(1)
    jobs.cancel()
    outcome = jobs.run_blocking(bpy.context)
    assert outcome.phase.value == "done" and results() == ["Two refined"]
    assert bpy.data.objects["Two refined"]["sketchbridge_prompt"] == "a pot"


def test_a_job_in_line_that_fails_does_not_hold_up_the_next(scene: ModuleType) -> None:
    jobs, settings = part(scene, "jobs"), bpy.context.scene.sketchbridge
    add_cube()
    for prompt in ("steps 20", "crash", "a pot"):
        settings.prompt = prompt
        assert jobs.begin(bpy.context, "refine") is None
    assert jobs.run_blocking(bpy.context).phase.value == "done"
    assert len(results()) == 2 and jobs.waiting == []


def test_a_paused_job_stands_still_and_its_time_is_not_counted(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 400"
    assert jobs.begin(bpy.context, "refine") is None
    session = jobs.running.session
    run_until(jobs, lambda: session.progress is not None and session.progress.step > 3)
    jobs.pause(True)
    assert session.stage == "paused"
    for _ in range(20):  # what was on its way comes in
        assert not jobs.step(bpy.context)
        session.wait(0.05)
    step, worked = session.progress.step, session.worked
    for _ in range(10):
        assert not jobs.step(bpy.context)
        session.wait(0.1)
    assert session.progress.step == step and session.worked == pytest.approx(worked, abs=0.05)
    jobs.pause(False)
    run_until(jobs, lambda: session.progress.step > step)
    jobs.pause(True)
    jobs.cancel()
    assert jobs.run_blocking(bpy.context).phase.value == "cancelled"


def test_what_is_kept_on_the_way_is_a_result_of_its_own(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    sketch = add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 200"
    assert jobs.begin(bpy.context, "refine") is None
    assert jobs.keep_preview(bpy.context) is None
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects and jobs.running.session.preview is not None)
    kept = jobs.keep_preview(bpy.context)
    assert kept.name == "Sketch unfinished" and kept.hide_get() and len(kept.data.polygons) == 12
    assert jobs.run_blocking(bpy.context).phase.value == "done"
    variants = part(scene, "scene_show").variants_of([sketch])
    assert [obj.name for obj in variants] == ["Sketch unfinished", "Sketch refined"] and kept.hide_get()
    if bpy.app.version >= part(scene, "scene_thumbnail").CAN_HOLD:
        assert kept.preview.is_image_custom and variants[1].preview.is_image_custom


def test_what_an_engine_did_not_see_to_its_end_can_be_resumed(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    sketch = add_cube()
    sketch.location = (3, 0, 1)
    bpy.context.scene.sketchbridge.prompt = "steps 300"
    assert jobs.begin(bpy.context, "refine") is None
    sent = jobs.running.planned.submit()
    run_until(jobs, lambda: jobs.running.session.progress is not None)
    os.kill(jobs.running.session.pid, signal.SIGKILL)
    assert jobs.run_blocking(bpy.context).phase.value == "failed"
    (record,) = jobs.unfinished_jobs()
    assert record.title == "'steps 300' on 'Sketch'"
    assert jobs.resume(bpy.context, record) is None
    again = jobs.running.planned.submit()
    assert again.settings == sent.settings and again.job != sent.job
    for name in ("vertices", "faces"):  # the same bytes, so that the engine finds its checkpoint
        assert getattr(again, name).tobytes() == getattr(sent, name).tobytes()
    assert jobs.run_blocking(bpy.context).phase.value == "done"
    made = bpy.data.objects["Sketch refined"]
    np.testing.assert_allclose(made.matrix_world.translation, (3, 0, 1), atol=1e-6)
    assert sketch.hide_get() and jobs.unfinished_jobs() == []


def test_a_finished_a_cancelled_and_a_refused_job_leave_nothing_to_resume(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    bpy.context.scene.sketchbridge.prompt = "crash"
    with pytest.raises(RuntimeError):
        bpy.ops.sketchbridge.refine()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "refine") is None
    run_until(jobs, lambda: jobs.running.session.progress is not None)
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert part(scene, "job_plan").left() == []


def test_a_job_of_a_blender_that_is_gone_is_offered_and_one_of_a_running_one_is_not(scene: ModuleType, tmp_path: Path) -> None:
    plan, unfinished, jobs = part(scene, "job_plan"), part(scene, "unfinished"), part(scene, "jobs")
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "refine") is None
    job = jobs.running.planned.job
    assert plan.left(job) == [], "it runs"
    jobs.abandon()
    (record,) = plan.left()
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    for process, offered in ((gone.pid, True), (os.getppid(), False)):
        file = plan.folder() / job / "job.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "process": process}))
        assert bool(plan.left()) == offered
    assert unfinished.alive(os.getpid())
    (plan.folder() / job / "job.json").write_text("{")
    os.utime(plan.folder() / job, (0, 0))
    assert plan.left() == [] and not (plan.folder() / job).exists(), "what cannot be read goes"
    assert record.job == job


def test_a_texture_job_whose_object_is_not_in_the_file_is_refused_with_the_file_to_open(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "texture") is None
    jobs.abandon()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    (record,) = jobs.unfinished_jobs()
    refusal = jobs.resume(bpy.context, record)
    assert "no object 'Sketch' in this scene" in refusal.text and jobs.running is None
    assert jobs.unfinished_jobs() == [record], "it can still be resumed where its file is open"


def test_prompts_models_and_times_are_remembered(scene: ModuleType, tmp_path: Path) -> None:
    data = part(scene, "user_data").UserData(tmp_path / "file.json")
    settings = part(scene, "job_fields").JobSettings.from_dict({"prompt": "a mug", "model": "owner/model"}).to_dict()
    assert data.estimate(settings) is None
    data.remember({**settings, "prompt": "a pot"})
    data.remember(settings)
    data.remember_time(settings, 80.0)
    again = part(scene, "user_data").UserData(tmp_path / "file.json")
    assert again.prompts == ["a mug", "a pot"] and again.models == ["owner/model"]
    assert again.estimate(settings) == pytest.approx(80.0) and again.estimate({**settings, "preset": "high"}) is None
    longer = {**settings, "overrides": {"stage1_steps": 2 * 240 + 80}}
    assert 1.5 * 80 < again.estimate(longer) < 2 * 80
    (tmp_path / "file.json").write_text("[]")
    assert part(scene, "user_data").UserData(tmp_path / "file.json").prompts == []
