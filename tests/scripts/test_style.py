"""The code's style, by ruff's rules in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["addon", "engine", "scripts", "tests"])
def test_ruff_finds_nothing(folder):
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", folder]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
