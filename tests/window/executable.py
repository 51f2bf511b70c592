"""The Blender executable that the tests of this folder start, and what it is started with."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLENDER = os.environ.get("SKETCHBRIDGE_BLENDER", "")
"""The command that starts it, as words of a shell."""
MARKS = [
    pytest.mark.slow,
    pytest.mark.blender_exe,
    pytest.mark.skipif(not BLENDER, reason="needs a Blender executable: set SKETCHBRIDGE_BLENDER, e.g. 'xvfb-run -a blender'"),
]
TINY_ENGINE = shlex.join([sys.executable, "-m", "engine", "--job", "tests.protocol.tiny_job:run_job"])
"""An engine for the tests' own job, in this Python."""
REAL_ENGINE = shlex.join([sys.executable, "-m", "engine"])
"""The product's, with the embedded prior."""


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a Blender whose user folder is `folder`/user, made where it is not there."""
    user = folder / "user"
    user.mkdir(exist_ok=True)
    return {**os.environ, "BLENDER_USER_RESOURCES": str(user), "PYTHONPATH": str(ROOT), **more}
