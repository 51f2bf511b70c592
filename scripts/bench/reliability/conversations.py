"""Conversations with a real engine whose frames are spoilt: it understands, refuses or waits for more, and ends with its host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from engine import messages, protocol
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.protocol import Role
from engine.reporting import Reporter
from engine.results import ImageSet, JobResult
from scripts import ROOT
from scripts.bench.fuzz_protocol import pieces, spoilt_conversation
from scripts.bench.reliability.tiny import Row

END_SECONDS = 30.0
MOST_MEGABYTES = 200


def short_job(sketch: Mesh, settings: JobSettings, reporter: Reporter) -> JobResult:
    """What the engine runs here."""
    reporter.progress("fit", 1, 1, None, {})
    mesh = sketch.checked()
    return JobResult(mesh, (ImageSet.whole(mesh, {"albedo": np.zeros((8, 8, 3), np.uint8)}),))


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """500 conversations."""
    row, generator = Row("mutated conversations with a real engine"), np.random.default_rng(seed)
    longest, largest, refused = 0.0, 0, 0
    for _ in range(round(500 * share)):
        data, _ = spoilt_conversation(Role.ENGINE, generator)
        fault, seconds, megabytes, said = converse(list(pieces(data, generator)))
        row.count(fault)
        longest, largest, refused = max(longest, seconds), max(largest, megabytes), refused + ("Refused" in said)
    row.remark = f"{refused} refused with words; processor time of one at most {longest:.2f} s, memory {largest} MB; none outlived its host"
    return [row]


def converse(parts: list[bytes]) -> tuple[str | None, float, int, list[str]]:
    """What is wrong with how an engine takes these bytes and then the end of its host, its processor seconds and MB, and what it said."""
    command = [sys.executable, "-m", "engine", "--job", f"{__name__}:{short_job.__name__}"]
    engine = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert engine.stdin is not None and engine.stdout is not None and engine.stderr is not None
    try:
        for part in parts:
            engine.stdin.write(part)
    except BrokenPipeError:  # it has refused already
        pass
    engine.stdin.close()
    began = time.monotonic()
    answer, log = engine.stdout.read(), engine.stderr.read().decode(errors="replace")
    engine.stdout.close()
    engine.stderr.close()
    status, usage = os.wait4(engine.pid, 0)[1:]
    engine.returncode = os.waitstatus_to_exitcode(status)
    said, fault = _understood(answer)
    if fault is None and not said and engine.returncode != 0:  # to a host whose Bye comes before the greeting nothing is said
        fault = f"it said nothing and ended with {engine.returncode}"
    if fault is None and engine.returncode not in (0, 1):
        fault = f"exit status {engine.returncode}: {log[-300:]}"
    if fault is None and "Traceback" in log:
        fault = f"traceback: {log[-300:]}"
    if fault is None and time.monotonic() - began > END_SECONDS:
        fault = "it outlived its host"
    megabytes = usage.ru_maxrss // 1024
    if fault is None and megabytes > MOST_MEGABYTES:
        fault = f"it took {megabytes} MB"
    return fault, usage.ru_utime + usage.ru_stime, megabytes, said


def _understood(answer: bytes) -> tuple[list[str], str | None]:
    """The kinds of messages in an engine's output, and what is wrong with it."""
    said: list[str] = []
    decoder = protocol.Decoder()
    try:
        said = [type(message).__name__ for message in decoder.feed(answer)]
        decoder.end()
    except messages.ProtocolError as error:
        return said, f"its own output is spoilt: {error.message}"
    return said, None if said[:1] in ([], ["Hello"]) else f"it did not greet but said {said[:3]}"
