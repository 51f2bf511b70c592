"""Engine and host killed at random moments: the job, sent again, gives the very bytes of an unbroken one; nobody outlives the other.

A host of its own process starts an engine, which saves its state wherever it may. Each try kills one of the two after a random part of the
time that an unbroken job took; the next try goes on from what is left, until the job is done, and a new one begins. Both are forked from
a process that has loaded the libraries, so that the moments fall into the job and not into its imports; some engines are started as
Blender starts them, and killed while they load.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from engine import checkpoint, job, lifeline, messages, protocol, server
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.protocol import Connection, Role
from engine.render.warp_runtime import load_warp
from engine.reporting import Reporter
from engine.results import JobResult
from engine.sketch.sdf import sketch_sdf
from scripts import ROOT
from scripts.bench.reliability.tiny import Row, board, box, digest, plain, settings

KILLS, OF_THEM_LOADING = 100, 10
MODES = ("refine", "texture", "texture", "texture")
GONE_SECONDS = 2.0
LONGEST_JOB = 900.0
ENGINE, HOST = "engine", "host"

Ends = tuple[int, int, int]
"""An engine's process id, and the descriptors to write to it and to read from it."""


def eager_job(sketch: Mesh, wishes: JobSettings, reporter: Reporter) -> JobResult:
    """What the engine runs here: a job that is kept, saved wherever it may be."""
    checkpoint.INTERVAL_SECONDS, checkpoint.MOST_OF_THE_TIME = 0.0, 1e9
    return job.run_kept_job(sketch, wishes, reporter)


def load_all() -> None:
    """What a job would load and compile in its first second; nothing of autograd, whose threads do not survive a fork."""
    wp = load_warp()
    importlib.import_module("engine.render.warp_backend")
    importlib.import_module("engine.sketch.triangles_kernel")
    importlib.import_module("engine.sketch.together_kernel")
    importlib.import_module("engine.texture.field_kernels")
    wp.force_load(device="cpu")
    sketch = box(layout=False)
    sketch_sdf(sketch, sketch.vertices.astype(np.float64), 0.03, 0.03)


JOB = f"{__name__}:{eager_job.__name__}"


def forked_engine() -> Ends:
    """An engine that has loaded its libraries already."""
    to_engine, from_engine, parent = os.pipe(), os.pipe(), os.getpid()
    child = os.fork()
    if child == 0:
        with _Ending():
            os.close(to_engine[1])
            os.close(from_engine[0])
            lifeline.end_with_parent(parent)
            _no_output()
            server.serve(to_engine[0], from_engine[1], JOB)
    os.close(to_engine[0])
    os.close(from_engine[1])
    return child, to_engine[1], from_engine[0]


def started_engine() -> Ends:
    """An engine as Blender starts it."""
    command = [sys.executable, "-m", "engine", "--job", JOB]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    assert child.stdin is not None and child.stdout is not None
    return child.pid, os.dup(child.stdin.fileno()), os.dup(child.stdout.fileno())


def converse(model: Path, mode: str, start: Callable[[], Ends], tell: Callable[[str], object]) -> None:
    """The host: starts an engine, tells its id, sends the job, and tells the digest of the result once it has it."""
    engine, write, read = start()
    tell(str(engine))
    connection, sketch = Connection(Role.HOST), box(layout=mode == "texture")

    def say(message: messages.Message) -> None:
        for piece in connection.send(message):
            view = memoryview(piece)
            while len(view):
                view = view[os.write(write, view) :]

    while data := os.read(read, 1 << 20):
        for message in connection.receive(data):
            if isinstance(message, messages.Hello):
                say(messages.Hello(protocol.PROTOCOL_VERSION, "host"))
                say(messages.Submit("a", plain(settings(model, mode)), sketch.vertices, sketch.faces, uvs=sketch.uvs))
            elif isinstance(message, messages.Note) and "esume" in message.text:
                tell("resumed")
            elif isinstance(message, messages.Done):
                say(messages.Bye())
                tell(f"done {digest(Mesh(message.vertices, message.faces, uvs=message.uvs), dict(message.maps))}")
            elif isinstance(message, messages.Failed | messages.Refused):
                tell(f"failed {message.code} {message.message}")


