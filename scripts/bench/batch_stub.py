"""An item that costs nothing, in the place of the real work (engine.batch.work.make): for what the batch itself costs, and for kills.

SKETCHBRIDGE_STUB_SECONDS  how long each takes (default 0)
SKETCHBRIDGE_STUB_BURN     seconds of the processor that each takes besides (default 0)
SKETCHBRIDGE_STUB_LOG      a file that gets a line for each start and each end: what, item, time in nanoseconds, process
A sketch whose name begins with "bad" fails; one that begins with "deadly" ends its worker.
"""

from __future__ import annotations

import functools
import io
import os
import time
from pathlib import Path

from engine.batch.outputs import AFTER, BEFORE
from engine.batch.work import Made, Making
from engine.errors import Cancelled, InputError
from engine.formats.files import write_atomically

STEP_SECONDS = 0.02


def make(making: Making) -> Made:
    """Three small files after a while."""
    name = making.item.stem
    _log("start", making.item.name)
    if name.startswith("bad"):
        raise InputError("corrupt_file", f"'{name}' is bad.", "Take a good one.")
    if name.startswith("deadly"):
        os.abort()
    until = time.monotonic() + float(os.environ.get("SKETCHBRIDGE_STUB_SECONDS", "0"))
    while time.monotonic() < until:
        making.reporter.progress("stage1", 1, 2, until - time.monotonic(), {})
        if making.reporter.cancelled():
            raise Cancelled()
        time.sleep(STEP_SECONDS)
    burn(float(os.environ.get("SKETCHBRIDGE_STUB_BURN", "0")))
    files = [making.folder / f"{name}.glb", making.folder / BEFORE, making.folder / AFTER]
    for path, data in zip(files, (repr(making.item.settings).encode(), *_pictures()), strict=True):
        write_atomically(path, data)
    _log("end", making.item.name)
    return Made(files, {"deviation_mean_percent": 1.0, "deviation_p95_percent": 2.0, "genus": 0})


def burn(seconds: float) -> None:
    """Keep the processor busy for so long, by its own clock."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def _log(what: str, item: str) -> None:
    path = os.environ.get("SKETCHBRIDGE_STUB_LOG")
    if path:
        with Path(path).open("a") as log:
            log.write(f"{what} {item} {time.time_ns()} {os.getpid()}\n")


@functools.cache
def _pictures() -> tuple[bytes, bytes]:
    from PIL import Image

    found = []
    for colour in ("steelblue", "tomato"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(buffer, format="JPEG")
        found.append(buffer.getvalue())
    return found[0], found[1]
