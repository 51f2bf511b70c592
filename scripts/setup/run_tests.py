"""Sets up and runs every test: the engine's fast ones first, then the slow ones, and the add-on inside each Blender.

    python3 scripts/test.py [--fast] [--engine] [--addon VERSION] [--long] [--window] [--setup-only]

Which Blenders: those whose modules fit this machine's Pythons (4.2, 4.5 and 5.0 with 3.11, 5.2 and 5.3 with 3.13).
Two groups run side by side, each in a process of its own with one thread, a fresh Blender user folder and a time limit. The last
line says `N passed, N failed, N skipped` over all groups; the exit code is 0 only if nothing failed and every group ran something.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine.setup_commands import clean_surroundings
from engine.words import duration
from scripts import ROOT
from scripts.setup import bootstrap
from scripts.setup.blenders import BLENDER_VARIABLE, VERSIONS, modules, why_none
from scripts.setup.bootstrap import ENGINE, ENVIRONMENTS, PYTEST_BLENDER, Environment
from scripts.setup.console import table

ENGINE_FOLDERS = ("tests/protocol", "tests/engine", "tests/batch", "tests/scripts", "tests/prior", "tests/gpu")
INNER_FOLDERS = ENGINE_FOLDERS[:2]
"""Whose slow tests take about as long as those of all the others."""
ADDON_FOLDERS = ("tests/addon",)
WINDOW_FOLDERS = ("tests/window",)
"""A real Blender in a window, and the add-on's tests inside its executable; run where they are asked for."""
RENDERS = ("-m", "blender and not long", "--noconftest", "tests/prior/test_make_prior_data.py")
"""The training pictures' generator renders in Blender, where the other tests' fixtures have no packages."""
LONG_RENDERS = ("-m", "blender and long", *RENDERS[2:])
LONG_LIMIT_SECONDS = 3 * 3600
SIDE_BY_SIDE = 2
LIMIT_SECONDS = 20 * 60


@dataclass(frozen=True)
class Group:
    """Tests that run in one process: pytest's arguments in one environment."""

    name: str
    environment: Environment
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a group came to. `trouble` is empty, or says why it counts as failed beyond its own failing tests."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    trouble: str = ""
    failures: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether every test passed and the process ended as it should."""
        return self.failed == 0 and not self.trouble


def folders() -> tuple[str, ...]:
    """Those of the engine's tests that there are."""
    return tuple(folder for folder in ENGINE_FOLDERS if any((ROOT / folder).glob("**/test_*.py")))


def long_groups() -> list[Group]:
    """What takes too long for every run, kills and counts by the hundred: run before a release."""
    long = [Group("long", ENGINE, ("-m", "long and not blender", *folders()))]
    return long + [Group("long renders", ENVIRONMENTS[f"blender-{one.version}"], LONG_RENDERS) for one in modules()[:1]]


def groups(engine: bool, addon: Sequence[str], fast_only: bool) -> list[Group]:
    """The groups in the order in which they begin, the fast one first."""
    chosen = []
    if engine or fast_only:
        chosen.append(Group("fast", ENGINE, ("-m", "not slow and not long", *folders())))
    if engine and not fast_only:
        inner = tuple(folder for folder in folders() if folder in INNER_FOLDERS)
        outer = tuple(folder for folder in folders() if folder not in INNER_FOLDERS)
        slow = {"slow, engine": inner, "slow, around it": outer}
        chosen += [Group(name, ENGINE, ("-m", "slow and not long", *parts)) for name, parts in slow.items()]
    if fast_only:
        return chosen
    chosen += [Group(f"Blender {version}", ENVIRONMENTS[f"blender-{version}"], ADDON_FOLDERS) for version in addon]
    if engine and addon:
        chosen.append(Group("renders", ENVIRONMENTS[f"blender-{addon[0]}"], RENDERS))
    return chosen


def surroundings(group: Group, scratch: Path) -> dict[str, str]:
    """The environment variables of a group's process: one thread, no network for models, a Blender user folder of its own."""
    variables = clean_surroundings()
    variables.update(
        OMP_NUM_THREADS="1",
        PYTHONUNBUFFERED="1",
        HF_HUB_OFFLINE="1",
        BLENDER_USER_RESOURCES=str(scratch / "blender"),
        SKETCHBRIDGE_ENGINE=bootstrap.engine_command(),
        TMPDIR=str(scratch),
    )
    (scratch / "blender").mkdir()
    return variables


class Screen:
    """Where the groups' lines go, whole lines only, and who is running, so that Ctrl-C ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[str]] = []
        self._stopped = False

    def show(self, name: str, line: str) -> None:
        """Print a group's line behind its name."""
        with self._lock:
            print(f"{name:<11} | {line.rstrip()}", flush=True)

    def begun(self, child: subprocess.Popen[str]) -> None:
        """Note a process; it is killed at once if everything has been stopped."""
        with self._lock:
            self._children.append(child)
            if self._stopped:
                kill_all_of(child)

    def stop(self) -> None:
        """Kill every group that runs, and those that would still begin."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                kill_all_of(child)


def run_group(group: Group, report: Path, limit: float, screen: Screen) -> Outcome:
    """Run one group, its output on the screen line by line behind its name; kill it and all it started at the time limit."""
    begun = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="sketchbridge-test-"))
    command = [str(group.environment.python), "-m", "pytest", "-q", "--durations=5", "--color=no", f"--junitxml={report}", *group.arguments]
    try:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=surroundings(group, scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        late = follow(child, group.name, limit, screen)
        return judge(group.name, report, child.returncode, time.monotonic() - begun, limit if late else None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def follow(child: subprocess.Popen[str], name: str, limit: float, screen: Screen) -> bool:
    """Show a process's lines until it ends; kill it and all it started at the time limit. Answers whether that was needed."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        kill_all_of(child)

    watch = threading.Timer(limit, stop)
    watch.start()
    screen.begun(child)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            screen.show(name, line)
        child.wait()
    finally:
        watch.cancel()
        kill_all_of(child)
    return late.is_set()


