"""A folder of sketches: what is found, where results go, what is left out, and the real engine on tiny sketches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.setup import bootstrap
from scripts.setup import convert_folder as convert

TINY = ["--set", "grid=16", "--set", "colour_grid=16", "--set", "fit_steps=3", "--set", "stage1_steps=2", "--set", "stage2_steps=1"]
TINY += ["--set", "views=1", "--set", "supersample=1", "--faces", "200", "--texture-size", "64"]


def write_obj(path: Path, size: float = 1.0) -> None:
    """A closed box."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size
    quads = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    lines = ["v {} {} {}".format(*corner) for corner in corners] + ["f {} {} {} {}".format(*quad) for quad in quads]
    path.write_text("\n".join(lines) + "\n")


def task(sketch: Path, out: Path, prompt: str = "a box", options: tuple[str, ...] = ()) -> convert.Task:
    return convert.Task(sketch, prompt, convert.result_folder(out, sketch), "refine", options)


def test_sketches_are_found_by_type_and_backups_are_left_alone(tmp_path):
    for name in ("b.OBJ", "a.glb", "a.blend", "a.blend1", ".hidden.glb", "notes.txt", "prompts.toml"):
        (tmp_path / name).touch()
    (tmp_path / "folder.glb").mkdir()
    assert [path.name for path in convert.find_sketches(tmp_path)] == ["a.blend", "a.glb", "b.OBJ"]


def test_results_of_equal_names_stay_apart(tmp_path):
    names = ["mug.glb", "mug.blend", "mug.v2.glb", "mug_glb.obj", "mug.GLB", "mug.obj"]
    folders = {convert.result_folder(tmp_path, Path(name)) for name in names}
    assert len(folders) == len(names)


def test_prompts_by_file_name_by_stem_and_for_the_rest(tmp_path):
    file = tmp_path / "prompts.toml"
    file.write_text('mug = "a mug"\n"mug.blend" = "another mug"\n')
    prompts = convert.read_prompts(file)
    found = [convert.prompt_for(Path(name), prompts, "something") for name in ("mug.glb", "mug.blend", "hat.glb")]
    assert found == ["a mug", "another mug", "something"]


