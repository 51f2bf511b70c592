"""The engine as a real child process: jobs, cancel, failures, a host that dies, that is slow, that talks nonsense."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from engine import messages, protocol
from engine.mesh import Mesh
from engine.messages import Message
from engine.protocol import Connection, Role
from engine.server import _Outbox
from engine.wire_job import WireReporter
from tests.processes import alive

Kind = TypeVar("Kind", bound=Message)
ROOT = Path(__file__).resolve().parents[2]
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


class Host:
    """The smallest host there is: blocking, with a time limit on every wait; `-c CODE` starts another engine than the tests' own."""

    def __init__(self, *arguments: str, greet: bool = True) -> None:
        arguments = arguments or ("--job", "tests.protocol.tiny_job:run_job")
        command = [sys.executable, *(() if arguments[0] == "-c" else ("-m", "engine")), *arguments]
        self.child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.connection = Connection(Role.HOST)
        self.waiting: list[Message] = []
        if greet:
            self.hello = self.until(messages.Hello)
            self.say(messages.Hello(protocol.PROTOCOL_VERSION, "test"))

    def say(self, message: Message) -> None:
        for piece in self.connection.send(message):
            self.child.stdin.write(piece)

    def submit(self, prompt: str, job: str = "a", **settings: object) -> None:
        self.say(messages.Submit(job, {"prompt": prompt, **settings}, VERTICES, FACES))

    def next(self, seconds: float = 20.0) -> Message | None:
        """The next message, None at the end of the stream."""
        deadline = time.monotonic() + seconds
        while not self.waiting:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the engine said nothing for {seconds} s"
            data = os.read(self.child.stdout.fileno(), 1 << 20)
            if not data:
                self.connection.end()
                return None
            self.waiting += self.connection.receive(data)
        return self.waiting.pop(0)

    def until(self, kind: type[Kind]) -> Kind:
        """The next message of that kind; the others are dropped."""
        while (message := self.next()) is not None:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"the engine ended without {kind.__name__}")

    def ended_within(self, seconds: float) -> int:
        """The exit status of the child, which must end by then."""
        return self.child.wait(seconds)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    started: list[Host] = []
    yield started
    for host in started:
        host.child.kill()
        host.child.wait()
        for stream in (host.child.stdin, host.child.stdout, host.child.stderr):
            stream.close()


@pytest.fixture
def host(hosts: list[Host]) -> Host:
    hosts.append(Host())
    return hosts[0]


def test_a_job_tells_its_progress_and_ends_with_the_result(host: Host) -> None:
    assert host.hello.info["torch"] and host.hello.software.startswith("sketchbridge engine")
    host.submit("a flower", seed=5)
    assert isinstance(host.next(), messages.Accepted)
    kinds, message = [], host.next()
    while not isinstance(message, messages.Done):
        kinds.append(type(message))
        message = host.next()
    assert {messages.Progress, messages.Note} <= set(kinds)
    assert message.report["seed"] == 5
    assert message.report["deviation_mean_percent"] == 1.5 and message.report["deviation_of_nothing"] is None
    assert message.report["torch"] is False  # a job that does not need torch does not load it
    assert message.vertices.shape == (4, 3) and message.report["mean_colours"]["roughness"] == [128 / 255]
    np.testing.assert_allclose(message.vertices.mean(axis=0), VERTICES.mean(axis=0), atol=1e-6)
    host.say(messages.Bye())
    assert host.ended_within(5) == 0


def test_several_jobs_in_one_process_also_after_failures(host: Host) -> None:
    host.submit("first", "a")
    first = host.until(messages.Done)
    host.submit("crash", "b")
    assert host.until(messages.Failed).code == "internal"
    host.submit("third", "c")
    third = host.until(messages.Done)
    assert first.report["pid"] == third.report["pid"] == host.child.pid
    assert first.vertices.tobytes() == third.vertices.tobytes()


