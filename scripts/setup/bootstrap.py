"""Makes the project's environments under .venv; the one set-up behind `scripts/demo.py` and `scripts/test.py`.

    python3 -m scripts.setup.bootstrap [engine] [blender-5.0] [blender-5.3] ...

Each environment is a virtual environment whose packages are pinned in requirements/, of the Python that this machine has: 3.11 to 3.13
for the engine, and for each Blender's module the one that it was built for. torch is installed first and alone, then
held by a constraint. A stamp says that an environment is complete: a second run installs nothing, a changed pin installs the
difference, an interrupted install is made anew. Packages come from wherever pip is configured to take them.
Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from engine import setup_environment
from engine.errors import tell_any_letter
from engine.setup_commands import Commands, SetupError, Step, clean_surroundings
from engine.setup_environment import CUDA_DOWNLOAD, CUDA_GIGABYTES
from engine.setup_pythons import SUPPORTED, find_python, need_python
from engine.words import duration
from scripts import ROOT
from scripts.setup import system_packages
from scripts.setup.console import StatusLine

VENVS = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
TORCH_INDEX_VARIABLE = "SKETCHBRIDGE_TORCH_INDEX"


@dataclass(frozen=True)
class Environment:
    """One virtual environment.

    requirements  files under requirements/, installed one after the other; every file is also a constraint on the later ones
    gigabytes     disk that making it takes, downloads included
    proof         Python that must run in the finished environment
    pythons       versions of Python that it can have
    editable      whether the project's own package (the `sketchbridge` command) is installed into it, linked to the source
    """

    name: str
    requirements: tuple[str, ...]
    gigabytes: float
    proof: str
    pythons: tuple[tuple[int, int], ...] = SUPPORTED
    editable: bool = False

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return VENVS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return setup_environment.python_of(self.folder)

    @property
    def files(self) -> list[Path]:
        """Its requirements."""
        return [REQUIREMENTS / name for name in self.requirements]

    @property
    def log(self) -> Path:
        """What pip printed while it was made."""
        return VENVS / "logs" / f"{self.name}.log"


def _blender(version: str, python: tuple[int, int]) -> Environment:
    return Environment(f"blender-{version}", (f"blender-{version}.txt",), 2.0, "import bpy", (python,))


ENGINE = Environment("engine", ("torch.txt", "engine.txt", "engine-dev.txt"), 3.0, "import torch, numpy, scipy, xatlas, igl", editable=True)
BLENDER_PYTHONS = {"5.0": (3, 11), "4.5": (3, 11), "4.2": (3, 11), "5.3": (3, 13), "5.2": (3, 13)}
"""Blender's modules, and the Python that each was built for; of one Python the preferred comes first."""
PYTEST_BLENDER = Environment("pytest-blender", ("pytest-blender.txt",), 0.1, "import pytest_blender")
"""Made only where it is asked for."""
ENVIRONMENTS = {
    environment.name: environment for environment in (ENGINE, *(_blender(*each) for each in BLENDER_PYTHONS.items()), PYTEST_BLENDER)
}


def held_version(environment: Environment) -> str:
    """The version of the Python that an environment was made of; empty where there is none that fits it."""
    return setup_environment.held_version(environment.folder, environment.pythons)


def digest(environment: Environment, python: str, torch_index: str) -> str:
    """Hash of all that decides what the environment holds: requirements, Python's version, torch's index, the package's description."""
    more = []
    if environment.editable:
        import tomllib

        described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        package = [described["build-system"], described["project"], described.get("tool", {}).get("setuptools")]
        more = [torch_index, json.dumps(package, sort_keys=True)]
    return setup_environment.digest(environment.files, python, *more)


def state(environment: Environment, wanted: str) -> str:
    """Where an environment stands (see setup_environment)."""
    return setup_environment.state(environment.folder, environment.pythons, wanted)


def plan(environment: Environment, python: str, torch_index: str) -> list[Step]:
    """The commands that make the environment with `python`, or complete it where that is empty, in order."""
    steps = setup_environment.install_steps(environment.folder, python, environment.files, torch_index)
    if environment.editable:
        pip = (str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
        steps.append(Step("linking the project's package", (*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT))))
    return [*steps, Step("trying it", (str(environment.python), "-c", environment.proof))]


def engine_command() -> str:
    """The value of SKETCHBRIDGE_ENGINE that starts this project's engine: a command line, quoted for a shell."""
    return shlex.join([str(ENGINE.python), "-m", "engine"])


