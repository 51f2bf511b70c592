"""The generator's command line, and a handful of pictures where Blender's module is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.prior.data import make as make_prior_data

ROOT = Path(__file__).resolve().parents[2]
needs_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module")


def render(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.prior.data.make", "--size", "32", "--samples", "2", "--out", str(out), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)


def pixels(path: Path) -> np.ndarray:
    """float [H W, 4] in 0..1, read by Blender: its environment has no other reader."""
    import bpy

    image = bpy.data.images.load(str(path))
    values = np.array(image.pixels[:]).reshape(-1, 4)
    bpy.data.images.remove(image)
    return values


def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_prior_data.parse_arguments(["--out", str(tmp_path), "--kinds", "dragon"])
    assert "tulip" in capsys.readouterr().err


def test_chance_depends_on_seed_and_number_alone():
    draws = [make_prior_data.picture_rng(seed, index).random() for seed in (1, 2) for index in (0, 1)]
    assert len(set(draws)) == 4
    assert draws[1] == make_prior_data.picture_rng(1, 1).random()


def test_records_of_a_killed_worker_are_read_up_to_the_broken_line(tmp_path):
    record = {"file": "a.webp", "caption": "a red rock", "background": "on sand", "view": "front", "kind": "rock"}
    (tmp_path / "a.webp").touch()
    text = json.dumps(record) + "\n" + json.dumps({**record, "file": "missing.webp"}) + '\n{"file": "b.we'
    (tmp_path / "captions-1-0.part").write_text(text, "utf-8")
    assert list(make_prior_data.finished_records(tmp_path)) == ["a.webp"]
    assert make_prior_data.write_captions(tmp_path) == 1


@needs_blender
@pytest.mark.blender
@pytest.mark.slow
def test_pictures_do_not_depend_on_the_workers_and_runs_go_on(tmp_path):
    kinds = ("--kinds", "apple,mug", "--seed", "3")
    assert render(tmp_path / "one", "--count", "3", *kinds).returncode == 0
    more = render(tmp_path / "two", "--count", "2", "--workers", "2", *kinds)
    assert more.returncode == 0, more.stderr
    more = render(tmp_path / "two", "--count", "3", "--workers", "2", *kinds)
    assert "1 of 1" in more.stderr  # only the third one was left to do
    records = [json.loads(line) for line in (tmp_path / "one" / "captions.jsonl").read_text("utf-8").splitlines()]
    assert [record["kind"] for record in records] == ["apple", "mug", "apple"]
    assert records == [json.loads(line) for line in (tmp_path / "two" / "captions.jsonl").read_text("utf-8").splitlines()]
    for record in records:
        pictures = [(tmp_path / run / record["file"]).read_bytes() for run in ("one", "two")]
        assert pictures[0] == pictures[1]


@needs_blender
@pytest.mark.blender
@pytest.mark.long
def test_two_hundred_pictures_of_every_kind(tmp_path):
    """The generator's real work, small and grainy: every kind, and no picture that is one flat colour or another one again."""
    done = render(tmp_path, "--count", "200", "--workers", "2", "--seed", "5", "--samples", "1")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()]
    assert len(records) == 200
    assert len({record["kind"] for record in records}) >= 40
    assert {record["view"] for record in records} == {"front", "side", "back", "overhead"}
    assert len({record["background"] for record in records}) >= 8
    pictures = {record["file"]: (tmp_path / record["file"]).read_bytes() for record in records}
    assert len(set(pictures.values())) == 200
    assert [name for name in pictures if pixels(tmp_path / name).std(axis=0)[:3].max() < 0.015] == []
