"""Checkpoints of a running job: written whole or not at all, kept by one run at a time, taken back only by the job that wrote them.

The file is what torch.save writes, then the SHA-256 of that and MAGIC: a file that was damaged in any bit is not taken. Nothing here
ends a job: what goes wrong is told by a note, and the job goes on without.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from engine.file_lock import FileLock
from engine.formats.references import folder_contents
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.results import versions

FORMAT = 2
MAGIC = b"SKBRCKP2"
INTERVAL_SECONDS = 20.0
"""Between saves, at least."""
MOST_OF_THE_TIME = 0.05
"""Share of a job's time that saving may take: the interval grows with what the last save cost."""
CACHE_BYTES = 4 << 30
"""All checkpoints in the user's cache together; the oldest go first."""
_TRAILER = hashlib.sha256().digest_size + len(MAGIC)
_CHUNK = 1 << 20


def fingerprint(sketch: Mesh, settings: JobSettings) -> str:
    """A digest of everything that decides a job's result: a checkpoint of another job is never taken."""
    described = {"format": FORMAT, "versions": versions(), "files": folder_contents(settings.model), **settings.to_dict()}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    paint = (None, None) if sketch.paint is None else (sketch.paint.points, sketch.paint.colours)
    pieces = None if sketch.parts is None else sketch.parts.of_face
    if sketch.parts is not None:
        digest.update(repr(sketch.parts.pieces).encode())
    mask = (None, None) if sketch.mask is None else (sketch.mask.corners, sketch.mask.image)
    for array in (sketch.vertices, sketch.faces, sketch.colours, sketch.uvs, pieces, *paint, *mask):
        digest.update(b"none" if array is None else array.tobytes())
    return digest.hexdigest()


def cached_path(job: str) -> Path | None:
    """Where an engine without an output folder keeps the checkpoint of the job with this fingerprint: sent again, it is found there.

    The user's cache folder, or the one named by SKETCHBRIDGE_CACHE. None where no folder can be made: the job then runs without.
    """
    base = os.environ.get("SKETCHBRIDGE_CACHE") or os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folder = (Path(base) if base else Path.home() / ".cache") / "sketchbridge" / "checkpoints"
    path = folder / f"{job[:32]}.checkpoint"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder, path)
    except OSError:
        return None
    return path


def _tidy(folder: Path, own: Path) -> None:
    """Remove what crashed runs left half-written, and the oldest checkpoints beyond CACHE_BYTES; never `own` or one in use."""
    idle = {path for path in folder.glob("*.checkpoint") if path != own and not FileLock.is_held(path)}
    for partial in folder.glob("*.checkpoint.*.part"):
        written_for = folder / (partial.name.split(".checkpoint.")[0] + ".checkpoint")
        if not FileLock.is_held(written_for):
            partial.unlink(missing_ok=True)
    kept = sum(path.stat().st_size for path in folder.glob("*.checkpoint"))
    for path in sorted(idle, key=lambda path: path.stat().st_mtime):
        if kept <= CACHE_BYTES:
            break
        kept -= path.stat().st_size
        path.unlink(missing_ok=True)


def is_finite(state: Any) -> bool:
    """Whether all tensors in dictionaries, lists and tuples of tensors are free of NaN and infinity."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state.sum()) or torch.isfinite(state).all())
    if isinstance(state, dict):
        return all(is_finite(value) for value in state.values())
    return not isinstance(state, list | tuple) or all(is_finite(value) for value in state)


class Checkpoint:
    """One job's checkpoint file, kept by this run alone while it is entered. `path` None keeps nothing.

    job   the fingerprint
    note  told what goes wrong; nothing is ever raised
    """

    def __init__(self, path: Path | None, job: str, note: Callable[[str], None]) -> None:
        self._path, self._job, self._note = path, job, note
        self._lock = None if path is None else FileLock(path)
        self._saved = time.monotonic()
        self._interval = INTERVAL_SECONDS
        self._complained = False

    def __enter__(self) -> Checkpoint:
        if self._path is not None and self._lock is not None:
            if not self._lock.acquire():
                self._note(f"Another run keeps the checkpoint '{self._path}': the same job is running already. This one keeps none.")
                self._path = None
            else:
                with contextlib.suppress(OSError):
                    for partial in self._path.parent.glob(f"{glob.escape(self._path.name)}.*.part"):
                        partial.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none that can be taken; then a note says why, unless there is no file at all."""
        if self._path is None or not os.path.lexists(self._path):
            return None
        try:
            saved = _read(self._path)
        except Exception as error:  # whatever is wrong with it: another program's file, a damaged one, no permission
            self._note(f"The checkpoint '{self._path}' cannot be used ({error}); the job starts afresh.")
            return None
        if saved["job"] != self._job:
            self._note(f"The checkpoint '{self._path}' is of other settings, another sketch or another version; the job starts afresh.")
            return None
        return saved["state"]

    def offer(self, state: dict[str, Any]) -> None:
        """`save`, if the interval since the last save has passed."""
        if time.monotonic() - self._saved >= self._interval:
            self.save(state)

    def save(self, state: dict[str, Any]) -> None:
        """Write the state beside the file and move it into place. A state that is not finite is not written."""
        if self._path is None or not is_finite(state):
            return
        started = time.monotonic()
        try:
            _write(self._path, {"job": self._job, "state": state})
        except (OSError, RuntimeError) as error:  # torch's writer turns the disk's errors into its own
            if not self._complained:
                self._note(f"The checkpoint '{self._path}' could not be written ({error}); the job goes on without one.")
            self._complained = True
        self._saved = time.monotonic()
        self._interval = max(INTERVAL_SECONDS, (self._saved - started) / MOST_OF_THE_TIME)

    def remove(self) -> None:
        """The job is done and its result delivered."""
        if self._path is not None and not FileLock.is_held(self._path):
            with contextlib.suppress(OSError):
                self._path.unlink()


class _HashingFile:
    """A file to write to that also digests what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, also when the power goes: both the file and its entry in the folder reach the disk."""
    descriptor, partial = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    try:
        with open(descriptor, "wb") as file:
            hashing = _HashingFile(file)
            torch.save(content, hashing)  # type: ignore[arg-type]  # all that it calls is write and flush
            file.write(hashing.digest.digest() + MAGIC)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> dict[str, Any]:
    """What `_write` wrote, tensors and plain data only, on the CPU. Raises whatever for anything else; symlinks are not followed."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size <= _TRAILER:
            raise ValueError("it is no checkpoint")
        digest, left = hashlib.sha256(), status.st_size - _TRAILER
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        if file.read() != digest.digest() + MAGIC:
            raise ValueError("it is damaged or of another version")
        file.seek(0)
        saved = torch.load(file, weights_only=True, map_location="cpu")
    if not is_finite(saved["state"]):
        raise ValueError("it holds numbers that are not finite")
    return saved
