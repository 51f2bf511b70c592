"""Native work in a process of its own, so that it can be ended at any moment and its own progress is heard.

xatlas and libigl cannot be interrupted and hold the interpreter's lock for as long as they run. A worker is
`python -m engine.apart MODULE:FUNCTION PARENT`. What it works on and what it found are in one file without a name, its standard
input: nothing stays behind, however either side ends. Its standard output tells "DONE TOTAL". It ends with the process that
started it (`engine.lifeline`).
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine import lifeline
from engine.reporting import OnStep

POLL_SECONDS = 0.05
_ROOT = Path(__file__).resolve().parents[1]


Arrays = dict[str, np.ndarray]
Work = Callable[[Arrays, OnStep], Arrays]
"""A function of a module, of the inputs, that tells how far it is."""


def run_apart(work: Work, inputs: Mapping[str, Any], on_step: OnStep, quiet_seconds: float | None = None) -> Arrays | None:
    """What a function finds for these inputs, in a process of its own; None where it failed. Numbers become arrays on the way.

    on_step        hears how far it is every POLL_SECONDS; what it raises (Cancelled) ends the worker at once
    quiet_seconds  a worker that tells no progress for so long is ended, and has failed
    """
    with tempfile.TemporaryFile(prefix="sketchbridge-") as exchange:
        np.savez(exchange, **inputs)
        exchange.flush()
        exchange.seek(0)
        command = [sys.executable, "-P", "-m", "engine.apart", f"{work.__module__}:{work.__qualname__}", str(os.getpid())]
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
        worker = subprocess.Popen(
            command, stdin=exchange, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=surroundings, text=True
        )  # fmt: skip
        try:
            if not _watched(worker, on_step, quiet_seconds):
                return None
        finally:
            worker.kill()
            worker.wait()
        if worker.returncode != 0:
            return None
        exchange.seek(0)
        with np.load(exchange) as found:
            return dict(found)


def _watched(worker: subprocess.Popen[str], on_step: OnStep, quiet_seconds: float | None) -> bool:
    """Wait for the worker's end; False where it was quiet for too long."""
    assert worker.stdout is not None
    latest, ended = [(0, 1)], threading.Event()

    def listen(told: IO[str]) -> None:
        with told:
            for line in told:
                done, total = line.split()
                latest[0] = int(done), int(total)
        ended.set()

    threading.Thread(target=listen, args=(worker.stdout,), name="worker's progress", daemon=True).start()
    heard, since = latest[0], time.monotonic()
    while not ended.wait(POLL_SECONDS):
        on_step(*latest[0])
        if latest[0] != heard:
            heard, since = latest[0], time.monotonic()
        if quiet_seconds is not None and time.monotonic() - since > quiet_seconds:
            return False
    worker.wait()
    return True


def main(work: str, parent: str) -> None:
    """The worker's own side."""
    lifeline.end_with_parent(int(parent))
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native code prints goes nowhere

    latest, since = (0, 0), 0.0

    def tell(done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        nonlocal latest, since
        if (done, total) != latest and time.monotonic() - since >= POLL_SECONDS:  # nobody looks more often
            latest, since = (done, total), time.monotonic()
            told.write(f"{done} {total}\n")

    module, _, function = work.partition(":")
    with open(0, "r+b", closefd=False) as exchange:
        with np.load(exchange) as file:
            inputs = dict(file)
        found = getattr(importlib.import_module(module), function)(inputs, tell)
        exchange.seek(0)
        exchange.truncate()
        np.savez(exchange, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
