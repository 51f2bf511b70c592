"""A folder of sketches is a batch of one job: what it hands on, and the real engine on tiny sketches."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import ROOT
from scripts.setup import convert_folder as convert

TINY = ["--set", "grid=16", "--set", "colour_grid=16", "--set", "fit_steps=3", "--set", "stage1_steps=2", "--set", "stage2_steps=1"]
TINY += ["--set", "views=1", "--set", "supersample=1", "--faces", "200", "--texture-size", "64"]
BOX = "v 0 0 0\nv 0 0 1\nv 0 1 0\nv 0 1 1\nv 1 0 0\nv 1 0 1\nv 1 1 0\nv 1 1 1\n"
BOX += "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
ENGINE = ["--engine", shlex.join([sys.executable, "-m", "engine"])]


def test_every_option_of_a_job_arrives_in_the_job_file(tmp_path):
    settings = {"mode": "texture", "seed": 3, "model": 'a "model"\\path', "overrides": {"grid": 48, "stage2_method": "sds"}}
    job = tomllib.loads(convert.job_file(tmp_path, "{name} ü", tmp_path / "p.csv", settings))["job"][0]
    assert job == {"input": str(tmp_path), "prompt": "{name} ü", "prompts": str(tmp_path / "p.csv"), "mode": "texture", "seed": 3,
                   "model": 'a "model"\\path', "grid": 48, "stage2_method": "sds"}  # fmt: skip


@pytest.mark.parametrize("options", [["--seed=-1"], ["--set", "grids=3"]])
def test_a_mistake_in_the_options_is_a_usage_error(tmp_path, options, capsys):
    with pytest.raises(SystemExit) as caught:
        convert.main([str(tmp_path), "--out", str(tmp_path / "out"), "--prompt", "x", *options])
    assert caught.value.code == 2 and "error:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sketches", "nowhere"])
def test_nothing_to_convert_is_a_usage_error(tmp_path, name, capfd):
    (tmp_path / "sketches").mkdir()
    try:
        code = convert.main([str(tmp_path / name), "--out", str(tmp_path / "out"), "--prompt", "x", *ENGINE])
    except SystemExit as end:
        code = end.code
    assert code == 2 and "sketch" in capfd.readouterr().err


@pytest.mark.slow
def test_the_real_engine_converts_goes_on_after_bad_input_and_resumes(tmp_path, capfd):
    folder, out = tmp_path / "sketches", tmp_path / "results"
    folder.mkdir()
    (folder / "box.obj").write_text(BOX)
    (folder / "broken.obj").write_text("v 0 0 0\nv nan 0 1\nv 0 1 0\nf 1 2 3\n")
    (folder / "prompts.toml").write_text('box = "a wooden crate"\nbroken = "a stone"\n')
    command = [str(folder), "--out", str(out), *TINY, *ENGINE]
    assert convert.main(command) == 1
    printed = capfd.readouterr()
    assert "1 done (0 of them before), 1 failed" in printed.out, printed
    result = out / "box_obj" / "box.glb"
    assert result.read_bytes()[:4] == b"glTF"
    assert not list((out / "broken_obj").glob("*.glb"))

    written = result.stat().st_mtime_ns
    (folder / "broken.obj").unlink()
    assert convert.main(command) == 0
    assert result.stat().st_mtime_ns == written, "what is done is left alone"
    assert convert.main([*command, "--force"]) == 0
    assert result.stat().st_mtime_ns > written


@pytest.mark.long
@pytest.mark.skipif(convert.find_tools("engine", None).blender is None, reason="no Blender is set up; scripts/test.py sets it up")
def test_blend_files_are_converted_through_blender_and_the_real_engine(tmp_path, capfd):
    folder, out = tmp_path / "sketches", tmp_path / "results"
    folder.mkdir()
    (folder / "mug.blend").write_bytes((Path(ROOT) / "examples" / "mug.blend").read_bytes())
    assert convert.main([str(folder), "--out", str(out), "--prompt", "a red coffee mug", *TINY, *ENGINE]) == 0, capfd.readouterr()
    assert [path.suffix for path in (out / "mug_blend").glob("*.glb")] == [".glb"]
