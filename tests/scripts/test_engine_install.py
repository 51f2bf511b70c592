"""Install Engine without Blender: small environments of wheels that the test makes, and what is advised about torch."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from addon import checks, engine_install
from addon.checks import Report
from addon.engine_install import Installation, Wish
from addon.setup_commands import SetupError, clean_surroundings
from addon.setup_pythons import named_python


def wheel(folder: Path, name: str, version: str, code: str = "") -> None:
    """A package of one module, as pip installs it."""
    held = {
        f"{name}.py": f"__version__ = {version!r}\n{code}",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in held) + f"{name}-{version}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in {**held, f"{name}-{version}.dist-info/RECORD": record}.items():
            archive.writestr(file, text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An engine that answers `python -m engine`, with two pins, as the extension holds its own."""
    folder = tmp_path / "source"
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "__init__.py").write_text("")
    (folder / "engine" / "__main__.py").write_text("import torch, helper\nprint('engine', torch.__version__, helper.__version__)")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "torch.txt").write_text("torch==2.13.0\n")
    (folder / "requirements" / "engine.txt").write_text("helper==1.0\n")
    return folder


@pytest.fixture
def make(tmp_path: Path, source: Path) -> Callable[..., Installation]:
    (tmp_path / "wheels").mkdir()
    wheel(tmp_path / "wheels", "torch", "2.13.0")
    wheel(tmp_path / "wheels", "helper", "1.0")

    def started(proof: str = "import torch, helper; print('torch', torch.__version__)", **more: bool) -> Installation:
        wish = Wish(sys.executable, "", str(tmp_path / "wheels"))
        return Installation(tmp_path / "engine", tmp_path / "install.log", wish, source=source, proof=proof, **more)

    return started


def ended(installation: Installation, seconds: float = 300.0) -> Report:
    deadline, fraction = time.monotonic() + seconds, 0.0
    while (report := installation.poll()) is None:
        assert time.monotonic() < deadline and fraction <= installation.fraction <= 1.0, "the bar goes back"
        fraction = installation.fraction
        time.sleep(0.05)
    return report


def answer(folder: Path) -> str:
    command = engine_install.command(folder)
    if command is None:
        return ""
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**clean_surroundings(), "PYTHONSAFEPATH": "1"})
    return told.stdout.strip()


@pytest.mark.slow
def test_installed_from_a_folder_of_wheels_mended_and_removed(tmp_path: Path, source: Path, make: Callable[..., Installation]) -> None:
    folder = tmp_path / "engine"
    assert engine_install.command(folder) is None and engine_install.state(folder, source) == "absent"
    report = ended(make())
    assert report.healthy and "torch 2.13.0" in report.lines[0], report
    assert answer(folder) == "engine 2.13.0 1.0" and engine_install.state(folder, source) == "complete"
    assert engine_install.existing(folder) == engine_install.existing(folder / "bin" / "python") == engine_install.command(folder)

    wheel(tmp_path / "wheels", "helper", "1.1")
    (source / "requirements" / "engine.txt").write_text("helper==1.1\n")
    assert engine_install.state(folder, source) == "changed" and answer(folder), "the old packages may still do"
    (folder / "stays").touch()
    assert ended(make()).healthy and answer(folder) == "engine 2.13.0 1.1" and (folder / "stays").exists()

    assert ended(make(anew=True)).healthy and not (folder / "stays").exists()
    (folder / "bin" / "python").unlink()
    assert engine_install.command(folder) is None and engine_install.state(folder, source) == "broken"
    engine_install.remove(folder)
    assert not folder.exists()
    engine_install.remove(folder)


@pytest.mark.slow
def test_what_fails_or_is_stopped_is_no_engine_and_is_made_anew(tmp_path: Path, source: Path, make: Callable[..., Installation]) -> None:
    folder = tmp_path / "engine"
    report = ended(make("import nothing_of_that_name"))
    assert report.failed and str(tmp_path / "install.log") in report.lines[-1]
    assert "nothing_of_that_name" in (tmp_path / "install.log").read_text()
    assert engine_install.command(folder) is None and engine_install.state(folder, source) == "broken"
    checks.begin(lambda: make("import time; time.sleep(600)"))
    stopped = checks.running
    assert isinstance(stopped, Installation)
    while "trying" not in stopped.text.lower():
        assert checks.step() is None
        time.sleep(0.05)
    checks.abandon()
    assert ended(stopped, 30.0).failed and engine_install.command(folder) is None
    assert ended(make()).healthy


def test_a_missing_wheel_is_told_with_the_log(tmp_path: Path, source: Path) -> None:
    (tmp_path / "empty").mkdir()
    wish = Wish("/nowhere/python", "", str(tmp_path / "empty"))
    report = ended(Installation(tmp_path / "engine", tmp_path / "install.log", wish, source=source))
    assert report.failed and "'/nowhere/python' does not start as Python" in report.lines[0] and "3.11, 3.12, 3.13" in report.lines[1]


def test_a_chosen_python_of_another_version_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3 9 18\n")
    old.chmod(0o755)
    with pytest.raises(SetupError, match=r"is Python 3\.9\.18"):
        named_python(str(old))


@pytest.mark.parametrize(
    ("system", "machine", "build"),
    [("linux", "x86_64", "cuda"), ("linux", "aarch64", "cpu"), ("win32", "AMD64", "cpu"), ("darwin", "arm64", "apple")],
)
def test_the_build_of_torch_that_pip_takes(system: str, machine: str, build: str) -> None:
    assert engine_install.torch_build("", system, machine) == build
    assert engine_install.torch_build("https://example.org", system, machine) == ""


def test_what_pip_takes_is_told_where_it_does_not_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_install, "torch_build", lambda index: "" if index else "cuda")
    assert "2.7 GB to download" in engine_install.advice("", "", gpu=False) and engine_install.advice("", "", gpu=True) == ""
    assert engine_install.advice("https://example.org", "", gpu=False) == engine_install.advice("", "wheels", gpu=False) == ""
    monkeypatch.setattr(engine_install, "torch_build", lambda index: "cpu")
    assert "NVIDIA GPU was found" in engine_install.advice("", "", gpu=True)


def test_a_folder_without_the_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no environment with the engine"):
        engine_install.existing(tmp_path)
    program = tmp_path / "bin" / "sketchbridge"
    program.parent.mkdir()
    program.touch()
    assert engine_install.existing(tmp_path) == engine_install.existing(program) == [str(program), "engine"]


def test_the_doctors_lines_become_findings() -> None:
    said = """[   works] python: 3.11.7 at /x
[optional] kaolin: not installed; y
           fix: none: needed
[   fails] disk: 0 GiB: full
           fix: Free at least 1 GiB."""
    found = checks.findings_in(said.splitlines())
    assert [(one.state, one.name, one.detail, one.fix) for one in found] == [
        ("works", "python", "3.11.7 at /x", ""),
        ("optional", "kaolin", "not installed; y", "none: needed"),
        ("fails", "disk", "0 GiB: full", "Free at least 1 GiB."),
    ]
    assert checks.findings_in(["zsh: command not found: sketchbridge"]) == ()
