"""Render captioned pictures of things for the embedded prior, with Blender as a Python module.

    python -m scripts.prior.data.make --count 4400 --seed 1 --size 128 --out FOLDER --workers 2

Runs where `bpy` is installed. The same seed gives the same pictures, however many processes
share the work; a second start goes on where the first one stopped. FOLDER takes the pictures
and `captions.jsonl`. About 1.2 core-seconds a picture of 128 pixels.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from scripts.prior.data.kinds import KINDS
from scripts.prior.data.records import Record
from scripts.prior.data.workbench import Workbench

REPORT_EVERY = 25


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="pictures in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--samples", type=int, default=16, help="paths a pixel")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes, of one core each")
    parser.add_argument("--kinds", default="all", help=f"with commas, of: {', '.join(KINDS)}")
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    parsed.kinds = list(KINDS) if parsed.kinds == "all" else parsed.kinds.split(",")
    unknown = [kind for kind in parsed.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"unknown kinds {unknown}; known: {', '.join(KINDS)}")
    return parsed


def file_name(seed: int, index: int) -> str:
    """Of one picture."""
    return f"{seed:04d}_{index:06d}.webp"


def picture_rng(seed: int, index: int) -> random.Random:
    """All chance in one picture: independent of the other pictures and of the workers."""
    return random.Random(f"picture {seed} {index}")


def parts_of(out: Path) -> list[Path]:
    """What the workers have written."""
    return sorted(out.glob("captions-*.part"))


def finished_records(out: Path) -> dict[str, Record]:
    """Records of the pictures that are there, by file name."""
    records: dict[str, Record] = {}
    for part in parts_of(out):
        for line in part.read_text("utf-8").splitlines():
            try:
                record = Record(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # the last line of a worker that was killed
            if (out / record.file).exists():
                records[record.file] = record
    return records


def render_shard(arguments: argparse.Namespace) -> None:
    """What one process does: every `workers`-th picture, from `shard` on."""
    from scripts.prior.data.studio import Studio  # bpy takes seconds; only workers need it

    done = finished_records(arguments.out)
    shard, step = arguments.shard or 0, arguments.workers
    todo = [index for index in range(shard, arguments.count, step) if file_name(arguments.seed, index) not in done]
    studio = Studio(arguments.size, arguments.samples, threads=1)
    started = time.monotonic()
    with (arguments.out / f"captions-{arguments.seed}-{shard}.part").open("a") as part:
        part.write("\n")  # ends a line that a killed worker left unfinished
        for number, index in enumerate(todo, start=1):
            record = render_one(studio, arguments, index)
            part.write(json.dumps(asdict(record)) + "\n")
            part.flush()
            if number % REPORT_EVERY == 0 or number == len(todo):
                seconds = (time.monotonic() - started) / number
                line = f"worker {shard}: {number} of {len(todo)}, {seconds:.2f} s a picture"
                print(line, file=sys.stderr, flush=True)


def render_one(studio, arguments: argparse.Namespace, index: int) -> Record:
    """Make and render the picture of that number."""
    rng = picture_rng(arguments.seed, index)
    kind = arguments.kinds[index % len(arguments.kinds)]
    bench = Workbench(rng)
    subject = KINDS[kind](bench)
    name = file_name(arguments.seed, index)
    background, view = studio.render(bench.parts, subject, rng, arguments.out / name)
    return Record(name, subject.caption, background, view, kind)


def run_workers(arguments: argparse.Namespace) -> None:
    """Start the processes, wait for all, and fail where one failed."""
    command = [sys.executable, "-m", "scripts.prior.data.make", "--kinds", ",".join(arguments.kinds)]
    for name in ("count", "seed", "size", "samples", "out", "workers"):
        command += [f"--{name}", str(getattr(arguments, name))]
    children = [subprocess.Popen([*command, "--shard", str(shard)], stdout=subprocess.DEVNULL) for shard in range(arguments.workers)]
    codes = [child.wait() for child in children]
    if any(codes):
        raise SystemExit(f"workers ended with {codes}; see their messages above, start again")


def write_captions(out: Path) -> int:
    """Join the workers' records into captions.jsonl; returns how many there are."""
    records = finished_records(out)
    lines = [json.dumps(asdict(records[name])) for name in sorted(records)]
    partial = out / "captions.partial"
    partial.write_text("\n".join(lines) + "\n", "utf-8")
    partial.replace(out / "captions.jsonl")
    return len(records)


def main(arguments: list[str] | None = None) -> None:
    """Render, then join the captions."""
    parsed = parse_arguments(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    if parsed.shard is not None:
        render_shard(parsed)
        return
    run_workers(parsed)
    print(f"{write_captions(parsed.out)} pictures in {parsed.out}")


if __name__ == "__main__":
    main()
