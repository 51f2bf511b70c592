"""A checkpoint comes back whole, to the job that wrote it, or not at all; whatever goes wrong is told and ends nothing."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import checkpoint
from engine.checkpoint import Checkpoint, cached_path, fingerprint, is_finite
from engine.file_lock import FileLock
from engine.job_fields import JobSettings
from engine.mesh import Mesh

ROOT = Path(__file__).resolve().parents[2]
TRIANGLE = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))
STATE = {"step": 7, "weights": torch.arange(5.0), "moments": {0: {"step": torch.tensor(3.0)}}}


@pytest.fixture
def notes() -> list[str]:
    return []


def save(path: Path, state: dict, job: str = "job") -> None:
    notes: list[str] = []
    Checkpoint(path, job, notes.append).save(state)
    assert notes == []


def test_the_state_comes_back_as_it_was(tmp_path: Path, notes: list[str]) -> None:
    path = tmp_path / "a.checkpoint"
    save(path, STATE)
    loaded = Checkpoint(path, "job", notes.append).load()
    assert loaded is not None and loaded["step"] == 7 and notes == []
    assert torch.equal(loaded["weights"], STATE["weights"])
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_no_news(tmp_path: Path, notes: list[str]) -> None:
    assert Checkpoint(tmp_path / "a.checkpoint", "job", notes.append).load() is None and notes == []
    assert Checkpoint(None, "job", notes.append).load() is None and notes == []


def test_another_jobs_checkpoint_is_not_taken_and_that_is_said(tmp_path: Path, notes: list[str]) -> None:
    save(tmp_path / "a.checkpoint", STATE)
    assert Checkpoint(tmp_path / "a.checkpoint", "other", notes.append).load() is None
    assert len(notes) == 1 and "starts afresh" in notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", pickle.dumps({"job": "job", "state": Path("x")}, protocol=2)], ids=["empty", "text", "objects"]
)
def test_a_damaged_or_hostile_file_is_ignored(tmp_path: Path, content: bytes, notes: list[str]) -> None:
    (tmp_path / "a.checkpoint").write_bytes(content)
    assert Checkpoint(tmp_path / "a.checkpoint", "job", notes.append).load() is None
    assert len(notes) == 1 and "starts afresh" in notes[0]


def test_no_flipped_bit_cut_or_zeroed_block_is_taken(tmp_path: Path, notes: list[str]) -> None:
    """Of 600 single bits flipped before there was a digest, 400 were taken as the job's state."""
    path = tmp_path / "a.checkpoint"
    save(path, {"step": 7, "weights": torch.randn(20_000)})
    whole, draw = path.read_bytes(), random.Random(0)
    places = [draw.randrange(len(whole)) for _ in range(200)] + [draw.randrange(6000) for _ in range(200)]
    places += [len(whole) - 1 - draw.randrange(6000) for _ in range(200)]
    damaged = []
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        damaged.append(bytes(flipped))
    damaged += [whole[: draw.randrange(len(whole))] for _ in range(60)]
    for start in range(0, len(whole) - 4096, 4096):
        damaged.append(whole[:start] + bytes(4096) + whole[start + 4096 :])
    for content in damaged:
        path.write_bytes(content)
        assert Checkpoint(path, "job", notes.append).load() is None
    assert len(notes) == len(damaged)
    path.write_bytes(whole)
    assert Checkpoint(path, "job", notes.append).load() is not None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_finite_is_neither_saved_nor_resumed(number: float, tmp_path: Path, notes: list[str], monkeypatch) -> None:
    path, spoilt = tmp_path / "a.checkpoint", {"step": 8, "moments": [{"v": torch.tensor([0.0, number])}]}
    save(path, STATE)
    before = path.read_bytes()
    save(path, spoilt)
    assert path.read_bytes() == before
    monkeypatch.setattr(checkpoint, "is_finite", lambda state: True)
    save(path, spoilt)
    monkeypatch.undo()
    assert Checkpoint(path, "job", notes.append).load() is None and "not finite" in notes[0]


def test_finite_means_every_element() -> None:
    assert is_finite({"a": torch.tensor([3e38, 3e38]), "b": [torch.tensor([1, 2])], "c": "words", "d": None})
    assert not is_finite((torch.tensor([0.0, float("-inf"), float("inf")]),))


def test_an_unwritable_place_is_told_once_and_ends_nothing(tmp_path: Path, notes: list[str]) -> None:
    for path in (tmp_path / "missing" / "a.checkpoint", tmp_path):
        notes.clear()
        with Checkpoint(path, "job", notes.append) as kept:
            assert kept.load() is None
            notes.clear()
            kept.save(STATE)
            kept.save(STATE)
        assert len(notes) == 1 and "could not be written" in notes[0] and "goes on without" in notes[0]


