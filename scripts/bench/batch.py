"""What a batch costs beside its items: planning, memory and gallery of many, start-up of the next, speed with workers and on Ray.

    python -m scripts.bench.batch [many] [speed] [ray] [--items 10000]

many   stub items, made, resumed and shown: seconds of planning, the driver's memory beside that of a tenth of them, pages
speed  items that burn a fixed time of the processor, by one and two workers. The machine may be busy otherwise, so what counts is the
       share of a worker's time, from its first start to its last end, that it spends within items (it burns there: whatever the core
       gives is used), and what an item costs of the processor's time in all; the medians of the rounds
ray    the same on a Ray cluster of two nodes on this machine
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts import ROOT

STUB = "scripts.bench.batch_stub:make"
BOX = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
BURN_SECONDS, BURNS, ROUNDS = 0.5, 16, 3


def make_sketches(folder: Path, count: int) -> Path:
    """So many small sketches, and the job file of all."""
    (folder / "sketches").mkdir(parents=True)
    for number in range(count):
        (folder / "sketches" / f"s{number:05}.obj").write_text(BOX)
    jobs = folder / "jobs.toml"
    jobs.write_text('[[job]]\ninput = "sketches/*.obj"\nprompt = "{name}"\n')
    return jobs


def batch(jobs: Path, out: Path, *words: str, **more: str) -> dict[str, Any]:
    """A batch to its end: wall seconds, processor seconds of all its processes, the driver's largest memory in MB, its exit code."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), "SKETCHBRIDGE_BATCH_MAKE": STUB, "OMP_NUM_THREADS": "1", **more}
    code = (
        "import resource, sys; from engine.cli import main; status = main(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True); sys.exit(status)"
    )
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "batch", str(jobs), "--out", str(out), *words], env=own, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = re.search(r"^PEAK (\d+)$", done.stdout, re.MULTILINE)
    assert done.returncode in (0, 1) and peak, done.stderr[-2000:]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - begun, "cpu_seconds": spent, "driver_mb": int(peak[1]), "code": done.returncode}


def many(items: int, scratch: Path) -> dict[str, Any]:
    """Stub items: a tenth and all of them."""
    found: dict[str, Any] = {}
    for count in (items // 10, items):
        folder = scratch / f"many{count}"
        jobs, out = make_sketches(folder, count), folder / "out"
        planned = batch(jobs, out, "--check")
        made = batch(jobs, out, "--workers", "2")
        again = batch(jobs, out, "--resume")
        pages = [page.stat().st_size for page in (out / "index.html", *out.glob("gallery/*.html"))]
        found[str(count)] = {
            "plan_cpu_seconds": planned["cpu_seconds"], "plan_seconds": planned["seconds"], "plan_mb": planned["driver_mb"],
            "made_seconds": made["seconds"], "cpu_milliseconds_an_item": 1000 * made["cpu_seconds"] / count, "driver_mb": made["driver_mb"],
            "resume_cpu_seconds": again["cpu_seconds"], "pages": len(pages), "largest_page_kb": max(pages) // 1024,
        }  # fmt: skip
        shutil.rmtree(folder)
    return found


def node(cores: int) -> dict[str, Any]:
    """What Ray's Cluster takes for a node. Its ports are known beforehand: on a busy machine Ray would not wait for its helpers'."""
    found = {"num_cpus": cores}
    for name in ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port"):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            found[name] = probe.getsockname()[1]
    return found


@contextlib.contextmanager
def ray_cluster(nodes: int, cores: int) -> Iterator[Any]:
    """A Ray cluster on this machine: a head without cores, and so many nodes, every one a process of its own."""
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={**node(0), "include_dashboard": False}
    )
    try:
        for _ in range(nodes):
            made.add_node(**node(cores))
        yield made
    finally:
        made.shutdown()


def within_items(log: Path) -> tuple[float, float]:
    """Of what the stub logged: the share of the workers' time that lies within items, each worker from its first start to its last end,
    and the same of the span from the first start to the last end of all."""
    spans: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        _, _, moment, process = line.split()
        spans.setdefault(process, []).append(int(moment))
    within = sum(sum(span[1::2]) - sum(span[::2]) for span in spans.values())
    whole = max(span[-1] for span in spans.values()) - min(span[0] for span in spans.values())
    return within / sum(span[-1] - span[0] for span in spans.values()), within / (len(spans) * whole)


def speed(scratch: Path, address: str | None = None) -> dict[str, Any]:
    """Medians of the rounds of a batch by one worker and by two, or by Ray's two."""
    jobs = make_sketches(scratch / ("ray" if address else "speed"), BURNS)
    ways = {"ray_2": ["--ray", address]} if address else {f"workers_{count}": ["--workers", str(count)] for count in (1, 2)}
    found: dict[str, Any] = {}
    for way, words in ways.items():
        rounds = []
        for number in range(ROUNDS):
            log = scratch / "burn.log"
            told = {"SKETCHBRIDGE_STUB_BURN": str(BURN_SECONDS), "SKETCHBRIDGE_STUB_LOG": str(log)}
            done = batch(jobs, scratch / f"{way}-{number}", *words, **told)
            busy, whole = within_items(log)
            log.unlink()
            row = {"wall_seconds": done["seconds"], "workers_within_items": busy, "to_the_last_end": whole}
            rounds.append(row if address else {**row, "cpu_seconds_an_item": done["cpu_seconds"] / BURNS})
        found[way] = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
        found[way]["items_an_hour"] = 3600 * BURNS / found[way]["wall_seconds"]
    return found


def ray(scratch: Path) -> dict[str, Any]:
    """`speed` on a cluster of a head and two nodes of one core each."""
    os.environ |= {"PYTHONPATH": str(ROOT), "SKETCHBRIDGE_STUB_BURN": str(BURN_SECONDS), "SKETCHBRIDGE_STUB_LOG": str(scratch / "burn.log")}
    with ray_cluster(2, 1) as cluster:
        return speed(scratch, cluster.address)


def main() -> None:
    """Run the rows that are named, all without Ray by default, and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=["many", "speed", "ray", []], default=["many", "speed"])
    parser.add_argument("--items", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sketchbridge-bench-") as scratch:
        os.environ["SKETCHBRIDGE_CACHE"] = f"{scratch}/cache"
        for row in options.rows:
            found = many(options.items, Path(scratch)) if row == "many" else speed(Path(scratch)) if row == "speed" else ray(Path(scratch))
            print(json.dumps({row: found}, indent=1), flush=True)


if __name__ == "__main__":
    main()
