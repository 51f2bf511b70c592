"""Engine and host killed at random moments: the job, sent again, gives the very bytes of an unbroken one; nobody outlives the other.

A host of its own process starts a real engine, which saves its state at every step. Each try kills one of the two after a random part
of the time that an unbroken job took; the next try goes on from what is left, until the job is done, and a new one begins.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine import checkpoint, job, protocol
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.protocol import Connection, Role
from engine.reporting import Reporter
from engine.results import JobResult
from scripts import ROOT
from scripts.bench.reliability.tiny import Row, board, box, digest, plain, settings

GONE_SECONDS = 2.0
LONGEST_JOB = 600.0
ENGINE, HOST = "engine", "host"


def eager_job(sketch: Mesh, wishes: JobSettings, reporter: Reporter) -> JobResult:
    """What the engine runs here: a job that is kept, saved at every step that may be."""
    checkpoint.INTERVAL_SECONDS, checkpoint.MOST_OF_THE_TIME = 0.0, 1e9
    return job.run_kept_job(sketch, wishes, reporter)


def converse(model: str) -> None:
    """The host's process: starts an engine, tells its id, sends the job, and prints the digest of the result once it has it."""
    command = [sys.executable, "-m", "engine", "--job", f"{__name__}:{eager_job.__name__}"]
    engine = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert engine.stdin is not None and engine.stdout is not None
    print(engine.pid, flush=True)
    connection, sketch = Connection(Role.HOST), box(layout=False)

    def say(message: protocol.Message) -> None:
        assert engine.stdin is not None
        for piece in connection.send(message):
            engine.stdin.write(piece)

    while data := os.read(engine.stdout.fileno(), 1 << 20):
        for message in connection.receive(data):
            if isinstance(message, protocol.Hello):
                say(protocol.Hello(protocol.PROTOCOL_VERSION, "host"))
                say(protocol.Submit("a", plain(settings(Path(model))), sketch.vertices, sketch.faces))
            elif isinstance(message, protocol.Note) and "esume" in message.text:
                print("resumed", flush=True)
            elif isinstance(message, protocol.Done):
                say(protocol.Bye())
                print("done", digest(Mesh(message.vertices, message.faces, uvs=message.uvs), dict(message.maps)), flush=True)
            elif isinstance(message, protocol.Failed | protocol.Refused):
                print("failed", message.code, message.message, flush=True)


class Try:
    """One host and its engine."""

    def __init__(self, model: Path, cache: Path) -> None:
        surroundings = {**os.environ, "SKETCHBRIDGE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        call = f"from scripts.bench.reliability.kills import converse; converse({str(model)!r})"
        self.host = subprocess.Popen(
            [sys.executable, "-c", call], cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )  # fmt: skip
        assert self.host.stdout is not None
        self.engine = int(self.host.stdout.readline())
        self.said: list[str] = []

    def run(self, seconds: float) -> bool:
        """Let it run; True where it ended by itself."""
        assert self.host.stdout is not None
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.host.stdout], [], [], left)[0]:
                line = self.host.stdout.readline()
                if not line:
                    return True
                self.said.append(line.strip())
        return False

    def kill(self, victim: str) -> float:
        """Kill one side; seconds until the other has ended."""
        os.kill(self.host.pid if victim == HOST else self.engine, signal.SIGKILL)
        began = time.monotonic()
        if victim == HOST:
            self.host.wait()
            while _runs(self.engine) and time.monotonic() - began < 30:
                time.sleep(0.02)
        else:
            self.host.wait(30)
        return time.monotonic() - began

    def close(self) -> None:
        """Leave nothing behind."""
        for process in (self.host.pid, self.engine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.host.wait()
        assert self.host.stdout is not None
        self.host.stdout.close()


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """100 kills."""
    model, cache, draw = board(folder / "board"), folder / "cache", random.Random(seed)
    first = Try(model, folder / "first")
    began = time.monotonic()
    assert first.run(LONGEST_JOB), "the unbroken job does not end"
    usual, right = time.monotonic() - began, _result(first)
    first.close()
    rows = {victim: Row(f"SIGKILL of the {victim} at a random moment of a session") for victim in (ENGINE, HOST)}
    worst, whole, resumed = {ENGINE: 0.0, HOST: 0.0}, 0, 0
    while sum(row.tried for row in rows.values()) < 100 * share:
        attempt, victim = Try(model, cache), draw.choice([ENGINE, HOST])
        ended = attempt.run(draw.uniform(0, usual))
        resumed += "resumed" in attempt.said
        if ended:
            whole += 1
            if _result(attempt) != right:
                rows[victim].faults.append(f"a job that was killed and sent again gave {_result(attempt)}, not {right}")
        else:
            seconds = attempt.kill(victim)
            worst[victim] = max(worst[victim], seconds)
            rows[victim].count(f"the other was there {seconds:.1f} s later" if seconds > GONE_SECONDS else None)
        attempt.close()
    last = Try(model, cache)
    assert last.run(LONGEST_JOB)
    if _result(last) != right:
        rows[ENGINE].faults.append("the last job's result differs")
    last.close()
    left = [path.name for path in cache.rglob("*") if path.is_file()]
    if left:
        rows[ENGINE].faults.append(f"left in the cache: {left}")
    for victim, row in rows.items():
        row.remark = f"the other side gone within {worst[victim]:.2f} s"
    rows[ENGINE].remark += f"; {whole + 1} jobs ended in between, bit-equal to an unbroken one; {resumed} starts resumed; no file left"
    return list(rows.values())


def _result(attempt: Try) -> str:
    words = [line for line in attempt.said if line.startswith(("done", "failed"))]
    return words[-1] if words else f"nothing ({attempt.said})"


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
