"""The laboratory's table: every guidance method on captions held out from training, any prior.

    python -m scripts.guidance.bench --data FOLDER run            the rows that are missing, each in a process of its own
    python -m scripts.guidance.bench --data FOLDER cost           cost of a step relative to SDS, measured in one process
    python -m scripts.guidance.bench --data FOLDER orders         error of DDIM and Heun in the bridge by steps
    python -m scripts.guidance.bench --data FOLDER examples       painting to real and illusions, into docs/images
    python -m scripts.guidance.bench --data FOLDER equal          judges the rows at equal evaluations, into docs/guidance.md
    python -m scripts.guidance.bench --data FOLDER report         judges all rows that are there and writes docs/guidance.md

FOLDER holds captions.jsonl and the pictures (or images.zip). What is done is kept in --out and not done again; `--first 50` makes
the first 50 captions of every row only, and a later run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median

import torch

from engine.device import select_device
from engine.diffusion.load import EMBEDDED_FOLDER, load_prior
from engine.diffusion.model_folder import read_known
from engine.errors import InputError, SketchbridgeError
from engine.fields import check_value, table
from engine.formats.files import write_atomically
from engine.guidance.methods import METHODS, methods_for, source_text
from engine.job_fields import JobSettings
from engine.lab.optimize import RunMonitor, text_to_image
from engine.pictures import to_bytes
from engine.reporting import QuietReporter
from engine.results import prepare_folder
from engine.user_path import user_path
from scripts import ROOT
from scripts.guidance.captions import bench_captions, records_of
from scripts.guidance.rows import ROWS, Row
from scripts.guidance.store import Store, digest_of_model

COST_METHODS = tuple(name for name in methods_for("image") if not (METHODS[name].samples or METHODS[name].bridge or METHODS[name].flow))
"""Methods with steps of their own that every prior can serve."""


EXAMPLES = ("paintings", "illusion", "boards")


class LineReporter(QuietReporter):
    """A line of progress every ten seconds."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._last = time.monotonic()

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"{self._label}: {stage} {step}/{total}, {seconds_left or 0:.0f} s left", flush=True)


def open_store(arguments: argparse.Namespace) -> Store:
    """Captions and the place of the results."""
    prepare_folder(arguments.out)
    if hasattr(arguments, "docs"):
        prepare_folder(arguments.docs)
    check_value(table(JobSettings)["seed"], arguments.seed)
    arguments.device = str(select_device(arguments.device))
    if not (arguments.data / "captions.jsonl").is_file():
        raise InputError(
            "data", f"'{arguments.data}' has no captions.jsonl.", "Give the folder with the rendered pictures and their captions."
        )
    items = bench_captions(records_of(arguments.data, kinds_of(arguments.model)), arguments.captions)
    model = digest_of_model(arguments.model, EMBEDDED_FOLDER if arguments.model == "embedded" else Path(arguments.model))
    return Store(arguments.out, items, model, arguments.chunk, arguments.seed)


def kinds_of(model: str) -> tuple[str, ...]:
    """The kinds that a narrow model knows; () = all."""
    return tuple(read_known(EMBEDDED_FOLDER if model == "embedded" else user_path(model)).get("kinds", ()))


def make_row(name: str, row: Row, store: Store, model: str, device: str, first: int) -> None:
    """Makes a row's missing chunks of the `first` captions; equal seeds for equal captions in all rows."""
    prior = load_prior(model, device)
    for number in store.missing(name, row, first):
        captions = [item.caption for item in store.chunks(row)[number]]
        sources = [source_text(row.recipe.method, caption, descriptors=row.descriptors) for caption in captions]
        reporter = LineReporter(f"{name} {number + 1}/{len(store.chunks(row))}")
        generator = torch.Generator().manual_seed(store.seed + 1000 * number)
        started = time.process_time()
        images = text_to_image(prior, captions, row.recipe, generator, reporter, sources=sources, watch=RunMonitor(reporter, prior))
        seconds = time.process_time() - started
        pictures = torch.stack([torch.from_numpy(to_bytes(image)) for image in images.float()]).numpy()
        store.save(store.path(name, row, number), pictures, seconds)
        print(f"{name}: {number + 1}/{len(store.chunks(row))} chunks, {seconds / len(captions):.2f} s an image", flush=True)


