"""Bad input, failures, cancel, kill: whatever happens, the file is exactly as before and the message says what to do."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import bpy
import helpers
import numpy as np
import pytest
from helpers import CUBE, add_cube, add_object, part, run_until, select

from tests.processes import alive

ROOT = Path(__file__).resolve().parents[2]


def refused(operator: Callable[[], object]) -> str:
    """The message of an operator that must fail."""
    with pytest.raises(RuntimeError) as caught:
        operator()
    return str(caught.value)


def nothing_selected() -> None:
    add_cube()
    select()


def only_a_camera() -> None:
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    select(camera)


def without_faces() -> None:
    add_object("Points", CUBE, [])


def empty_mesh() -> None:
    add_object("Empty", [], [])


def infinite() -> None:
    obj = add_cube()  # vertex.co would be clipped to the largest finite number
    obj.data.attributes["position"].data.foreach_set("vector", np.append(np.array(CUBE, np.float32).ravel()[:-1], np.float32("inf")))
    obj.data.update()


def not_a_number() -> None:
    obj = add_cube()
    obj.data.vertices[3].co.z = float("nan")


def empty_prompt() -> None:
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "  "


def broken_overrides() -> None:
    add_cube()
    bpy.context.scene.sketchbridge.overrides = "{stage1_steps: 3}"


def unknown_override() -> None:
    add_cube()
    bpy.context.scene.sketchbridge.overrides = '{"stage3_steps": 3}'


def crash_in_the_engine() -> None:
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "crash"


def killed_engine() -> None:
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 50 die"


BAD_INPUTS = {
    nothing_selected: "Nothing is selected", only_a_camera: "no faces or strokes", without_faces: "no faces", empty_mesh: "no faces",
    infinite: "not finite", not_a_number: "not finite", empty_prompt: "prompt is empty", broken_overrides: "cannot be read as JSON",
    unknown_override: "Unknown override 'stage3_steps'", crash_in_the_engine: "ValueError: crashed as asked", killed_engine: "SIGKILL",
}  # fmt: skip


@pytest.mark.parametrize("prepare", BAD_INPUTS, ids=lambda prepare: prepare.__name__)
def test_bad_input_is_refused_with_the_fix_and_changes_nothing(scene: ModuleType, prepare: Callable[[], None]) -> None:
    prepare()
    before = helpers.fingerprint()
    message = refused(bpy.ops.sketchbridge.refine)
    assert BAD_INPUTS[prepare] in message
    outcome = part(scene, "jobs").last
    assert outcome.fix and outcome.fix in message and outcome.exit_code != 0
    assert helpers.fingerprint() == before


@pytest.mark.parametrize(
    ("command", "words"),
    [("/nowhere/engine", "cannot be started"), (f"{sys.executable} -c 'raise SystemExit(3)'", "exit status 3"), ("'open quote", "quotes")],
)
def test_an_engine_that_is_none(scene: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, words: str) -> None:
    add_cube()
    before = helpers.fingerprint()
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", command)
    assert words in refused(bpy.ops.sketchbridge.refine)
    assert words in refused(bpy.ops.sketchbridge.test_connection)
    assert helpers.fingerprint() == before


def test_a_log_that_cannot_be_made(scene: ModuleType) -> None:
    folder = Path(bpy.utils.extension_path_user(scene.__name__, path="logs", create=True))
    aside = folder.rename(folder.with_name("logs aside"))
    folder.write_text("a file where the folder should be")
    try:
        add_cube()
        before = helpers.fingerprint()
        for operator in (bpy.ops.sketchbridge.refine, bpy.ops.sketchbridge.test_connection):
            message = refused(operator)
            assert "log cannot be written" in message and "Free space" in message and "Traceback" not in message
        assert part(scene, "jobs").running is None and helpers.fingerprint() == before
    finally:
        folder.unlink()
        aside.rename(folder)


def test_no_engine_at_all_names_the_preference(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    add_cube()
    monkeypatch.delenv("SKETCHBRIDGE_ENGINE")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "Engine Command" in refused(bpy.ops.sketchbridge.refine)


def test_the_preference_is_used_where_the_variable_is_not_set(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    add_cube()
    chosen = bpy.context.preferences.addons[helpers.PACKAGE].preferences
    chosen.engine_command = os.environ["SKETCHBRIDGE_ENGINE"]
    monkeypatch.delenv("SKETCHBRIDGE_ENGINE")
    try:
        assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
        assert bpy.ops.sketchbridge.test_connection() == {"FINISHED"}
    finally:
        chosen.engine_command = ""


def test_the_preference_goes_before_the_variable(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    add_cube()
    chosen = bpy.context.preferences.addons[helpers.PACKAGE].preferences
    chosen.engine_command = os.environ["SKETCHBRIDGE_ENGINE"]
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", "/nowhere/engine")
    try:
        assert bpy.ops.sketchbridge.test_connection() == {"FINISHED"}
        assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
        chosen.engine_command = " "
        assert "cannot be started" in refused(bpy.ops.sketchbridge.test_connection)
    finally:
        chosen.engine_command = ""


@pytest.mark.parametrize("moment", ["at once", "greeted", "first progress", "preview shown", "late"])
@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_stopped_at_any_moment_everything_is_as_before(scene: ModuleType, moment: str, how: str) -> None:
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    cube = add_cube()
    other = add_object("Bystander", CUBE, [[0, 1, 3, 2]])
    other.hide_set(True)
    select(cube)
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    before = helpers.fingerprint()
    assert not jobs.begin(bpy.context, "refine")
    session = jobs.running.session
    run_until(jobs, {
        "at once": lambda: True, "greeted": lambda: session.engine, "first progress": lambda: session.progress,
        "preview shown": lambda: preview.PREVIEW_NAME in bpy.data.objects, "late": lambda: session.progress and session.progress.step > 60,
    }[moment])  # fmt: skip
    if how == "cancel":
        assert bpy.ops.sketchbridge.cancel() == {"FINISHED"}
    else:
        os.kill(session.pid, signal.SIGKILL)
    started = time.monotonic()
    outcome = jobs.run_blocking(bpy.context)
    assert time.monotonic() - started < 2.0
    assert outcome.phase.value == ("cancelled" if how == "cancel" else "failed")
    assert jobs.running is None and helpers.fingerprint() == before
    assert session.wait_closed()


def test_after_a_failure_the_next_job_runs(scene: ModuleType) -> None:
    killed_engine()
    refused(bpy.ops.sketchbridge.refine)
    bpy.context.scene.sketchbridge.prompt = "a flower"
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}


def test_a_result_that_cannot_be_applied_leaves_nothing_behind(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    write = part(scene, "scene_write")

    def broken(*arguments: object) -> None:
        raise RuntimeError("the disk of images is full")

    monkeypatch.setattr(write, "mark", broken)
    add_cube()
    before = helpers.fingerprint()
    assert "the disk of images is full" in refused(bpy.ops.sketchbridge.refine)
    assert helpers.fingerprint() == before


def test_edit_mode_is_refused(scene: ModuleType) -> None:
    add_cube()
    bpy.ops.object.mode_set(mode="EDIT")
    assert "object mode" in refused(bpy.ops.sketchbridge.refine)
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize(("mode", "name"), [("EDIT", "Edit Mode"), ("SCULPT", "Sculpt Mode"), ("VERTEX_PAINT", "Vertex Paint")])
def test_a_result_waits_until_the_user_is_back_in_object_mode(scene: ModuleType, mode: str, name: str) -> None:
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    bpy.context.scene.sketchbridge.prompt = "steps 20"
    assert not jobs.begin(bpy.context, "refine")
    session = jobs.running.session
    select(other)
    bpy.ops.object.mode_set(mode=mode)
    run_until(jobs, lambda: session.finished)
    for _ in range(3):
        assert not jobs.step(bpy.context)
        assert preview.PREVIEW_NAME not in bpy.data.objects and not sketch.hide_get() and other.mode == mode
    assert jobs.has_result() and part(scene, "busy").waiting_text(bpy.context) == f"Finished: leave {name} to receive the result"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert jobs.step(bpy.context)
    assert jobs.finish(bpy.context).result == "Sketch refined" and sketch.hide_get() and not other.hide_get()


def test_in_edit_mode_the_preview_stands_still_and_a_failure_is_told_at_once(scene: ModuleType) -> None:
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    sketch, other = add_cube(), add_cube("Other")
    select(sketch)
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert not jobs.begin(bpy.context, "refine")
    session = jobs.running.session
    run_until(jobs, lambda: preview.PREVIEW_NAME in bpy.data.objects)
    select(other)
    bpy.ops.object.mode_set(mode="EDIT")
    shown = helpers.mesh_bytes(bpy.data.objects[preview.PREVIEW_NAME].data)
    run_until(jobs, lambda: session._mesh is not None)  # a newer mesh has come and is kept for later
    assert not jobs.step(bpy.context)
    assert helpers.mesh_bytes(bpy.data.objects[preview.PREVIEW_NAME].data) == shown
    bpy.ops.object.mode_set(mode="OBJECT")
    assert not jobs.step(bpy.context)
    assert helpers.mesh_bytes(bpy.data.objects[preview.PREVIEW_NAME].data) != shown
    select(other)
    bpy.ops.object.mode_set(mode="EDIT")
    os.kill(session.pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while not jobs.step(bpy.context):
        assert time.monotonic() < deadline
        session.wait(0.02)
    assert "SIGKILL" in jobs.finish(bpy.context).text and helpers.no_preview() and not sketch.hide_get() and other.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_result_that_waits_can_be_given_up(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    for mode in ("EDIT", "OBJECT"):  # Blender 5.2 and later write the mesh anew when edit mode ends
        bpy.ops.object.mode_set(mode=mode)
    before = helpers.fingerprint()
    assert not jobs.begin(bpy.context, "refine")
    bpy.ops.object.mode_set(mode="EDIT")
    run_until(jobs, jobs.has_result)
    assert bpy.ops.sketchbridge.cancel() == {"FINISHED"}
    assert jobs.step(bpy.context) and jobs.finish(bpy.context).phase.value == "cancelled"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert helpers.fingerprint() == before


@pytest.mark.parametrize("mode", ["refine", "texture"])
def test_an_object_renamed_during_the_job_is_found_again(scene: ModuleType, mode: str) -> None:
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    sketch = add_cube()
    sketch.location = (3, 2, 1)
    bpy.context.scene.sketchbridge.prompt = "steps 20"
    assert not jobs.begin(bpy.context, mode)
    session = jobs.running.session
    run_until(jobs, lambda: preview.PREVIEW_NAME in bpy.data.objects if mode == "refine" else session.progress)
    sketch.name = "Tulip"
    bystander = add_cube()  # has the name that the sketch had
    assert bystander.name == "Sketch"
    outcome = jobs.run_blocking(bpy.context)
    assert outcome.result == ("Tulip refined" if mode == "refine" else "Tulip textured") and "from Tulip." in outcome.text
    result = bpy.data.objects[outcome.result]
    assert tuple(result.location) == (3, 2, 1) and part(scene, "scene_show").sources_of(result) == [sketch]
    assert sketch.hide_get() and sketch.hide_render and not bystander.hide_get() and not bystander.hide_render


def test_an_object_renamed_under_the_preview_is_shown_again(scene: ModuleType) -> None:
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    sketch = add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert not jobs.begin(bpy.context, "refine")
    run_until(jobs, lambda: preview.PREVIEW_NAME in bpy.data.objects)
    assert sketch.hide_get()
    sketch.name = "Tulip"
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert not sketch.hide_get() and sketch.select_get()


def test_a_preview_of_another_process_is_removed_by_names(scene: ModuleType) -> None:
    """Blender was killed after it had saved the file by itself: the session ids in it may be those of other objects."""
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    sketch, other = add_cube(), add_cube("Other")
    other.hide_set(True)
    select(sketch)
    shown = preview._new_preview(bpy.context, part(scene, "scene_read").read_sketch(bpy.context))
    mark = json.loads(shown["sketchbridge_preview"])
    assert mark["hidden"] == [["Sketch", sketch.session_uid, True]]
    shown["sketchbridge_preview"] = json.dumps({**mark, "process": 0, "hidden": [["Sketch", other.session_uid, True]]})
    assert sketch.hide_get()
    jobs.after_load()
    assert helpers.no_preview() and not sketch.hide_get() and other.hide_get()


def test_disabling_the_extension_ends_the_job(scene: ModuleType) -> None:
    import addon_utils

    jobs = part(scene, "jobs")
    add_cube()
    before = helpers.fingerprint()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert not jobs.begin(bpy.context, "refine")
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects)
    session = jobs.running.session
    addon_utils.disable(helpers.PACKAGE)
    try:
        assert session.finished and session.wait_closed() and helpers.no_preview()
        assert {name: digest for name, digest in helpers.fingerprint().items() if not name.startswith("scenes/")} == {
            name: digest for name, digest in before.items() if not name.startswith("scenes/")
        }  # of the scene only its settings of this extension are gone
    finally:
        addon_utils.enable(helpers.PACKAGE)


@pytest.mark.parametrize("ending", ["killed", "quits"])
def test_the_engine_ends_with_blender(scene: ModuleType, archive: Path, tmp_path: Path, ending: str) -> None:
    """Another Blender process is in the middle of a job when it ends; its engine must be gone within two seconds."""
    script = tmp_path / "host.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys, time
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "addon")!r}]
        import bpy, helpers, importlib
        bpy.ops.extensions.package_install_files(filepath={str(archive)!r}, repo="user_default", enable_on_install=True)
        jobs = importlib.import_module(helpers.PACKAGE + ".jobs")
        helpers.add_cube()
        bpy.context.scene.sketchbridge.prompt = "deaf"
        assert not jobs.begin(bpy.context, "refine")
        while jobs.running.session.progress is None:
            jobs.step(bpy.context); time.sleep(0.02)
        print("ENGINE", jobs.running.session.pid, flush=True)
        if {ending!r} == "killed": time.sleep(60)
    """)
    )
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    program = Path(bpy.app.binary_path or "")
    command = [program, "-b", "--python", script] if program.name.startswith("blender") else [sys.executable, script]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as blender:
        line = next(line for line in blender.stdout if line.startswith("ENGINE"))
        engine = int(line.split()[1])
        if ending == "killed":
            blender.kill()
        blender.wait(20)
    deadline = time.monotonic() + 2.0
    while alive(engine) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(engine)


