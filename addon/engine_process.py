"""Starts, polls and stops the engine's child process. No bpy here, and no call that waits unless its name says so.

One thread reads the child's standard output into a bounded queue, one writes, so that neither a silent nor a deaf
child can block the host. The child's standard error goes to a log file whose last lines become part of every error.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import job_object
from .engine_log import log_tail
from .errors import JobError
from .messages import Bye, Hello, LocalProtocolError, Message, ProtocolError, Refused
from .protocol import PROTOCOL_VERSION, Connection, Role

ENGINE_VARIABLE = "SKETCHBRIDGE_ENGINE"
LOG_VARIABLE = "SKETCHBRIDGE_LOG"
GREETING_SECONDS = 60.0
"""The longest wait for an engine to greet; a login over ssh takes a while."""
LEAVE_SECONDS = 1.6
"""An engine that has not ended this long after it should is killed; it ends a job that does not by itself after 1.5."""
_QUEUE_MESSAGES = 64
_READ_BYTES = 1 << 20


class EngineError(JobError):
    """The engine cannot be started, died, or speaks nonsense."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("engine", message, fix)


def find_command(
    preference: str = "", environment: Mapping[str, str] = os.environ, installed: Callable[[], list[str] | None] = lambda: None
) -> list[str]:
    """The engine's command line: the preference, else the variable SKETCHBRIDGE_ENGINE, else what `installed` answers, else
    `sketchbridge` on the PATH.

    EngineError where there is none or it cannot be split into words.
    """
    named = {"the add-on's preferences": preference, f"the variable {ENGINE_VARIABLE}": environment.get(ENGINE_VARIABLE, "")}
    for source, text in named.items():
        if text.strip():
            return split_command(text, source)
    if (own := installed()) is not None:
        return own
    found = shutil.which("sketchbridge", path=environment.get("PATH"))
    if found is None:
        raise EngineError(
            f"No engine is set up: none is installed, the preferences and {ENGINE_VARIABLE} name none, and there is no `sketchbridge` on "
            "the PATH.",
            "Press Install Engine, or set Engine Command in the add-on's preferences, such as '~/sketchbridge/bin/sketchbridge engine'.",
        )
    return [found, "engine"]


def split_command(text: str, source: str) -> list[str]:
    """The words of a command line, quotes removed; backslashes are kept on Windows. EngineError for an open quote.

    `~` and variables are filled in for the program, the first word; what comes after may be for another machine's shell.
    """
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError as error:
        raise EngineError(f"The engine command in {source} cannot be read ({error}): {text}", "Close its quotes.") from error
    program, *rest = [word.strip("\"'") for word in words] if os.name == "nt" else words
    return [os.path.expanduser(os.path.expandvars(program)), *rest]


def shown_command(command: Sequence[str]) -> str:
    """A command line for people."""
    return shlex.join(command)


