"""The workers of this machine: one thread each, which starts the process, hands it items, and starts another where it dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.batch.item import FAILED, HELD, Item, Outcome, Problem
from engine.batch.slots import cores_here, threads_told
from engine.batch.work import MAKE
from engine.memory import free_bytes

TRIES = 3
"""An item whose worker dies is made again; one that has cost so many workers is given up."""
HELD_SECONDS = 0.5
"""How often an item is asked for again that another run is making."""
LEAVE_SECONDS = 15.0
WORKER_BYTES = 2e9
"""What a worker takes of memory for a draft: docs/benchmarks.md."""
Tell = Callable[[int, Item | None, dict[str, Any]], None]
"""Told of a worker (its number): the item that it has, and its line."""


@dataclass(frozen=True)
class Machine:
    """How the work is spread here: processes, the cores that each computes on, and the GPUs, one a worker."""

    workers: int
    cores: int
    gpus: int

    @classmethod
    def of(cls, workers: int | None, threads: int | None, device: str) -> Machine:
        """A worker a GPU, which shares the cores with the others; without one a worker a core, as far as the memory goes.

        Sums come out differently on another number of threads, and with them the last bits of a result: on the CPU the number is
        `threads` or one, never what happens to be free.
        """
        gpus = 0 if device == "cpu" else gpus_here()
        free = free_bytes()
        fitting = cores_here() if free is None else int(free // WORKER_BYTES)
        count = workers or gpus or max(1, min(cores_here() // (threads or 1), fitting))
        return cls(count, threads or (max(1, cores_here() // count) if gpus else 1), gpus)


def gpus_here() -> int:
    """NVIDIA GPUs that this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20)
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return 0


class Pool:
    """Makes items by worker processes of this machine."""

    def __init__(self, machine: Machine, out: str, blender: tuple[str, ...] | None, tell: Tell, make: str = MAKE) -> None:
        self._machine, self._tell = machine, tell
        self._setup = {"out": out, "blender": list(blender or ()), "make": make}
        self._todo: deque[Item] = deque()
        self._held: deque[tuple[float, Item]] = deque()
        self._done: deque[Outcome] = deque()
        self._tries: Counter[int] = Counter()
        self._changed = threading.Condition()
        self._left = 0
        self._stopped = False
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def run(self, items: Sequence[Item]) -> Generator[Outcome]:
        """Outcomes as they come. Stop by `stop`, or by closing the iterator."""
        self._todo.extend(items)
        self._left = len(items)
        threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(min(self._machine.workers, len(items)))
        ]
        for thread in threads:
            thread.start()
        try:
            while True:
                with self._changed:
                    while not self._done and self._left and any(thread.is_alive() for thread in threads):
                        self._changed.wait(0.5)
                    if not self._done:
                        break
                    outcome = self._done.popleft()
                yield outcome
        finally:
            self.stop()
            for thread in threads:
                thread.join(LEAVE_SECONDS + 5)

    def stop(self) -> None:
        """No more items; those that are being made are cancelled."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for process in list(self.processes.values()):
            _say(process, {"cancel": True})

    def _next(self) -> Item | None:
        """The next item for a worker; None when there is nothing left to do. Items of other runs are asked for again and again."""
        with self._changed:
            while self._left and not self._stopped:
                if self._todo:
                    return self._todo.popleft()
                if self._held and self._held[0][0] <= time.monotonic():
                    return self._held.popleft()[1]
                self._changed.wait(HELD_SECONDS / 2)
        return None

    def _finish(self, item: Item, outcome: Outcome) -> None:
        with self._changed:
            if outcome.state == HELD:
                self._held.append((time.monotonic() + HELD_SECONDS, item))
            else:
                self._done.append(outcome)
                self._left -= 1
            self._changed.notify_all()

    def _work(self, number: int) -> None:
        process: subprocess.Popen[bytes] | None = None
        while (item := self._next()) is not None:
            if process is None:
                process = self._start(number)
            _say(process, {"item": item.to_dict()})
            outcome = self._await(number, item, process)
            if outcome is None:
                process.wait()
                status, process = process.returncode, None
                if self._stopped:
                    break
                self._tell(number, None, {})
                outcome = self._died(item, status)
                if outcome is None:
                    continue
            self._finish(item, outcome)
            self._tell(number, None, {})
        if process is not None:
            _leave(process)

    def _await(self, number: int, item: Item, process: subprocess.Popen[bytes]) -> Outcome | None:
        """What became of the item; None where the process ended first, or was cancelled."""
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # it was killed in the middle of it
            message = json.loads(line)
            if "outcome" in message:
                return Outcome.from_dict(message["outcome"])
            if "cancelled" in message:
                _leave(process)
                return None
            self._tell(number, item, message)
        return None

    def _died(self, item: Item, status: int) -> Outcome | None:
        """An item whose worker died goes back to the front, until it has cost too many workers."""
        self._tries[item.number] += 1
        if self._tries[item.number] < TRIES:
            with self._changed:
                self._todo.appendleft(item)
                self._changed.notify_all()
            return None
        said = f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
        return Outcome(item.number, FAILED, problem=Problem(
            "engine", f"The worker that made '{item.name}' {said}, {TRIES} times.",
            "Mostly memory ran out: take fewer --workers or a lower preset; what it printed stands above."))  # fmt: skip

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        surroundings = {**os.environ, **threads_told(self._machine.cores)}
        root = str(Path(__file__).resolve().parents[2])
        surroundings["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        gpu = number % self._machine.gpus if self._machine.gpus else None
        if gpu is not None:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            surroundings["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu].strip() if visible else str(gpu)
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.batch.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=surroundings,
            start_new_session=sys.platform != "win32",
        )  # fmt: skip
        self.processes[number] = process
        _say(process, {**self._setup, "cores": self._machine.cores, "gpu": gpu})
        return process


def _say(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    """A line to a worker; one that is gone is noticed by its silence."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Let a worker end by itself, and end it if it does not."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
