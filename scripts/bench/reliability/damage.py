"""Checkpoints of a real job, damaged: none is taken, it is said, and the job starts afresh with the right result."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path

from engine import checkpoint, job
from engine.checkpoint import Checkpoint, fingerprint
from engine.reporting import QuietReporter
from scripts.bench.reliability.tiny import Row, board, box, digest, settings

ENDS = 6000
"""Bytes at either end where damage is tried apart: the tables of the file are there."""
BLOCK = 4096


class Evil:
    """Would write a file, were it unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self._path), "w")


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """600 flipped bits, 60 cuts, 20 blocks of zeros, 2 pickles."""
    sketch, wishes = box(layout=True), settings(board(folder / "board"), "texture")
    path = folder / "job.checkpoint"
    checkpoint.INTERVAL_SECONDS, before = 0.0, checkpoint.INTERVAL_SECONDS
    whole_result = job.run_job(sketch, wishes, QuietReporter(), path)
    checkpoint.INTERVAL_SECONDS = before
    whole, name, draw = path.read_bytes(), fingerprint(sketch, wishes), random.Random(seed)
    rows = [Row(f"checkpoint, one bit flipped {where}") for where in ("anywhere", f"in the first {ENDS:,} bytes", "in the last")]
    last = max(len(whole) - ENDS, 0)
    for row, low, high in zip(rows, (0, 0, last), (len(whole), min(ENDS, len(whole)), len(whole)), strict=True):
        for _ in range(round(200 * share)):
            row.count(_taken(path, name, _flipped(whole, draw.randrange(low, high), draw)))
    rows += [Row("checkpoint cut off"), Row("checkpoint with 4 kB of zeros"), Row("a pickle in its place")]
    for _ in range(round(60 * share)):
        rows[3].count(_taken(path, name, whole[: draw.randrange(len(whole))]))
    for start in [draw.randrange(0, max(len(whole) - BLOCK, 1)) for _ in range(round(20 * share))]:
        rows[4].count(_taken(path, name, whole[:start] + bytes(BLOCK) + whole[start + BLOCK :]))
    for content in _pickles(folder / "evil", name):
        fault = _taken(path, name, content)
        rows[5].count("its code ran" if (folder / "evil").exists() else fault)
    path.write_bytes(_flipped(whole, len(whole) // 2, draw))
    reporter = QuietReporter()
    again = job.run_job(sketch, wishes, reporter, path)
    if digest(again.mesh, again.maps) != digest(whole_result.mesh, whole_result.maps) or not any("afresh" in n for n in reporter.notes):
        rows[0].faults.append("the job over a damaged checkpoint did not start afresh with the right result")
    rows[0].remark = f"of {len(whole):,} bytes; survived = not taken, and said; a job over one starts afresh with the right bytes"
    return rows


def _flipped(whole: bytes, place: int, draw: random.Random) -> bytes:
    spoilt = bytearray(whole)
    spoilt[place] ^= 1 << draw.randrange(8)
    return bytes(spoilt)


def _pickles(evil: Path, name: str) -> Iterator[bytes]:
    yield pickle.dumps({"job": name, "state": Evil(evil)}, protocol=2)
    yield pickle.dumps(Evil(evil))


def _taken(path: Path, name: str, content: bytes) -> str | None:
    """What is wrong with how this content is taken."""
    path.write_bytes(content)
    notes: list[str] = []
    try:
        state = Checkpoint(path, name, notes.append).load()
    except Exception as error:  # nothing may come out
        return f"{type(error).__name__}: {error}"
    if state is not None:
        return "taken as the job's state"
    return None if len(notes) == 1 else f"told {notes}"
