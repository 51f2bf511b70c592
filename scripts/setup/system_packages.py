"""The system libraries that Blender's module and the engine need on Linux: finding and installing them. Standard library only."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.setup_commands import Commands, SetupError, Step
from engine.setup_pythons import Python

BLENDER_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXext.so.6": "libxext6",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
}
"""What Blender's module links against or opens, and the Debian package that holds it."""

ENGINE_LIBRARIES = {"libgomp.so.1": "libgomp1"}
DRIVER_FOLDERS = ("/usr/lib/{machine}-linux-gnu/dri", "/usr/lib/{machine}-linux-gnu/gbm", "/usr/lib64/dri", "/usr/lib/dri")
DRIVER_PACKAGE = "libgl1-mesa-dri"


def loads(library: str) -> bool:
    """Whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages(pythons: Sequence[Python], blender: bool, present: Callable[[str], bool] = loads) -> list[str]:
    """Debian packages that this machine lacks for making virtual environments with `pythons`, for the engine and, if asked, for Blender.

    Empty anywhere but on Linux.
    """
    if not sys.platform.startswith("linux"):
        return []
    missing = [f"python{one.version[0]}.{one.version[1]}-venv" for one in dict.fromkeys(pythons) if not _makes_environments(one)]
    needed = {**ENGINE_LIBRARIES, **(BLENDER_LIBRARIES if blender else {})}
    missing += [package for library, package in needed.items() if not present(library)]
    if blender and not _has_driver():
        missing.append(DRIVER_PACKAGE)
    return missing


def _makes_environments(python: Python) -> bool:
    return subprocess.run([python.path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def _has_driver() -> bool:
    folders = [Path(folder.format(machine=os.uname().machine)) for folder in DRIVER_FOLDERS]
    return any(folder.is_dir() and any(folder.glob("*_dri.so")) for folder in folders)


def install(packages: list[str], commands: Commands, log: Path, show: Callable[[str], None]) -> None:
    """Install Debian packages where this process may; otherwise raise SetupError with the exact command."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    lacking = f"System libraries are missing: {', '.join(packages)}."
    if not shutil.which("apt-get"):
        raise SetupError(lacking, "Install what holds them with your package manager (the names are Debian's) and run this again.")
    if os.geteuid() != 0:
        raise SetupError(lacking, f"Run: sudo apt-get update && sudo {command}")
    for label, line in (("apt-get update", "apt-get update"), ("apt-get install", command)):
        commands.run(Step(label, tuple(shlex.split(line))), log, show, {"DEBIAN_FRONTEND": "noninteractive"})
