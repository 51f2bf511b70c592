"""How a running job speaks to whoever started it, and hears that it should stop."""

from __future__ import annotations

import sys
import time
from typing import Protocol

import numpy as np

from engine.errors import Cancelled
from engine.mesh import Mesh

STAGES = ("check", "load model", "sdf", "fit", "stage 1", "stage 2", "export")
"""The stages of a job in the order in which they run; a texture job leaves out sdf and fit."""


class Reporter(Protocol):
    """Receives what a job has to tell. Calls come from the job's own thread and must return quickly."""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        """`step` of `total` of `stage` are done; `seconds_left` estimates the whole job, None while unknown."""

    def preview(self, image: np.ndarray) -> None:
        """A picture of the work so far, uint8 [H, W, 3], row 0 at the top."""

    def mesh(self, mesh: Mesh) -> None:
        """The surface so far, world space, with vertex colours."""

    def note(self, text: str) -> None:
        """Something the user should know that is no failure: what was mended, cut or assumed."""

    def cancelled(self) -> bool:
        """True once the user wants the job to end."""


class QuietReporter:
    """Keeps the notes and drops the rest; for calls from Python and for tests."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        pass

    def preview(self, image: np.ndarray) -> None:
        pass

    def mesh(self, mesh: Mesh) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    def cancelled(self) -> bool:
        return False


class ConsoleReporter(QuietReporter):
    """Prints progress to standard error: one line that is rewritten on a terminal, a line every few seconds elsewhere."""

    LINE_SECONDS = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._tty = sys.stderr.isatty()
        self._last_print = 0.0
        self._last_stage = ""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        now = time.monotonic()
        due = self._tty or stage != self._last_stage or now - self._last_print > self.LINE_SECONDS
        if not due:
            return
        self._last_print, self._last_stage = now, stage
        left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
        shown = "".join(f"  {name} {value:.3g}" for name, value in figures.items())
        line = f"{stage}: {step}/{total}{left}{shown}"
        print(f"\r\033[K{line}" if self._tty else line, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        super().note(text)
        print(f"{chr(10) if self._tty else ''}note: {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """'45 s', '3 min 20 s' or '2 h 05 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def stop_if_cancelled(reporter: Reporter) -> None:
    """Raise Cancelled where the user asked the job to end."""
    if reporter.cancelled():
        raise Cancelled()


TRUSTED_SECONDS = 2.0
"""Weight of the plan beside what was measured, in seconds of work."""


class StageTimer:
    """Times the stages of a job and estimates what is left of it.

    `planned` gives each stage's expected share of the work in any unit (for example typical seconds); shares of
    stages that are done are replaced by what they took, so that the estimate sharpens as the job goes on.
    """

    def __init__(self, reporter: Reporter, planned: dict[str, float]) -> None:
        self._reporter = reporter
        self._planned = dict(planned)
        self.seconds: dict[str, float] = {}
        self._stage = ""
        self._started = 0.0

    def start(self, stage: str) -> None:
        """Close the stage that was running and open the next."""
        self.close()
        self._stage, self._started = stage, time.monotonic()
        self.step(0, 1)

    def close(self) -> None:
        """Close the stage that is running."""
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + time.monotonic() - self._started
            self._stage = ""

    def step(self, step: int, total: int, figures: dict[str, float] | None = None) -> None:
        """Report the running stage's progress; raises Cancelled where the user asked for it."""
        self._reporter.progress(self._stage, step, total, self._seconds_left(step, total), figures or {})
        stop_if_cancelled(self._reporter)

    def _seconds_left(self, step: int, total: int) -> float:
        """What is left of this stage at its own pace, and the plan of the later ones at the pace so far.

        Both paces start from the plan, as if TRUSTED_SECONDS of it had gone as planned, so that the first moments, which are
        the least like the rest, do not decide.
        """
        fraction = step / max(total, 1)
        in_stage = time.monotonic() - self._started
        plan = self._planned.get(self._stage, 0.0)
        done_plan = sum(self._planned.get(stage, 0.0) for stage in self.seconds) + fraction * plan
        pace = (sum(self.seconds.values()) + (in_stage if fraction > 0 else 0.0) + TRUSTED_SECONDS) / (done_plan + TRUSTED_SECONDS)
        here = (in_stage + TRUSTED_SECONDS * pace) / (fraction * plan + TRUSTED_SECONDS) if fraction > 0 else pace
        later = sum(share for stage, share in self._planned.items() if stage not in self.seconds and stage != self._stage)
        return (1 - fraction) * plan * here + later * pace
