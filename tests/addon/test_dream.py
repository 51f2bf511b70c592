"""Text to 3D from the panel and from a command line: no sketch, the result at the 3D cursor, cancel, resume."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, part, run_until, select, world_vertices


def put_cursor(*place: float) -> None:
    bpy.context.scene.cursor.location = place


def dreams() -> list[bpy.types.Object]:
    """In the order of their seeds."""
    bpy.context.view_layer.update()
    found = [obj for obj in bpy.data.objects if obj.get("sketchbridge_mode") == "dream"]
    return sorted(found, key=lambda obj: obj["sketchbridge_seed"])


def places() -> list[tuple[float, ...]]:
    return [tuple(round(value, 4) for value in obj.matrix_world.translation) for obj in dreams()]


def test_it_arrives_at_the_cursor_and_nothing_else_changes(scene: ModuleType) -> None:
    cube = add_cube()
    select()
    put_cursor(3, -2, 1)
    before = helpers.fingerprint()
    assert bpy.ops.sketchbridge.dream() == {"FINISHED"}
    (made,) = dreams()
    assert made.name == "a flower" and places() == [(3, -2, 1)]
    drawn = world_vertices(made)  # the tiny job draws an octahedron around the origin together
    np.testing.assert_allclose(drawn.mean(axis=0), (3, -2, 1), atol=1e-6)
    np.testing.assert_allclose(np.ptp(drawn, axis=0), 2 * 0.9**5, atol=1e-5)
    assert bpy.context.view_layer.objects.active == made and made.select_get() and not cube.hide_get() and not cube.hide_render
    assert all(helpers.fingerprint()[name] == told for name, told in before.items() if name not in ("scenes/Scene", "view layer"))
    outcome = part(scene, "jobs").last
    assert outcome.text == "Made 'a flower' from words alone." and outcome.measured == ""
    assert json.loads(made["sketchbridge_settings"])["mode"] == "dream" and made.data.materials[0].node_tree is not None


def test_faces_look_outward(scene: ModuleType) -> None:
    put_cursor(5, 5, 5)
    bpy.ops.sketchbridge.dream()
    mesh = dreams()[0].data
    assert all(polygon.normal.dot(polygon.center) > 0 for polygon in mesh.polygons)


def test_variations_and_later_dreams_stand_side_by_side(scene: ModuleType) -> None:
    settings = bpy.context.scene.sketchbridge
    put_cursor(0, 1, 0)
    settings.variations = 2
    assert bpy.ops.sketchbridge.dream() == {"FINISHED"}
    assert places() == [(0, 1, 0), (2, 1, 0)] and not any(obj.hide_get() for obj in dreams())
    dreams()[0].location.z = 7  # moved away: its place is free again
    settings.variations, settings.seed = 1, 5
    assert bpy.ops.sketchbridge.dream() == {"FINISHED"}
    assert places()[2] == (0, 1, 0)
    select(dreams()[2])
    assert part(scene, "jobs").begin(bpy.context, "dream", {"prompt": "a mug", "seed": 8}) is None
    assert part(scene, "jobs").begin(bpy.context, "dream", {"prompt": "a pot", "seed": 9}) is None  # the one that waits has a place too
    part(scene, "jobs").run_blocking(bpy.context)
    assert places()[3:] == [(4, 1, 0), (6, 1, 0)] and [obj.name for obj in dreams()[3:]] == ["a mug", "a pot"]


@pytest.mark.parametrize(
    ("cursor", "size", "openings", "display", "arrives"),
    [
        ((0, 0, 0), 1, 0, "TEXTURED", (2, 0, 0)),  # the cube of a new file, where its cursor is
        ((0, 0, 0), 1, 1, "TEXTURED", (0, 0, 0)),  # a box without a lid
        ((0, 0, 1), 1, 0, "TEXTURED", (0, 0, 1)),  # upon it
        ((0.9, 0, 0), 1, 0, "TEXTURED", (0.9, 0, 0)),  # it will stick out
        ((0, 0, 0), 4, 0, "TEXTURED", (0, 0, 0)),  # a room
        ((0, 0, 0), 1, 0, "WIRE", (0, 0, 0)),
        ((0, 0, 0), 1, 0, "hidden", (0, 0, 0)),
    ],
)
def test_it_does_not_arrive_where_nothing_would_be_seen_of_it(
    scene: ModuleType, cursor: tuple[float, ...], size: float, openings: int, display: str, arrives: tuple[float, ...]
) -> None:
    cube = helpers.add_object("Block", helpers.CUBE, helpers.CUBE_FACES[: 6 - openings])
    cube.scale = (size, size, size)
    cube.hide_set(display == "hidden")
    cube.display_type = "TEXTURED" if display == "hidden" else display
    put_cursor(*cursor)
    assert bpy.ops.sketchbridge.dream() == {"FINISHED"}
    assert places() == [arrives]
    told = [note for note in part(scene, "jobs").last.notes if "inside of 'Block'" in note]
    assert len(told) == (arrives != cursor)


def test_it_is_added_to_the_active_collection_while_that_is_in_sight(scene: ModuleType) -> None:
    mine = bpy.data.collections.new("Mine")
    bpy.context.scene.collection.children.link(mine)
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Mine"]
    bpy.ops.sketchbridge.dream()
    assert [held.name for held in dreams()[0].users_collection] == ["Mine"]
    layer.active_layer_collection.hide_viewport = True
    bpy.context.scene.sketchbridge.seed = 1
    bpy.ops.sketchbridge.dream()
    assert list(dreams()[1].users_collection) == [bpy.context.scene.collection] and dreams()[1].visible_get()


def test_its_time_is_told_where_nothing_could_be_sent(scene: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels, settings = part(scene, "panels"), bpy.context.scene.sketchbridge
    held = part(scene, "user_data").UserData(tmp_path / "remembered.json")
    monkeypatch.setattr(part(scene, "remembered"), "data", lambda: held)
    assert panels.estimated(settings, "dream") is None
    settings.dream_steps = 80
    bpy.ops.sketchbridge.dream()
    once = panels.estimated(settings, "dream")
    assert once is not None and panels.estimated(settings, "refine") is None
    settings.dream_steps = 80 + 400  # the draft's two stages have 320
    assert panels.estimated(settings, "dream") == pytest.approx(1.8 * once)


def test_its_result_can_be_refined_and_textured_and_has_no_before(scene: ModuleType) -> None:
    bpy.ops.sketchbridge.dream()
    (made,) = dreams()
    assert not bpy.ops.sketchbridge.toggle.poll()
    assert bpy.ops.sketchbridge.refine_again() == {"FINISHED"}
    part(scene, "jobs").run_blocking(bpy.context)
    again = dreams()[1]
    assert again["sketchbridge_seed"] == 1 and places() == [(0, 0, 0), (2, 0, 0)] and not made.hide_get()
    select(made)
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    assert json.loads(bpy.context.view_layer.objects.active["sketchbridge_sources"]) == [made.name] and made.hide_get()
    select(again)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert json.loads(bpy.context.view_layer.objects.active["sketchbridge_sources"]) == [again.name]


def test_the_surface_so_far_is_shown_at_the_cursor_and_cancel_takes_it_away(scene: ModuleType) -> None:
    jobs, name = part(scene, "jobs"), part(scene, "scene_preview").PREVIEW_NAME
    put_cursor(0, 0, 4)
    before = helpers.fingerprint()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "dream") is None
    session = jobs.running.session
    run_until(jobs, lambda: name in bpy.data.objects and session.preview is not None)
    np.testing.assert_allclose(world_vertices(bpy.data.objects[name]).mean(axis=0), (0, 0, 4), atol=1e-5)
    assert session.progress.total == 5000 and jobs.running.planned.title == "steps 5000, seed 0"
    kept = jobs.keep_preview(bpy.context)
    assert kept.name == "steps 5000 unfinished"
    bpy.data.meshes.remove(kept.data)
    jobs.cancel()
    assert jobs.run_blocking(bpy.context).phase.value == "cancelled"
    bpy.context.scene.sketchbridge.prompt = "a flower"
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    assert helpers.fingerprint() == before and part(scene, "job_plan").left() == []


def test_a_dream_that_an_engine_did_not_see_to_its_end_can_be_resumed(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    put_cursor(1, 2, 3)
    bpy.context.scene.sketchbridge.prompt = "steps 300"
    assert jobs.begin(bpy.context, "dream") is None
    sent = jobs.running.planned.submit()
    run_until(jobs, lambda: jobs.running.session.progress is not None)
    os.kill(jobs.running.session.pid, signal.SIGKILL)
    assert jobs.run_blocking(bpy.context).phase.value == "failed"
    put_cursor(0, 0, 0)  # it arrives where it was begun
    (record,) = jobs.unfinished_jobs()
    assert record.title == "'steps 300'"
    assert jobs.resume(bpy.context, record) is None
    assert jobs.running.planned.submit().settings == sent.settings  # by which the engine finds its checkpoint
    assert jobs.run_blocking(bpy.context).phase.value == "done"
    assert places() == [(1, 2, 3)] and jobs.unfinished_jobs() == []


@pytest.mark.parametrize(
    ("prompt", "overrides", "words"),
    [
        ("  ", "", "prompt is empty"),
        ("a mug", '{"dream_stepps": 3}', "Unknown override 'dream_stepps'"),
        ("a mug", '{"dream_grid": 2}', "Dream Grid must be a whole number from 8 to 256 cells, got 2."),
        ("a mug", '{"dream_t_low": 0.7}', "dream_t_low must be below"),
        ("crash", "", "ValueError: crashed as asked"),
    ],
)
def test_what_cannot_be_dreamt_is_refused_with_the_fix(scene: ModuleType, prompt: str, overrides: str, words: str) -> None:
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.overrides = prompt, overrides
    before = helpers.fingerprint()
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.sketchbridge.dream()
    outcome = part(scene, "jobs").last
    assert words in str(caught.value) and outcome.fix in str(caught.value) and outcome.exit_code != 0
    assert helpers.fingerprint() == before


def test_the_panels_numbers_of_a_dream_are_sent_with_a_dream_and_come_back(scene: ModuleType) -> None:
    properties, settings = part(scene, "properties"), bpy.context.scene.sketchbridge
    settings.dream_steps, settings.dream_guidance, settings.overrides = 33, 6.5, '{"dream_views": 2, "fov": 30}'
    given = properties.job_settings(settings, "dream")
    dream = part(scene, "job_fields").JobSettings.from_dict(given).resolve_dream()
    assert (dream.dream_steps, dream.dream_guidance, dream.dream_views) == (33, 6.5, 2) and given["overrides"] == {"fov": 30}
    assert properties.job_settings(settings, "refine")["dream"] == {}, "a sketch's job is the same whatever a dream would be"
    settings.dream_steps, settings.overrides = 99, ""
    properties.show(settings, given)
    assert settings.dream_steps == 33 and json.loads(settings.overrides) == {"dream_views": 2, "fov": 30}
    properties.show(settings, {"prompt": "a mug"})
    assert settings.dream_steps == 33, "a refined result's settings say nothing of dreams"
    properties.show(settings, {"prompt": "a mug", "mode": "dream"})
    assert settings.dream_steps == part(scene, "dream_fields").DreamNumbers().dream_steps


def test_the_command(scene: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli: Any = part(scene, "cli")
    assert cli.main(["dream", "--prompt", "a mug", "--seed", "4", "--dream-steps", "9", "--out", str(tmp_path / "a.glb")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Made 'a mug' from words alone." and said[-1] == str(tmp_path / "a.glb")
    (made,) = dreams()
    stored = json.loads(made["sketchbridge_settings"])
    assert stored["dream"] == {"dream_steps": 9} and stored["seed"] == 4 and stored["adherence"] == 0.5
    assert cli.main(["dream", "--prompt", "a pot", "--out", str(tmp_path / "folder")]) == 0
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["result.blend", "result.glb", "result.json"]
    for words, told in (
        (["--prompt", "x"], "Give a place for the result with --out"),
        (["--prompt", "x", "--dream-grid", "3", "--out", "x.glb"], "Dream Grid must be"),
        (["--prompt", "x", "--object", "Cube", "--out", "x.glb"], "unrecognized arguments: --object"),
        (["--prompt", "x", "--keep-colours", "no", "--out", "x.glb"], "unrecognized arguments: --keep-colours"),
    ):
        assert cli.main(["dream", *words]) == 2
        assert told in capsys.readouterr().err


def test_the_command_has_the_options_of_the_engines(scene: ModuleType) -> None:
    fields, dream_fields, cli = part(scene, "fields"), part(scene, "dream_fields"), part(scene, "cli")
    engine = fields.shown(dream_fields.DreamNumbers, fields.Door.ENGINE)
    assert [field.name for field in cli.DREAM_NUMBERS] == [field.name for field in engine]
    assert {field.name for field in cli.DREAM_OPTIONS} == set(dream_fields.JOB_OPTIONS)
