"""Running a batch with items that cost nothing: what fails, is resumed, shared, cancelled, and killed at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.batch.batches import alive, log_of, records, run, sketches, start, write

KILLS = int(os.environ.get("SKETCHBRIDGE_KILLS", "4"))
"""Random kills in the test of kills; 30 for a longer look."""


def test_a_failure_does_not_stop_the_others_and_the_exit_code_tells(tmp_path):
    jobs, out = sketches(tmp_path, ["a", "bad", "c"]), tmp_path / "out"
    done = run(jobs, out, "--workers", "2")
    assert done.returncode == 1 and "2 done (0 of them before), 1 failed" in done.stdout, done
    assert set(records(out)) == {"a_obj", "c_obj"} and "'bad' is bad. Take a good one." in done.stderr
    page = (out / "index.html").read_text()
    assert page.index("bad_obj") < page.index("a_obj") and "Take a good one." in page  # what needs attention comes first
    (tmp_path / "sketches" / "bad.obj").rename(tmp_path / "sketches" / "good.obj")
    assert run(jobs, out, "--resume").returncode == 0


def test_what_is_done_is_left_alone_until_its_input_settings_or_result_change(tmp_path):
    jobs, out = sketches(tmp_path, ["a", "b", "c"]), tmp_path / "out"
    assert run(jobs, out).returncode == 0
    refused = run(jobs, out)
    assert refused.returncode == 2 and "3 results" in refused.stderr and "--resume" in refused.stderr
    (tmp_path / "sketches" / "b.obj").write_text((tmp_path / "sketches" / "b.obj").read_text() + "# changed\n")
    (out / "c_obj" / "c.glb").unlink()
    before = (out / "a_obj" / "done.json").stat().st_mtime_ns
    again = run(jobs, out, "--resume")
    assert again.returncode == 0 and "2 to make, 1 done before" in again.stderr and (out / "c_obj" / "c.glb").exists()
    (out / "c_obj" / "done.json").write_text("{")
    assert "1 to make, 2 done before" in run(jobs, out, "--resume").stderr
    assert (out / "a_obj" / "done.json").stat().st_mtime_ns == before
    write(tmp_path, '[[job]]\ninput = "sketches/*.obj"\nprompt = "another"\n')
    assert "3 to make, 0 done before" in run(jobs, out, "--resume").stderr
    assert "3 to make" in run(jobs, out, "--fresh").stderr


def test_a_part_of_the_items_for_a_farm_and_the_gallery_afterwards(tmp_path):
    jobs, out = sketches(tmp_path, ["a", "b", "c"]), tmp_path / "out"
    assert run(jobs, out, "--items", "2-3", "--resume").returncode == 0
    assert set(records(out)) == {"b_obj", "c_obj"} and not (out / "index.html").exists()
    assert run(jobs, out, "--items", "1", "--resume").returncode == 0
    assert run(jobs, out, "--report").returncode == 0 and "3 done, 0 failed" in (out / "index.html").read_text()
    for wrong in ("4-5", "0", "3-2", "x"):
        assert run(jobs, out, "--items", wrong, "--resume").returncode == 2


def test_check_starts_nothing(tmp_path):
    jobs, out = sketches(tmp_path, ["a"]), tmp_path / "out"
    (tmp_path / "sketches" / "e.obj").write_text("")
    done = run(jobs, out, "--check")
    assert done.returncode == 1 and "2 items, 1 of them cannot be made" in done.stdout and "jobs.toml:2:" in done.stderr
    assert not out.exists()


def test_an_item_that_ends_its_worker_again_and_again_is_given_up(tmp_path):
    done = run(sketches(tmp_path, ["a", "deadly", "z"]), tmp_path / "out", "--workers", "1")
    assert (
        done.returncode == 1 and "was killed by signal 6, 3 times" in done.stderr and set(records(tmp_path / "out")) == {"a_obj", "z_obj"}
    )
    assert sum(what == "start" and item == "deadly_obj" for what, item, *_ in log_of(tmp_path)) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB, where one may be made."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
def test_a_full_disk_ends_the_batch_says_so_and_what_is_done_stays(tmp_path, small_disk):
    jobs, out = sketches(tmp_path, [f"s{number:02}" for number in range(40)]), small_disk / "out"
    done = run(jobs, out, "--workers", "1")
    assert done.returncode == 1 and "disk is full" in done.stderr.lower() and "not made" in done.stdout, done
    there = records(out)
    assert 5 < len(there) < 40 and all((out / name / f"{name[:-4]}.glb").stat().st_size for name in there)
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    again = run(jobs, out, "--workers", "1", "--resume")
    assert again.returncode == 0 and f"{len(there)} done before" in again.stderr


def test_a_place_that_cannot_be_written_to_is_told_before_any_work(tmp_path):
    jobs = sketches(tmp_path, ["a"])
    (tmp_path / "out").write_text("a file")
    done = run(jobs, tmp_path / "out")
    assert done.returncode == 2 and "cannot be written to" in done.stderr and not log_of(tmp_path)


def test_two_batches_share_the_items_of_one_folder_and_the_cores_of_the_machine(tmp_path):
    jobs, out = sketches(tmp_path, [f"s{number}" for number in range(12)]), tmp_path / "out"
    both = [start(jobs, out, "--resume", "--workers", "2", seconds=0.15) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    log = log_of(tmp_path)
    assert sorted(item for what, item, *_ in log if what == "end") == sorted(records(out)) and len(records(out)) == 12
    assert len(log) == 24, "nothing was done twice"
    assert len({process for *_, process in log}) > 1
    assert _most_at_once(log) <= len(os.sched_getaffinity(0))


def _most_at_once(log: list[tuple[str, str, int, int]]) -> int:
    running = most = 0
    for what, *_ in sorted(log, key=lambda line: line[2]):
        running += 1 if what == "start" else -1
        most = max(most, running)
    return most


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_batch_ends_soon_tells_so_and_goes_on_later(tmp_path, sent):
    jobs, out = sketches(tmp_path, ["a", "b", "c"]), tmp_path / "out"
    process = start(jobs, out, "--workers", "1", seconds=30)
    while not log_of(tmp_path):
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    process.send_signal(sent)
    printed, said = process.communicate()
    assert process.returncode == 130 and "--resume goes on from here" in said, (printed, said)
    assert not alive({line[3] for line in log_of(tmp_path)})
    assert run(jobs, out, "--resume").returncode == 0


@pytest.mark.slow
def test_kills_of_workers_and_drivers_at_random_moments_lose_nothing_and_do_nothing_twice(tmp_path):
    """Two batches on one folder; at random moments one of their processes is killed, and a driver that is gone is started again."""
    chance = random.Random(17)
    names = [f"s{number:02}" for number in range(max(20, 5 * KILLS))]
    jobs, out = sketches(tmp_path, names), tmp_path / "out"
    seen: dict[str, int] = {}
    drivers = [start(jobs, out, "--resume", "--workers", "2", seconds=0.3) for _ in range(2)]
    kills = 0
    while kills < KILLS:
        time.sleep(chance.uniform(0.3, 4.0))
        for place, driver in enumerate(drivers):
            if driver.poll() is not None:
                drivers[place] = start(jobs, out, "--resume", "--workers", "2", seconds=0.3)
        candidates = [victim for driver in drivers for victim in _family(driver)]
        if not candidates:
            continue
        victim = chance.choice(candidates)
        with_signal = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        try:
            victim.send_signal(with_signal)
            kills += 1
        except psutil.NoSuchProcess:
            continue
        _unchanged(out, seen)
        if len(seen) == len(names):  # all done: begin anew, so that every kill meets work
            _unchanged(out, seen)
            seen.clear()
            for path in out.glob("*/done.json"):
                path.unlink()
            (tmp_path / "stub.log").unlink()
    for driver in drivers:
        driver.communicate()
    assert run(jobs, out, "--resume").returncode == 0
    _unchanged(out, seen)
    assert set(records(out)) == {f"{name}_obj" for name in names}
    _no_overlap(log_of(tmp_path))
    assert not list(out.glob("*/*.lock")) and not list((tmp_path / "cache").rglob("*.lock"))


def _family(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The driver and its workers."""
    try:
        process = psutil.Process(driver.pid)
        return [process, *process.children()] if driver.poll() is None else []
    except psutil.NoSuchProcess:
        return []


def _unchanged(out: Path, seen: dict[str, int]) -> None:
    """What is done stays as it is: every record, once there, is that very file."""
    now = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/done.json")}
    assert {name: now.get(name) for name in seen} == seen
    seen.update(now)


def _no_overlap(log: list[tuple[str, str, int, int]]) -> None:
    """Between a start and the end by the same process, nobody else starts the item."""
    running: dict[str, int] = {}
    ended: dict[tuple[str, int], int] = {(item, process): moment for what, item, moment, process in log if what == "end"}
    for what, item, moment, process in sorted(log, key=lambda line: line[2]):
        if what == "start":
            assert running.get(item, 0) <= moment, f"{item} was made twice at once"
            running[item] = ended.get((item, process), 0)
