"""The add-on in a real Blender window, driven by simulated mouse and keyboard (drive.py).

Runs where SKETCHBRIDGE_BLENDER holds the command that starts a Blender with a window (such as 'xvfb-run -a blender'); an engine for
the tests' own tiny job is started with this Python unless SKETCHBRIDGE_WINDOW_ENGINE holds another command.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLENDER = os.environ.get("SKETCHBRIDGE_BLENDER", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.blender_exe,
    pytest.mark.skipif(not BLENDER, reason="needs a Blender with a window: set SKETCHBRIDGE_BLENDER, e.g. 'xvfb-run -a blender'"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What drive.py saw in each scenario."""
    from scripts.setup import build_extension

    folder = tmp_path_factory.mktemp("window")
    engine = os.environ.get("SKETCHBRIDGE_WINDOW_ENGINE") or shlex.join(
        [sys.executable, "-m", "engine", "--job", "tests.protocol.tiny_job:run_job"]
    )
    command = [
        *shlex.split(BLENDER), "--factory-startup", "--enable-event-simulate", "--window-geometry", "0", "0", "1400", "900",
        "--python", str(ROOT / "tests/window/drive.py"), "--", str(build_extension.build(folder)), engine, str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert (folder / "finished").exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


def scenario(found: dict[str, Any], name: str) -> dict[str, Any]:
    assert "error" not in found[name], found[name]["error"]
    return found[name]


def test_the_button_returns_at_once_and_esc_cancels_nothing(found: dict[str, Any]) -> None:
    seen = scenario(found, "refine_with_the_mouse_elsewhere")
    assert seen["invoke_returns"] == ["FINISHED"] and seen["after_esc"] == "running" and seen["outcome"] == "done"
    assert seen["cancelled"] == {"phase": "cancelled", "hidden": False, "selected": True}
    assert seen["result"] == "Cube refined" and seen["cube_hidden"]
    assert (seen["growing_colours"], seen["result_colours"]) == ("VERTEX", "TEXTURE")
    assert seen["after_undo"] == ["Cube", "Other"] and seen["after_redo"] == ["Cube", "Cube refined", "Other"]


def test_nothing_arrives_in_the_middle_of_a_move(found: dict[str, Any]) -> None:
    seen = scenario(found, "a_result_in_the_middle_of_a_move")
    assert [name for name, _ in seen["tools"]] == ["TRANSFORM_OT_translate"]
    assert seen["meanwhile"] == {
        "text": "Finished: end 'Move' to receive the result", "ended": False, "preview": False, "selected": ["Other"],
    }  # fmt: skip
    assert seen["moved"] and seen["selected_after"] == ["Other"] and seen["result"] == "Cube refined"
    assert seen["undo_keeps_the_place"] and seen["undo_takes_the_result"]


def test_nothing_arrives_in_the_middle_of_a_render(found: dict[str, Any]) -> None:
    seen = scenario(found, "a_result_in_the_middle_of_a_render")
    assert seen["renders"] and seen["meanwhile"]["renders"] and not seen["meanwhile"]["ended"] and seen["meanwhile"]["objects"] == 3
    assert seen["text"] == "Finished: let the render end to receive the result" and seen["outcome"] == "done"


def test_views_are_drawn_only_where_something_changed(found: dict[str, Any]) -> None:
    assert scenario(found, "drawings_without_news")["views_drawn_in_3_s"] <= 2


def test_checks_return_at_once(found: dict[str, Any]) -> None:
    seen = scenario(found, "checks_do_not_block")
    assert seen["test_connection"] == seen["doctor"] == ["FINISHED"]
    assert (
        seen["test_connection_seconds"] < 0.5 and seen["doctor_seconds"] < 0.5
    )  # a process is started meanwhile; both took seconds before
    assert seen["test_connection_report"][:2] == ["Test Connection", True] and seen["doctor_report"][0] == "Check Set-up"


def test_overlapping_uvs_are_asked_about_before_anything_starts(found: dict[str, Any]) -> None:
    seen = scenario(found, "overlapping_uvs_ask_first")
    assert seen["asks"] == ["RUNNING_MODAL"] and not seen["runs_before_the_answer"] and seen["outcome"] == "done"
    assert seen["layers"] == ["UVMap", "UVMap.001"] and seen["layers_of_the_original"] == ["UVMap"]
