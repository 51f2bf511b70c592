"""`--command sketchbridge` through its own entry point: selection, files, exit codes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, part, select


@pytest.fixture
def cli(scene: ModuleType) -> Any:
    return part(scene, "cli")


def test_refine_to_a_folder(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_cube()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mug.blend"))
    out = tmp_path / "out" / "deep"
    assert cli.main(["refine", "--prompt", "a mug", "--out", str(out), "--seed", "7", "--set", "stage1_steps=3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["mug.blend", "mug.glb", "mug.json"]
    assert bpy.data.filepath == str(tmp_path / "mug.blend")  # the open file is still the user's own
    stored = json.loads((out / "mug.json").read_text())
    assert stored["prompt"] == "a mug" and stored["seed"] == 7 and json.loads(stored["settings"])["overrides"] == {"stage1_steps": 3}
    assert str(out / "mug.glb") in capsys.readouterr().out


def test_the_folder_of_the_open_file_is_refused(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_cube()
    path, link = tmp_path / "mug.blend", tmp_path / "link"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    link.symlink_to(tmp_path)
    before = path.read_bytes()
    for folder in (tmp_path, link):
        assert cli.main(["refine", "--prompt", "a mug", "--out", str(folder)]) == 2
        assert "mug.blend' would overwrite" in capsys.readouterr().err
    assert path.read_bytes() == before and sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "mug.blend"]
    assert cli.main(["refine", "--prompt", "a mug", "--out", str(tmp_path / "done.blend")]) == 0  # another file beside it
    assert path.read_bytes() == before and (tmp_path / "done.blend").exists()
    assert cli.main(["texture", "--prompt", "a mug", "--out", str(path)]) == 0  # named outright
    assert path.read_bytes() != before


def test_the_glb_holds_the_result_alone_with_its_texture(cli: Any, tmp_path: Path) -> None:
    add_cube()
    assert cli.main(["refine", "--prompt", "a mug", "--out", str(tmp_path / "mug.glb")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mug.glb"]
    data = (tmp_path / "mug.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    described = json.loads(data[20 : 20 + length])
    assert [node["name"] for node in described["nodes"]] == ["Sketch refined"] and len(described["images"]) >= 1
    assert "baseColorTexture" in described["materials"][0]["pbrMetallicRoughness"]
    assert described["nodes"][0]["extras"]["sketchbridge_prompt"] == "a mug"


def test_without_out_the_open_file_is_saved(cli: Any, tmp_path: Path) -> None:
    add_cube("Mug")
    path = tmp_path / "mug.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    assert cli.main(["texture", "--prompt", "a mug"]) == 0
    bpy.ops.wm.open_mainfile(filepath=str(path))
    assert "Mug textured" in bpy.data.objects and bpy.data.objects["Mug"].hide_render


def test_named_objects_else_the_selection_else_everything_visible(cli: Any, tmp_path: Path) -> None:
    first, second, hidden = add_cube("First"), add_cube("Second"), add_cube("Hidden")
    hidden.hide_set(True)
    select()
    cli.select([])
    assert first.select_get() and second.select_get() and not hidden.select_get()
    select(second)
    cli.select([])
    assert not first.select_get() and second.select_get()
    assert cli.main(["refine", "--prompt", "x", "--object", "First", "--out", str(tmp_path / "x.blend")]) == 0
    assert json.loads(bpy.context.view_layer.objects.active["sketchbridge_sources"]) == ["First"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["refine"], 2, "--prompt"),
        (["paint", "--prompt", "x"], 2, "invalid choice"),
        (["refine", "--prompt", "x", "--out", "OUT.blend", "--object", "Nobody"], 2, "There is no object 'Nobody'"),
        (["refine", "--prompt", "x", "--out", "OUT.blend", "--set", "steps"], 2, "--set expects"),
        (["refine", "--prompt", "", "--out", "OUT.blend"], 2, "prompt is empty"),
        (["refine", "--prompt", "x", "--out", "OUT.blend", "--preset", "best"], 2, "must be one of draft"),
        (["refine", "--prompt", "x", "--out", "OUT.blend", "--adherence", "7"], 2, "Adherence must be"),
        (["refine", "--prompt", "x", "--out", "OUT.blend", "--set", "nonsense=1"], 2, "Unknown override"),
        (["refine", "--prompt", "crash", "--out", "OUT.blend"], 1, "crashed as asked"),
        (["refine", "--prompt", "x"], 2, "has no name"),
        (["refine", "--prompt", "x", "--out", "/proc/nowhere"], 2, "cannot be written to"),
    ],
)
def test_exit_codes(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str) -> None:
    add_cube()
    before = helpers.fingerprint()
    assert cli.main([word.replace("OUT", str(tmp_path / "out")) for word in arguments]) == status
    assert words in capsys.readouterr().err
    assert helpers.fingerprint() == before and not list(tmp_path.iterdir())


OUT = ("--out", "OUT.blend")
SAID = {
    ("refine", "--prompt", "x", *OUT): (
        0, "Made 'Sketch refined' from Sketch. Deviation from the sketch: mean 1.50 %, 95 % of it within 2.25 %, at most 7.50 %."),
    ("texture", "--prompt", "x", *OUT): (0, "Made 'Sketch textured' from Sketch."),
    ("refine",): (2, "blender -b FILE --command sketchbridge refine: error: the following arguments are required: --prompt"),
    ("refine", "--prompt", "x", "--object", "Nobody", *OUT): (
        2, "sketchbridge: There is no object 'Nobody' in the file's view layer. Readable objects there: 'Sketch'."),
    ("refine", "--prompt", "", *OUT): (
        2, "sketchbridge: The prompt is empty; expected a few words that say what the sketch should become. "
           "Type a prompt such as 'a red tulip flower'."),
    ("refine", "--prompt", "x", "--adherence", "7", *OUT): (
        2, "sketchbridge: Adherence must be a number from 0 to 1, got 7.0. Give 'adherence' such a number or leave it out."),
    ("refine", "--prompt", "x"): (2, "sketchbridge: The open file has no name. Give a place for the result with --out FILE.blend."),
    ("refine", "--prompt", "memory", *OUT): (
        1, "sketchbridge: The machine's memory is used up. Close other programs, decimate the mesh, or choose a lower preset or texture "
           "size."),
}  # fmt: skip
"""What a command answers last, to the letter: the same in every version of Blender that this file runs in."""


@pytest.mark.parametrize("words", SAID, ids=" ".join)
def test_the_answer_is_the_same_in_every_version(
    cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    add_cube()
    status, told = SAID[words]
    assert cli.main([word.replace("OUT", str(tmp_path / "out")) for word in words]) == status
    said = capsys.readouterr()
    shown = [line for line in (said.out if status == 0 else said.err).splitlines() if line.startswith(told[:12])]
    assert shown[-1:] == [told]


def test_a_hidden_object_is_named(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_cube("Ghost").hide_set(True)
    assert cli.main(["refine", "--prompt", "x", "--object", "Ghost", "--out", str(tmp_path / "x.blend")]) == 2
    assert "'Ghost' is hidden" in capsys.readouterr().err


def test_a_file_that_blender_could_not_open_is_bad_input(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Blender goes on with its start-up scene then, and would refine its cube."""
    add_cube()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mug.blend"))
    command = ["refine", "--prompt", "a mug", "--out", str(tmp_path / "x.blend")]
    monkeypatch.chdir(tmp_path)
    for words, status in ((["-b", "mig.blend"], 2), (["-b", str(tmp_path / "mig.blend")], 2), (["-b", "mug.blend"], 0), (["-b"], 0)):
        monkeypatch.setattr("sys.argv", ["blender", *words, "--command", "sketchbridge", *command])
        (tmp_path / "x.blend").unlink(missing_ok=True)
        assert cli.main(command) == status
        assert ("could not open" in capsys.readouterr().err) == (status == 2) != (tmp_path / "x.blend").exists()


