"""The set-up: what it decides, and its parts that touch the disk, on small environments of the test's own."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine import setup_environment
from engine import setup_pythons as pythons
from engine.setup_commands import Commands, SetupError, Step, in_short
from engine.setup_pythons import Python
from scripts import ROOT
from scripts.setup import bootstrap, system_packages
from scripts.setup.bootstrap import ENGINE, ENVIRONMENTS, Environment
from scripts.setup.console import StatusLine

PIN = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+-]+")
PYTHON = sys.version.split()[0]


def pins(name: str) -> dict[str, str]:
    """Package -> version in a requirements file."""
    lines = [line.strip() for line in (bootstrap.REQUIREMENTS / name).read_text().splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    assert all(PIN.fullmatch(line) for line in kept), f"{name} holds a line that is not an exact pin"
    return {package.lower().replace("_", "-"): version for package, version in (line.split("==") for line in kept)}


def stand_in(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with one environment to make, `small`, whose requirements are empty."""
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENVS", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", tmp_path / "requirements")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "small.txt").write_text("# nothing\n")
    small = Environment("small", ("small.txt",), 0.1, "import json")
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", {"small": small})
    monkeypatch.setattr(bootstrap.system_packages, "missing_packages", lambda pythons, blender: [])
    return tmp_path


def test_every_environment_has_its_pinned_requirements():
    for environment in ENVIRONMENTS.values():
        for name in environment.requirements:
            assert pins(name), name


def test_only_the_engine_has_torch_and_nothing_has_torchvision():
    packages = {environment.name: set().union(*(pins(name) for name in environment.requirements)) for environment in ENVIRONMENTS.values()}
    assert {name for name, held in packages.items() if "torch" in held} == {"engine"}
    assert not any({"torchvision", "torchaudio"} & held for held in packages.values())
    assert all("bpy" in held for name, held in packages.items() if name.startswith("blender"))


def test_every_blender_s_module_names_the_python_it_was_built_for():
    """The wheels of bpy: 4.2 to 5.0 for cp311, 5.2 and 5.3 for cp313."""
    held = {name: one.pythons for name, one in ENVIRONMENTS.items() if name.startswith("blender")}
    old, new = ((3, 11),), ((3, 13),)
    assert held == {"blender-5.0": old, "blender-4.5": old, "blender-4.2": old, "blender-5.3": new, "blender-5.2": new}
    for name in held:
        assert pins(f"{name}.txt")["bpy"].startswith(name.removeprefix("blender-") + ".")


def test_torch_is_installed_first_and_alone_and_then_held():
    installs = [step.command for step in bootstrap.plan(ENGINE, "python3.11", "") if "-r" in step.command]
    assert pins("torch.txt") == {"torch": "2.13.0"}
    assert [Path(command[command.index("-r") + 1]).name for command in installs] == ["torch.txt", "engine.txt", "engine-dev.txt"]
    constraint = installs[1][installs[1].index("-c") + 1]
    assert Path(constraint).name == "torch.txt"
    assert "torch" not in pins("engine.txt")


def test_no_index_is_named_unless_the_user_names_one():
    commands = [step.command for step in bootstrap.plan(ENGINE, "python3.11", "")]
    assert not any("index" in word for command in commands for word in command)
    given = [step.command for step in bootstrap.plan(ENGINE, "python3.11", "https://example.org/whl")]
    assert [command[command.index("-r") + 1].endswith("torch.txt") for command in given if "--index-url" in command] == [True]


def test_requirements_cover_what_the_package_declares():
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    held = {**pins("torch.txt"), **pins("engine.txt")}
    for line in declared:
        package, _, version = re.match(r"([A-Za-z0-9_-]+)(>=|==)(.+)", line).groups()
        pinned = [int(part) for part in re.findall(r"\d+", held[package.lower().replace("_", "-")])]
        assert pinned >= [int(part) for part in re.findall(r"\d+", version)], line


