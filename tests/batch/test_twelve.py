"""Twelve mixed inputs, two of them bad, with the real engine: from the command line, from Blender and on Ray, to the same bytes."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.batch import ray_cluster
from scripts.setup.convert_folder import find_tools
from tests.batch.batches import BOX, records, run, surroundings, write

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'sketchbridge[cluster]')")
BLENDER = find_tools("engine", None).blender
NEEDS_BLENDER = pytest.mark.skipif(BLENDER is None, reason="no Blender is set up; scripts/test.py sets it up")
REAL = "engine.batch.work:make"
JOBS = """
[defaults]
prompt = "a {name}"
prompts = "prompts.csv"
device = "cpu"
grid = 16
colour_grid = 16
fit_steps = 2
stage1_steps = 2
stage2_steps = 1
views = 1
supersample = 1
faces = 200
texture_size = 64

[[job]]
input = ["sketches/*.glb", "sketches/*.gltf", "sketches/*.obj", "sketches/*.ply", "sketches/*.stl"]
outputs = ["maps"]

[[job]]
input = "sketches/box.glb"
name = "{stem}-textured-{seed}"
mode = "texture"
seeds = [1, 2]
outputs = []
"""
THROUGH_BLENDER = """
[[job]]
input = ["sketches/*.blend", "sketches/*.fbx"]
outputs = []
"""
MAKE_BLENDER_FILES = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
bpy.ops.export_scene.fbx(filepath=sys.argv[-1] + "/cube.fbx")
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1] + "/cube.blend")
"""


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with jobs.toml: twelve items of every type where there is a Blender, ten elsewhere."""
    import trimesh

    folder = tmp_path_factory.mktemp("twelve")
    there = folder / "sketches"
    there.mkdir()
    box, ball = trimesh.creation.box(), trimesh.creation.icosphere(1)
    for shape, name in ((box, "box.glb"), (ball, "ball.ply"), (trimesh.creation.cone(1, 2), "cone.stl")):
        shape.export(there / name)
    for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(trimesh.creation.capsule(count=[6, 6]))).items():
        (there / name.replace("model", "pill")).write_bytes(data)
    (there / "crate.obj").write_text(BOX)
    (there / "plank.obj").write_text(BOX.replace("1 1 1", "2 1 1"))
    (there / "torn.glb").write_bytes((there / "box.glb").read_bytes()[:400])
    (there / "broken.obj").write_text("v 0 0 0\nv nan 0 1\nv 0 1 0\nf 1 2 3\n")
    (folder / "prompts.csv").write_text("file,prompt\ncrate,a wooden crate\n")
    if BLENDER is not None:
        subprocess.run([BLENDER[0], "-c", MAKE_BLENDER_FILES, str(there)], check=True, capture_output=True)
    write(folder, JOBS + (THROUGH_BLENDER if BLENDER is not None else ""))
    return folder


def the_same(folder: Path, one: str, other: str) -> None:
    """Ten of twelve are done (eight of ten without a Blender), and their files have the same bytes but for reports of the run."""
    done = records(folder / one)
    assert set(done) == set(records(folder / other)) and len(done) == (10 if BLENDER is not None else 8)
    files = [path.relative_to(folder / one) for name in done for path in (folder / one / name).iterdir() if path.suffix != ".json"]
    assert len(files) >= 3 * len(done)
    assert [path for path in files if (folder / one / path).read_bytes() != (folder / other / path).read_bytes()] == []


def words() -> list[str]:
    return [] if BLENDER is None else ["--blender", shlex.join(BLENDER)]


@pytest.mark.long
def test_from_the_command_line(twelve):
    done = run(twelve / "jobs.toml", twelve / "out", "--workers", "2", *words(), make=REAL)
    assert done.returncode == 1 and "2 failed" in done.stdout, done
    assert "torn.glb" in done.stderr and "broken" in done.stderr
    again = run(twelve / "jobs.toml", twelve / "one", "--workers", "1", *words(), make=REAL)
    assert again.returncode == 1, again
    the_same(twelve, "out", "one")


@pytest.mark.long
@NEEDS_BLENDER
def test_from_blender(twelve):
    assert BLENDER is not None
    own = {**surroundings(twelve, make=REAL), "SKETCHBRIDGE_ENGINE": shlex.join([sys.executable, "-m", "engine", "engine"])}
    command = [*BLENDER, "-b", "--command", "sketchbridge", "batch", "jobs.toml", "--out", "blender", "--workers", "2"]
    done = subprocess.run(command, cwd=twelve, env=own, capture_output=True, text=True)
    assert done.returncode == 1 and "2 failed" in done.stdout, done
    the_same(twelve, "out", "blender")


@pytest.mark.long
@NEEDS_RAY
def test_on_ray(twelve, monkeypatch):
    for name, value in surroundings(twelve, make=REAL).items():
        monkeypatch.setenv(name, value)
    with ray_cluster(2, 1) as cluster:
        done = run(twelve / "jobs.toml", twelve / "ray", "--ray", cluster.address, *words(), make=REAL)
    assert done.returncode == 1 and "2 failed" in done.stdout, done
    the_same(twelve, "out", "ray")
