"""The engine's environment in the extension's own folder: made, mended, removed. No bpy, nothing waits but the threads.

The engine's source comes with the extension; its environment holds only the packages, and a link to that source. So an updated
extension brings its engine along, and packages are installed again only where their pins have changed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import setup_environment
from .checks import Report
from .setup_commands import Commands, SetupError, Step, clean_surroundings, in_short
from .setup_pythons import SUPPORTED, Python, named_python, need_python
from .words import duration

SOURCE = Path(__file__).with_name("engine_source")
"""In the extension's zip: the package `engine` and its requirements."""
CPU_GIGABYTES = 3.0
LINK = "sketchbridge.pth"
_PROOF = "import torch, numpy, scipy, xatlas, igl, warp, diffusers, engine.job; print('torch', torch.__version__)"
_PACKAGES = re.compile(r"^(?:Collecting|Requirement already satisfied: ?)\s*(\S+)")
_BYTES = re.compile(r"^Progress (\d+) of (\d+)")
_SHARES = {
    "making the virtual environment": 0.06,
    "updating pip": 0.02,
    "installing torch": 0.55,
    "installing engine": 0.3,
    "trying it": 0.07,
}


@dataclass(frozen=True)
class Wish:
    """How the environment is to be made.

    python       path of an interpreter; empty for the first that is found
    torch_index  package index for torch; empty for pip's configuration
    wheels       folder of wheels to take everything from, without a network
    """

    python: str = ""
    torch_index: str = ""
    wheels: str = ""


def command(folder: Path) -> list[str] | None:
    """The command line of the installed engine; None where it is not installed, or not whole."""
    python = setup_environment.python_of(folder)
    whole = (folder / setup_environment.STAMP).exists() and not (folder / setup_environment.UNFINISHED).exists()
    return [str(python), "-m", "engine"] if whole and python.exists() else None


def state(folder: Path, source: Path = SOURCE) -> str:
    """ "absent", "complete", "changed" (another version of the extension pins other packages) or "broken" (see setup_environment)."""
    if not folder.exists():
        return "absent"
    python = setup_environment.held_version(folder, SUPPORTED)
    return setup_environment.state(folder, SUPPORTED, setup_environment.digest(_requirements(source), python))


def remove(folder: Path) -> None:
    """Delete the environment. SetupError where that fails."""
    try:
        if folder.exists():
            (folder / setup_environment.UNFINISHED).touch()  # whatever stays is no engine
            shutil.rmtree(folder)
    except OSError as error:
        raise SetupError(f"The engine's folder cannot be removed: {error}.", "End every job, and try again.") from error


def torch_build(torch_index: str = "", system: str = sys.platform, machine: str = "") -> str:
    """The build of torch that pip takes: 'cuda', 'cpu' or 'apple'; empty where an index says so.

    Of the usual packages those for Linux on x86-64 hold CUDA, those for macOS Apple's GPU, all others the processor alone.
    """
    if torch_index:
        return ""
    if system == "darwin":
        return "apple"
    return "cuda" if system == "linux" and (machine or platform.machine()) in ("x86_64", "AMD64") else "cpu"


def advice(torch_index: str, wheels: str, gpu: bool) -> str:
    """What to know of torch before the install begins; empty where pip's choice fits the machine."""
    build = torch_build(torch_index)
    if wheels or build in ("", "apple"):
        return ""
    if build == "cuda" and not gpu:
        size = f"{setup_environment.CUDA_DOWNLOAD} GB to download, {setup_environment.CUDA_GIGABYTES:.0f} GB on the disk"
        return (
            f"No NVIDIA GPU was found. Without an index pip takes torch's CUDA build: {size}. It runs on the processor too; the CPU build, "
            "0.2 GB, comes from the index that PyTorch's install page names for CPU."
        )
    if build == "cpu" and gpu:
        return "An NVIDIA GPU was found, and pip takes torch's CPU build. PyTorch's install page names the index of the CUDA build."
    return ""


