"""The machine's cores and GPUs, one lock file each in the user's cache: all batches of a user share them without a daemon."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import Cancelled
from engine.file_lock import FileLock

LOOK_SECONDS = 0.2


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_told(number: int) -> dict[str, str]:
    """Variables that make the libraries of a process that is about to load them compute on so many threads."""
    return {name: str(number) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def lock_folder() -> Path:
    """Where the locks lie: the user's cache, or the one named by SKETCHBRIDGE_CACHE."""
    base = os.environ.get("SKETCHBRIDGE_CACHE") or os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "sketchbridge" / "slots"


class Slots:
    """What one worker takes while it makes an item: so many cores, or one GPU."""

    def __init__(self, cores: int, gpu: int | None) -> None:
        self._count = 1 if gpu is not None else min(cores, cores_here())
        self._names = [f"gpu-{gpu}"] if gpu is not None else [f"core-{number}" for number in range(cores_here())]
        self._folder: Path | None = lock_folder()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            self._folder = None  # no cache, no sharing

    @contextlib.contextmanager
    def taken(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait until as many are free; Cancelled where the user does not want to wait any more.

        All or none are held, so that two who wait for each other's do not wait for ever; a process that is killed holds none.
        """
        held: list[FileLock] = []
        while self._folder is not None and not (held := self._try(self._folder)):
            if cancelled():
                raise Cancelled()
            time.sleep(LOOK_SECONDS * (0.5 + random.random()))
        try:
            yield
        finally:
            for lock in held:
                lock.release()

    def _try(self, folder: Path) -> list[FileLock]:
        held: list[FileLock] = []
        for name in self._names:
            lock = FileLock(folder / name)
            if lock.acquire():
                held.append(lock)
            if len(held) == self._count:
                return held
        for lock in held:
            lock.release()
        return []
