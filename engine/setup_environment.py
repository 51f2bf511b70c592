"""A virtual environment with pinned packages: whether it is whole, the commands that make or mend it, its stamp.

The scripts make the project's environments with it, the extension the engine's. torch is installed first and alone, then held by a
constraint. Standard library only; addon/setup_environment.py is a link to this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from .setup_commands import SetupError, Step

STAMP = "sketchbridge-complete.json"
UNFINISHED = "sketchbridge-unfinished"
GIGABYTE = 1_000_000_000
CPU_MEGABYTES = 400
"""No CPU build of torch is larger, no CUDA build smaller."""
CUDA_DOWNLOAD, CUDA_GIGABYTES = 2.7, 9.0
"""Of torch 2.13 with the libraries that it brings: wheels; and on the disk, wheels in pip's cache included."""
_TORCH_WHEEL = re.compile(r"^ *(?:Downloading|Using cached|Processing) \S*torch-\S+\.whl(?: \((\d+)\S* MB\))?")


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in this folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def held_version(folder: Path, pythons: Sequence[tuple[int, int]]) -> str:
    """The version of the Python that an environment was made of, as in "3.11.7"; empty where there is none of `pythons`."""
    try:
        lines = (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    held = next((line.partition("=")[2].strip() for line in lines if line.startswith("version ")), "")
    fits = any(held.startswith(f"{major}.{minor}.") for major, minor in pythons)
    return held if fits and python_of(folder).exists() else ""


def digest(requirements: Sequence[Path], python: str, *more: str) -> str:
    """Hash of all that decides what an environment holds: its Python's version, the pins (not their order or comments), and `more`."""
    parts = [python]
    for path in requirements:
        lines = path.read_text(encoding="utf-8").splitlines()
        parts += sorted(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return hashlib.sha256("\n".join([*parts, *more]).encode()).hexdigest()


def state(folder: Path, pythons: Sequence[tuple[int, int]], wanted: str) -> str:
    """Where an environment stands: "complete" (nothing to do), "changed" (install on top), "broken" (make anew) or "absent".

    Broken are those whose install was interrupted, whose Python is gone or does not fit, and those that were moved.
    """
    if not folder.exists():
        return "absent"
    if not held_version(folder, pythons) or (folder / UNFINISHED).exists():
        return "broken"
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "changed"
    except (OSError, ValueError):
        return "broken"
    if stamp.get("folder") != str(folder):
        return "broken"
    return "complete" if stamp.get("digest") == wanted else "changed"


def begin(folder: Path, anew: bool) -> None:
    """Mark the environment unfinished, and empty it first where it is made anew. OSError where that fails."""
    if anew and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()


def finish(folder: Path, wanted: str, python: str) -> None:
    """Stamp the environment as complete."""
    (folder / STAMP).write_text(json.dumps({"digest": wanted, "folder": str(folder), "python": python}, indent=1) + "\n", encoding="utf-8")
    (folder / UNFINISHED).unlink()


def install_steps(
    folder: Path, python: str, requirements: Sequence[Path], torch_index: str = "", wheels: str = "", progress: str = "off"
) -> list[Step]:
    """The commands that make the environment with `python`, or complete it where that is empty; one after another for each file of pins.

    torch_index  package index for torch.txt instead of pip's configuration
    wheels       folder of wheels to take all packages from, without any network
    progress     pip's --progress-bar: "off", or "raw" from pip 24.1 on
    """
    pip = (str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", progress)
    steps = [Step("making the virtual environment", (python, "-m", "venv", str(folder)))] if python else []
    for path in requirements:
        source: tuple[str, ...] = ("--no-index", "--find-links", wheels) if wheels else ()
        if torch_index and not wheels and path.name == "torch.txt":
            source = ("--index-url", torch_index)
        constraints = [option for other in requirements if other != path for option in ("-c", str(other))]
        steps.append(Step(f"installing {path.stem}", (*pip, *source, "-r", str(path), *constraints)))
    return steps


def takes_cuda(line: str) -> bool:
    """Whether a line of pip's begins the download of a CUDA build of torch."""
    taken = _TORCH_WHEEL.match(line)
    return taken is not None and taken[1] is not None and int(taken[1]) > CPU_MEGABYTES


def check_room(place: Path, gigabytes: float, purpose: str) -> None:
    """SetupError where the disk that `place` will be on has less than `gigabytes` free."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free / GIGABYTE
    if free < gigabytes:
        raise SetupError(
            f"Too little room on the disk: {purpose} takes about {gigabytes:.1f} GB under {place}, and {free:.1f} GB are free.",
            "Make room on that disk, and try again.",
        )
