"""The gate: ruff's rules and format, types by basedpyright, and no code that only tests use; all set up in pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("addon", "engine", "scripts", "tests")

UNUSED = re.compile(r"^(?P<place>\S+:\d+): unused (?P<kind>function|class|method|property) '(?P<name>\w+)'")

CALLED_FROM_OUTSIDE = {
    # Blender calls these on what the add-on registers
    "cancel", "check", "description", "draw", "draw_header", "draw_header_preset", "draw_item", "execute", "filter_items", "invoke",
    "modal", "poll", "preset_values", "register", "unregister",
    # torch calls this, Python that
    "forward", "__call__", "__getattr__",
    # started by name, from a process's command line (engine/server.py)
    "run_kept",
    # needs the session's own handle of the process: how tests wait until it is gone
    "wait_closed",
}  # fmt: skip
"""Names that nothing of the project calls by name, and who does."""


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python tool of this environment, run at the project's root."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_ruff_finds_nothing(folder):
    checked = tool("ruff", "check", "--no-cache", "--output-format=concise", folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_ruff_would_format_nothing(folder):
    checked = tool("ruff", "format", "--check", "--no-cache", folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_the_type_checker_finds_nothing():
    checked = tool("basedpyright", "--level", "error", "--pythonpath", sys.executable)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_nothing_is_there_for_tests_alone():
    found = tool("vulture", "--min-confidence", "60", "addon", "engine", "scripts").stdout.splitlines()
    unused = [match for line in found if (match := UNUSED.match(line)) and match["name"] not in CALLED_FROM_OUTSIDE]
    assert not unused, "\n".join(match.group(0) for match in unused)
