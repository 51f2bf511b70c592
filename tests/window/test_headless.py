"""`blender -b FILE --command sketchbridge` in a real executable, installed by Blender's own command: exit codes and words.

Those of the module, in every version, are in tests/addon/test_cli.py.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from executable import BLENDER, MARKS, TINY_ENGINE, surroundings

from scripts.setup import build_extension

pytestmark = MARKS
Blender = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headless")


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    return build_extension.build(folder / "dist")


@pytest.fixture(scope="module")
def blender(folder: Path, archive: Path) -> Blender:
    """Runs Blender with a user folder in which the extension is installed, and a file with a cube, mug.blend."""
    environment = surroundings(folder, SKETCHBRIDGE_ENGINE=TINY_ENGINE)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*shlex.split(BLENDER), *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)

    installed = run("--command", "extension", "install-file", "--repo", "user_default", "--enable", str(archive))
    assert installed.returncode == 0, installed.stdout + installed.stderr
    save = f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(folder / 'mug.blend')!r})"
    saved = run("-b", "--factory-startup", "--python-exit-code", "9", "--python-expr", save)
    assert saved.returncode == 0 and (folder / "mug.blend").exists(), saved.stdout + saved.stderr
    return run


def test_blenders_own_validator_finds_nothing(blender: Blender, archive: Path) -> None:
    done = blender("--command", "extension", "validate", str(archive))
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "Success" in told, told
    assert not {"warning", "error", "fatal"} & set(told.lower().replace(":", " ").split()), told


@pytest.mark.parametrize(
    ("file", "words", "status", "told"),
    [
        ("mug.blend", ["--prompt", "x", "--object", "Cube", "--out", "made.glb"], 0, "Made 'Cube refined' from Cube."),
        ("mig.blend", ["--prompt", "x", "--out", "made.glb"], 2, "could not open"),
        ("mug.blend", [], 2, "--prompt"),
        ("mug.blend", ["--prompt", "x", "--object", "Nobody", "--out", "made.glb"], 2, "There is no object 'Nobody'"),
        ("mug.blend", ["--prompt", "x", "--adherence", "7", "--out", "made.glb"], 2, "Adherence must be"),
        ("mug.blend", ["--prompt", "crash", "--object", "Cube", "--out", "made.glb"], 1, "crashed as asked"),
    ],
)
def test_exit_codes(blender: Blender, folder: Path, file: str, words: list[str], status: int, told: str) -> None:
    (folder / "made.glb").unlink(missing_ok=True)
    done = blender("-b", file, "--command", "sketchbridge", "refine", *words)
    assert done.returncode == status and told in done.stdout + done.stderr, done.stdout + done.stderr
    assert (folder / "made.glb").exists() == (status == 0)