def test_help_is_no_error(cli: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0 and "refine" in capsys.readouterr().out


def test_nothing_in_the_file_is_bad_input(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["refine", "--prompt", "x", "--out", str(tmp_path / "x.glb")]) == 2
    assert "Nothing is selected" in capsys.readouterr().err


def test_an_interrupt_cancels_with_130(cli: Any, tmp_path: Path, scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    add_cube()
    select()

    def interrupt() -> None:
        deadline = time.monotonic() + 15
        while (jobs.running is None or jobs.running.session.progress is None) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    assert cli.main(["refine", "--prompt", "steps 5000", "--out", str(tmp_path / "x.blend")]) == 130
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before and not list(tmp_path.iterdir())


def test_a_setting_that_cannot_be_used_is_told_before_anything_is_touched(cli: Any, tmp_path: Path, capsys: Any) -> None:
    first, second = add_cube("First"), add_cube("Second")
    select(second)
    out = str(tmp_path / "folder")
    assert cli.main(["refine", "--prompt", "x", "--object", "First", "--out", out, "--set", "fov=NaN"]) == 2
    assert "Field of View must be a number from 5 to 120 degrees, got nan" in capsys.readouterr().err
    assert second.select_get() and not first.select_get() and not list(tmp_path.iterdir())


def test_the_options_are_the_tables(cli: Any, scene: ModuleType) -> None:
    """One job description on every command line: what the engine's shows, Blender's shows with the same words."""
    fields, job_fields = part(scene, "fields"), part(scene, "job_fields")
    options = fields.shown(job_fields.JobSettings, fields.Door.BLENDER)
    assert [field.name for field in options] == [field.name for field in fields.shown(job_fields.JobSettings, fields.Door.ENGINE)]
    words = [f"{field.option}={field.spec.choices[0].value if field.spec.choices else 1}" for field in options if field.name != "overrides"]
    for mode in job_fields.MODES:
        parsed = fields.values_from(cli.build_parser().parse_args([mode.value, *words, "--set", "views=2"]), options)
        assert set(parsed) == {field.name for field in options} and parsed["overrides"] == {"views": 2}


def test_progress_is_told(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_cube()
    assert cli.main(["refine", "--prompt", "steps 30", "--out", str(tmp_path / "x.blend")]) == 0
    said = capsys.readouterr()
    assert "stage 1" in said.err and "left" in said.err and "note: smoothed" in said.err
    assert "Deviation from the sketch: mean 1.50 %, 95 % of it within 2.25 %, at most 7.50 %." in said.out


def test_a_folder_holds_the_numbers_of_deviation(cli: Any, tmp_path: Path) -> None:
    add_cube()
    assert cli.main(["refine", "--prompt", "x", "--out", str(tmp_path / "out")]) == 0
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert np.isclose(stored["deviation_mean_percent"], 1.5)


def test_a_result_that_is_named_is_refined_itself_and_one_in_sight_stands_for_its_sketch(
    cli: Any, scene: ModuleType, tmp_path: Path
) -> None:
    sources_of = part(scene, "scene_show").sources_of
    sketch = add_cube()
    bpy.ops.sketchbridge.refine()
    assert cli.main(["refine", "--prompt", "x", "--out", str(tmp_path / "a.blend")]) == 0
    second = bpy.context.view_layer.objects.active
    assert sources_of(second) == [sketch] and second.name == "Sketch refined.001"
    assert cli.main(["refine", "--prompt", "x", "--object", second.name, "--out", str(tmp_path / "b.blend")]) == 0
    assert sources_of(bpy.context.view_layer.objects.active) == [second]
