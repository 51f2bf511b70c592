"""Questions to the engine's machine, asked without waiting: does it answer, and what does its own doctor say? No bpy.

A check is started, polled a few times a second, and gives a report once; the newest of either kind is kept for the panel.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from .engine_process import EngineError, EngineProcess, silent_engine, surroundings
from .errors import SketchbridgeError
from .messages import Hello

GREETING_SECONDS = 20.0
DOCTOR_SECONDS = 180.0
WAIT_SECONDS = 0.05
_LONGEST_ANSWER = 6000


@dataclass(frozen=True)
class Finding:
    """One thing that the engine's doctor examined: 'works', 'optional' (absent, not needed) or 'fails'."""

    state: str
    name: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """The answer, a line each; `failed` where there was none and the lines say why; `findings` where the lines are the doctor's."""

    title: str
    healthy: bool
    lines: tuple[str, ...]
    failed: bool = False
    findings: tuple[Finding, ...] = ()


class Check(Protocol):
    """A question that is being asked, or a work that is being done. `fraction` is how far it is, 0 where nobody knows."""

    title: str
    text: str
    fraction: float
    news: int

    def poll(self) -> Report | None:
        """The report, or None while there is none. EngineError where none will come."""
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...


class ConnectionCheck:
    """Starts the engine, waits for its greeting, and ends it again."""

    title = "Test Connection"
    text, fraction, news = "Waiting for the answer", 0.0, 0

    def __init__(self, command: Sequence[str], log: Path, seconds: float = GREETING_SECONDS) -> None:
        """EngineError where the command cannot be started."""
        self._log, self._seconds, self._started = log, seconds, time.monotonic()
        self._engine = EngineProcess(command, log)

    def poll(self) -> Report | None:
        for message in self._engine.poll():
            if isinstance(message, Hello):
                shown = tuple(f"{name} {value}" for name, value in message.info.items() if name != "process")
                return Report(self.title, True, (f"The engine answers: {message.software}", *shown))
        if time.monotonic() - self._started > self._seconds:
            raise silent_engine(self._seconds, self._log)
        return None

    def close(self) -> None:
        self._engine.stop()


class DoctorCheck:
    """Runs the engine's `doctor` command and keeps what it prints."""

    title = "Check Set-up"
    text, fraction, news = "Waiting for the answer", 0.0, 0

    def __init__(self, command: Sequence[str], seconds: float = DOCTOR_SECONDS) -> None:
        """EngineError where the command cannot be started."""
        self._words, self._seconds, self._started = doctor_command(command), seconds, time.monotonic()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  a pipe would have to be read meanwhile; closed by `close`
        try:
            self._child = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT, env=surroundings(),
                creationflags=subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self._said.close()
            fix = "Correct Engine Command in the add-on's preferences."
            raise EngineError(f"'{self._shown}' cannot be started: {error}.", fix) from error

    @property
    def _shown(self) -> str:
        return " ".join(self._words)

    def poll(self) -> Report | None:
        status = self._child.poll()
        if status is None:
            if time.monotonic() - self._started > self._seconds:
                fix = "Run it in a terminal to see what it waits for."
                raise EngineError(f"'{self._shown}' did not answer within {self._seconds:.0f} s.", fix)
            return None
        self._said.seek(0)
        text = self._said.read().decode("utf-8", "replace").strip()[-_LONGEST_ANSWER:]
        if not text:
            raise EngineError(f"'{self._shown}' said nothing (exit status {status}).", "Run it in a terminal.")
        lines = tuple(text.splitlines())
        return Report(self.title, status == 0, lines, findings=findings_in(lines))

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._said.close()


def findings_in(lines: Sequence[str]) -> tuple[Finding, ...]:
    """The doctor's findings in what it printed; empty where that is not a doctor's."""
    found: list[Finding] = []
    for line in lines:
        if named := re.match(r"^\[ *(works|optional|fails)\] ([^:]+): (.*)", line):
            found.append(Finding(named[1], named[2], named[3]))
        elif found and line.strip().startswith("fix: "):
            found[-1] = replace(found[-1], fix=line.strip().removeprefix("fix: "))
    return tuple(found)


running: Check | None = None
last: Report | None = None


def begin(make: Callable[[], Check]) -> None:
    """Ask `make()`; what was being asked is given up. A failure to start is a report too."""
    global running
    abandon()
    try:
        running = make()
    except SketchbridgeError as error:
        _ended(_failure("Engine", error))


def step() -> Report | None:
    """The report once it is there, None while the answer is awaited or nothing is asked."""
    if running is None:
        return None
    try:
        report = running.poll()
    except SketchbridgeError as error:
        report = _failure(running.title, error)
    if report is not None:
        abandon()
        _ended(report)
    return report


def run_blocking() -> Report:
    """See what was begun through to its report."""
    while running is not None:
        if step() is None:
            time.sleep(WAIT_SECONDS)
    assert last is not None, "nothing was begun"
    return last


def abandon() -> None:
    """Give up what is being asked."""
    global running
    if running is not None:
        check, running = running, None
        check.close()


def doctor_command(command: Sequence[str]) -> list[str]:
    """`... sketchbridge engine` -> `... sketchbridge doctor`; `python -m engine [--job ...]` -> `python -m engine doctor`."""
    words = list(command)
    if "-m" in words:
        return [*words[: words.index("-m") + 2], "doctor"]
    if words and words[-1] == "engine":
        words.pop()
    return [*words, "doctor"]


def _failure(title: str, error: SketchbridgeError) -> Report:
    return Report(title, False, (error.message, error.fix), failed=True)


def _ended(report: Report) -> None:
    global last
    last = report
