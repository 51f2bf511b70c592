"""How a running job speaks to whoever started it, and hears that it should stop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from engine.errors import Cancelled, printable
from engine.mesh import Mesh
from engine.stages import Stage
from engine.words import duration


class OnStep(Protocol):
    """Called as work goes on: `done` of `total` of it are done. Raises Cancelled where the user wishes the job to end."""

    def __call__(self, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None: ...


def unwatched(done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
    """`OnStep` of work that nobody watches."""


class Portions:
    """`OnStep` of work in several portions, told on as one that never goes back: in thousandths of the whole.

    shares  what each portion costs, in any unit, in the order in which they come
    """

    def __init__(self, on_step: OnStep, shares: Mapping[str, float]) -> None:
        self._on_step, self._shares = on_step, dict(shares)
        self._before, self._share = 0.0, 0.0
        self._furthest = 0

    def begin(self, portion: str) -> None:
        """Whatever came before is done; what follows is this portion's."""
        names = list(self._shares)
        self._before = sum(self._shares[name] for name in names[: names.index(portion)])
        self._share = self._shares[portion]
        self(0, 1)

    def __call__(self, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        """`done` of `total` of the portion; counted anew where a portion goes over its things several times."""
        share = (self._before + self._share * min(done / max(total, 1), 1.0)) / sum(self._shares.values())
        self._furthest = max(self._furthest, int(1000 * share))
        self._on_step(self._furthest, 1000, figures)


class Reporter(Protocol):
    """Receives what a job has to tell. Calls come from the job's own thread and must return quickly."""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        """`step` of `total` of `stage` are done; `seconds_left` estimates the whole job, None while unknown."""
        ...

    def preview(self, image: np.ndarray) -> None:
        """A picture of the work so far, uint8 [H, W, 3], row 0 at the top."""
        ...

    def mesh(self, mesh: Mesh) -> None:
        """The surface so far, world space, with vertex colours."""
        ...

    def note(self, text: str) -> None:
        """Something the user should know that is no failure: what was mended, cut or assumed."""
        ...

    def cancelled(self) -> bool:
        """True once the user wants the job to end."""
        ...


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
        self.stage = ""
        """The one that runs, as it was told last."""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        now = time.monotonic()
        due = self._tty or stage != self.stage or now - self._last_print > self.LINE_SECONDS
        if not due:
            return
        self._last_print, self.stage = now, stage
        left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
        shown = "".join(f"  {name} {value:.3g}" for name, value in figures.items())
        line = f"{stage}: {step}/{total}{left}{shown}"
        print(f"\r\033[K{line}" if self._tty else line, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        super().note(text)
        print(f"{chr(10) if self._tty else ''}note: {printable(text)}", file=sys.stderr, flush=True)


def stop_if_cancelled(reporter: Reporter) -> None:
    """Raise Cancelled where the user asked the job to end."""
    if reporter.cancelled():
        raise Cancelled()


TRUSTED_SECONDS = 2.0
"""Weight of the plan beside what was measured, in seconds of work."""

HUNDREDTHS = 100
"""Steps of a stage that is made of parts."""


class StageTimer:
    """Times the stages of a job, tells how far each is, and estimates what is left of the job.

    `planned` gives the expected cost of each stage, or of each of its parts, in any unit (for example seconds on some machine). What
    is done replaces its share of the plan by what it took here, so that the estimate sharpens as the job goes on.
    """

    def __init__(self, reporter: Reporter, planned: Mapping[Stage, float | Mapping[str, float]]) -> None:
        self._reporter = reporter
        self._planned = {stage: dict(cost) if isinstance(cost, Mapping) else {"": cost} for stage, cost in planned.items()}
        self._stage: Stage | None = None
        self._part = ""
        self._closed: dict[tuple[Stage, str], float] = {}
        self._started = 0.0
        self._shown = 0  # hundredths of the running stage

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took that is closed, by its name."""
        taken: dict[str, float] = {}
        for (stage, _), seconds in self._closed.items():
            taken[stage.value] = taken.get(stage.value, 0.0) + seconds
        return taken

    def start(self, stage: Stage) -> None:
        """Close the stage that was running and open the next."""
        self.close()
        self._stage, self._part, self._started = stage, next(iter(self._planned.get(stage, {"": 0.0}))), time.monotonic()
        self._shown = 0
        self.step(0, 1)

    def part(self, name: str) -> OnStep:
        """Open a part of the running stage; the progress of that part."""
        assert self._stage is not None, "no stage is running"
        if name != self._part:
            self._close_part()
            self._part, self._started = name, time.monotonic()
            self.step(0, 1)
        return self.step

    def close(self) -> None:
        """Close the stage that is running."""
        if self._stage is not None:
            self._close_part()
            self._stage = None

    def step(self, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        """Report the progress of what is running; Cancelled where the user asked for it.

        Work that cannot tell how far it is says 0 of 1 again and again: the time left then shrinks towards 0 as it should, and never
        gets there.
        """
        assert self._stage is not None, "no stage is running"
        shown = (done, total) if len(self._planned.get(self._stage, {})) < 2 else (self._hundredths(done, total), HUNDREDTHS)
        self._reporter.progress(self._stage.value, *shown, self._seconds_left(done / max(total, 1)), dict(figures or {}))
        asked = time.monotonic()
        stop_if_cancelled(self._reporter)
        self._started += time.monotonic() - asked  # a pause is no work

    def _close_part(self) -> None:
        assert self._stage is not None
        key = (self._stage, self._part)
        self._closed[key] = self._closed.get(key, 0.0) + time.monotonic() - self._started

    def _cost(self, stage: Stage, part: str) -> float:
        return self._planned.get(stage, {}).get(part, 0.0)

    def _hundredths(self, done: int, total: int) -> int:
        """How far a stage of several parts is, by their shares of its plan; never less than it was shown before, where a part that was
        guessed at begins to tell."""
        assert self._stage is not None
        costs = self._planned[self._stage]
        before = sum(cost for part, cost in costs.items() if (self._stage, part) in self._closed and part != self._part)
        fraction = done / max(total, 1)
        if fraction == 0:
            expected = max(self._cost(self._stage, self._part) * self._pace(0.0), 1e-9)
            fraction = 1 - math.exp(-(time.monotonic() - self._started) / expected)
        share = (before + fraction * costs.get(self._part, 0.0)) / max(sum(costs.values()), 1e-9)
        self._shown = max(self._shown, int(HUNDREDTHS * share))
        return self._shown

    def _pace(self, fraction: float) -> float:
        """Seconds here for a unit of the plan, by all that is done, this much of the running part included.

        It starts from the plan, as if TRUSTED_SECONDS of it had gone as planned, so that the first moments, which are the least like
        the rest, do not decide.
        """
        assert self._stage is not None
        done = sum(self._cost(*key) for key in self._closed) + fraction * self._cost(self._stage, self._part)
        taken = sum(self._closed.values()) + (time.monotonic() - self._started if fraction > 0 else 0.0)
        return (taken + TRUSTED_SECONDS) / (done + TRUSTED_SECONDS)

    def _seconds_left(self, fraction: float) -> float:
        """What is left of this part at its own pace, or by the plan where it does not tell, and of the later ones at the pace so far."""
        assert self._stage is not None
        elapsed, cost, pace = time.monotonic() - self._started, self._cost(self._stage, self._part), self._pace(fraction)
        if fraction > 0:
            here = (1 - fraction) * cost * (elapsed + TRUSTED_SECONDS * pace) / (fraction * cost + TRUSTED_SECONDS)
        else:
            here = cost * pace * math.exp(-elapsed / max(cost * pace, 1e-9))
        plan = [(stage, part) for stage, costs in self._planned.items() for part in costs]
        running = (self._stage, self._part)
        later = plan[plan.index(running) + 1 :] if running in plan else []  # what a resumed job left out is not to come
        return here + pace * sum(self._cost(*key) for key in later if key not in self._closed)
