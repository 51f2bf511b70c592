"""The same job file on a real Ray cluster of several node processes on this machine, nodes killed on the way."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.batch.batches import log_of, records, run, sketches, start, surroundings

KILLS = int(os.environ.get("SKETCHBRIDGE_KILLS", "2"))
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'sketchbridge[cluster]')")


@pytest.mark.parametrize(
    "address, said",
    [("127.0.0.1:1", "Nothing answers at"), ("nonsense", "must be HOST:PORT"), ("host:x", "must be HOST:PORT")],
)
@NEEDS_RAY
def test_an_address_where_no_cluster_answers_is_told_before_any_work(tmp_path, address, said):
    done = run(sketches(tmp_path, ["a"]), tmp_path / "out", "--ray", address)
    assert done.returncode == 2 and said in done.stderr and not log_of(tmp_path), done


def test_without_ray_the_fix_is_named(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    jobs = sketches(tmp_path, ["a"])
    path = os.pathsep.join([str(tmp_path), surroundings(tmp_path)["PYTHONPATH"]])
    done = run(jobs, tmp_path / "out", "--ray", "auto", env={**surroundings(tmp_path), "PYTHONPATH": path})
    assert done.returncode == 2 and "sketchbridge[cluster]" in done.stderr, done


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Any]:
    """A head and three nodes of two cores each, every one a process of its own, with stub items of a second."""
    for name, value in surroundings(tmp_path, 1.0).items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster  # type: ignore[import-not-found]

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        made.add_node(num_cpus=2)
    yield made
    made.shutdown()


@NEEDS_RAY
@pytest.mark.slow
def test_nodes_workers_and_the_driver_are_killed_and_nothing_is_lost_or_done_twice(tmp_path, cluster):
    chance = random.Random(3)
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
            cluster.add_node(num_cpus=2)
        elif number % 3 == 1:  # a worker in the middle of an item
            running = {process for what, _, _, process in log_of(tmp_path) if what == "start"}
            alive = [process for process in running if psutil.pid_exists(process)]
            if alive:
                os.kill(chance.choice(alive), signal.SIGKILL)
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
