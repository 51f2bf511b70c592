"""A real item, killed in its middle with its worker and with its driver: it goes on from its checkpoint to the bytes of an unbroken run."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from engine import checkpoint
from engine.batch import work
from engine.batch.work import Made, Making
from tests.batch.batches import records, sketches, start

REAL = "tests.batch.test_killed:make"
SETTINGS = """
device = "cpu"
grid = 16
colour_grid = 16
fit_steps = 2
stage1_steps = 60
stage2_steps = 4
views = 1
supersample = 1
faces = 200
texture_size = 64
"""


def make(making: Making) -> Made:
    """The real work, which saves its state as often as it may instead of every 20 s."""
    checkpoint.INTERVAL_SECONDS, checkpoint.MOST_OF_THE_TIME = 0.0, 1.0
    return work.make(making)


def whole(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


@pytest.mark.long
def test_a_killed_item_goes_on_from_its_checkpoint_to_the_same_bytes(tmp_path):
    jobs = sketches(tmp_path, ["crate"])
    jobs.write_text(jobs.read_text() + SETTINGS)
    assert start(jobs, tmp_path / "whole", "--workers", "1", make=REAL).wait() == 0
    driver = start(jobs, tmp_path / "out", "--workers", "1", make=REAL)
    saved = tmp_path / "out" / "crate_obj" / "crate.checkpoint"
    for victim in ("worker", "driver"):
        _saved_three_times(saved, driver)
        if victim == "worker":
            (worker,) = psutil.Process(driver.pid).children()
            worker.kill()
            worker.wait()
        else:
            driver.kill()
            driver.communicate()
    assert saved.exists() and not records(tmp_path / "out")
    last = start(jobs, tmp_path / "out", "--workers", "1", "--resume", make=REAL)
    printed, said = last.communicate()
    assert last.returncode == 0 and "1 done (0 of them before)" in printed, (printed, said)
    notes = json.loads((tmp_path / "out" / "crate_obj" / "crate.json").read_text())["notes"]
    assert any(note.startswith("Resumed after step") for note in notes), notes
    assert whole(tmp_path / "out" / "crate_obj") == whole(tmp_path / "whole" / "crate_obj")


def _saved_three_times(path: Path, driver: subprocess.Popen[str]) -> None:
    seen: set[int] = set()
    while len(seen) < 3:
        assert driver.poll() is None, driver.communicate()
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.01)
