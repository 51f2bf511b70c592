"""The scripts that a user meets answer on a bare Python, from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import ROOT


@pytest.mark.parametrize("name", ["demo.py", "test.py", "convert_folder.py", "build_extension.py"])
def test_help_needs_no_package_and_no_particular_folder(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-S", "-B", str(ROOT / "scripts" / name), "--help"]  # -S: no installed packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {name}")


def test_no_script_puts_a_folder_on_the_path_but_those_that_a_user_starts() -> None:
    """One way of importing: `from scripts.room import ...`. Only code handed to a Blender executable names the project's folder."""
    lines = {
        str(path.relative_to(ROOT)): sum("sys.path" in line for line in path.read_text(encoding="utf-8").splitlines())
        for path in sorted((ROOT / "scripts").rglob("*.py"))
    }
    found = {name for name, count in lines.items() if count}
    assert found == {
        *(f"scripts/{name}.py" for name in ("demo", "test", "convert_folder", "build_extension", "gpu_check")),
        "scripts/setup/blenders.py",
    }
