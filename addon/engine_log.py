"""Log files of engines: what a child writes to its standard error. No bpy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import JobError

KEPT_LOGS = 8
_TAIL_BYTES = 2000
_TAIL_LINES = 6


def new_log(folder: Path) -> Path:
    """An empty file in `folder`, which is made; the oldest logs there are removed. JobError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        logs = sorted(folder.glob("engine-*.log"), key=lambda log: log.stat().st_mtime)
        for old in logs[: -KEPT_LOGS + 1]:
            old.unlink(missing_ok=True)
        handle, path = tempfile.mkstemp(".log", "engine-", folder)
        os.close(handle)
    except OSError as error:
        fix = "Free space on that disk, or make the folder writable, and try again."
        raise JobError("cannot_write", f"The engine's log cannot be written: {error}.", fix) from error
    return Path(path)


def log_tail(log: Path) -> str:
    """The last lines of the log, empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-_TAIL_LINES:] if line.strip())
