"""200 jobs one after another in one process, every seventh cancelled: memory, descriptors, threads and files stay what they were."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from pathlib import Path

from engine import job
from engine.errors import Cancelled
from engine.reporting import QuietReporter
from engine.server import release_memory
from scripts.bench.reliability.tiny import Row, board, box, digest, settings

MOST_GROWTH = 1.05
WARM = 10


class Impatient(QuietReporter):
    """Cancels at the third question of stage 1."""

    def __init__(self, patient: bool) -> None:
        super().__init__()
        self._patient, self._asked = patient, 0

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        self._asked += stage == "stage 1"

    def cancelled(self) -> bool:
        return not self._patient and self._asked >= 3


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """Refine and texture in turn, with a folder for temporary files of its own: others' come and go."""
    temporary = folder / "temporary"
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    row, model = Row("jobs in one process, refine and texture in turn"), board(folder / "board")
    first: dict[str, str] = {}
    known = at_ten = (0, 0, 0, 0)
    cancelled = 0
    for number in range(max(round(200 * share), WARM + 2)):
        mode, patient = ("refine", "texture")[number % 2], number % 7 != 6
        try:
            result = job.run_job(box(layout=mode == "texture"), settings(model, mode), Impatient(patient))
            found = digest(result.mesh, result.maps)
            row.count(None if first.setdefault(mode, found) == found and patient else f"job {number} gave another result")
            del result
        except Cancelled:
            cancelled += 1
            row.count("cancelled unasked" if patient else None)
        release_memory()
        known = _held()
        if number == WARM - 1:
            at_ten = known
    growth = known[0] / at_ten[0]
    if growth > MOST_GROWTH or known[1] > at_ten[1] or known[2] > at_ten[2] or known[3] > at_ten[3]:
        row.faults.append(f"after {WARM} jobs {at_ten}, in the end {known}")
    row.remark = (
        f"{cancelled} cancelled; memory {at_ten[0]:.0f} MB after {WARM}, {known[0]:.0f} MB in the end ({growth:.3f} x); "
        f"descriptors {at_ten[1]} and {known[1]}, threads {at_ten[2]} and {known[2]}, temporary entries {at_ten[3]} and {known[3]}"
    )
    return [row]


def _held() -> tuple[float, int, int, int]:
    """Megabytes, descriptors, threads and temporary entries of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        megabytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    temporary = sum(name.startswith("sketchbridge-") for name in os.listdir(tempfile.gettempdir()))
    return megabytes, len(os.listdir("/proc/self/fd")), threading.active_count(), temporary
