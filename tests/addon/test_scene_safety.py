"""An open scene is the user's: selection, visibility, other scenes, renders and earlier results, while a job runs and when it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
import helpers
import pytest
from helpers import add_cube, part, run_until, select


def result() -> bpy.types.Object:
    return bpy.context.view_layer.objects.active


def selected() -> set[str]:
    return {obj.name for obj in bpy.context.view_layer.objects if obj.select_get()}


def in_mid_job(scene: ModuleType) -> Any:
    """A job on the selection whose preview is shown; returns the module of jobs."""
    jobs = part(scene, "jobs")
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "refine") is None
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects)
    return jobs


def cancelled(jobs: Any) -> None:
    jobs.cancel()


def killed(jobs: Any) -> None:
    os.kill(jobs.running.session.pid, signal.SIGKILL)


@pytest.mark.parametrize("ending", [cancelled, killed])
def test_another_selection_is_left_alone_so_that_delete_takes_no_sketch(scene: ModuleType, ending: Any) -> None:
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    jobs = in_mid_job(scene)
    select(other)
    ending(jobs)
    jobs.run_blocking(bpy.context)
    assert selected() == {"Other"} and not sketch.hide_get()
    bpy.ops.object.delete()
    assert "Sketch" in bpy.data.objects and "Other" not in bpy.data.objects


def test_another_selection_is_left_alone_by_save_and_by_the_next_mesh(scene: ModuleType, tmp_path: Path) -> None:
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    jobs = in_mid_job(scene)
    select(other)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    assert selected() == {"Other"} and helpers.no_preview()
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects)
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert selected() == {"Other"} and not sketch.hide_get()


def test_an_untouched_selection_comes_back(scene: ModuleType) -> None:
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    jobs = in_mid_job(scene)
    assert selected() == set()
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert selected() == {"Sketch"} and bpy.context.view_layer.objects.active == sketch and not other.select_get()


def test_a_result_does_not_take_the_selection_from_what_the_user_works_on(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    assert jobs.begin(bpy.context, "refine") is None
    select(other)
    made = bpy.data.objects[jobs.run_blocking(bpy.context).result]
    assert selected() == {"Other"} and bpy.context.view_layer.objects.active == other and sketch.hide_get() and not made.hide_get()


def test_a_hidden_object_is_not_refined_though_it_is_selected(scene: ModuleType) -> None:
    add_cube()
    collection = bpy.data.collections.new("Away")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(bpy.data.objects["Sketch"])
    bpy.context.scene.collection.objects.unlink(bpy.data.objects["Sketch"])
    select(bpy.data.objects["Sketch"])
    bpy.context.view_layer.layer_collection.children["Away"].hide_viewport = True
    bpy.context.view_layer.update()
    assert bpy.data.objects["Sketch"].select_get()
    with pytest.raises(RuntimeError, match="'Sketch' is hidden"):
        bpy.ops.sketchbridge.refine()


def test_cancel_while_another_scene_is_shown(scene: ModuleType) -> None:
    sketch = add_cube()
    jobs = in_mid_job(scene)
    first = bpy.context.scene
    bpy.context.window.scene = other = bpy.data.scenes.new("Other")
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert bpy.context.scene == other and not other.objects
    bpy.context.window.scene = first
    assert not sketch.hide_get() and sketch.select_get() and helpers.no_preview()


@pytest.mark.parametrize("mode", ["refine", "texture"])
def test_finish_while_another_scene_is_shown(scene: ModuleType, mode: str) -> None:
    jobs = part(scene, "jobs")
    sketch = add_cube()
    assert jobs.begin(bpy.context, mode) is None
    first = bpy.context.scene
    bpy.context.window.scene = other = bpy.data.scenes.new("Other")
    outcome = jobs.run_blocking(bpy.context)
    assert outcome.phase.value == "done" and not other.objects and sketch.hide_render
    bpy.context.window.scene = first
    made = bpy.data.objects[outcome.result]
    assert sketch.hide_get() and made.name in first.objects and not made.hide_render and made.select_get()


def test_the_preview_appears_in_the_job_s_scene_alone(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    first = bpy.context.scene
    assert jobs.begin(bpy.context, "refine") is None
    bpy.context.window.scene = other = bpy.data.scenes.new("Other")
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects)
    assert not other.objects and part(scene, "scene_preview").PREVIEW_NAME in first.objects
    bpy.data.scenes.remove(first)  # the job's scene goes away altogether
    jobs.cancel()
    assert jobs.run_blocking(bpy.context).phase.value == "cancelled" and helpers.no_preview()


def test_what_is_rendered_in_mid_job_is_the_sketch_alone(scene: ModuleType) -> None:
    sketch = add_cube()
    jobs = in_mid_job(scene)
    preview = bpy.data.objects[part(scene, "scene_preview").PREVIEW_NAME]
    assert preview.hide_render and not sketch.hide_render
    jobs.cancel()
    jobs.run_blocking(bpy.context)


def test_refine_on_a_result_starts_from_the_sketch_again(scene: ModuleType) -> None:
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    first = result()
    assert first.name == "Sketch refined"
    bpy.context.scene.sketchbridge.seed = 5
    bpy.ops.sketchbridge.refine()
    second = result()
    show = part(scene, "scene_show")
    assert second != first and show.sources_of(second) == [sketch] and second.name == "Sketch refined.001"
    assert len(second.data.vertices) == 8  # the sketch's
    assert all(obj.hide_get() and obj.hide_render for obj in (sketch, first)) and not second.hide_get()
    assert show.variants_of([sketch]) == [first, second]


def test_the_result_itself_is_refined_where_that_is_asked_for(scene: ModuleType) -> None:
    add_cube()
    bpy.ops.sketchbridge.refine()
    first = result()
    bpy.ops.sketchbridge.refine(result_itself=True)
    assert part(scene, "scene_show").sources_of(result()) == [first] and result().name == "Sketch refined refined"


def test_refine_on_a_textured_result_goes_back_to_the_sketch_and_texture_again_to_the_untextured(scene: ModuleType) -> None:
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    refined = result()
    bpy.ops.sketchbridge.texture()
    show = part(scene, "scene_show")
    assert show.sources_of(result()) == [refined]
    bpy.ops.sketchbridge.texture()
    assert show.sources_of(result()) == [refined] and len(show.variants_of([refined])) == 2
    bpy.ops.sketchbridge.refine()
    assert show.sources_of(result()) == [sketch]


def test_refine_again_and_cancel_leaves_everything_as_it_was(scene: ModuleType) -> None:
    add_cube().modifiers.new("Array", "ARRAY").count = 2
    bpy.ops.sketchbridge.refine()
    assert len(result().data.vertices) == 16  # a hidden original is read with its modifiers
    before = helpers.fingerprint()
    bpy.ops.sketchbridge.refine()
    assert len(result().data.vertices) == 16
    bpy.ops.ed.undo_push(message="here")
    bpy.data.objects.remove(result())
    bpy.data.objects["Sketch refined"].hide_set(False)
    bpy.data.objects["Sketch refined"].hide_render = False
    select(bpy.data.objects["Sketch refined"])
    jobs = in_mid_job(scene)
    assert bpy.data.objects["Sketch refined"].hide_get()  # the growing surface takes its place
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    bpy.context.scene.sketchbridge.prompt = "a flower"
    after = helpers.fingerprint()
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_before_and_after_selects_what_it_shows(scene: ModuleType) -> None:
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    made = result()
    bpy.ops.sketchbridge.toggle()
    assert selected() == {"Sketch"} and result() == sketch and made.hide_get()
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}  # the way back to the sketch is open
    bpy.ops.sketchbridge.toggle()
    bpy.ops.sketchbridge.toggle()
    assert selected() == {"Sketch refined.001"} and sketch.hide_get() and made.hide_get() and made.hide_render


def test_before_and_after_of_a_result_whose_sketch_is_gone(scene: ModuleType) -> None:
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    made = result()
    bpy.data.objects.remove(sketch)
    assert not bpy.ops.sketchbridge.toggle.poll()
    assert part(scene, "scene_show").toggle(bpy.context.view_layer, made) and not made.hide_get()


def test_the_newest_result_is_the_one_made_last_whatever_its_name(scene: ModuleType) -> None:
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    older = result()
    older.name = "zzz"
    bpy.ops.sketchbridge.refine()
    newer = result()
    assert part(scene, "scene_show").result_of(sketch) == newer
    bpy.ops.sketchbridge.toggle()
    bpy.ops.sketchbridge.toggle()
    assert selected() == {newer.name} and older.hide_get()


@pytest.mark.parametrize("doing", ["renders", "tool_in_use"])
def test_nothing_is_put_into_the_scene_while_the_user_renders_or_moves_something(
    scene: ModuleType, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """Blender as a module has neither render jobs nor modal tools; tests/window has both for real."""
    jobs, busy = part(scene, "jobs"), part(scene, "busy")
    sketch = add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 20"
    assert jobs.begin(bpy.context, "refine") is None
    session = jobs.running.session
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(busy, doing, lambda *_: "Move")
        run_until(jobs, lambda: session.finished)
        words = {"renders": "let the render end", "tool_in_use": "end 'Move'"}[doing]
        assert part(scene, "busy").waiting_text(bpy.context) == f"Finished: {words} to receive the result"
        assert not jobs.step(bpy.context) and helpers.no_preview() and not sketch.hide_get() and jobs.has_result()
    assert jobs.step(bpy.context) and jobs.finish(bpy.context).phase.value == "done" and sketch.hide_get()
