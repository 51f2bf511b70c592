"""The add-on's tests inside a Blender executable, by pytest-blender from its own environment.

Blender's Python must have pytest (Debian: python3-pytest); the same SKETCHBRIDGE_BLENDER as in test_window.py starts it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.setup.bootstrap import PYTEST_BLENDER

ROOT = Path(__file__).resolve().parents[2]
BLENDER = os.environ.get("SKETCHBRIDGE_BLENDER", "")
TESTS = ("test_install.py", "test_panel.py", "test_refine.py", "test_texture.py", "test_scene_safety.py", "test_queue.py",
         "test_variants.py", "test_cli.py")  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.blender_exe,
    pytest.mark.skipif(not BLENDER, reason="needs a Blender executable: set SKETCHBRIDGE_BLENDER, e.g. 'xvfb-run -a blender'"),
]


def test_the_addons_tests_pass_inside_the_executable(tmp_path: Path) -> None:
    if not PYTEST_BLENDER.python.exists():
        pytest.skip("the environment pytest-blender is not set up: python3 scripts/test.py --window makes it")
    blender = tmp_path / "blender"
    blender.write_text(f'#!/bin/sh\nexec {BLENDER} "$@"\n')
    blender.chmod(0o755)
    engine = shlex.join([sys.executable, "-m", "engine"])
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user"), "PYTHONPATH": str(ROOT), "SKETCHBRIDGE_ENGINE": engine}
    (tmp_path / "user").mkdir()
    command = [str(PYTEST_BLENDER.python), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--blender-executable"]
    tests = [str(ROOT / "tests" / "addon" / name) for name in TESTS]
    done = subprocess.run([*command, str(blender), *tests], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert " passed" in done.stdout
