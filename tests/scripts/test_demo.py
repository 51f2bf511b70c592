"""The demo: what it orders, how it listens to Blender, and once all of it with few steps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.setup_commands import SetupError
from scripts.setup import demo
from scripts.setup.blenders import modules
from scripts.setup.console import StatusLine

BLENDER = next((one for one in modules() if one.environment and one.environment.python.exists()), None)
needs_blender = pytest.mark.skipif(BLENDER is None, reason="no Blender environment is set up; scripts/test.py sets it up")


def child_that(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)


def options_of(*arguments: str):
    return demo.build_parser().parse_args(arguments)


def test_all_orders_every_example_with_its_own_prompt():
    wanted = demo.orders(options_of("--all", "--preset", "standard", "--set", "stage1_steps=5", "--set", 'stage2_method="sds"'))
    assert len(wanted) >= 8 and len({order.prompt for order in wanted}) == len(wanted)
    assert all(order.sketch.is_file() and order.preset == "standard" for order in wanted)
    assert json.loads(wanted[0].overrides) == {"stage1_steps": 5, "stage2_method": "sds"}


def test_a_demo_that_is_not_told_which_shows_the_flower_and_a_grey_chair():
    shown = demo.orders(options_of())
    assert [(order.name, order.sketch.stem, order.grey) for order in shown] == [("flower", "flower", False), ("chair-grey", "chair", True)]
    (own,) = demo.orders(options_of("--example", "mug", "--grey"))
    assert (own.name, own.grey, own.prompt) == (
        "mug-grey",
        True,
        next(o.prompt for o in demo.orders(options_of("--all")) if o.name == "mug"),
    )


def test_an_example_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(SetupError, match="flower"):
        demo.orders(options_of("--example", "dragon"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [("stage1_steps", "NAME=VALUE"), ("stage1_steps=", "Stage 1"), ("stage1_steps=many", "whole number"), ("steps=5", "Unknown override")],
)
def test_a_setting_that_cannot_be_used_is_refused(entry, says):
    with pytest.raises(SetupError, match=says):
        demo.orders(options_of("--set", entry))


def test_an_output_folder_that_cannot_be_written_to_is_said_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be written"):
        demo.run(options_of("--out", str(tmp_path / "file")), None, StatusLine())


def test_signs_are_read_until_the_process_ends():
    child = child_that('print(\'{"event": "note"}\', flush=True); raise SystemExit(3)')
    assert list(demo.signs_of(child)) == [{"event": "note"}]
    assert child.returncode == 3


def test_silence_ends_the_wait(monkeypatch):
    monkeypatch.setattr(demo, "SILENCE_SECONDS", 1.0)
    child = child_that("import time; time.sleep(60)")
    try:
        with pytest.raises(SetupError, match="said nothing"):
            list(demo.signs_of(child))
    finally:
        demo.end(child)
    assert child.returncode != 0


def test_a_process_that_does_not_heed_the_interrupt_is_killed(monkeypatch):
    monkeypatch.setattr(demo, "CANCEL_SECONDS", 0.5)
    child = child_that("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)")
    assert child.stdout.readline() == "up\n"
    begun = time.monotonic()
    demo.end(child)
    assert child.returncode == -9 and time.monotonic() - begun < 20


@pytest.mark.slow
@needs_blender
def test_the_whole_demo_with_few_steps(tmp_path, capsys):
    few = ["grid=24", "colour_grid=16", "fit_steps=5", "stage1_steps=3", "stage2_steps=2", "views=1", "texture_size=128", "faces=2000"]
    wanted = options_of(
        "--example", "flower", "--out", str(tmp_path), "--tile", "48", *(word for entry in few for word in ("--set", entry))
    )
    assert demo.run(wanted, BLENDER, StatusLine()) == 0
    printed = capsys.readouterr().out
    for words in ("deviation from the sketch: mean", "95th percentile", "stage 1", "stage 2", "flower.glb", "flower.blend", "flower.png"):
        assert words in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flower.blend", "flower.glb", "flower.png"]
    check_glb(tmp_path / "flower.glb")
    assert (tmp_path / "flower.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.long
def test_without_a_blender_the_engine_alone_refines_the_example(tmp_path, capfd):
    few = ["grid=24", "colour_grid=16", "fit_steps=5", "stage1_steps=3", "stage2_steps=2", "views=1"]
    wanted = options_of("--out", str(tmp_path), *(word for entry in few for word in ("--set", entry)))
    assert demo.run(wanted, None, StatusLine()) == 0
    printed = capfd.readouterr().out
    assert "deviation from the sketch: mean" in printed and "stage 2" in printed
    for name in ("flower", "chair-grey"):
        assert {f"{name}.glb", f"{name}.json", f"{name}.png"} <= {path.name for path in tmp_path.iterdir()}
        check_glb(tmp_path / f"{name}.glb")
    assert (
        demo.run(options_of("--example", "flower", "--out", str(tmp_path), "--model", str(tmp_path / "no such model")), None, StatusLine())
        == 1
    )
    printed = capfd.readouterr()
    assert "FAILED" in printed.out and "no such model" in printed.err


def check_glb(path: Path) -> None:
    """One textured, physically based material on one mesh with texture coordinates."""
    data = path.read_bytes()
    assert data[:4] == b"glTF"
    held = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert "baseColorTexture" in held["materials"][0]["pbrMetallicRoughness"] and len(held["images"]) >= 1
    assert all("TEXCOORD_0" in primitive["attributes"] for mesh in held["meshes"] for primitive in mesh["primitives"])


@pytest.mark.slow
@needs_blender
def test_an_engine_that_fails_makes_the_demo_fail_and_say_why(tmp_path, capsys):
    wanted = options_of("--example", "flower", "--out", str(tmp_path), "--model", str(tmp_path / "no such model"))
    assert demo.run(wanted, BLENDER, StatusLine()) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed and "no such model" in printed
    assert not list(tmp_path.glob("flower.[bgp]*"))
