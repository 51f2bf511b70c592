"""The same job file on a real Ray cluster of several node processes on this machine, nodes killed on the way."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from scripts.bench.batch import node, ray_cluster
from tests.batch.batches import alive, log_of, records, sketches, start, surroundings

KILLS = int(os.environ.get("SKETCHBRIDGE_KILLS", "2"))
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'sketchbridge[cluster]')")


@pytest.mark.parametrize(
    "address, said",
    [("127.0.0.1:1", "Nothing answers at"), ("nonsense", "must be HOST:PORT"), ("host:x", "must be HOST:PORT")],
)
@NEEDS_RAY
def test_an_address_where_no_cluster_answers_is_told_before_any_work(tmp_path, capsys, address, said):
    assert main(["batch", str(sketches(tmp_path, ["a"])), "--out", str(tmp_path / "out"), "--ray", address]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


@NEEDS_RAY
@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b""])
def test_a_port_of_another_service_is_told_at_once(tmp_path, capsys, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(99)
                line.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert main(["batch", str(sketches(tmp_path, ["a"])), "--out", str(tmp_path / "out"), "--ray", address]) == 2
    assert "is no Ray cluster" in capsys.readouterr().err


def test_without_ray_the_fix_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["batch", str(sketches(tmp_path, ["a"])), "--out", str(tmp_path / "out"), "--ray", "auto"]) == 2
    assert "sketchbridge[cluster]" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The folder of this file's batches on the cluster, whose nodes write one log."""
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(place) -> Iterator[Any]:
    """A head and three nodes of two cores each, every one a process of its own, with stub items of a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings(place, 1.0).items():
            patch.setenv(name, value)
        with ray_cluster(3, 2) as made:
            yield made


@NEEDS_RAY
@pytest.mark.slow
def test_ctrl_c_ends_what_runs_on_the_cluster_and_the_exit_code_tells(place, cluster):
    jobs, out = sketches(place, [f"c{number:02}" for number in range(40)]), place / "cancelled"
    driver = start(jobs, out, "--ray", cluster.address)
    while len(log_of(place)) < 4:
        time.sleep(0.1)
        assert driver.poll() is None, driver.communicate()
    driver.send_signal(signal.SIGINT)
    printed, said = driver.communicate()
    assert driver.returncode == 130 and "--resume goes on from here" in said, (printed, said)
    workers, known = {process for *_, process in log_of(place)}, records(out)
    until = time.monotonic() + 60
    while alive(workers):
        assert time.monotonic() < until, alive(workers)
        time.sleep(0.2)
    begun = [item for what, item, *_ in log_of(place) if what == "start"]
    assert records(out) == known and 0 < len(begun) < 40 and not list(out.glob("*/*.lock")), begun
    assert not list(out.glob(".sketchbridge-batch-*")) and (out / "index.html").exists()
    shutil.rmtree(place / "sketches")
    (place / "stub.log").unlink()


@NEEDS_RAY
@pytest.mark.slow
def test_nodes_workers_and_the_driver_are_killed_and_nothing_is_lost_or_done_twice(place, cluster):
    tmp_path, chance = place, random.Random(3)
    names = [f"s{number:03}" for number in range(12 + 6 * KILLS)]
    jobs, out = sketches(tmp_path, [*names, "bad"]), tmp_path / "out"
    seen: dict[str, int] = {}
    driver = start(jobs, out, "--ray", cluster.address, "--resume", seconds=1.0)
    for number in range(KILLS):
        before = len(log_of(tmp_path))
        while len(log_of(tmp_path)) < before + 2 and driver.poll() is None:
            time.sleep(0.1)
        time.sleep(chance.uniform(0.0, 2.0))
        if driver.poll() is not None:
            driver.communicate()
            driver = start(jobs, out, "--ray", cluster.address, "--resume", seconds=1.0)
        elif number % 3 == 0:  # a node
            nodes = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
            cluster.remove_node(chance.choice(nodes), allow_graceful=False)
            cluster.add_node(**node(2))
        elif number % 3 == 1:  # a worker in the middle of an item
            running = {process for what, _, _, process in log_of(tmp_path) if what == "start"}
            if candidates := alive(running):
                os.kill(chance.choice(candidates), signal.SIGKILL)
        else:
            driver.kill()
            driver.communicate()
            driver = start(jobs, out, "--ray", cluster.address, "--resume", seconds=1.0)
        now = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/done.json")}
        assert {name: now.get(name) for name in seen} == seen
        seen.update(now)
    printed, said = driver.communicate()
    assert driver.returncode == 1 and f"{len(names)} done" in printed and "1 failed" in printed, (printed, said)
    assert set(records(out)) == {f"{name}_obj" for name in names}
    now = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/done.json")}
    assert {name: now.get(name) for name in seen} == seen
    assert not list(out.glob(".sketchbridge-batch-*")) or KILLS > 2  # a driver that was killed leaves its own
