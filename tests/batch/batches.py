"""For tests of batches: folders of sketches, and the command as a process, with stub items unless said otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
BOX = "v 0 0 0\nv 0 0 1\nv 0 1 0\nv 0 1 1\nv 1 0 0\nv 1 0 1\nv 1 1 0\nv 1 1 1\n"
BOX += "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
STUB = "scripts.bench.batch_stub:make"


def sketches(folder: Path, names: Iterable[str]) -> Path:
    """A folder of boxes under these names, and jobs.toml beside it that makes all of them."""
    (folder / "sketches").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "sketches" / f"{name}.obj").write_text(BOX)
    return write(folder, '[[job]]\ninput = "sketches/*.obj"\nprompt = "{name}"\n')


def write(folder: Path, text: str) -> Path:
    """The job file."""
    path = folder / "jobs.toml"
    path.write_text(text)
    return path


def surroundings(folder: Path, seconds: float = 0.0, make: str = STUB) -> dict[str, str]:
    """Variables for a batch's process: one thread, a cache of the test's own, stub items that are logged."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SKETCHBRIDGE_CACHE": str(folder / "cache"), "SKETCHBRIDGE_BATCH_MAKE": make,
           "SKETCHBRIDGE_STUB_SECONDS": str(seconds), "SKETCHBRIDGE_STUB_LOG": str(folder / "stub.log")}  # fmt: skip
    return {**os.environ, **own}


def start(jobs: Path, out: str | Path, *words: str, seconds: float = 0.0, make: str = STUB, **more: Any) -> subprocess.Popen[str]:
    """A batch as a process."""
    command = [sys.executable, "-m", "engine", "batch", str(jobs), "--out", str(out), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": jobs.parent}
    return subprocess.Popen(command, **{**pipes, "env": surroundings(jobs.parent, seconds, make), **more})


def run(jobs: Path, out: str | Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A batch to its end."""
    process = start(jobs, out, *words, **more)
    printed, said = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def records(out: Path) -> dict[str, dict[str, Any]]:
    """Item -> its record, of those that are done."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/done.json"))}


def log_of(folder: Path) -> list[tuple[str, str, int, int]]:
    """What the stub items logged: (start or end, item, nanoseconds, process)."""
    path = folder / "stub.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, item, int(moment), int(process)) for what, item, moment, process in map(str.split, lines)]


def alive(processes: Iterable[int]) -> list[int]:
    """Those of these processes that still run."""
    found = []
    for number in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                found.append(number)
    return found
