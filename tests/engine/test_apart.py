"""Work in a process of its own: its result, its progress, and that it ends with whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from engine.apart import run_apart
from engine.errors import Cancelled
from engine.reporting import Portions, unwatched
from tests.engine.apart_work import doubled, failing, sleeping
from tests.processes import alive

ROOT = Path(__file__).resolve().parents[2]


def test_the_result_and_the_progress_come_back() -> None:
    told: list[tuple[int, int]] = []
    found = run_apart(doubled, {"values": np.arange(3)}, lambda done, total, figures=None, /: told.append((done, total)))
    assert found is not None and found["doubled"].tolist() == [0, 2, 4] and int(found["process"]) != os.getpid()
    assert told == sorted(told) and {(1, 4), (3, 4)} & set(told)


def test_what_fails_is_none() -> None:
    assert run_apart(failing, {}, unwatched) is None


def test_what_tells_no_progress_is_ended(tmp_path: Path) -> None:
    assert run_apart(sleeping, {"word": str(tmp_path / "word")}, unwatched, quiet_seconds=0.2) is None


def test_cancel_ends_the_worker(tmp_path: Path) -> None:
    word = tmp_path / "word"

    def on_step(done: int, total: int, figures: object = None, /) -> None:
        if word.exists() and word.read_text():
            raise Cancelled

    with pytest.raises(Cancelled):
        run_apart(sleeping, {"word": str(word)}, on_step)
    assert not alive(int(word.read_text()))


def test_a_worker_ends_with_the_process_that_started_it_and_leaves_no_file(tmp_path: Path) -> None:
    """The unwrap of a large mesh went on at full load for half an hour, with nobody waiting."""
    word, folder = tmp_path / "word", tmp_path / "temporary"
    folder.mkdir()
    call = f"run_apart(sleeping, {{'word': {str(word)!r}}}, lambda *told: None)"
    code = f"from engine.apart import run_apart; from tests.engine.apart_work import sleeping; {call}"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)})
    while not (word.exists() and word.read_text()):
        assert parent.poll() is None
        time.sleep(0.02)
    worker = int(word.read_text())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(worker) and list(folder.iterdir()) == []


def test_a_worker_whose_parent_ended_before_it_began_ends_too() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    with tempfile.TemporaryFile() as exchange:
        np.savez(exchange, values=np.arange(3))
        command = [sys.executable, "-m", "engine.apart", "tests.engine.apart_work:doubled", str(gone.pid)]
        assert subprocess.run(command, cwd=ROOT, stdin=exchange, stdout=subprocess.DEVNULL, check=False).returncode == 1


def test_portions_never_go_back() -> None:
    told: list[int] = []
    portions = Portions(lambda done, total, figures=None, /: told.append(done), {"first": 1.0, "second": 3.0})
    for name in ("first", "second"):
        portions.begin(name)
        for _ in range(2):
            for done in range(3):
                portions(done, 2)
    assert told == sorted(told) and told[0] == 0 and told[3] == 250 and told[-1] == 1000
