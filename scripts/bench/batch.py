"""What a batch costs beside its items: planning, memory and gallery of many, start-up of the next, speed with workers and on Ray.

    python -m scripts.bench.batch [many] [speed] [ray] [--items 10000]

many   stub items, made, resumed and shown: seconds of planning, the driver's memory beside that of a tenth of them, pages
speed  items that burn a fixed time of the processor, by one and two workers, beside bare processes that burn the same: the machine
       may be busy otherwise, so only ratios within one round are worth anything; the median of the rounds counts
ray    the same on a Ray cluster of two nodes on this machine
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts import ROOT

STUB = "scripts.bench.batch_stub:make"
BOX = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
BURN_SECONDS, BURNS, ROUNDS = 0.5, 8, 3


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


def bare(processes: int) -> float:
    """Seconds in which so many bare processes burn BURNS items between them."""
    code = f"from scripts.bench.batch_stub import burn\nfor _ in range({BURNS // processes}): burn({BURN_SECONDS})"
    begun = time.monotonic()
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(processes)]
    for process in running:
        process.wait()
    return time.monotonic() - begun


def speed(scratch: Path, address: str | None = None) -> dict[str, Any]:
    """Rounds of: bare processes, one and two; a batch by one worker and by two, or by Ray's two."""
    jobs = make_sketches(scratch / ("ray" if address else "speed"), BURNS)
    rounds: list[dict[str, float]] = []
    own = {"SKETCHBRIDGE_STUB_BURN": str(BURN_SECONDS)}
    for number in range(ROUNDS):
        row = {"bare_1": bare(1), "bare_2": bare(2)}
        if address is None:
            for workers in (1, 2):
                done = batch(jobs, scratch / f"speed{number}-{workers}", "--workers", str(workers), **own)
                row |= {f"batch_{workers}": done["seconds"], f"cpu_{workers}": done["cpu_seconds"]}
        else:
            row["batch_2"] = batch(jobs, scratch / f"ray{number}", "--ray", address, **own)["seconds"]
        rounds.append(row)
    found: dict[str, Any] = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    found["items_an_hour_2"] = 3600 * BURNS / found["batch_2"]
    found["of_what_two_bare_processes_do"] = statistics.median(row["bare_2"] / row["batch_2"] for row in rounds)
    if address is None:
        found["speed_up_beside_the_bare_one"] = statistics.median(
            row["batch_1"] / row["batch_2"] / (row["bare_1"] / row["bare_2"]) for row in rounds
        )
        found["share_of_the_processor_for_the_items"] = BURNS * BURN_SECONDS / found["cpu_2"]
    return found


def ray(scratch: Path) -> dict[str, Any]:
    """`speed` on a cluster of a head and two nodes of one core each."""
    os.environ |= {"PYTHONPATH": str(ROOT), "SKETCHBRIDGE_STUB_BURN": str(BURN_SECONDS)}
    cluster = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        return speed(scratch, cluster.address)
    finally:
        cluster.shutdown()


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
