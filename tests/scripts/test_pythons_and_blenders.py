"""Which interpreters and which Blender a machine has: executables that answer, that do not, and that are too old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import setup_pythons as pythons
from engine.setup_commands import SetupError
from engine.setup_pythons import Python
from scripts.setup import blenders
from scripts.setup.blenders import Blender, find_blender
from scripts.setup.bootstrap import ENVIRONMENTS


def executable(path: Path, script: str) -> str:
    """A shell script at `path`."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; what runs the tests is of Python 3.12 as far as the set-up knows."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(blenders.BLENDER_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 12, 3, "final", 0))
    pythons.interpreters.cache_clear()
    yield tmp_path
    pythons.interpreters.cache_clear()


def test_the_python_that_runs_this_comes_first_and_stand_ins_that_do_not_start_are_none(machine: Path) -> None:
    executable(machine / "python3.11", "echo 3 11 2")
    executable(machine / "python3.13", "echo command not found >&2; exit 127")
    executable(machine / "python3", "echo 3 9 18")
    assert [one.version for one in pythons.interpreters()] == [(3, 12, 3), (3, 11, 2)]
    assert pythons.find_python(((3, 11),)) == Python(str(machine / "python3.11"), (3, 11, 2))
    assert pythons.find_python(((3, 13),)) is None


def test_a_python_too_new_for_the_pins_is_passed_over(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 15, 0, "final", 0))
    assert pythons.interpreters() == ()
    with pytest.raises(SetupError, match=r"needs python3\.11 or python3\.12 or python3\.13"):
        pythons.need_python(pythons.SUPPORTED, "The engine")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("3 11 2",), ["5.0", "4.5", "4.2"]),
        (("3 13 5",), ["5.3", "5.2"]),
        (("3 11 2", "3 13 5"), ["5.3", "5.2", "5.0", "4.5", "4.2"]),
        ((), []),
    ],
)
def test_the_modules_that_fit_the_pythons_at_hand(machine: Path, found: tuple[str, ...], expected: list[str]) -> None:
    for version in found:
        executable(machine / f"python3.{version.split()[1]}", f"echo {version}")
    assert [blender.version for blender in blenders.modules()] == expected
    assert find_blender() == (Blender(expected[0], ENVIRONMENTS[f"blender-{expected[0]}"]) if expected else None)


def test_an_executable_serves_where_no_module_fits_and_an_old_one_does_not(machine: Path) -> None:
    assert "no Blender here" in blenders.why_none() and "(3.12)" in blenders.why_none()
    executable(machine / "blender", "echo Blender 4.0.2")
    assert find_blender() is None
    executable(machine / "blender", "echo warning; echo Blender 4.3.2")
    assert find_blender() == Blender("4.3", executable=str(machine / "blender"))
    executable(machine / "python3.13", "echo 3 13 5")
    pythons.interpreters.cache_clear()
    chosen = find_blender()
    assert chosen is not None and chosen.version == "5.3"


def test_an_executable_that_is_named_wins_and_is_refused_where_it_is_none(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(machine / "python3.13", "echo 3 13 5")
    mine = executable(machine / "my-blender", "echo Blender 4.2.0")
    assert find_blender(mine) == Blender("4.2", executable=mine)
    monkeypatch.setenv(blenders.BLENDER_VARIABLE, mine)
    assert find_blender() == Blender("4.2", executable=mine)
    with pytest.raises(SetupError, match="does not start as Blender"):
        find_blender(str(machine / "nothing"))
    with pytest.raises(SetupError, match=r"is Blender 3\.6; Sketchbridge needs 4\.2"):
        find_blender(executable(machine / "old", "echo Blender 3.6.12"))


def test_a_module_of_this_project_starts_inside_an_executable_with_its_arguments(tmp_path: Path) -> None:
    """The executable here is this Python, told to read --python-expr as Blender does."""
    script = f'exec {sys.executable} -c \'import sys; exec(sys.argv[sys.argv.index("--python-expr") + 1])\' "$@"'
    stand_in = executable(tmp_path / "blender", script)
    command = Blender("4.3", executable=stand_in).command("scripts.setup.bootstrap", "not there")
    assert command[:5] == [stand_in, "--background", "--factory-startup", "--python-exit-code", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such environment: not there;" in done.stderr
