"""The add-on's tests inside a Blender executable, by pytest-blender from its own environment.

Blender's Python must have pytest (Debian: python3-pytest); the same SKETCHBRIDGE_BLENDER as in test_window.py starts it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from executable import BLENDER, MARKS, ROOT, surroundings

from scripts.setup.bootstrap import PYTEST_BLENDER

pytestmark = MARKS
TESTS = ("test_install.py", "test_panel.py", "test_refine.py", "test_texture.py", "test_scene_safety.py", "test_queue.py",
         "test_variants.py", "test_dream.py", "test_cli.py")  # fmt: skip


def test_the_addons_tests_pass_inside_the_executable(tmp_path: Path) -> None:
    if not PYTEST_BLENDER.python.exists():
        pytest.skip("the environment pytest-blender is not set up: python3 scripts/test.py --window makes it")
    blender = tmp_path / "blender"
    blender.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {BLENDER} "$@"\n')
    blender.chmod(0o755)
    engine = shlex.join([sys.executable, "-m", "engine"])
    environment = surroundings(tmp_path, SKETCHBRIDGE_ENGINE=engine)
    command = [str(PYTEST_BLENDER.python), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--blender-executable"]
    tests = [f"tests/addon/{name}" for name in TESTS]  # from where they are not: the pytest outside would load their conftest.py
    done = subprocess.run([*command, str(blender), *tests], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert " passed" in done.stdout
    print(done.stdout.strip().splitlines()[-1])
