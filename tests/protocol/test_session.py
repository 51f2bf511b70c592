"""The host's side against real engine processes: start, progress, cancel at any moment, and every way of dying."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from addon import engine_process, job_object
from addon.checks import ConnectionCheck, DoctorCheck, Report
from addon.engine_process import EngineError, EngineProcess, find_command
from addon.messages import Progress, Submit
from addon.session import CANCEL_SECONDS, Phase, Session
from addon.words import duration

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "engine", "--job", "tests.protocol.tiny_job:run_job"]
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)

Start = Callable[..., Session]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sessions: list[Session] = []

    def start_session(prompt: str, command: list[str] = COMMAND, **settings: object) -> Session:
        job = Submit("a", {"prompt": prompt, **settings}, VERTICES, FACES)
        sessions.append(Session(command, job, tmp_path / "engine.log"))
        return sessions[-1]

    yield start_session
    for session in sessions:
        session.close()
        assert session.wait_closed()


def run(session: Session, until: Callable[[Session], object] = lambda session: session.finished, seconds: float = 20.0) -> Session:
    deadline = time.monotonic() + seconds
    while not until(session):
        assert time.monotonic() < deadline, f"still {session.phase} after {seconds} s"
        session.poll()
        session.wait(0.05)
    return session


@pytest.mark.parametrize("left", [math.inf, -math.inf, math.nan])
def test_an_estimate_that_is_no_number_is_as_good_as_none(start: Start, left: float) -> None:
    session = run(start("a flower steps 400"), lambda session: session.progress is not None)
    before = session.fraction
    session._take(Progress("a", "stage 1", 3, 400, left, {}))
    assert session.seconds_left is None and session.fraction == before
    assert duration(session.seconds_left) == ""


def test_a_job_from_start_to_result(start: Start) -> None:
    session = run(start("a flower steps 10", seed=3))
    assert session.phase is Phase.DONE and session.problem is None
    assert session.result is not None and session.result.report["seed"] == 3
    assert session.notes == ["smoothed"] and session.fraction == 1.0
    assert session.progress is not None and session.progress.stage == "stage 1"
    assert session.wait_closed()


def test_meshes_and_previews_arrive_while_it_runs(start: Start) -> None:
    session = start("steps 5000")
    run(session, lambda session: session.preview is not None and session._mesh is not None)
    mesh = session.take_mesh()
    assert mesh is not None and mesh.vertices.shape == VERTICES.shape and session.take_mesh() is None
    assert 0 <= session.fraction < 1 and session.seconds_left is not None


def test_cancel_while_it_runs(start: Start) -> None:
    session = run(start("steps 5000"), lambda session: session.progress)
    session.cancel()
    session.cancel()
    assert session.stage == "cancelling"
    assert run(session).phase is Phase.CANCELLED and session.wait_closed()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3])
def test_cancel_at_any_moment(start: Start, delay: float) -> None:
    session = start("steps 15")
    started = time.monotonic()
    while time.monotonic() - started < delay:
        session.poll()
        session.wait(0.01)
    session.cancel()
    assert run(session).phase in (Phase.CANCELLED, Phase.DONE) and session.wait_closed()


def test_an_engine_that_does_not_hear_cancel_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shift = [0.0]
    session = Session(COMMAND, Submit("a", {"prompt": "deaf"}, VERTICES, FACES), tmp_path / "log", lambda: time.monotonic() + shift[0])
    run(session, lambda session: session.progress)
    session.cancel()
    session.poll()
    assert session.phase is Phase.CANCELLING
    shift[0] = CANCEL_SECONDS + 1
    assert run(session, seconds=2).phase is Phase.CANCELLED and session.wait_closed()


def test_a_failure_carries_code_message_and_fix(start: Start) -> None:
    session = run(start(""))
    assert session.phase is Phase.FAILED and session.problem is not None
    assert session.problem.code == "empty_prompt" and "Type a prompt" in session.problem.fix


def test_an_internal_error_names_the_log_that_holds_the_traceback(start: Start, tmp_path: Path) -> None:
    session = run(start("crash"))
    assert session.problem is not None and session.problem.code == "internal" and str(tmp_path / "engine.log") in session.problem.fix
    assert session.wait_closed()
    assert "ValueError: crashed as asked" in (tmp_path / "engine.log").read_text()


def test_sigkill_in_the_middle_is_told_with_the_last_words(start: Start) -> None:
    session = run(start("steps 5000"), lambda session: session.progress)
    started = time.monotonic()
    os.kill(session.pid, signal.SIGKILL)
    run(session, seconds=2)
    assert time.monotonic() - started < 1.0
    assert session.phase is Phase.FAILED and session.problem is not None
    assert "SIGKILL" in session.problem.message and "memory" in session.problem.fix


def test_the_last_words_of_a_dying_engine_are_in_the_message(start: Start) -> None:
    problem = run(start("die")).problem
    assert problem is not None and "last words of the engine" in problem.fix


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/nonexistent/engine"], "cannot be started"),
        ([sys.executable, "-c", "import sys; sys.exit('no module named engine')"], "no module named engine"),
        ([sys.executable, "-c", "print('Welcome to the farm')"], "Welcome to the farm"),
        ([sys.executable, "-c", "pass"], "exit status 0"),
        (["/"], "cannot be started"),
    ],
)
def test_a_command_that_is_no_engine(start: Start, command: list[str], words: str) -> None:
    problem = run(start("x", command), seconds=5).problem
    assert problem is not None and words in str(problem)


def test_an_engine_that_never_greets(tmp_path: Path) -> None:
    shift = [0.0]
    command = [sys.executable, "-c", "import sys, time; print('password:', file=sys.stderr, flush=True); time.sleep(60)"]
    session = Session(command, Submit("a", {}, VERTICES, FACES), tmp_path / "log", lambda: time.monotonic() + shift[0])
    time.sleep(0.5)
    session.poll()
    assert session.phase is Phase.STARTING
    shift[0] = engine_process.GREETING_SECONDS + 1
    session.poll()
    assert session.phase is Phase.FAILED and "password:" in str(session.problem)
    assert session.wait_closed()  # it ignores the end of its input and is killed


def test_another_version_of_the_engine(start: Start) -> None:
    code = "import sys; from engine import protocol as p; sys.stdout.buffer.write(b''.join(p.encode(p.Hello(99, 'tomorrow'))))"
    problem = run(start("x", [sys.executable, "-c", code])).problem
    assert problem is not None and "version 99" in problem.message and "same release" in problem.fix


def test_a_child_that_never_reads_does_not_block_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MB go to an engine that greets and then reads nothing: send, poll and stop still return at once."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = (
        "import sys, time; from engine import protocol as p; "
        "sys.stdout.buffer.write(b''.join(p.encode(p.Hello(p.PROTOCOL_VERSION, 'deaf')))); sys.stdout.flush(); time.sleep(60)"
    )
    big = np.zeros((3_000_000, 3), np.float32)
    session = Session([sys.executable, "-c", code], Submit("a", {}, big, FACES), tmp_path / "log")
    run(session, lambda session: session.phase is Phase.RUNNING)
    started = time.monotonic()
    session.poll()
    session.close()
    assert time.monotonic() - started < 0.5
    assert session.wait_closed()


def test_closing_in_the_middle_ends_the_child_within_two_seconds(start: Start) -> None:
    session = run(start("deaf"), lambda session: session.progress)
    started = time.monotonic()
    session.close()
    assert session.wait_closed() and time.monotonic() - started < 2.0


def greet(command: list[str], log: Path, seconds: float = 20.0) -> Report:
    check = ConnectionCheck(command, log, seconds)
    try:
        while (report := check.poll()) is None:
            time.sleep(0.02)
        return report
    finally:
        check.close()


def test_greeting_tells_about_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    report = greet(COMMAND, tmp_path / "log")
    assert report.healthy and any(line.startswith("python 3.") for line in report.lines)
    with pytest.raises(EngineError, match="did not greet within 1 s"):
        greet([sys.executable, "-c", "import time; time.sleep(30)"], tmp_path / "log", 1.0)


def test_a_doctor_is_asked_without_waiting(tmp_path: Path) -> None:
    started = time.monotonic()
    check = DoctorCheck([sys.executable, "-c", "import time; time.sleep(30)", "engine"], 1.0)
    assert check.poll() is None and time.monotonic() - started < 0.5
    with pytest.raises(EngineError, match="did not answer within 1 s"):
        while check.poll() is None:
            time.sleep(0.02)
    check.close()
    assert check._child.returncode is not None
    quick = DoctorCheck([sys.executable, "-c", "print('[ ok ] python'); print('[ fails ] memory'); raise SystemExit(1)", "engine"])
    while (report := quick.poll()) is None:
        time.sleep(0.02)
    quick.close()
    assert report == Report("Check Set-up", False, ("[ ok ] python", "[ fails ] memory"))
    with pytest.raises(EngineError, match="cannot be started"):
        DoctorCheck(["/nowhere/sketchbridge", "engine"])


def test_where_the_command_is_looked_for(tmp_path: Path) -> None:
    program = tmp_path / "sketchbridge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    everything = {"SKETCHBRIDGE_ENGINE": "ssh host sketchbridge engine", "PATH": str(tmp_path)}
    assert find_command("'/a b/python' -m engine", everything) == ["/a b/python", "-m", "engine"]
    assert find_command("", everything) == ["ssh", "host", "sketchbridge", "engine"]
    assert find_command("'/a b/python' -m engine", {"PATH": str(tmp_path)}) == ["/a b/python", "-m", "engine"]
    assert find_command("", {"PATH": str(tmp_path)}) == [str(program), "engine"]
    with pytest.raises(EngineError, match="Engine Command"):
        find_command("  ", {"PATH": str(tmp_path / "nowhere")})
    with pytest.raises(EngineError, match="quotes"):
        find_command("'/a b/python -m engine", {"PATH": ""})


def test_stop_may_be_called_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    engine = EngineProcess(COMMAND, tmp_path / "log")
    engine.stop()
    engine.stop()
    engine.kill()
    assert engine.wait_stopped()


def test_an_engine_that_dies_while_another_holds_its_pipe_is_noticed(start: Start, tmp_path: Path) -> None:
    """The stream does not end, because a process that the engine started keeps it open; the engine itself is gone."""
    code = (
        "import os, subprocess, sys, time; from engine import protocol as p; "
        "sys.stdout.buffer.write(b''.join(p.encode(p.Hello(p.PROTOCOL_VERSION, 'short')))); sys.stdout.flush(); "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(8)'], start_new_session=True); os._exit(5)"
    )
    session = run(start("x", [sys.executable, "-c", code]), lambda session: session.phase is Phase.RUNNING)
    while session._process.alive:
        time.sleep(0.01)
    started = time.monotonic()
    assert run(session, seconds=5).phase is Phase.FAILED and time.monotonic() - started < 2.0
    assert "exit status 5" in session.problem.message


def test_a_reader_that_fails_ends_the_session(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[object]:
        raise ValueError("array is too big")

    session = start("steps 5000")
    monkeypatch.setattr(session._process._connection, "receive", broken)
    assert run(session, seconds=60).phase is Phase.FAILED  # the job itself would take longer
    assert "array is too big" in session.problem.message and "report" in session.problem.fix


def test_an_absurd_frame_of_the_engine_ends_the_session_with_words(start: Start) -> None:
    code = (
        "import json, struct, sys, time; from engine import protocol as p; out = sys.stdout.buffer; "
        "out.write(b''.join(p.encode(p.Hello(p.PROTOCOL_VERSION, 'absurd')))); "
        "header = json.dumps({'type': 'preview', 'fields': {'job': 'a'}, "
        "'arrays': [{'name': 'image', 'dtype': '|u1', 'shape': [0] + [2**31 - 1] * 3}]}).encode(); "
        "out.write(struct.pack('<4sIQ', b'SKBR', len(header), 0) + header); out.flush(); time.sleep(60)"
    )
    started = time.monotonic()
    session = run(start("x", [sys.executable, "-c", code]), seconds=10)
    assert session.phase is Phase.FAILED and "no valid shape" in session.problem.message and time.monotonic() - started < 5


def test_no_module_of_the_current_folder_is_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("open('numpy was run', 'w')\nraise SystemExit(9)\n")
    (tmp_path / "engine.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    assert run(start("a flower")).phase is Phase.DONE and not list(tmp_path.rglob("numpy was run"))


def test_a_program_beside_the_open_file_and_one_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ENGINES", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "sketchbridge"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -m engine --job tests.protocol.tiny_job:run_job\n")
    program.chmod(0o755)
    for typed in ("bin/sketchbridge engine", "~/bin/sketchbridge engine", "$ENGINES/sketchbridge engine", "${ENGINES}/sketchbridge engine"):
        assert greet(find_command(typed, {}), tmp_path / "logs" / "log").healthy
    assert find_command("ssh HOST ~/bin/sketchbridge engine", {}) == ["ssh", "HOST", "~/bin/sketchbridge", "engine"]


def test_the_job_object_is_windows_own() -> None:
    """The structures have the sizes of the 64-bit Windows headers; there is nothing to call elsewhere."""
    assert (ctypes.sizeof(job_object._BasicLimits), ctypes.sizeof(job_object._ExtendedLimits)) == (64, 144)
    if sys.platform != "win32":
        assert job_object.end_with_this_process(None) is None
        job_object.close(None)
