"""A worker of a batch on this machine: items come as lines of JSON on standard input, what it has to tell goes out on standard output.

It keeps the model from item to item, shares the machine's cores and GPUs with the workers of every other batch by locks
(engine.batch.slots), and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from engine.batch.item import Item
from engine.batch.slots import Slots
from engine.batch.store import Store
from engine.batch.work import do_item
from engine.errors import Cancelled
from engine.lifeline import end_with_parent
from engine.reporting import QuietReporter
from engine.server import take_wire

TELL_SECONDS = 0.5


class LineReporter(QuietReporter):
    """Tells the driver how far the item is, a few times a second at most."""

    def __init__(self, put: Callable[[Mapping[str, Any]], None], cancel: threading.Event) -> None:
        super().__init__()
        self._put, self._cancel, self._last = put, cancel, 0.0

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= TELL_SECONDS:
            self._last = now
            self._put({"progress": stage, "step": step, "total": total, "left": seconds_left})

    def cancelled(self) -> bool:
        return self._cancel.is_set()


class Worker:
    """The two ends of the wire, and the loop between them."""

    def __init__(self, read: int, write: int) -> None:
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancel = threading.Event()
        self._read, self._out = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        threading.Thread(target=self._take, daemon=True).start()

    def run(self) -> None:
        """Do what comes until nothing comes any more."""
        setup = self._lines.get()
        if setup is None:
            return
        store, blender = Store(setup["out"]), tuple(setup["blender"]) or None
        slots = Slots(setup["cores"], setup["gpu"])
        self._put({"ready": True})
        while (line := self._lines.get()) is not None:
            item = Item.from_dict(line["item"])
            try:
                with slots.taken(self._cancel.is_set):
                    outcome = do_item(item, store, LineReporter(self._put, self._cancel), blender, setup["make"])
                self._put({"outcome": outcome.to_dict()})
            except Cancelled:
                self._put({"cancelled": item.number})

    def _take(self) -> None:
        for line in self._read:
            message = json.loads(line)
            if "cancel" in message:
                self._cancel.set()
            else:
                self._lines.put(message)
        self._cancel.set()  # the driver has nothing more to say, or is gone
        self._lines.put(None)

    def _put(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._out.write(json.dumps(message, default=str).encode() + b"\n")
            self._out.flush()


def main() -> None:
    """The process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears Ctrl-C and tells
    Worker(*take_wire()).run()
    sys.stderr.flush()
    os._exit(0)  # threads of native libraries must not keep a finished worker alive


if __name__ == "__main__":
    main()
