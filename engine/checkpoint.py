"""Checkpoints of a running job: written whole or not at all, taken back only by the job that wrote them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from engine.errors import JobError
from engine.formats.files import replacing
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.results import versions

FORMAT = 1
INTERVAL_SECONDS = 20.0
KEPT = 3
"""Checkpoints in the user's cache, at most; the oldest go first."""


def fingerprint(sketch: Mesh, settings: JobSettings) -> str:
    """A digest of everything that decides a job's result: a checkpoint of another job is never taken."""
    described = {"format": FORMAT, "version": versions()["sketchbridge"], **settings.to_dict()}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    paint = (None, None) if sketch.paint is None else (sketch.paint.points, sketch.paint.colours)
    for array in (sketch.vertices, sketch.faces, sketch.colours, sketch.uvs, *paint):
        digest.update(b"none" if array is None else array.tobytes())
    return digest.hexdigest()


def cached_path(job: str) -> Path | None:
    """Where an engine without an output folder keeps the checkpoint of the job with this fingerprint: sent again, it is found there.

    The user's cache folder, or the one named by SKETCHBRIDGE_CACHE. None where no folder can be made: the job then runs without.
    """
    base = os.environ.get("SKETCHBRIDGE_CACHE") or os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folder = (Path(base) if base else Path.home() / ".cache") / "sketchbridge" / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.checkpoint"), key=lambda path: path.stat().st_mtime)[:-KEPT]
        for path in old:
            path.unlink(missing_ok=True)
    except OSError:
        return None
    return folder / f"{job[:32]}.checkpoint"


class Checkpoint:
    """One job's checkpoint file. `path` None keeps nothing."""

    def __init__(self, path: Path | None, job: str) -> None:
        self._path = path
        self._job = job
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none, it is damaged, or another job wrote it. Loads tensors and plain data only."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            saved = torch.load(self._path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
            del error  # a file cut short or of another program: the job starts from its beginning
            return None
        except Exception as error:  # torch raises pickle's own error for content that is not allowed
            if type(error).__name__ != "UnpicklingError":
                raise
            return None
        return saved["state"] if isinstance(saved, dict) and saved.get("job") == self._job else None

    def due(self) -> bool:
        """True once INTERVAL_SECONDS have passed since the last save."""
        return self._path is not None and time.monotonic() - self._written >= INTERVAL_SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Write the state beside the file and move it into place. JobError where the folder cannot be written."""
        if self._path is None:
            return
        try:
            with replacing(self._path) as unfinished:
                torch.save({"job": self._job, "state": state}, unfinished)
        except (OSError, RuntimeError) as error:
            raise JobError(
                "cannot_write",
                f"The checkpoint '{self._path}' could not be written: {error}.",
                "Free space on that disk.",
            ) from error
        self._written = time.monotonic()

    def disable(self) -> None:
        """Keep nothing from here on."""
        self._path = None