def test_the_doctor_is_asked_on_the_engines_machine(scene: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = part(scene, "checks")
    assert checks.doctor_command(["ssh", "host", "sketchbridge", "engine"]) == ["ssh", "host", "sketchbridge", "doctor"]
    assert checks.doctor_command(["python", "-m", "engine", "--job", "a:b"]) == ["python", "-m", "engine", "doctor"]
    program = tmp_path / "sketchbridge"
    program.write_text("#!/bin/sh\necho '[ fails ] memory'; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", shlex.join([str(program), "engine"]))
    assert bpy.ops.sketchbridge.doctor() == {"FINISHED"}
    assert checks.last == checks.Report("Check Set-up", False, ("[ fails ] memory",)) and checks.running is None
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", "/nowhere/sketchbridge engine")
    assert "cannot be started" in refused(bpy.ops.sketchbridge.doctor)


def test_a_mesh_far_from_the_origin_keeps_its_detail(scene: ModuleType) -> None:
    """A 1 mm thick plate 100 km away: its world coordinates in single precision would be 8 mm apart."""
    plate = add_cube()
    plate.scale = (0.5, 0.5, 0.0005)
    plate.location = (1e5, 0, 0)
    bpy.context.view_layer.update()
    reading = part(scene, "scene_read").read_sketch(bpy.context)
    assert np.ptp(reading.part.vertices, axis=0) == pytest.approx([1, 1, 0.001], rel=1e-5)
