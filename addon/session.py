"""One job from the host's side: a state machine over the engine's messages. No bpy, nothing waits, nothing raises.

The caller starts a Session, calls `poll` a few times a second, shows its attributes, and takes `result` or `problem`.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import messages
from .engine_process import GREETING_SECONDS, EngineError, EngineProcess, hello, silent_engine
from .errors import SketchbridgeError

CANCEL_SECONDS = 1.0
"""An engine that does not answer Cancel for this long, as while it loads its libraries, is killed; what it saved stays."""
GONE_SECONDS = 1.0
"""An engine whose process has ended and that has said nothing for this long is gone."""
PING_SECONDS = 5.0
QUIET_SECONDS = 20.0
"""With nothing heard for this long, not even the answer to a ping, the user is told."""


class Phase(enum.Enum):
    """Where a job is."""

    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)


@dataclass(frozen=True)
class Problem:
    """Why a job failed, in the user's words. `code` is the engine's, or "engine" for the process itself."""

    code: str
    message: str
    fix: str
    exit_code: int = 1  # what a command line returns for it

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class Session:
    """One engine process doing one job; the process ends with the job, so that all its memory is free again."""

    def __init__(self, command: Sequence[str], submit: messages.Submit, log: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase = Phase.STARTING
        self.progress: messages.Progress | None = None
        self.preview: np.ndarray | None = None
        self.notes: list[str] = []
        self.result: messages.Done | None = None
        self.problem: Problem | None = None
        self.fraction = 0.0
        self.news = 0
        """Grows with everything that the panel could show differently."""
        self.quiet = False
        self.paused = False
        self.engine: messages.Hello | None = None
        self._mesh: messages.MeshUpdate | None = None
        self._submit, self._log, self._clock = submit, log, clock
        self._started = self._heard = self._pinged = clock()
        self._cancel_asked: float | None = None
        self._gone: float | None = None
        self._stood_still, self._paused_at = 0.0, 0.0
        self._process: EngineProcess | None = None
        try:
            self._process = EngineProcess(command, log)
        except EngineError as error:
            self._fail(error.code, error.message, error.fix)

    @property
    def finished(self) -> bool:
        """True once nothing more will happen."""
        return self.phase in FINISHED

    @property
    def pid(self) -> int | None:
        """The engine's process id, None where it could not be started."""
        return None if self._process is None else self._process.pid

    @property
    def stage(self) -> str:
        """What the engine does, in words for the panel."""
        if self.phase is Phase.CANCELLING:
            return "cancelling"
        if self.phase is Phase.STARTING:
            return "starting the engine"
        if self.paused:
            return "paused"
        return self.progress.stage if self.progress else "preparing"

    @property
    def seconds_left(self) -> float | None:
        """The engine's estimate, None while unknown or beyond all numbers."""
        left = self.progress.seconds_left if self.progress else None
        return left if left is not None and math.isfinite(left) else None

    @property
    def worked(self) -> float:
        """Seconds since the start, pauses left out."""
        return self._clock() - self._started - self._stood_still - (self._clock() - self._paused_at if self.paused else 0.0)

    def pause(self, paused: bool) -> None:
        """Ask the engine to stand still between two steps, or to go on; what it has in memory stays."""
        if self.phase is not Phase.RUNNING or paused == self.paused:
            return
        if paused:
            self._paused_at = self._clock()
        else:
            self._stood_still += self._clock() - self._paused_at
        self.paused = paused
        self.news += 1
        self._process_send(messages.Pause(self._submit.job) if paused else messages.Resume(self._submit.job))

    def take_mesh(self) -> messages.MeshUpdate | None:
        """The newest mesh, once."""
        mesh, self._mesh = self._mesh, None
        return mesh

    def poll(self) -> None:
        """Take in what the engine said."""
        if self.finished or self._process is None:
            return
        try:
            for message in self._process.poll():
                self._heard = self._clock()
                self.news += 1
                self._take(message)
                if self.finished:
                    return
            self._watch()
        except SketchbridgeError as error:  # of the process or of the wire
            if self.phase is Phase.CANCELLING:
                self._finish(Phase.CANCELLED)
            else:
                self._fail(error.code, error.message, error.fix)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to poll, at most `seconds`: for hosts without a window."""
        if self._process is not None and not self.finished:
            self._process.wait(seconds)

    def cancel(self) -> None:
        """Ask the engine to stop; `poll` sees it through. Legal at any moment, any number of times."""
        if self.finished or self.phase is Phase.CANCELLING:
            return
        submitted, self.phase = self.phase is Phase.RUNNING, Phase.CANCELLING
        self._cancel_asked = self._clock()
        if submitted and self._process is not None:
            self._process.send(messages.Cancel(self._submit.job))
        else:
            self._finish(Phase.CANCELLED)

    def discard(self) -> None:
        """Give up a result that has not been taken; without one nothing happens."""
        if self.phase is Phase.DONE:
            self.result, self.phase = None, Phase.CANCELLED

    def close(self) -> None:
        """End everything, whatever the state: the host itself is about to leave."""
        if not self.finished:
            self._finish(Phase.CANCELLED)

    def wait_closed(self) -> bool:
        """After the end: wait until the engine's process is gone, a few seconds at most; True where it is."""
        return self._process is None or self._process.wait_stopped()

    def _take(self, message: messages.Message) -> None:
        match message:
            case messages.Hello():
                self.engine = message
                self._process_send(hello())
                self._process_send(self._submit)
                self.phase = Phase.RUNNING
            case messages.Progress():
                self.progress = message
                self._advance()
            case messages.Preview():
                self.preview = message.image
            case messages.MeshUpdate():
                self._mesh = message
            case messages.Note():
                self.notes.append(message.text)
            case messages.Done():
                self.result, self.fraction = message, 1.0
                self._finish(Phase.DONE)
            case messages.Failed():
                self._fail(message.code, message.message, message.fix, message.exit_code)
            case messages.CancelledJob():
                self._finish(Phase.CANCELLED)
            case messages.Bye():
                self._fail("engine", "The engine was interrupted.", "Try again.")
            case _:
                pass

    def _advance(self) -> None:
        elapsed = self.worked
        if self.seconds_left is not None:
            self.fraction = max(self.fraction, min(elapsed / max(elapsed + self.seconds_left, 1e-6), 0.99))

    def _watch(self) -> None:
        """Time limits; called when the queue is empty. EngineError where the engine is gone or never came."""
        now = self._clock()
        if self._cancel_asked is not None and now - self._cancel_asked > CANCEL_SECONDS and self._process is not None:
            self._process.kill()
            self._finish(Phase.CANCELLED)
        elif self._process is not None and not self._process.alive:
            self._gone = now if self._gone is None else self._gone
            if now - max(self._heard, self._gone) > GONE_SECONDS:  # its reader would have told, but for a stream that somebody holds open
                raise self._process.death()
        elif self.phase is Phase.STARTING and now - self._started > GREETING_SECONDS:
            raise silent_engine(GREETING_SECONDS, self._log)
        elif self.phase is Phase.RUNNING:
            if now - max(self._heard, self._pinged) > PING_SECONDS:
                self._pinged = now
                self._process_send(messages.Ping(int(now)))
            quiet = now - self._heard > QUIET_SECONDS
            self.news += quiet != self.quiet
            self.quiet = quiet

    def _process_send(self, message: messages.Message) -> None:
        assert self._process is not None
        self._process.send(message)

    def _fail(self, code: str, message: str, fix: str, exit_code: int = 1) -> None:
        self.problem = Problem(code, message, fix, exit_code)
        self._finish(Phase.FAILED)

    def _finish(self, phase: Phase) -> None:
        self.phase = phase
        if self._process is not None:
            self._process.stop()
