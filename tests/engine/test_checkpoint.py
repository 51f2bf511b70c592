"""A checkpoint comes back whole, to the job that wrote it, or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.checkpoint import KEPT, Checkpoint, cached_path, fingerprint
from engine.errors import JobError
from engine.job_fields import JobSettings
from engine.mesh import Mesh

TRIANGLE = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))


def test_the_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 7, "weights": torch.arange(5.0), "moments": {0: {"step": torch.tensor(3.0)}}}
    Checkpoint(tmp_path / "a.checkpoint", "job").save(state)
    loaded = Checkpoint(tmp_path / "a.checkpoint", "job").load()
    assert loaded is not None and loaded["step"] == 7
    assert torch.equal(loaded["weights"], state["weights"])
    assert list(tmp_path.iterdir()) == [tmp_path / "a.checkpoint"]


def test_another_jobs_checkpoint_is_not_taken(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "a.checkpoint", "job").save({"step": 7})
    assert Checkpoint(tmp_path / "a.checkpoint", "other").load() is None


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", pickle.dumps({"job": "job", "state": Path("x")}, protocol=2)], ids=["empty", "text", "objects"]
)
def test_a_damaged_or_hostile_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.checkpoint").write_bytes(content)
    assert Checkpoint(tmp_path / "a.checkpoint", "job").load() is None


def test_a_file_cut_short_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    Checkpoint(path, "job").save({"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:2000])
    assert Checkpoint(path, "job").load() is None


def test_an_unwritable_place_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="could not be written"):
        Checkpoint(tmp_path / "missing" / "a.checkpoint", "job").save({"step": 1})


def test_the_fingerprint_follows_the_settings_and_the_sketch() -> None:
    settings = JobSettings(prompt="a mug")
    assert fingerprint(TRIANGLE, settings) == fingerprint(TRIANGLE, JobSettings(prompt="a mug"))
    assert fingerprint(TRIANGLE, settings) != fingerprint(TRIANGLE, JobSettings(prompt="a mug", seed=1))
    assert fingerprint(TRIANGLE, settings) != fingerprint(TRIANGLE.with_vertices(TRIANGLE.vertices + 1), settings)


def test_the_cache_finds_the_same_job_again_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", str(tmp_path))
    paths = [cached_path(fingerprint(TRIANGLE, JobSettings(prompt="a mug", seed=seed))) for seed in range(KEPT + 3)]
    for path in paths:
        assert path is not None
        Checkpoint(path, "job").save({"step": 1})
    assert cached_path(fingerprint(TRIANGLE, JobSettings(prompt="a mug", seed=0))) == paths[0]
    assert len(list(paths[0].parent.glob("*.checkpoint"))) == KEPT  # type: ignore[union-attr]
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", "/proc/nowhere")
    assert cached_path("0123456789abcdef") is None