def has_nvidia() -> bool:
    """Whether NVIDIA's driver is there, by its own tool."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


class Installation:
    """Makes or mends the environment in a thread of its own; a `checks.Check`."""

    title = "Install Engine"

    def __init__(self, folder: Path, log: Path, wish: Wish, anew: bool = False, source: Path = SOURCE, proof: str = _PROOF) -> None:
        """`anew` makes it from nothing even where it could be completed."""
        self.fraction, self.text = 0.0, "Starting"
        self.news = 0
        self._folder, self._log, self._wish, self._anew, self._source, self._proof = folder, log, wish, anew, source, proof
        self._commands = Commands(log.parent)
        self._report: Report | None = None
        self._before, self._share, self._counted = 0.0, 0.0, 0
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="sketchbridge installer", daemon=True)
        self._thread.start()

    def poll(self) -> Report | None:
        """The report, None while it goes on."""
        return self._report if not self._thread.is_alive() else None

    def close(self) -> None:
        """Stop. What is unfinished stays marked so, and is made anew the next time."""
        self._commands.stop()

    def _run(self) -> None:
        begun = time.monotonic()
        try:
            python = self._make()
        except SetupError as error:
            self._report = Report(self.title, False, (*error.message.splitlines()[:1], error.fix, f"The log is {self._log}"), failed=True)
        except OSError as error:
            fix = f"Check the disk, and press it again. The log is {self._log}"
            self._report = Report(self.title, False, (f"The engine's folder cannot be written: {error}.", fix), failed=True)
        except Exception as error:  # broad on purpose: without a report the panel would wait for ever
            self._report = Report(self.title, False, (f"The installer failed: {error!r}.", "This is a bug; please report it."), failed=True)
        else:
            lines = (f"The engine is installed in {duration(time.monotonic() - begun)}, with Python {python} and {self._told}",)
            self._report = Report(self.title, True, lines)

    def _make(self) -> str:
        """Returns the version of Python. SetupError, OSError."""
        if not (self._source / "engine").is_dir():
            message = f"The engine's source is not in the extension's folder: there is no '{self._source}'."
            raise SetupError(message, "Install the extension from the zip that scripts/build_extension.py makes.")
        found = "absent" if self._anew else state(self._folder, self._source)
        fresh = found != "changed"
        python = self._python() if fresh else None
        if fresh:
            cuda = torch_build(self._wish.torch_index) == "cuda" and not self._wish.wheels
            room = setup_environment.CUDA_GIGABYTES if cuda else CPU_GIGABYTES
            setup_environment.check_room(self._folder, room, "the engine's environment")
        self._log.write_text("", encoding="utf-8")
        setup_environment.begin(self._folder, anew=fresh)
        if python is not None:
            self._step(Step("making the virtual environment", (python.path, "-m", "venv", str(self._folder))))
        link_source(self._folder, self._source)
        progress = "raw" if self._newest_pip() else "off"
        wish, requirements = self._wish, _requirements(self._source)
        for step in setup_environment.install_steps(self._folder, "", requirements, wish.torch_index, wish.wheels, progress):
            self._step(step)
        self._step(Step("trying it", (str(setup_environment.python_of(self._folder)), "-c", self._proof)))
        version = setup_environment.held_version(self._folder, SUPPORTED)
        setup_environment.finish(self._folder, setup_environment.digest(requirements, version), version)
        return version

    def _python(self) -> Python:
        chosen = named_python(self._wish.python) if self._wish.python else need_python(SUPPORTED, "The engine")
        tried = subprocess.run([chosen.path, "-c", "import venv, ensurepip"], capture_output=True, env=clean_surroundings(), timeout=60)
        if tried.returncode != 0:
            version = ".".join(map(str, chosen.version[:2]))
            raise SetupError(
                f"{chosen.path} cannot make virtual environments: it lacks ensurepip.",
                f"Install it (Debian and Ubuntu: sudo apt-get install python{version}-venv), or choose another Python.",
            )
        return chosen

    def _newest_pip(self) -> bool:
        """Bring pip up to date where a network or the wheels have one; whether it tells how many bytes it has (24.1)."""
        python = str(setup_environment.python_of(self._folder))
        source = ("--no-index", "--find-links", self._wish.wheels) if self._wish.wheels else ()
        try:
            self._step(
                Step(
                    "updating pip",
                    (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *source, "--upgrade", "pip"),
                )
            )
        except SetupError:
            if self._commands.stopped:
                raise
        told = subprocess.run(
            [python, "-m", "pip", "--version"], capture_output=True, text=True, env=clean_surroundings(), timeout=60
        ).stdout
        numbers = re.search(r"pip (\d+)\.(\d+)", told)
        return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (24, 1)

    def _step(self, step: Step) -> None:
        self._before, self._share, self._counted = self.fraction, _SHARES.get(step.label, 0.05), 0
        self._say(step.label)
        self._commands.run(step, self._log, lambda text: None, heard=lambda line: self._hear(step.label, line))
        self.fraction = min(self._before + self._share, 1.0)

    def _hear(self, label: str, line: str) -> None:
        """Every line of pip's moves the bar: packages by a share of what is left, bytes of the large ones by their number."""
        if label == "trying it" and line.startswith("torch "):
            self._told = line.strip()
        if setup_environment.takes_cuda(line):
            setup_environment.check_room(self._folder, setup_environment.CUDA_GIGABYTES, "torch's CUDA build")
        if packages := _PACKAGES.match(line):
            self._counted += 1
            self._advance(0.5 * (1 - 0.97**self._counted))
            self._say(f"{label}: {in_short(packages[1])}")
        elif taken := _BYTES.match(line):
            done, total = int(taken[1]), int(taken[2])
            if total > 20_000_000:
                self._say(f"{label}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
            if total > 100_000_000:
                self._advance(0.1 + 0.6 * done / total)
        elif line.startswith("Installing collected packages"):
            self._advance(0.75)
            self._say(f"{label}: writing files")

    def _advance(self, within: float) -> None:
        self.fraction = max(self.fraction, self._before + self._share * min(within, 1.0))

    def _say(self, text: str) -> None:
        self.text, self.news = text[:1].upper() + text[1:], self.news + 1


def link_source(folder: Path, source: Path = SOURCE) -> None:
    """Let the environment's Python find the engine's source where the extension has it. OSError where that cannot be written."""
    packages = next(iter(sorted(folder.glob("lib/python*/site-packages"))), folder / "Lib" / "site-packages")
    (packages / LINK).write_text(f"{source}\n", encoding="utf-8")


def existing(path: Path) -> list[str]:
    """The engine's command in an environment that somebody has made: of its folder, its interpreter, or its `sketchbridge` program.

    SetupError where there is none in it.
    """
    if path.is_file() and path.stem == "sketchbridge":
        return [str(path), "engine"]
    folder = path.parent.parent if path.is_file() else path
    program = folder / ("Scripts/sketchbridge.exe" if os.name == "nt" else "bin/sketchbridge")
    if program.exists():
        return [str(program), "engine"]
    python = setup_environment.python_of(folder)
    if python.exists() and any(folder.glob("lib/python*/site-packages/" + LINK)):
        return [str(python), "-m", "engine"]
    raise SetupError(
        f"'{path}' is no environment with the engine: there is no '{program.relative_to(folder)}' in it.",
        "Choose the folder of a virtual environment that the engine was installed into.",
    )


def machine_facts(more: Mapping[str, str]) -> list[str]:
    """Lines about this machine for a report of a fault."""
    facts = {
        "System": platform.platform(),
        "Processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "Host's Python": platform.python_version(),
    }
    return [f"{name}: {value}" for name, value in {**facts, **more}.items()]


def _requirements(source: Path) -> list[Path]:
    return [source / "requirements" / name for name in ("torch.txt", "engine.txt")]