def engine_surroundings() -> dict[str, str]:
    """This process's environment variables, and those with which a host starts this project's engine.

    Threads that wait sleep instead of spinning: on a machine that is busy otherwise the engine is several times faster so.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", **clean_surroundings(), "SKETCHBRIDGE_ENGINE": engine_command()}


def ensure_python() -> None:
    """Start this script anew under a newer Python if one older than all that are supported runs it."""
    if sys.version_info[:2] < SUPPORTED[0]:
        try:
            python = need_python(SUPPORTED, "Sketchbridge").path
        except SetupError as error:
            sys.exit(f"{error.message}\n\nFix: {error.fix}")
        os.execv(python, [python, *getattr(sys, "orig_argv", [python, *sys.argv])[1:]])


def check_disk(environments: Sequence[Environment]) -> None:
    """Raise SetupError where the disk has too little room for making these environments."""
    names = ", ".join(environment.name for environment in environments)
    setup_environment.check_room(VENVS, sum(environment.gigabytes for environment in environments), f"making {names}")


def wanted_digest(environment: Environment, torch_index: str) -> str:
    """`digest` with the Python that the environment has, or would be made of. SetupError where this machine has none."""
    held = held_version(environment)
    return digest(environment, held or need_python(environment.pythons, purpose(environment)).words, torch_index)


def purpose(environment: Environment) -> str:
    """What an environment is for, as the beginning of a sentence."""
    return "The engine" if environment is ENGINE else f"The environment {environment.name}"


def make(environment: Environment, torch_index: str, commands: Commands, status: StatusLine) -> None:
    """Bring one environment to completeness. Raises SetupError; what is unfinished then is made anew the next time."""
    found = state(environment, wanted_digest(environment, torch_index))
    fresh = found != "changed"
    python = need_python(environment.pythons, purpose(environment)) if fresh else None
    setup_environment.begin(environment.folder, anew=found == "broken")
    begun = time.monotonic()
    name = f"{environment.name:<13}"
    doing = f"making it with Python {python.words}" if python else "installing what changed"
    status.say(f"{name}{doing}; log: {environment.log.relative_to(ROOT)}")
    environment.log.write_text("", encoding="utf-8")
    for step in plan(environment, python.path if python else "", torch_index):
        commands.run(
            step, environment.log, lambda text: status.update(name + text), heard=lambda line: watch_for_cuda(environment, line, status)
        )
    version = held_version(environment)
    setup_environment.finish(environment.folder, digest(environment, version, torch_index), version)
    status.say(f"{name}ready after {duration(time.monotonic() - begun)}")


def watch_for_cuda(environment: Environment, line: str, status: StatusLine) -> None:
    """Say, when a line of pip's begins the download of a CUDA build of torch, how much that is and how to take less.

    SetupError where the disk has no room for it.
    """
    if setup_environment.takes_cuda(line):
        status.say(
            f"{environment.name:<13}pip takes a CUDA build of torch: {CUDA_DOWNLOAD} GB to download, {CUDA_GIGABYTES:.0f} GB on the disk.\n"
            f"{'':<13}Without a GPU take PyTorch's CPU index, 0.2 GB: --torch-index URL, or ${TORCH_INDEX_VARIABLE}."
        )
        check_disk([replace(environment, gigabytes=CUDA_GIGABYTES)])


def _try_lock(handle: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(status: StatusLine) -> Iterator[None]:
    """Hold the set-up's lock, waiting for another process that holds it. It falls away with the process, however that ends."""
    VENVS.mkdir(exist_ok=True)
    with (VENVS / "setup.lock").open("a+") as handle:
        begun = time.monotonic()
        while not _try_lock(handle):
            status.update(f"another set-up of this project is running; waiting for it · {duration(time.monotonic() - begun)}")
            time.sleep(0.3)
        yield


def set_up(names: Sequence[str], torch_index: str | None = None, status: StatusLine | None = None) -> list[str]:
    """Make the named environments complete, two side by side; returns the names of those that were not. Raises SetupError."""
    status = status or StatusLine()
    index = torch_index if torch_index is not None else os.environ.get(TORCH_INDEX_VARIABLE, "")
    commands = Commands(ROOT)
    with locked(status):
        (VENVS / "logs").mkdir(exist_ok=True)
        environments = [ENVIRONMENTS[name] for name in names]
        waiting = [one for one in environments if state(one, wanted_digest(one, index)) != "complete"]
        pythons = [found for one in waiting if not held_version(one) and (found := find_python(one.pythons))]
        packages = system_packages.missing_packages(pythons, blender=any(one is not ENGINE for one in environments))
        if packages:
            status.say(f"system       installing {' '.join(packages)}")
            system_packages.install(packages, commands, VENVS / "logs" / "system.log", lambda text: status.update(f"system       {text}"))
        check_disk([one for one in waiting if not one.python.exists()])
        _make_all(waiting, index, commands, status)
        status.clear()
    return [one.name for one in waiting]


def _make_all(environments: Sequence[Environment], index: str, commands: Commands, status: StatusLine) -> None:
    with ThreadPoolExecutor(2) as pool:
        try:
            for done in [pool.submit(make, one, index, commands, status) for one in environments]:
                done.result()
        except BaseException:
            commands.stop()
            pool.shutdown(cancel_futures=True)
            raise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every script that sets up has."""
    parser.add_argument(
        "--torch-index",
        metavar="URL",
        help=f"package index to take torch from, for a CPU or a CUDA build of your choice (or ${TORCH_INDEX_VARIABLE}); "
        "default: pip's configuration",
    )


def guarded(work: Callable[[], int]) -> int:
    """A script's exit code: what `work` returns, 1 with message and fix on SetupError, 130 on Ctrl-C or when asked to end (SIGTERM)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell_any_letter()
    try:
        return work()
    except SetupError as error:
        print(f"\n{error.message}\n\nFix: {error.fix}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncancelled", file=sys.stderr)
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: environments by name, all of them by default."""
    parser = argparse.ArgumentParser(description="Make the project's virtual environments under .venv.")
    parser.add_argument(
        "names", nargs="*", metavar="ENVIRONMENT", help=f"of {', '.join(ENVIRONMENTS)}; when none is named, all that fit here"
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(ENVIRONMENTS))
    if unknown:
        parser.error(f"no such environment: {', '.join(unknown)}; there are {', '.join(ENVIRONMENTS)}")

    def work() -> int:
        fitting = [name for name, one in ENVIRONMENTS.items() if one is not PYTEST_BLENDER and find_python(one.pythons)]
        made = set_up(options.names or fitting, options.torch_index)
        print(f"made or changed: {', '.join(made)}" if made else "everything is installed already")
        return 0

    return guarded(work)


if __name__ == "__main__":
    ensure_python()
    sys.exit(main())