def kill_all_of(child: subprocess.Popen[str]) -> None:
    """End a group's process and everything that it left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def judge(name: str, report: Path, code: int, seconds: float, limit: float | None = None) -> Outcome:
    """A group's outcome from pytest's JUnit report and exit code; `limit` is set if the group was killed for its time."""
    if limit is not None:
        return Outcome(name, 0, 1, 0, seconds, f"killed: it ran past its time limit of {duration(limit)}")
    try:
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return Outcome(name, 0, 1, 0, seconds, f"ended with exit code {code} and no report")
    total, skipped = (sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped"))
    cases = [case for suite in suites for case in suite.iter("testcase") if broken(case)]
    failures = tuple(dict.fromkeys(f"{case.get('classname')}::{case.get('name')}" for case in cases))
    passed = max(0, total - skipped - len(failures))
    if total == 0:
        return Outcome(name, 0, 1, 0, seconds, f"no test was collected (exit code {code})")
    if code != 0 and not failures:
        return Outcome(name, passed, 1, skipped, seconds, f"its tests passed, then the process ended with exit code {code}")
    return Outcome(name, passed, len(failures), skipped, seconds, "", failures)


def broken(case: ElementTree.Element) -> bool:
    """Whether a JUnit test case failed, or broke in set-up or teardown."""
    return case.find("failure") is not None or case.find("error") is not None


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table of groups, what failed, and the line of totals, which is the last."""
    rows = [["group", "passed", "failed", "skipped", "time"]]
    rows += [[one.name, str(one.passed), str(one.failed), str(one.skipped), duration(one.seconds)] for one in outcomes]
    lines = ["", table(rows), ""]
    for one in outcomes:
        lines += [f"FAILED {one.name}: {what}" for what in (*one.failures, *([one.trouble] if one.trouble else []))]
    totals = [sum(getattr(one, key) for one in outcomes) for key in ("passed", "failed", "skipped")]
    lines.append("{} passed, {} failed, {} skipped".format(*totals))
    return "\n".join(lines)


def run_all(chosen: Sequence[Group], limit: float) -> list[Outcome]:
    """Run the groups, two at a time, and answer their outcomes in the same order."""
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="sketchbridge-reports-") as reports, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        try:
            waiting = [pool.submit(run_group, group, Path(reports) / f"{place}.xml", limit, screen) for place, group in enumerate(chosen)]
            return [one.result() for one in waiting]
        except BaseException:
            screen.stop()
            pool.shutdown(cancel_futures=True)
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Set up and run the tests.")
    parser.add_argument("--setup-only", action="store_true", help="make the environments and stop")
    parser.add_argument("--fast", action="store_true", help="only the engine's fast tests")
    parser.add_argument("--engine", action="store_true", help="only the engine's tests, fast and slow")
    parser.add_argument("--long", action="store_true", help="only what takes longer than the whole of the others")
    parser.add_argument("--window", action="store_true", help=f"only those in a Blender with a window, which {BLENDER_VARIABLE} starts")
    parser.add_argument("--addon", metavar="VERSION", action="append", choices=VERSIONS, help="only the add-on's tests in this Blender")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS", help=f"of a group (default: {LIMIT_SECONDS}; {LONG_LIMIT_SECONDS} with --long)"
    )
    bootstrap.add_arguments(parser)
    options = parser.parse_args(arguments)
    everything = not (options.fast or options.engine or options.addon or options.window or options.long)
    chosen = groups(options.engine or everything, [one.version for one in modules()] if everything else options.addon or (), options.fast)
    chosen += [Group("window", ENGINE, WINDOW_FOLDERS)] if options.window else []
    chosen += long_groups() if options.long else []

    def work() -> int:
        begun = time.monotonic()
        wanted = ["engine", *(group.environment.name for group in chosen), *([PYTEST_BLENDER.name] if options.window else [])]
        bootstrap.set_up(list(dict.fromkeys(wanted)), options.torch_index)
        print(f"set-up: {duration(time.monotonic() - begun)}", flush=True)
        if everything and not modules():
            print(f"{why_none()}\nThe add-on's tests inside Blender are left out: they need one of its modules.", flush=True)
        if options.setup_only:
            return 0
        outcomes = run_all(chosen, options.limit or (LONG_LIMIT_SECONDS if options.long else LIMIT_SECONDS))
        print(summary(outcomes), flush=True)
        return 0 if all(outcome.good for outcome in outcomes) else 1

    return bootstrap.guarded(work)