def test_links_are_neither_read_nor_written_through(tmp_path: Path, notes: list[str]) -> None:
    precious, path = tmp_path / "precious.txt", tmp_path / "a.checkpoint"
    precious.write_text("precious")
    for name in ("a.checkpoint", "a.checkpoint.part", "a.checkpoint.lock"):
        (tmp_path / name).symlink_to(precious)
    with Checkpoint(path, "job", notes.append) as kept:
        assert kept.load() is None and "starts afresh" in notes[0]
        kept.save(STATE)
    assert precious.read_text() == "precious"
    assert not path.is_symlink() and Checkpoint(path, "job", notes.append).load() is not None


def test_a_second_run_of_the_same_job_is_told_and_keeps_none(tmp_path: Path, notes: list[str]) -> None:
    path = tmp_path / "a.checkpoint"
    with Checkpoint(path, "job", notes.append) as first:
        first.save(STATE)
        with Checkpoint(path, "job", notes.append) as second:
            assert len(notes) == 1 and "running already" in notes[0]
            second.save({"step": 99})
            assert second.load() is None
        assert FileLock.is_held(path)
    loaded = Checkpoint(path, "job", notes.append).load()
    assert loaded is not None and loaded["step"] == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.checkpoint"]


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    script = (
        f"from pathlib import Path; import time; from engine.file_lock import FileLock\nlock = FileLock(Path({str(tmp_path / 'a')!r}))\n"
    )
    script += "print(lock.acquire(), flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline().strip() == "True"
    assert FileLock.is_held(tmp_path / "a")
    child.kill()
    child.wait()
    child.stdout.close()
    assert not FileLock.is_held(tmp_path / "a") and list(tmp_path.iterdir()) == []


def test_the_interval_grows_with_what_a_save_costs(tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """30 s for a save, as a slow disk takes for 680 MB: the next one is due after ten minutes, not after 20 s."""
    now, writes = [1000.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def slow(path: Path, content: object) -> None:
        writes.append(now[0])
        now[0] += 30.0

    monkeypatch.setattr(checkpoint, "_write", slow)
    kept = Checkpoint(tmp_path / "a.checkpoint", "job", notes.append)
    for _ in range(1000):
        now[0] += 1.0
        kept.offer(STATE)
    assert writes[0] == 1020.0 and 600 <= writes[1] - writes[0] <= 640 and len(writes) == 2


def test_the_fingerprint_follows_the_settings_the_sketch_and_the_models_files(tmp_path: Path) -> None:
    settings = JobSettings(prompt="a mug")
    assert fingerprint(TRIANGLE, settings) == fingerprint(TRIANGLE, JobSettings(prompt="a mug"))
    assert fingerprint(TRIANGLE, settings) != fingerprint(TRIANGLE, JobSettings(prompt="a mug", seed=1))
    assert fingerprint(TRIANGLE, settings) != fingerprint(TRIANGLE.with_vertices(TRIANGLE.vertices + 1), settings)
    local = JobSettings(prompt="a mug", model=str(tmp_path))
    (tmp_path / "weights").write_bytes(b"one")
    before = fingerprint(TRIANGLE, local)
    assert before == fingerprint(TRIANGLE, local)
    (tmp_path / "weights").write_bytes(b"another")
    assert before != fingerprint(TRIANGLE, local)


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_cache_is_bounded_in_bytes_and_never_takes_the_own_file_or_one_in_use(tmp_path: Path, monkeypatch, notes: list[str]) -> None:
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", str(tmp_path))
    jobs = [fingerprint(TRIANGLE, JobSettings(prompt="a mug", seed=seed)) for seed in range(6)]
    paths = []
    for age, job in enumerate(jobs):
        path = cached_path(job)
        assert path is not None
        save(path, {"weights": torch.zeros(100_000)}, job)
        aged(path, 1000 - age)
        paths.append(path)
    size, folder = paths[0].stat().st_size, paths[0].parent
    monkeypatch.setattr(checkpoint, "CACHE_BYTES", 3 * size)
    with Checkpoint(paths[1], jobs[1], notes.append):
        assert cached_path(jobs[0]) == paths[0]
    assert sorted(folder.glob("*.checkpoint")) == sorted([paths[0], paths[1], paths[5]])
    assert not list(folder.glob("*.lock"))


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", str(tmp_path))
    path = cached_path("0123456789abcdef")
    assert path is not None
    stale, live = (path.parent / f"{name}.checkpoint.x1y2.part" for name in ("dead", "live"))
    for partial in (stale, live):
        partial.write_bytes(bytes(1000))
    lock = FileLock(path.parent / "live.checkpoint")
    assert lock.acquire()
    cached_path("0123456789abcdef")
    assert not stale.exists() and live.exists()
    lock.release()
    own = tmp_path / "a.checkpoint.q.part"
    own.write_bytes(b"half")
    with Checkpoint(tmp_path / "a.checkpoint", "job", notes.append):
        assert not own.exists()


def test_a_cache_that_cannot_be_made_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", "/proc/nowhere")
    assert cached_path("0123456789abcdef") is None


def test_a_delivered_jobs_file_is_removed(tmp_path: Path, notes: list[str]) -> None:
    kept = Checkpoint(tmp_path / "a.checkpoint", "job", notes.append)
    kept.save(STATE)
    kept.remove()
    kept.remove()
    assert list(tmp_path.iterdir()) == [] and notes == []
