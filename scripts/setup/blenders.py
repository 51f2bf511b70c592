"""Which Blender this machine can run: a module of this project's environments, or an executable. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from engine.setup_commands import SetupError, clean_surroundings
from engine.setup_pythons import interpreters
from scripts import ROOT
from scripts.setup.bootstrap import BLENDER_PYTHONS, ENVIRONMENTS, Environment

BLENDER_VARIABLE = "SKETCHBRIDGE_BLENDER"
OLDEST = (4, 2)
VERSIONS = tuple(BLENDER_PYTHONS)
"""Blenders that there are as modules."""


@dataclass(frozen=True)
class Blender:
    """One Blender: an environment with the module, or the path of an executable."""

    version: str
    environment: Environment | None = None
    executable: str = ""

    def command(self, module: str, *arguments: str) -> list[str]:
        """The command line that runs a module of this project in Blender's Python, from the project's folder."""
        if self.environment is not None:
            return [str(self.environment.python), "-m", module, *arguments]
        start = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = sys.argv[sys.argv.index('--') + 1 :]; "
        start += f"runpy.run_module({module!r}, run_name='__main__')"
        return [self.executable, "--background", "--factory-startup", "--python-exit-code", "1", "--python-expr", start, "--", *arguments]


def modules() -> list[Blender]:
    """Blenders whose module fits a Python of this machine, the preferred first; those for the Python that runs this before others."""
    fitting = []
    for python in interpreters():
        for version in VERSIONS:
            environment = ENVIRONMENTS[f"blender-{version}"]
            if python.version[:2] in environment.pythons:
                fitting.append(Blender(version, environment))
    return fitting


def find_blender(named: str = "") -> Blender | None:
    """The Blender to use: the executable that is `named` or in SKETCHBRIDGE_BLENDER, a module, an executable on the PATH; or None.

    SetupError where what is named is no Blender, or is too old.
    """
    named = named or os.environ.get(BLENDER_VARIABLE, "")
    if named:
        version = executable_version(named)
        if version is None:
            raise SetupError(f"'{named}' does not start as Blender.", "Name the path of a Blender executable.")
        if version < OLDEST:
            raise SetupError(
                f"'{named}' is Blender {version[0]}.{version[1]}; Sketchbridge needs {OLDEST[0]}.{OLDEST[1]} or newer.",
                "Take a newer one from blender.org.",
            )
        return Blender(f"{version[0]}.{version[1]}", executable=named)
    if module := next(iter(modules()), None):
        return module
    found = shutil.which("blender")
    version = executable_version(found) if found else None
    if found is None or version is None or version < OLDEST:
        return None
    return Blender(f"{version[0]}.{version[1]}", executable=found)


def executable_version(path: str) -> tuple[int, int] | None:
    """What an executable answers to --version, as in (4, 3); None where it is no Blender that starts."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, env=clean_surroundings())
    except (OSError, subprocess.TimeoutExpired):
        return None
    matched = re.search(r"^Blender (\d+)\.(\d+)", told.stdout, re.MULTILINE)
    return (int(matched[1]), int(matched[2])) if matched else None


def why_none() -> str:
    """A sentence for where there is no Blender at all."""
    here = ", ".join(f"{one.version[0]}.{one.version[1]}" for one in interpreters())
    wanted = ", ".join(f"{version} for Python {major}.{minor}" for version, (major, minor) in BLENDER_PYTHONS.items())
    return (
        f"There is no Blender here: its modules ({wanted}) fit no Python of this machine ({here}), and the PATH holds no blender of "
        f"{OLDEST[0]}.{OLDEST[1]} or newer. Everything that needs none goes on; install one, or name its executable in ${BLENDER_VARIABLE}."
    )