class Try:
    """One host, a forked process, and its engine."""

    def __init__(self, model: Path, cache: Path, mode: str, start: Callable[[], Ends] = forked_engine) -> None:
        self.mode = mode
        read, write = os.pipe()
        self.host = os.fork()
        if self.host == 0:
            with _Ending():
                os.close(read)
                _no_output()
                os.environ["SKETCHBRIDGE_CACHE"] = str(cache)
                converse(model, mode, start, lambda text: os.write(write, f"{text}\n".encode()))
        os.close(write)
        self._told = os.fdopen(read)
        self.engine = int(self._told.readline())
        self.said: list[str] = []

    def run(self, seconds: float) -> bool:
        """Let it run; True where it ended by itself."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._told], [], [], left)[0]:
                line = self._told.readline()
                if not line:
                    return True
                self.said.append(line.strip())
        return False

    def kill(self, victim: str) -> float:
        """Kill one side; seconds until the other has ended."""
        killed, other = (self.host, self.engine) if victim == HOST else (self.engine, self.host)
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        while _runs(other) and time.monotonic() - began < 30:
            time.sleep(0.01)
        return time.monotonic() - began

    def close(self) -> None:
        """Leave nothing behind."""
        for process in (self.host, self.engine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(self.host, 0)
        self._told.close()


@dataclass
class Tally:
    """What came of the kills of one run."""

    right: dict[str, str]
    rows: dict[str, Row] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=lambda: {ENGINE: 0.0, HOST: 0.0})
    ended: int = 0
    resumed: int = 0

    def count(self, attempt: Try, victim: str, seconds: float) -> None:
        """Let it run for so long, then kill; what ends before counts as a job."""
        whole = attempt.run(seconds)
        self.resumed += "resumed" in attempt.said
        if whole:
            self.ended += 1
            if (found := result_of(attempt)) != self.right[attempt.mode]:
                self.rows[victim].faults.append(f"a {attempt.mode} job that was killed and sent again gave {found}")
        else:
            took = attempt.kill(victim)
            self.worst[victim] = max(self.worst[victim], took)
            self.rows[victim].count(f"the other was there {took:.1f} s later" if took > GONE_SECONDS else None)
        attempt.close()


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """100 kills."""
    model, cache, draw = board(folder / "board"), folder / "cache", random.Random(seed)
    load_all()
    usual, right = _unbroken(model, folder / "first")
    tally = Tally(right, {victim: Row(f"SIGKILL of the {victim} at a random moment of a session") for victim in (ENGINE, HOST)})
    loading = Row("SIGKILL of either while the engine loads its libraries")
    for _ in range(round(OF_THEM_LOADING * share)):
        attempt, victim = Try(model, cache, "texture", started_engine), draw.choice([ENGINE, HOST])
        attempt.run(draw.uniform(0, usual["refine"] / 2))
        took = attempt.kill(victim)
        loading.count(f"the other of the {victim} was there {took:.1f} s later" if took > GONE_SECONDS else None)
        attempt.close()
    while sum(row.tried for row in tally.rows.values()) < (KILLS - OF_THEM_LOADING) * share:
        mode = draw.choice(MODES)
        tally.count(Try(model, cache, mode), draw.choice([ENGINE, HOST]), draw.uniform(0, usual[mode]))
    for mode in usual:
        tally.count(Try(model, cache, mode), ENGINE, LONGEST_JOB)
    left = [path.name for path in cache.rglob("*") if path.is_file()]
    if left:
        tally.rows[ENGINE].faults.append(f"left in the cache: {left}")
    for victim, row in tally.rows.items():
        row.remark = f"the other side gone within {tally.worst[victim]:.2f} s"
    told = f"; {tally.ended} jobs ended in between, {tally.resumed} starts resumed, all bit-equal to an unbroken job; no file left"
    tally.rows[ENGINE].remark += told
    return [*tally.rows.values(), loading]


def _unbroken(model: Path, cache: Path) -> tuple[dict[str, float], dict[str, str]]:
    """How long a job of each mode takes that nobody kills, and what it gives."""
    usual, right = {}, {}
    for mode in dict.fromkeys(MODES):
        began, attempt = time.monotonic(), Try(model, cache, mode)
        assert attempt.run(LONGEST_JOB), "the unbroken job does not end"
        usual[mode], right[mode] = time.monotonic() - began, result_of(attempt)
        assert right[mode].startswith("done"), right
        attempt.close()
    return usual, right


def result_of(attempt: Try) -> str:
    """What a try told in the end."""
    words = [line for line in attempt.said if line.startswith(("done", "failed"))]
    return words[-1] if words else f"nothing ({attempt.said})"


class _Ending(contextlib.AbstractContextManager["_Ending"]):
    """A forked process: it ends with the block, whatever happens there."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> NoReturn:
        if error is not None:
            traceback.print_exception(error)
        os._exit(error is not None)


def _no_output() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
