"""The engine as a child process: jobs come in on standard input, everything they have to tell goes out on standard output.

The main thread runs the jobs one after another. A reader thread takes messages, so that Cancel and the end of the host are
noticed while a job computes; a writer thread sends, so that a job never waits for a slow host: of what is only a
picture of the moment (progress, previews, meshes, answers to pings) it keeps the newest. Nothing heavy is imported before the first job.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from importlib import metadata
from typing import Any

from engine import messages, protocol
from engine.errors import EXIT_CANCELLED
from engine.messages import Message
from engine.protocol import Connection, Role
from engine.wire_job import WireReporter, outcome

DEFAULT_JOB = "engine.modes:run_kept"
ABANDONED_SECONDS = 1.5
"""A job that has not ended this long after its host went away is ended with the process."""
READ_BYTES = 1 << 20

_NEWEST_ONLY = (messages.Progress, messages.Preview, messages.MeshUpdate, messages.Pong)


def take_wire() -> tuple[int, int]:
    """Own descriptors for standard input and output; from here on anything printed goes to standard error.

    Call before anything that may print is imported. Returns (read, write).
    """
    sys.stdout.flush()
    read, write = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(read, os.O_BINARY)
        msvcrt.setmode(write, os.O_BINARY)
    return read, write


def serve(read: int, write: int, job: str = DEFAULT_JOB) -> int:
    """Answer the host on these descriptors until it leaves. Returns the process's exit status.

    `job` is "module:function" with the signature of engine.job.run_job; it is imported when the first job comes.
    """
    server = _Server(read, write, job)
    return server.run()


class _Outbox:
    """Messages on their way out. `put` never waits; the writer thread takes with `take`."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: Message) -> None:
        """Append; a newer picture of the moment takes the place of an unsent older one, a job's end drops pictures and meshes."""
        with self._changed:
            if isinstance(message, _NEWEST_ONLY):
                self._drop(type(message))
            elif isinstance(message, messages.Done | messages.Failed | messages.CancelledJob):
                self._drop(messages.Preview)
                self._drop(messages.MeshUpdate)
            self._messages.append(message)
            self._changed.notify()

    def take(self) -> Message | None:
        """Wait for the next message; None after `close` once all are taken."""
        with self._changed:
            while not self._messages and not self._closed:
                self._changed.wait()
            return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        """No more messages will be put."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _drop(self, kind: type) -> None:
        self._messages = deque(message for message in self._messages if type(message) is not kind)


class _Server:
    def __init__(self, read: int, write: int, job: str) -> None:
        self._read, self._write, self._job_name = read, write, job
        self._connection = Connection(Role.ENGINE)
        self._lock = threading.Lock()  # of the connection
        self._outbox = _Outbox()
        self._jobs: queue.SimpleQueue[messages.Submit | None] = queue.SimpleQueue()
        self._cancel, self._going = threading.Event(), threading.Event()
        self._going.set()
        self._current = ""
        self._status = 0
        self._when_delivered: Callable[[], None] = _nothing
        self._delivered: Callable[[], None] = _nothing  # once the host speaks again after a result that was written whole

    def run(self) -> int:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupted)
        self._greet()
        writer = threading.Thread(target=self._write_all, name="wire writer", daemon=True)
        writer.start()
        threading.Thread(target=self._read_all, name="wire reader", daemon=True).start()
        while (submit := self._jobs.get()) is not None:
            self._run_job(submit)
            del submit
            release_memory()
        self._outbox.put(messages.Bye())
        self._outbox.close()
        writer.join(ABANDONED_SECONDS)
        return self._status

    def _greet(self) -> None:
        """Before anything is heard: a host that leaves in the middle of a word is greeted too, however busy the machine is."""
        hello = messages.Hello(protocol.PROTOCOL_VERSION, f"sketchbridge engine {_version('sketchbridge')}", describe_engine())
        try:
            self._write_pieces(self._encode(hello), result=False)
        except OSError:  # nobody listens any more
            self._host_left()

    def _run_job(self, submit: messages.Submit) -> None:
        self._outbox.put(messages.Accepted(submit.job))
        reporter = WireReporter(submit.job, self._outbox.put, self._cancel, self._going)
        message, self._when_delivered = outcome(submit, self._job_name, reporter)
        self._outbox.put(message)

    def _read_all(self) -> None:
        try:
            while data := os.read(self._read, READ_BYTES):
                with self._lock:
                    heard = self._connection.receive(data)
                if not all([self._hear(message) for message in heard]):
                    break
            else:
                with self._lock:
                    self._connection.end()
        except messages.ProtocolError as error:
            self._status = 1
            newer = isinstance(error, messages.VersionMismatch)
            self._outbox.put(messages.Refused("wrong_version" if newer else "protocol", error.message, error.fix))
        except OSError as error:
            self._status = 1
            print(f"engine: reading from the host failed: {error}", file=sys.stderr)
        except Exception as error:  # broad on purpose: without its reader the engine would neither hear Cancel nor see its host leave
            self._status = 1
            traceback.print_exc()
            self._outbox.put(messages.Refused("internal", f"The engine's reader failed: {error!r}.", "This is a bug; please report it."))
        finally:
            self._host_left()

    def _hear(self, message: Message) -> bool:
        """Act on a message of the host's; False once it says Bye."""
        if isinstance(message, messages.Submit | messages.Bye):
            self._delivered()
            self._delivered = _nothing
        if isinstance(message, messages.Submit):
            self._cancel.clear()
            self._going.set()
            self._current = message.job
            self._jobs.put(message)
        elif isinstance(message, messages.Cancel) and message.job == self._current:
            self._cancel.set()
        elif isinstance(message, messages.Pause) and message.job == self._current:
            self._going.clear()
        elif isinstance(message, messages.Resume):
            self._going.set()
        elif isinstance(message, messages.Ping):
            self._outbox.put(messages.Pong(message.token))
        return not isinstance(message, messages.Bye)

    def _host_left(self) -> None:
        self._cancel.set()
        self._jobs.put(None)
        # A C thread that needs no Python: it ends the process even while native code holds the interpreter.
        faulthandler.dump_traceback_later(ABANDONED_SECONDS, exit=True)
        if sys.platform != "win32":  # and where its last words wait in a full pipe for ever, the system does
            signal.setitimer(signal.ITIMER_REAL, ABANDONED_SECONDS + 0.25)

    def _interrupted(self, signal_number: int, frame: Any) -> None:
        self._status = EXIT_CANCELLED
        self._host_left()

    def _write_all(self) -> None:
        try:
            while (message := self._outbox.take()) is not None:
                with self._lock:
                    pieces = self._encode(message)
                self._write_pieces(pieces, result=isinstance(message, messages.Done))
        except OSError:  # nobody listens any more
            self._host_left()

    def _write_pieces(self, pieces: list[bytes | memoryview], result: bool) -> None:
        """Write a message; of a job's result the last byte by itself: the host may answer as soon as it has that one, before this
        thread gets to run again, so what its answer means is set before."""
        views = [memoryview(piece) for piece in pieces if len(piece)]
        for view in views[:-1]:
            _write_whole(self._write, view)
        if views:
            _write_whole(self._write, views[-1][:-1])
            if result:
                self._delivered = self._when_delivered
            _write_whole(self._write, views[-1][-1:])

    def _encode(self, message: Message) -> list[bytes | memoryview]:
        try:
            return self._connection.send(message)
        except messages.LocalProtocolError as error:
            if self._connection.state is protocol.State.CLOSED:
                return []
            print(f"engine: {error}", file=sys.stderr)
            if isinstance(message, messages.Done):
                self._when_delivered = _nothing
                return self._connection.send(messages.Failed(message.job, "result_too_large", error.message, error.fix))
            return []


def _nothing() -> None:
    """No result waits for its delivery."""


def release_memory() -> None:
    """Give memory that a job used back to the machine and its GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.ipc_collect()


def describe_engine() -> dict[str, Any]:
    """What `Hello` tells about this process; cheap, imports nothing heavy."""
    return {
        "engine": _version("sketchbridge"), "torch": _version("torch"), "diffusers": _version("diffusers"),
        "python": platform.python_version(), "machine": platform.node(), "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0, "process": os.getpid(),
    }  # fmt: skip


def _version(package: str) -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return "unknown" if package == "sketchbridge" else "not installed"


def _write_whole(descriptor: int, piece: bytes | memoryview) -> None:
    view = memoryview(piece)
    while len(view):
        view = view[os.write(descriptor, view[: 1 << 20]) :]