def test_digest_changes_with_a_pin_and_not_with_a_comment(project):
    small = bootstrap.ENVIRONMENTS["small"]
    pinned = project / "requirements" / "small.txt"
    pinned.write_text("a==1\nb==2\n")
    first = bootstrap.digest(small, PYTHON, "")
    pinned.write_text("# why\nb==2\n\na==1\n")
    assert bootstrap.digest(small, PYTHON, "") == first
    pinned.write_text("a==1\nb==3\n")
    assert bootstrap.digest(small, PYTHON, "") != first
    assert bootstrap.digest(small, "3.11.99", "") != bootstrap.digest(small, PYTHON, "")


def test_engine_digest_depends_on_the_torch_index():
    assert bootstrap.digest(ENGINE, PYTHON, "") != bootstrap.digest(ENGINE, PYTHON, "https://example.org/whl")


def test_an_environment_keeps_the_python_it_has_and_is_broken_where_that_does_not_fit(project):
    small = bootstrap.ENVIRONMENTS["small"]
    assert bootstrap.held_version(small) == ""
    small.python.parent.mkdir(parents=True)
    small.python.touch()
    for version, fits in (("3.11.2", True), ("3.13.5", True), ("3.9.18", False), ("3.110.1", False)):
        (small.folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")
        assert bootstrap.held_version(small) == (version if fits else "")
        assert bootstrap.state(small, "any") == ("changed" if fits else "broken")
    only_new = replace(small, pythons=((3, 13),))
    (small.folder / "pyvenv.cfg").write_text("version = 3.11.2\n")
    assert bootstrap.held_version(only_new) == "" and bootstrap.state(only_new, "any") == "broken"
    (small.folder / "pyvenv.cfg").write_text("version = 3.13.5\n")
    assert bootstrap.wanted_digest(only_new, "") == bootstrap.digest(only_new, "3.13.5", "")


def test_a_blender_whose_python_is_not_here_is_refused_with_what_it_needs(project, monkeypatch):
    monkeypatch.setattr(pythons, "interpreters", lambda: (Python("python3.12", (3, 12, 3)),))
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", {"small": replace(bootstrap.ENVIRONMENTS["small"], pythons=((3, 13),))})
    with pytest.raises(SetupError, match=r"needs python3\.13") as caught:
        bootstrap.set_up(["small"], "", StatusLine(io.StringIO()))
    assert "python3.13" in caught.value.fix


CUDA_LINE = "  Downloading torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl (526.6 MB)\n"


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        (CUDA_LINE, True),
        (CUDA_LINE.replace("Downloading", "Using cached"), True),
        ("  Downloading https://example.org/whl/torch-2.13.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl (191.8 MB)\n", False),
        ("  Downloading torch-2.13.0-cp313-none-macosx_11_0_arm64.whl (80.1 MB)\n", False),
        ("  Downloading nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl (466.2 MB)\n", False),
    ],
)
def test_a_cuda_build_of_torch_is_announced_with_its_size_as_its_download_begins(line, warned):
    screen = io.StringIO()
    bootstrap.watch_for_cuda(ENGINE, line, StatusLine(screen))
    assert ("2.7 GB to download" in screen.getvalue() and "SKETCHBRIDGE_TORCH_INDEX" in screen.getvalue()) == warned


def test_an_install_that_would_fill_the_disk_is_stopped_as_it_begins(project, monkeypatch):
    monkeypatch.setattr(bootstrap, "CUDA_GIGABYTES", 1e9)
    code = f"print({CUDA_LINE!r}, flush=True); import time; time.sleep(60)"
    begun = time.monotonic()
    with pytest.raises(SetupError, match="Too little room"):
        Commands(project).run(
            Step("installing torch", (sys.executable, "-c", code)),
            project / "log",
            print,
            heard=lambda line: bootstrap.watch_for_cuda(ENGINE, line, StatusLine(io.StringIO())),
        )
    assert time.monotonic() - begun < 30