@pytest.mark.parametrize("text", ["mug = 3\n", "mug = \n", "[mug]\nprompt='x'\n"])
def test_a_bad_prompts_file_is_a_usage_error(tmp_path, text, capsys):
    write_obj(tmp_path / "mug.obj")
    (tmp_path / "prompts.toml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        convert.main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "prompts.toml" in capsys.readouterr().err


@pytest.mark.parametrize("make_folder", [True, False])
def test_nothing_to_convert_is_a_usage_error(tmp_path, make_folder):
    folder = tmp_path / "sketches"
    if make_folder:
        folder.mkdir()
    with pytest.raises(SystemExit) as caught:
        convert.main([str(folder), "--out", str(tmp_path / "out"), "--prompt", "x"])
    assert caught.value.code == 2


@pytest.mark.parametrize("words", [("--model={}",), ("--model", "{}"), ("--model=elsewhere", "--model={}")])
def test_another_picture_in_the_models_folder_is_another_result(tmp_path, words):
    sketch, board = tmp_path / "box.obj", tmp_path / "board"
    write_obj(sketch)
    board.mkdir()
    (board / "one.png").write_bytes(b"one")
    one = task(sketch, tmp_path, options=tuple(word.format(board) for word in words))
    before = one.fingerprint()
    assert before == one.fingerprint()
    (board / "two.png").write_bytes(b"two")
    assert before != one.fingerprint()


def test_done_is_done_until_sketch_prompt_or_options_change_or_the_result_is_gone(tmp_path):
    sketch = tmp_path / "box.obj"
    write_obj(sketch)
    one = task(sketch, tmp_path)
    assert not one.is_done()
    one.folder.mkdir()
    (one.folder / "box.glb").touch()
    (one.folder / convert.RECORD).write_text(json.dumps({"fingerprint": one.fingerprint()}))
    assert one.is_done()
    assert not task(sketch, tmp_path, "a crate").is_done()
    assert not task(sketch, tmp_path, options=("--seed", "1")).is_done()
    (one.folder / "box.glb").unlink()
    (one.folder / ".box.part-0.glb").touch()  # what a killed writer left is no result
    assert not one.is_done()
    (one.folder / "box.glb").touch()
    write_obj(sketch, 2.0)
    assert not one.is_done()


def test_a_sketch_is_done_anew_when_a_file_that_it_names_changes(tmp_path):
    for name, content in (
        ("a.obj", "mtllib a.mtl\nv 0 0 0\n"),
        ("a.mtl", "newmtl m\nmap_Kd wood.png\n"),
        ("wood.png", "x"),
        ("b.png", "x"),
    ):
        (tmp_path / name).write_text(content)
    task = convert.Task(tmp_path / "a.obj", "a mug", tmp_path, "refine", ())
    seen = {task.fingerprint()}
    (tmp_path / "b.png").write_text("another file")
    assert task.fingerprint() in seen
    for name in ("a.mtl", "wood.png", "a.obj"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "#")
        assert task.fingerprint() not in seen
        seen.add(task.fingerprint())


def test_blend_files_go_through_blender_and_meshes_through_the_engine(tmp_path):
    engine = ("python3.11", "-m", "engine")
    mesh, blend = task(tmp_path / "a.glb", tmp_path), task(tmp_path / "a.blend", tmp_path)
    executable, module = convert.Tools(engine, ("blender",)), convert.Tools(engine, ("python3.11", "-m", convert.BLENDER_COMMAND))
    assert convert.command_for(mesh, executable)[:5] == [*engine, "refine", str(mesh.sketch)]
    assert convert.command_for(blend, executable)[:6] == ["blender", "-b", str(blend.sketch), "--command", "sketchbridge", "refine"]
    assert convert.command_for(blend, module)[:5] == ["python3.11", "-m", convert.BLENDER_COMMAND, str(blend.sketch), "refine"]
    assert convert.command_for(blend, convert.Tools(engine, None)) is None


def test_a_crash_and_a_missing_result_are_failures_and_the_rest_goes_on(tmp_path, capfd):
    sketches = []
    for name in ("a.obj", "b.obj", "c.obj"):
        write_obj(tmp_path / name)
        sketches.append(tmp_path / name)
    script = tmp_path / "command.py"
    script.write_text(
        "import os, pathlib, sys\nname, out = pathlib.Path(sys.argv[2]).stem, pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "if name == 'a': os.abort()\nout.mkdir(parents=True, exist_ok=True)\nif name == 'c': (out / 'c.glb').touch()\n"
    )
    tools = convert.Tools((sys.executable, str(script)), None)
    tasks = [task(sketch, tmp_path / "out") for sketch in sketches]
    assert convert.run(tasks, tools, force=False) == convert.FAILED
    printed = capfd.readouterr()
    assert "1 done (0 of them before), 2 failed" in printed.out and "left no result" in printed.err
    assert [one.is_done() for one in tasks] == [False, False, True]
    assert convert.run(tasks[2:], tools, force=False) == convert.DONE
    assert "1 done (1 of them before), 0 failed" in capfd.readouterr().out


@pytest.mark.slow
def test_the_real_engine_converts_goes_on_after_bad_input_and_resumes(tmp_path, capfd):
    folder, out = tmp_path / "sketches", tmp_path / "results"
    folder.mkdir()
    write_obj(folder / "box.obj")
    (folder / "broken.obj").write_text("v 0 0 0\nv nan 0 1\nv 0 1 0\nf 1 2 3\n")
    (folder / "prompts.toml").write_text('box = "a wooden crate"\nbroken = "a stone"\n')
    command = [str(folder), "--out", str(out), "--", *TINY]
    assert convert.main(command) == convert.FAILED
    printed = capfd.readouterr()
    assert "1 done (0 of them before), 1 failed" in printed.out, printed
    result = out / "box_obj" / "box.glb"
    assert result.read_bytes()[:4] == b"glTF"
    assert not list((out / "broken_obj").glob("*.glb"))

    written = result.stat().st_mtime_ns
    (folder / "broken.obj").unlink()
    assert convert.main(command) == convert.DONE
    assert result.stat().st_mtime_ns == written, "what is done is left alone"
    assert convert.main([*command[:3], "--force", *command[3:]]) == convert.DONE
    assert result.stat().st_mtime_ns > written


@pytest.mark.slow
@pytest.mark.skipif(convert.find_tools("engine", None).blender is None, reason="no Blender is set up; scripts/test.py sets it up")
def test_blend_files_are_converted_by_blender_and_the_real_engine(tmp_path, capfd):
    folder, out = tmp_path / "sketches", tmp_path / "results"
    folder.mkdir()
    (folder / "mug.blend").write_bytes((bootstrap.ROOT / "examples" / "mug.blend").read_bytes())
    assert convert.main([str(folder), "--out", str(out), "--prompt", "a red coffee mug", "--", *TINY]) == convert.DONE, capfd.readouterr()
    assert [path.suffix for path in (out / "mug_blend").glob("*.glb")] == [".glb"]