@pytest.mark.parametrize(
    ("prompt", "settings", "code", "words"),
    [
        ("crash", {}, "internal", "ValueError: crashed as asked"),
        ("memory", {}, "out_of_memory", "memory is used up"),
        ("lost", {}, "gpu_lost", "The GPU stopped working in the middle of the job (CUDA error: unspecified launch failure)"),
        ("", {}, "empty_prompt", "prompt is empty"),
        ("x", {"preset": "nonsense"}, "bad_setting", "must be one of draft"),
        ("x", {"colour": 1}, "unknown_setting", "Unknown setting 'colour'"),
    ],
)
def test_failures_carry_code_message_and_fix(host: Host, prompt: str, settings: dict[str, object], code: str, words: str) -> None:
    host.submit(prompt, **settings)
    failed = host.until(messages.Failed)
    assert failed.code == code and words in failed.message and failed.fix
    assert failed.exit_code == (1 if code in ("internal", "out_of_memory", "gpu_lost") else 2)


@pytest.mark.parametrize(
    ("vertices", "faces", "colours", "words"),
    [
        (VERTICES, FACES + 3, None, "vertices 0 to 3; got 3 to 6"),
        (VERTICES, -FACES, None, "vertices 0 to 3; got -3 to 0"),
        (VERTICES, FACES, VERTICES[:2], "2 colours, expected 4"),
        (VERTICES[:0], FACES[:0], None, "no faces"),
    ],
)
def test_a_broken_mesh_is_refused_and_the_engine_lives_on(
    host: Host, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, words: str
) -> None:
    host.say(messages.Submit("a", {"prompt": "x"}, vertices, faces, colours))
    assert words in host.until(messages.Failed).message
    host.submit("x", "b")
    host.until(messages.Done)


def test_what_is_printed_by_python_or_past_it_stays_off_the_wire(host: Host) -> None:
    host.submit("shout")
    host.until(messages.Done)
    host.say(messages.Bye())
    host.ended_within(5)
    log = host.child.stderr.read().decode()
    assert "would break the wire" in log and log.count("shouted past Python") == 5


@pytest.mark.parametrize("polite", [True, False], ids=["bye", "gone"])
def test_a_result_counts_as_delivered_once_the_host_speaks_again(polite: bool, hosts: list[Host], tmp_path: Path, monkeypatch) -> None:
    """Until then whatever the job kept for another try stays: the host may have died with the result in the pipe."""
    monkeypatch.setenv("TINY_DELIVERED", str(tmp_path / "word"))
    host = Host()
    hosts.append(host)
    host.submit("x")
    host.until(messages.Done)
    assert not (tmp_path / "word").exists()
    if polite:
        host.say(messages.Bye())
    else:
        host.child.stdin.close()
    host.ended_within(60)
    assert (tmp_path / "word").exists() == polite


def test_an_answer_that_comes_before_the_writer_runs_again_counts(hosts: list[Host], tmp_path: Path, monkeypatch) -> None:
    """On a loaded machine the host has read a result, and answered, before the thread that wrote it gets to run again."""
    monkeypatch.setenv("TINY_DELIVERED", str(tmp_path / "word"))
    late = (
        "import sys, time; from engine import __main__, server; write = server._write_whole\n"
        "server._write_whole = lambda *what: (write(*what), time.sleep(0.2))\n"
        "sys.exit(__main__.main(['--job', 'tests.protocol.tiny_job:run_job']))"
    )
    hosts.append(host := Host("-c", late))
    host.submit("x")
    host.until(messages.Done)
    host.say(messages.Bye())
    host.ended_within(60)
    assert (tmp_path / "word").exists()


def test_a_log_that_nobody_reads_does_not_keep_the_engine_alive(host: Host) -> None:
    """The last words of an engine whose host has left would wait for ever in a full pipe."""
    host.submit("steps 50 chatter")
    host.until(messages.Progress)
    time.sleep(0.5)
    host.child.stdin.close()
    host.ended_within(2.5)


def test_cancel_ends_the_job_and_the_next_one_runs(host: Host) -> None:
    host.submit("steps 5000")
    host.until(messages.Progress)
    host.say(messages.Cancel("a"))
    assert host.until(messages.CancelledJob).job == "a"
    host.submit("next", "b")
    host.until(messages.Done)


def test_a_paused_job_stands_still_and_goes_on_or_ends_where_it_is_told_to(host: Host) -> None:
    host.submit("steps 5000")
    host.until(messages.Progress)
    host.say(messages.Pause("a"))
    time.sleep(0.5)
    host.say(messages.Ping(1))
    host.until(messages.Pong)
    time.sleep(0.5)
    host.say(messages.Ping(2))
    assert isinstance(host.next(), messages.Pong), "nothing but the answer is said meanwhile"
    host.say(messages.Resume("a"))
    host.until(messages.Progress)
    host.say(messages.Pause("a"))
    host.say(messages.Cancel("a"))
    assert host.until(messages.CancelledJob).job == "a"