@pytest.mark.slow
def test_set_up_makes_an_environment_once_and_mends_what_was_left(project):
    small = bootstrap.ENVIRONMENTS["small"]
    quiet = StatusLine(io.StringIO())
    assert bootstrap.set_up(["small"], "", quiet) == ["small"]
    assert subprocess.run([small.python, "-c", "import json"]).returncode == 0
    assert bootstrap.set_up(["small"], "", quiet) == [], "a second run must install nothing"

    wanted = bootstrap.digest(small, PYTHON, "")
    (small.folder / setup_environment.UNFINISHED).touch()
    (small.folder / "left over").touch()
    assert bootstrap.state(small, wanted) == "broken"
    assert bootstrap.set_up(["small"], "", quiet) == ["small"]
    assert not (small.folder / "left over").exists(), "an interrupted environment is made anew"
    assert bootstrap.state(small, wanted) == "complete"

    assert bootstrap.state(small, "another digest") == "changed"
    moved = project / ".venv" / "moved"
    shutil.move(small.folder, moved)
    assert bootstrap.state(small, wanted) == "absent"
    assert bootstrap.state(replace(small, name="moved"), wanted) == "broken", "scripts inside a virtual environment hold its path"


def test_a_failing_install_shows_the_log_s_end_and_stays_unfinished(project):
    small = bootstrap.ENVIRONMENTS["small"]
    (project / "requirements" / "small.txt").write_text(
        "sketchbridge-no-such-file @ file:///nonexistent/sketchbridge_no_such_file-1.0-py3-none-any.whl\n"
    )
    with pytest.raises(SetupError) as caught:
        bootstrap.set_up(["small"], "", StatusLine(io.StringIO()))
    assert "/nonexistent/" in caught.value.message and "small.log" in caught.value.message
    assert caught.value.fix
    assert bootstrap.state(small, "any") == "broken"


def test_a_second_set_up_waits_for_the_first(project):
    code = "import sys, time, pathlib; from scripts.setup import bootstrap; bootstrap.VENVS = pathlib.Path(sys.argv[1])\n"
    code += (
        "from scripts.setup.console import StatusLine\nwith bootstrap.locked(StatusLine()):\n    print('held', flush=True); time.sleep(1.0)"
    )
    venvs = project / ".venv"
    with subprocess.Popen([sys.executable, "-c", code, venvs], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        begun = time.monotonic()
        with bootstrap.locked(StatusLine(io.StringIO())):
            assert time.monotonic() - begun > 0.5


def test_too_little_disk_is_said_before_anything_is_made():
    with pytest.raises(SetupError, match="Too little room"):
        bootstrap.check_disk([Environment("huge", (), 1e9, "")])
    bootstrap.check_disk([])


def test_missing_system_libraries_are_named_by_their_debian_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    lacking = system_packages.missing_packages([], blender=True, present=lambda library: library not in ("libXi.so.6", "libEGL.so.1"))
    assert [package for package in lacking if package != system_packages.DRIVER_PACKAGE] == ["libxi6", "libegl1"]
    assert system_packages.missing_packages([], blender=False, present=lambda library: False) == ["libgomp1"]
    bare = stand_in(tmp_path / "python3.12", "exit 1")
    pythons = [Python(sys.executable, sys.version_info[:3]), Python(str(bare), (3, 12, 3)), Python(str(bare), (3, 12, 3))]
    assert system_packages.missing_packages(pythons, blender=False, present=lambda library: True) == ["python3.12-venv"]


def test_without_root_the_exact_command_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name)
    with pytest.raises(SetupError) as caught:
        system_packages.install(["libxi6"], Commands(tmp_path), tmp_path / "log", print)
    assert caught.value.fix == "Run: sudo apt-get update && sudo apt-get install -y --no-install-recommends libxi6"


def test_stopping_ends_a_command_at_once(tmp_path):
    import threading

    commands = Commands(tmp_path)
    threading.Timer(0.5, commands.stop).start()
    begun = time.monotonic()
    with pytest.raises(SetupError):
        commands.run(Step("sleep", (sys.executable, "-c", "import time; time.sleep(60)")), tmp_path / "log", print)
    assert time.monotonic() - begun < 30


def test_pip_s_lines_are_shortened():
    assert in_short("Collecting torch==2.13.0 (from -r requirements/torch.txt (line 4))\n") == "Collecting torch==2.13.0"


def test_unknown_environment_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["blender-1.0"])
    assert caught.value.code == 2
    assert "blender-5.0" in capsys.readouterr().err