def run_rows(arguments: argparse.Namespace, store: Store) -> int:
    """All rows asked for, `--workers` processes at a time; one that fails does not stop the others."""
    waiting = [name for name in arguments.rows if store.missing(name, ROWS[name], arguments.first)]
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed = []
    while waiting or running:
        while waiting and len(running) < arguments.workers:
            name = waiting.pop(0)
            command = [sys.executable, "-m", "scripts.guidance.bench", *forwarded(arguments), "row", name]
            running[name] = subprocess.Popen(command)
        time.sleep(1)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            if running.pop(name).returncode:
                failed.append(name)
    print(f"done; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def forwarded(arguments: argparse.Namespace) -> list[str]:
    """The common options for a child."""
    names = ("data", "out", "model", "captions", "chunk", "first", "seed", "device")
    return [part for name in names for part in (f"--{name}", str(getattr(arguments, name)))]


def measure_cost(arguments: argparse.Namespace, store: Store) -> int:
    """Processor time a step and image by method, in several rounds taken in turn, so that other load falls on all alike."""
    from scripts.guidance.measure import step_costs

    costs = step_costs(
        load_prior(arguments.model, arguments.device), [item.caption for item in store.items[:8]], COST_METHODS, arguments.rounds
    )
    for method, seconds in costs.items():
        print(f"{method:12s} {1e3 * median(seconds):8.1f} ms a step and image   {median(seconds) / median(costs['sds']):.2f} x SDS")
    write_json(arguments.out / "cost.json", costs)
    return 0


def measure_orders(arguments: argparse.Namespace, store: Store) -> int:
    """Error of the bridge by solver and steps on this prior, against many Heun steps."""
    from scripts.guidance.measure import bridge_errors

    errors = bridge_errors(load_prior(arguments.model, arguments.device, torch.float32), [item.caption for item in store.items[:8]])
    for solver, by_steps in errors.items():
        print(solver, "  ".join(f"{steps}: {fmean(squares) ** 0.5:.4f}" for steps, squares in by_steps.items()))
    write_json(arguments.out / "orders.json", errors)
    return 0


def write_report(arguments: argparse.Namespace, store: Store) -> int:
    """docs/guidance.md and its pictures."""
    from scripts.guidance.report import write

    print(write(arguments, store, kinds_of(arguments.model)))
    return 0


def write_equal_table(arguments: argparse.Namespace, store: Store) -> int:
    """The table at equal evaluations, in docs/guidance.md."""
    from scripts.guidance.equal import write_equal

    print(write_equal(arguments, store, kinds_of(arguments.model)))
    return 0


def make_examples(arguments: argparse.Namespace, store: Store) -> int:
    """Painting to real and an illusion with this prior, and an illusion over four boards, for the document."""
    from scripts.guidance.examples import board_illusions, illusions, paintings

    images, records = arguments.docs / "images", records_of(arguments.data, kinds_of(arguments.model))
    if "boards" in arguments.only:
        print(board_illusions(arguments.data, records, arguments.steps, images))
    if {"paintings", "illusion"} & set(arguments.only):
        prior = load_prior(arguments.model, arguments.device)
        if "paintings" in arguments.only:
            print(paintings(prior, arguments.data, records, arguments.steps, images))
        if "illusion" in arguments.only:
            print(illusions(prior, [item.caption for item in store.items], arguments.steps, images))
    return 0


def write_json(path: Path, content: object) -> None:
    """Readable JSON."""
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def from_one(text: str) -> int:
    """A whole number from 1, as an option gives it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {number}")
    return number


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.jsonl and pictures")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "guidance")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--captions", type=from_one, default=200)
    parser.add_argument("--chunk", type=from_one, default=50, help="captions in one batch")
    parser.add_argument("--first", type=from_one, default=sys.maxsize, help="so many captions of each row now; a multiple of --chunk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="make the rows that are missing")
    run.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    run.add_argument("--workers", type=from_one, default=1)
    row = commands.add_parser("row", help="make one row in this process")
    row.add_argument("name", choices=list(ROWS))
    cost = commands.add_parser("cost", help="cost relative to SDS")
    cost.add_argument("--rounds", type=from_one, default=5)
    commands.add_parser("orders", help="order of the bridge's solvers")
    examples = commands.add_parser("examples", help="painting to real beside SDEdit, and an illusion, into docs/images")
    examples.add_argument("--steps", type=from_one, default=120)
    examples.add_argument("--only", nargs="+", default=list(EXAMPLES), choices=EXAMPLES)
    examples.add_argument("--docs", type=Path, default=ROOT / "docs")
    equal = commands.add_parser("equal", help="judge the rows at equal evaluations and write their table into docs/guidance.md")
    equal.add_argument("--docs", type=Path, default=ROOT / "docs")
    report = commands.add_parser("report", help="judge and write docs/guidance.md")
    report.add_argument("--clip", type=Path, help="folder of a CLIP model of your own, for CLIP-FID and a CLIP score")
    report.add_argument("--docs", type=Path, default=ROOT / "docs")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        store = open_store(arguments)
        if arguments.command == "row":
            make_row(arguments.name, ROWS[arguments.name], store, arguments.model, arguments.device, arguments.first)
            return 0
        actions = {
            "run": run_rows,
            "examples": make_examples,
            "cost": measure_cost,
            "orders": measure_orders,
            "report": write_report,
            "equal": write_equal_table,
        }
        return actions[arguments.command](arguments, store)
    except SketchbridgeError as error:
        print(f"bench_guidance: {error.message}\n  fix: {error.fix}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