def test_cancel_of_another_job_is_ignored(host: Host) -> None:
    host.submit("steps 20")
    host.say(messages.Cancel("long gone"))
    host.until(messages.Done)


def test_cancel_before_the_job_began(host: Host) -> None:
    host.submit("steps 5000")
    host.say(messages.Cancel("a"))
    host.until(messages.CancelledJob)


def test_ping_is_answered_while_a_job_runs(host: Host) -> None:
    host.submit("steps 5000")
    host.until(messages.Progress)
    host.say(messages.Ping(42))
    assert host.until(messages.Pong).token == 42


@pytest.mark.parametrize("prompt", ["steps 5000", "deaf"])
def test_the_engine_ends_within_two_seconds_of_its_host(host: Host, prompt: str) -> None:
    host.submit(prompt)
    host.until(messages.Progress)
    started = time.monotonic()
    host.child.stdin.close()
    host.ended_within(2.0)
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("prompt", ["deaf", "steps 50 hold"])
def test_the_engine_ends_when_its_host_is_killed(prompt: str) -> None:
    """The host is a process of its own here and gets SIGKILL in the middle of a job, as a crashing Blender would; "hold" is a job
    whose native code does not let go of the interpreter, so that no Python of the engine's runs any more."""
    script = (
        "import sys, time; sys.path.insert(0, '.'); from tests.protocol.test_server import Host, messages\n"
        f"host = Host(); host.submit({prompt!r}); host.until(messages.Progress); time.sleep(0.5)\n"
        "print(host.child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    engine = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone_within(2.0, engine)


def test_where_the_system_does_not_end_it_a_process_beside_does() -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "code = 'import ctypes, os; from engine.lifeline import watch_from_beside; '\n"
        "code += 'print(os.getpid(), watch_from_beside(os.getppid()), flush=True); ctypes.PyDLL(None).sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', code]); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    engine, beside = (int(word) for word in parent.stdout.readline().split())
    time.sleep(0.6)
    assert alive(engine) and alive(beside)
    parent.kill()
    parent.wait()
    assert gone_within(2.0, engine) and gone_within(1.0, beside)
    assert parent.stdout.read() == ""  # nobody holds the pipe open any more
    parent.stdout.close()


def test_the_process_beside_ends_with_the_engine() -> None:
    code = "import os, time; from engine import lifeline; print(lifeline.watch_from_beside(os.getppid()), flush=True); time.sleep(60)"
    engine = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    beside = int(engine.stdout.readline())
    assert alive(beside)
    engine.kill()
    engine.wait()
    engine.stdout.close()
    assert gone_within(1.0, beside)


def gone_within(seconds: float, process: int) -> bool:
    deadline = time.monotonic() + seconds
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(process)


def test_a_host_that_reads_nothing_does_not_stop_the_job(host: Host) -> None:
    """Many times the pipe's capacity is produced while the host sleeps; afterwards the result is there and little else."""
    big = np.random.default_rng(0).random((20_000, 3), dtype=np.float32)
    host.say(messages.Submit("a", {"prompt": "steps 100"}, big, FACES))
    time.sleep(4.0)
    heard = []
    while not isinstance(message := host.next(), messages.Done):
        heard.append(message)
    assert sum(isinstance(message, messages.MeshUpdate) for message in heard) <= 3


def test_nonsense_on_the_wire_is_answered_and_ends_the_engine(hosts: list[Host]) -> None:
    host = Host()
    hosts.append(host)
    host.child.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
    failed = host.until(messages.Refused)
    assert failed.code == "protocol" and "GET /" in failed.message
    assert host.ended_within(3) != 0


LATE = """
import os, time
from engine import server
take = server._Outbox.take
server._Outbox.take = lambda outbox: (time.sleep(0.3), take(outbox))[1]
os._exit(server.serve(*server.take_wire(), "tests.protocol.tiny_job:run_job"))
"""


@pytest.mark.parametrize(("said", "status"), [(b"SKBR\x00", 1), (b"", 0)], ids=["in the middle of a word", "at once"])
def test_a_host_that_leaves_is_greeted_however_late_the_writer_comes(said: bytes, status: int, hosts: list[Host]) -> None:
    host = Host("-c", LATE, greet=False)
    hosts.append(host)
    host.child.stdin.write(said)
    host.child.stdin.close()
    assert isinstance(host.next(), messages.Hello) and host.ended_within(10) == status


def test_an_absurd_shape_is_answered_and_ends_the_engine(hosts: list[Host]) -> None:
    host = Host()
    hosts.append(host)
    shape = [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]
    arrays = [{"name": "vertices", "dtype": "<f4", "shape": shape}, {"name": "faces", "dtype": "<i4", "shape": [0, 3]}]
    header = json.dumps({"type": "submit", "fields": {"job": "a", "settings": {}}, "arrays": arrays}).encode()
    host.child.stdin.write(struct.pack("<4sIQ", b"SKBR", len(header), 0) + header)
    assert "no valid shape" in host.until(messages.Refused).message
    assert host.ended_within(3) == 1


def test_a_reader_that_fails_tells_it_and_ends_the_engine(hosts: list[Host]) -> None:
    spoilt = (
        "import sys; from engine import __main__, protocol; protocol.Connection.receive = lambda *_: 1 / 0; sys.exit(__main__.main([]))"
    )
    host = Host("-c", spoilt, greet=False)
    hosts.append(host)
    host.until(messages.Hello)
    host.say(messages.Hello(protocol.PROTOCOL_VERSION, "test"))
    failed = host.until(messages.Refused)
    assert failed.code == "internal" and "ZeroDivisionError" in failed.message
    assert host.ended_within(3) == 1


def test_pings_that_nobody_answers_for_cost_no_memory() -> None:
    outbox = _Outbox()
    for token in range(10_000):
        outbox.put(messages.Pong(token))
    assert len(outbox._messages) == 1 and outbox.take() == messages.Pong(9_999)


def test_another_version_is_answered_and_ends_the_engine(hosts: list[Host]) -> None:
    host = Host(greet=False)
    hosts.append(host)
    host.until(messages.Hello)
    for piece in protocol.encode(messages.Hello(99, "a host of tomorrow")):
        host.child.stdin.write(piece)
    failed = host.until(messages.Refused)
    assert failed.code == "wrong_version" and "same release" in failed.fix
    assert host.ended_within(3) != 0


def test_wrong_arguments_are_a_usage_error() -> None:
    answer = subprocess.run([sys.executable, "-m", "engine", "--job"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert answer.returncode == 2 and "usage" in answer.stderr


def test_a_job_that_cannot_be_imported_is_told(hosts: list[Host]) -> None:
    host = Host("--job", "no.such.module:run")
    hosts.append(host)
    host.submit("x")
    assert "ModuleNotFoundError" in host.until(messages.Failed).message


def test_an_interrupt_from_the_keyboard_ends_the_engine(host: Host) -> None:
    host.submit("steps 5000")
    host.until(messages.Progress)
    host.child.send_signal(signal.SIGINT)
    host.until(messages.CancelledJob)
    assert host.ended_within(3) == 130


def test_reports_are_throttled_on_the_jobs_own_clock() -> None:
    import threading

    now, sent = [0.0], []
    reporter = WireReporter("a", sent.append, threading.Event(), clock=lambda: now[0])
    mesh, image = Mesh(VERTICES, FACES), np.zeros((2, 2, 3), np.uint8)
    for step in range(1, 1001):
        now[0] = step * 0.01
        reporter.progress("stage 1", step, 1000, None, {})
        reporter.mesh(mesh)
        reporter.preview(image)
    count = {
        kind: sum(isinstance(message, kind) for message in sent) for kind in (messages.Progress, messages.MeshUpdate, messages.Preview)
    }
    assert 90 <= count[messages.Progress] <= 102
    assert 20 <= count[messages.MeshUpdate] <= 26 and 25 <= count[messages.Preview] <= 35
    assert sent[-1].step == 1000 or any(isinstance(message, messages.Progress) and message.step == 1000 for message in sent)


def test_the_outbox_keeps_the_newest_picture_and_every_word() -> None:
    outbox = _Outbox()
    for step in range(5):
        outbox.put(messages.Progress("a", "fit", step, 5, None, {}))
        outbox.put(messages.Note("a", str(step)))
    outbox.close()
    taken = list(iter(outbox.take, None))
    assert [message.text for message in taken if isinstance(message, messages.Note)] == list("01234")
    assert [message.step for message in taken if isinstance(message, messages.Progress)] == [4]
