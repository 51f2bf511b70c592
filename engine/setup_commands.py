"""Runs a set-up's commands: output into a log file, a short line for the screen, failures with the log's end.

Standard library only; addon/setup_commands.py is a link to this file.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .words import duration

LOG_TAIL_LINES = 25


class SetupError(Exception):
    """The set-up cannot go on: `message` says what is wrong, `fix` what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}\n{fix}")
        self.message = message
        self.fix = fix


@dataclass(frozen=True)
class Step:
    """One command of the set-up, with the words that are shown while it runs."""

    label: str
    command: tuple[str, ...]


class Commands:
    """Runs steps, from several threads if need be; `stop` ends those under way and lets no other start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def run(
        self,
        step: Step,
        log: Path,
        show: Callable[[str], None],
        extra: dict[str, str] | None = None,
        heard: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Run one step in the project's folder, its output appended to `log`; `show` gets a short line for each that `heard` gets whole.

        Raises SetupError with the log's end where the command fails or was stopped.
        """
        begun = time.monotonic()
        with log.open("a", encoding="utf-8") as sink:
            sink.write(f"\n$ {shlex.join(step.command)}\n")
            sink.flush()
            child = self._start(step, extra or {})
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    sink.write(line)
                    sink.flush()
                    heard(line)
                    if not line.startswith(("Looking in ", "Requirement already satisfied", "WARNING: Location ")):
                        show(f"{step.label} · {duration(time.monotonic() - begun)} · {in_short(line)}")
                child.wait()
            finally:
                self._end(child)
        if child.returncode != 0:
            raise SetupError(
                f"{step.label} failed (exit code {child.returncode}): {shlex.join(step.command)}\n"
                f"The log's end, all of it in {log}:\n{tail(log)}",
                "If packages could not be downloaded: check the network and pip's configuration (pip config list). Then run this again.",
            )

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """End every command under way."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.terminate()

    def _start(self, step: Step, extra: dict[str, str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise SetupError(f"{step.label}: stopped before it began.", "Run this again.")
            child = subprocess.Popen(
                step.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**clean_surroundings(), **extra},
                cwd=self._folder,
                creationflags=subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0,
            )
            self._children.add(child)
            return child

    def _end(self, child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            child.terminate()
            child.wait()
        with self._lock:
            self._children.discard(child)


def clean_surroundings() -> dict[str, str]:
    """This process's environment variables without what would lead a virtual environment's Python astray."""
    astray = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in astray}


def in_short(line: str) -> str:
    """A line of pip's output in a few words: "Collecting torch==2.13.0 (from -r ...)" -> "Collecting torch==2.13.0"."""
    return line.strip().split(" (from ")[0].split(" from ")[0][:72]


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log file, indented."""
    return "\n".join("    " + line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
