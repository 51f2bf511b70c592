"""Jobs on the disk for as long as they run, so that one that Blender or the engine did not see to its end can be resumed. No bpy.

A folder each: what was sent as arrays, and what is needed to put the answer back. The engine's own checkpoint of such a job is found by
what is sent, which is the same the second time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_atomically

KEPT = 5
KEPT_SECONDS = 14 * 24 * 3600.0
_JOB, _ARRAYS = "job.json", "sketch.npz"


@dataclass(frozen=True)
class Record:
    """A job that has begun. Names and places are those of the Blender file `file`, empty for one that was never saved."""

    job: str
    mode: str
    settings: Mapping[str, Any]
    file: str
    names: tuple[str, ...]
    active: str
    scene: str
    layer: str
    made: float
    process: int

    @property
    def title(self) -> str:
        """'a red tulip' on 'Flower'; of a dream, which is of nothing, the prompt alone."""
        return f"'{self.settings.get('prompt', '')}'" + (f" on '{self.active}'" if self.names else "")


def keep(folder: Path, record: Record, arrays: Mapping[str, np.ndarray | None]) -> None:
    """Write a job that begins. Never raises: without it the job runs as well."""
    with contextlib.suppress(OSError, ValueError):
        place = folder / record.job
        place.mkdir(parents=True, exist_ok=True)
        with (place / _ARRAYS).open("wb") as file:
            np.savez(file, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
        write_atomically(place / _JOB, json.dumps(asdict(record)).encode())


def forget(folder: Path, job: str) -> None:
    """The job has come to its end."""
    if job:
        shutil.rmtree(folder / job, ignore_errors=True)


def left(folder: Path, running: str = "") -> list[Record]:
    """What was left unfinished by this or another process that is gone, the newest first; what is too old is removed."""
    found = []
    for place in folder.glob("*/"):
        record = _read(place)
        if record is None or time.time() - record.made > KEPT_SECONDS:
            if record is not None or _age(place) > 60.0:
                shutil.rmtree(place, ignore_errors=True)
        elif record.job != running and (record.process == os.getpid() or not alive(record.process)):
            found.append(record)
    found.sort(key=lambda record: record.made, reverse=True)
    for record in found[KEPT:]:
        forget(folder, record.job)
    return found[:KEPT]


def arrays_of(folder: Path, job: str) -> dict[str, np.ndarray]:
    """What was sent. OSError or ValueError where it cannot be read."""
    with np.load(folder / job / _ARRAYS, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def alive(process: int) -> bool:
    """Whether a process of this id runs on this machine; True where nobody can tell."""
    if os.name == "nt":
        import ctypes

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read(place: Path) -> Record | None:
    try:
        held = json.loads((place / _JOB).read_text(encoding="utf-8"))
        return Record(**{**held, "names": tuple(held["names"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _age(place: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - place.stat().st_mtime
    return 0.0