class EngineProcess:
    """A running engine. Made on the main thread; all methods are for that thread."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start `command` with its standard error written to `log`. EngineError where it cannot be started."""
        self.log = log
        self._connection = Connection(Role.HOST)
        self._lock = threading.Lock()  # of the connection
        self._inbox: queue.Queue[Message | EngineError] = queue.Queue(_QUEUE_MESSAGES)
        self._outbox: queue.SimpleQueue[list[bytes | memoryview] | None] = queue.SimpleQueue()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._reaper: threading.Thread | None = None
        self._child = _start(command, log)
        self._job = job_object.end_with_this_process(self._child)
        self._reader = threading.Thread(target=self._read_all, name="sketchbridge reader", daemon=True)
        self._reader.start()
        threading.Thread(target=self._write_all, name="sketchbridge writer", daemon=True).start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """True while the child runs."""
        return self._child.poll() is None

    def send(self, message: Message) -> None:
        """Hand `message` to the writer. LocalProtocolError where it may not be said now."""
        with self._lock:
            pieces = self._connection.send(message)
        self._outbox.put(pieces)

    def poll(self) -> list[Message]:
        """The messages that came since the last call. EngineError, after the last message, once the engine is gone."""
        self._news.clear()
        messages: list[Message] = []
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._inbox.get_nowait()
                if isinstance(item, EngineError):
                    if messages:
                        self._inbox.put(item)  # told at the next call; the reader has ended, so there is room
                        break
                    raise item
                messages.append(item)
        return messages

    def wait(self, seconds: float) -> None:
        """Wait until there is something to poll, at most `seconds`."""
        self._news.wait(seconds)

    def stop(self) -> None:
        """Say Bye and see, in the background, that the child ends. May be called again at any time.

        While a job runs nothing is said: Bye would tell the engine that its result has arrived, so it is not legal.
        """
        if self._reaper is not None:
            return
        with contextlib.suppress(LocalProtocolError):
            self.send(Bye())
        self._stopping.set()
        self._outbox.put(None)
        self._reaper = threading.Thread(target=self._reap, name="sketchbridge reaper", daemon=True)
        self._reaper.start()

    def kill(self) -> None:
        """End the child and what it started at once."""
        self._stopping.set()
        _signal_group(self._child, kill=True)
        self.stop()

    def wait_stopped(self, seconds: float = LEAVE_SECONDS + 2.0) -> bool:
        """After `stop` or `kill`: wait until the child is gone; False where it still is not."""
        assert self._reaper is not None, "call stop() or kill() first"
        self._reaper.join(seconds)
        return not self.alive

    def _reap(self) -> None:
        try:
            self._child.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(self._child, kill=True)
            self._child.wait()
        _signal_group(self._child, kill=True)  # what it may have left behind
        job_object.close(self._job)
        self._reader.join(1.0)
        if not self._reader.is_alive():
            assert self._child.stdout is not None
            self._child.stdout.close()

    def _read_all(self) -> None:
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        try:
            while data := os.read(descriptor, _READ_BYTES):
                with self._lock:
                    messages = self._connection.receive(data)
                for message in messages:
                    self._deliver(message)
                    if isinstance(message, Refused):
                        raise EngineError(message.message, message.fix)
            with self._lock:
                self._connection.end()
        except ProtocolError as error:
            self._deliver(EngineError(error.message, f"{error.fix} {self._log_words()}"))
        except EngineError as error:
            self._deliver(error)
        except OSError:
            self._deliver(self.death())
        except Exception as error:  # broad on purpose: without its reader the session would wait for ever
            traceback.print_exc()
            self._deliver(EngineError(f"The add-on's reader failed: {error!r}.", "This is a bug; please report it."))
        else:
            self._deliver(self.death())

    def _deliver(self, item: Message | EngineError) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._inbox.put(item, timeout=0.2)
                break
        self._news.set()

    def _write_all(self) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # a dead child's pipe; the reader tells
            while (pieces := self._outbox.get()) is not None:
                for piece in pieces:
                    self._child.stdin.write(piece)
        with contextlib.suppress(OSError):
            self._child.stdin.close()

    def death(self) -> EngineError:
        """Why the engine, which has ended or closed its output, is no partner any more."""
        try:
            status = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return EngineError("The engine closed its output but still runs.", f"Cancel and try again. {self._log_words()}")
        return EngineError(f"The engine ended unexpectedly ({_status_words(status)}).", f"{_status_fix(status)} {self._log_words()}")

    def _log_words(self) -> str:
        tail = log_tail(self.log)
        return f"Its log is {self.log}" + (f" and ends with: {tail}" if tail else " and is empty.")


def silent_engine(seconds: float, log: Path) -> EngineError:
    """The error for an engine that was started but never greeted."""
    tail = log_tail(log)
    said = f" It wrote: {tail}" if tail else ""
    return EngineError(
        f"The engine was started but did not greet within {seconds:.0f} s.{said}",
        "Run the engine command in a terminal: it must start without a question, such as for a password.",
    )


def hello() -> Hello:
    """The host's greeting."""
    return Hello(PROTOCOL_VERSION, "sketchbridge add-on")


def surroundings() -> dict[str, str]:
    """The environment of an engine's command: no PYTHONHOME of Blender's, and no Python module from the current folder."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONHOME"}, "PYTHONSAFEPATH": "1"}


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """The child, in the log's folder: what lies in Blender's current one is none of its business."""
    program = os.path.abspath(command[0]) if os.path.dirname(command[0]) else command[0]
    environment = {**surroundings(), LOG_VARIABLE: str(log.absolute())}
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            return subprocess.Popen(
                [program, *command[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
                env=environment, cwd=log.parent, start_new_session=os.name != "nt", creationflags=flags,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The engine cannot be started with '{shlex.join(command)}': {error}.",
            "Correct Engine Command in the add-on's preferences and press Test Connection.",
        ) from error


def _signal_group(child: subprocess.Popen[bytes], kill: bool) -> None:
    """SIGKILL or SIGTERM for the child and everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL if kill else signal.SIGTERM)


def _status_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


def _status_fix(status: int) -> str:
    if os.name != "nt" and status in (-signal.SIGKILL, 137):
        return "If the machine ran out of memory, choose a lower preset or texture size."
    return "Check the engine's set-up with Test Connection in the add-on's preferences."
