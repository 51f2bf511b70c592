"""The add-on in a real Blender window, driven by simulated mouse and keyboard (drive.py).

Runs where SKETCHBRIDGE_BLENDER holds the command that starts a Blender with a window (such as 'xvfb-run -a blender'); an engine for
the tests' own tiny job, for text to 3D the product's, is started with this Python unless SKETCHBRIDGE_WINDOW_ENGINE holds another
command. The screenshots are copied into the folder that SKETCHBRIDGE_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executable import BLENDER, MARKS, REAL_ENGINE, ROOT, TINY_ENGINE, surroundings

pytestmark = MARKS
SIZE = 1280, 800
"""Of the window, in pixels; larger ones are slow where they are drawn in software."""


def play(folder: Path, *wanted: str, engine: str = TINY_ENGINE) -> dict[str, Any]:
    """Let drive.py play scenarios, those that it plays unasked by default, in a Blender whose user folder is `folder`/user."""
    from scripts.setup import build_extension

    engine = os.environ.get("SKETCHBRIDGE_WINDOW_ENGINE") or engine
    command = [
        *shlex.split(BLENDER), "--factory-startup", *(() if wanted else ("--enable-event-simulate",)),
        "--window-geometry", "0", "0", *map(str, SIZE),
        "--python", str(ROOT / "tests/window/drive.py"), "--", str(build_extension.build(folder)), engine, str(folder), *wanted,
    ]  # fmt: skip
    environment = surroundings(folder)
    (folder / "finished").unlink(missing_ok=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert (folder / "finished").exists(), done.stdout[-3000:] + done.stderr[-3000:]
    if kept := os.environ.get("SKETCHBRIDGE_SCREENSHOTS"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        for picture in folder.glob("*.png"):
            shutil.copy(picture, kept)
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What drive.py saw in each scenario of simulated events."""
    return play(tmp_path_factory.mktemp("window"))


def scenario(found: dict[str, Any], name: str) -> dict[str, Any]:
    assert "error" not in found[name], found[name]["error"]
    return found[name]


def test_the_button_returns_at_once_and_esc_cancels_nothing(found: dict[str, Any]) -> None:
    seen = scenario(found, "refine_with_the_mouse_elsewhere")
    assert seen["invoke_returns"] == ["FINISHED"] and seen["after_esc"] == "running" and seen["outcome"] == "done"
    assert "Stage 1" in seen["status_bar"] and "sketchbridge.cancel" in seen["status_bar"]  # whatever else is open
    assert "Made 'Cube refined' from Cube." in seen["status_bar_after"]
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


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What the scenarios saw that a mouse of the X server plays, and their folder."""
    folder = tmp_path_factory.mktemp("by_hand")
    return folder, play(folder, "a_new_users_path", "results_of_one_sketch", "quits_in_mid_job")


def test_a_new_user_needs_three_clicks_and_the_prompt(by_hand: tuple[Path, dict[str, Any]]) -> None:
    seen = scenario(by_hand[1], "a_new_users_path")
    assert seen["tab"] == "Sketchbridge" and seen["prompt"] == "steps 90000" and seen["clicks_to_the_first_job"] == 3
    assert seen["bar"] and seen["cancelled"] == "cancelled" and seen["outcome"] == "done"
    assert seen["made"] == ["Cube", "Cube refined", "Other"]
    assert seen["before"] == ["Cube"] and seen["after"] == ["Cube refined"]
    assert seen["undone"] == ["Cube", "Other"] and seen["redone"] == ["Cube", "Cube refined", "Other"]


def test_variations_wait_in_line_and_are_listed_and_compared(by_hand: tuple[Path, dict[str, Any]]) -> None:
    seen = scenario(by_hand[1], "results_of_one_sketch")
    assert seen["in_line"] == ["Cube, seed 1", "Cube, seed 2"] and seen["paused"] == "paused"
    assert [(seed, hidden) for _, seed, hidden in seen["made"]] == [(0, True), (1, True), (2, False)]
    assert seen["row_shows"] == [seen["made"][0][0]] and seen["compared"] == 4 and not seen["compared_after"]


def test_quitting_in_mid_job_asks_and_the_next_start_offers_to_resume(by_hand: tuple[Path, dict[str, Any]]) -> None:
    seen = scenario(by_hand[1], "quits_in_mid_job")
    assert seen["counts_as_changed"] and seen["stays"]
    if os.name != "nt":
        assert not Path(f"/proc/{seen['pid']}").exists(), "the engine has gone with Blender"
    again = scenario(play(by_hand[0], "resumes_at_the_next_start"), "resumes_at_the_next_start")
    assert again["left"][0] == "'steps 4000' on 'Cube'" and again["resumed"] == "steps 4000" and again["left_after"] == 0


def test_without_an_engine_the_panel_leads_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKETCHBRIDGE_ENGINE", raising=False)
    seen = scenario(play(tmp_path, "without_an_engine"), "without_an_engine")
    assert seen["online"] is True and seen["report"][0] == "Check Set-up" and seen["report"][1] >= 2  # they stay in the preferences


@pytest.fixture(scope="module")
def dreamt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the scenarios of text to 3D saw, with the product's engine."""
    return play(tmp_path_factory.mktemp("dreamt"), "words_alone", "words_alone_cancelled", engine=REAL_ENGINE)


def test_words_alone_grow_in_sight_and_arrive_at_the_cursor(dreamt: dict[str, Any]) -> None:
    seen = scenario(dreamt, "words_alone")
    assert seen["prompt"] == "a red mushroom" and seen["clicks"] == 2 and seen["outcome"] == "done"
    surfaces = seen["seen"]
    assert len(surfaces) > 1 and surfaces[0]["stage"] == "dream", "the cloud is seen, and what is made of it"
    assert len({vertices for vertices, _ in (surface["mark"] for surface in surfaces)}) > 1
    assert all(np.abs(np.subtract(surface["centre"], seen["cursor"])).max() < 0.5 for surface in surfaces)
    told = [surface["left"] for surface in surfaces]
    assert all(left is not None and left >= 0 for left in told), "the panel tells the time left throughout"
    made = seen["made"]
    assert made["name"] == "a red mushroom" and made["place"] == seen["cursor"] and made["selected"] and made["faces"] > 1000
    assert made["in_sight"] > 0.3, "its front is seen, and nothing hides it"
    assert f"objects/{made['name']}" in seen["new"] and not any("Preview" in name for name in seen["new"])


def test_words_alone_that_are_cancelled_leave_nothing(dreamt: dict[str, Any]) -> None:
    seen = scenario(dreamt, "words_alone_cancelled")
    assert seen["stage"] == "dream" and seen["in_sight"] > 0.3, "it grows beside the cube that the cursor is in"
    assert any("inside of 'Cube'" in note for note in seen["notes"])
    assert seen["outcome"] == "cancelled" and seen["left"] == [] and seen["unfinished"] == 0 and seen["selected"] == []
    if os.name != "nt":
        assert not Path(f"/proc/{seen['pid']}").exists(), "the engine has gone"
