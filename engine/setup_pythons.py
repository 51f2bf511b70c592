"""The interpreters of this machine from which environments can be made.

Standard library only; addon/setup_pythons.py is a link to this file.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass

from .setup_commands import SetupError

SUPPORTED = ((3, 11), (3, 12), (3, 13))
"""Pythons for which every pinned package has a wheel."""


@dataclass(frozen=True)
class Python:
    """An interpreter that starts; `version` as in (3, 13, 5)."""

    path: str
    version: tuple[int, int, int]

    @property
    def words(self) -> str:
        """As people write it: "3.13.5"."""
        return ".".join(map(str, self.version))


@functools.cache
def interpreters() -> tuple[Python, ...]:
    """Those of SUPPORTED that start: the one that runs this, then what the PATH calls python3.13 and so on, the newest first."""
    found = [Python(sys.executable, sys.version_info[:3])]
    for name in (*(f"python{major}.{minor}" for major, minor in reversed(SUPPORTED)), "python3"):
        path = shutil.which(name)
        version = path and _version_of(path)
        if path and version and version[:2] not in {one.version[:2] for one in found}:
            found.append(Python(path, version))
    return tuple(one for one in found if one.version[:2] in SUPPORTED)


def find_python(versions: tuple[tuple[int, int], ...]) -> Python | None:
    """The first of this machine's interpreters of one of these versions; None where there is none."""
    return next((one for one in interpreters() if one.version[:2] in versions), None)


def need_python(versions: tuple[tuple[int, int], ...], purpose: str) -> Python:
    """As `find_python`. SetupError that says what `purpose` needs where there is none."""
    found = find_python(versions)
    if found is None:
        names = " or ".join(f"python{major}.{minor}" for major, minor in versions)
        raise SetupError(
            f"{purpose} needs {names}; this is Python {sys.version.split()[0]}, and none of that name on the PATH starts.",
            "Install it (Debian 12 has python3.11, Ubuntu 24.04 python3.12, Debian 13 python3.13: sudo apt-get install NAME NAME-venv; "
            "elsewhere: python.org, pyenv or uv) and run this again.",
        )
    return found


def named_python(path: str) -> Python:
    """The interpreter that somebody has chosen. SetupError where it does not start or is of an unsupported version."""
    version = _version_of(path)
    names = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
    if version is None:
        raise SetupError(f"'{path}' does not start as Python.", f"Choose the program of a Python {names}.")
    if version[:2] not in SUPPORTED:
        raise SetupError(f"'{path}' is Python {'.'.join(map(str, version))}; the engine needs one of {names}.", "Choose such a one.")
    return Python(path, version)


def _version_of(path: str) -> tuple[int, int, int] | None:
    """What an interpreter says of itself; None where it does not start, as a version manager's stand-ins do not."""
    try:
        told = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:3])"], capture_output=True, text=True, timeout=30)
        major, minor, micro = map(int, told.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return major, minor, micro
