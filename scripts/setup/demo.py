"""The whole of Sketchbridge in one command: a sketch in Blender becomes a refined, textured model.

    python3 scripts/demo.py [--example NAME [--grey] | --all] [--preset draft] [--model embedded] [--out out] [--blender PATH]

Sets up what is missing, builds the extension, installs it into a fresh user folder of Blender (the bpy module that fits this
machine's Python, or an executable), opens the example, types its prompt and presses Refine. Writes NAME.blend, NAME.glb and NAME.png
(before above, after below). Unless told otherwise: the flower in its artist's colours, then the chair as a grey blockout, whose
colours are all the prior's. Where no Blender can be had, the engine refines the example's mesh file by its own command line.
Exit codes: 0 done, 1 failed, 2 bad usage, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.fields import add_options, table, values_from
from engine.job_fields import JobSettings
from engine.setup_commands import SetupError, tail
from engine.words import duration
from scripts import ROOT
from scripts.setup import bootstrap, build_extension
from scripts.setup.blenders import Blender, find_blender, why_none
from scripts.setup.bootstrap import ENGINE
from scripts.setup.console import StatusLine
from scripts.setup.console import table as text_table

SETTINGS = [table(JobSettings)[name] for name in ("preset", "model", "seed", "overrides")]
"""What the demo lets one choose of a job."""

SHOWN = [("flower", False), ("chair", True)]
"""The examples of a demo that is not told which, and whether without colours."""
GREY = "-grey"
"""After the name of what was refined without colours."""

SILENCE_SECONDS = 300.0
"""Blender is taken for dead after this long without a sign."""
CANCEL_SECONDS = 15.0


@dataclass(frozen=True)
class Order:
    """What one example's Blender has to do. `grey`: without the sketch's colours."""

    name: str
    sketch: Path
    grey: bool
    prompt: str
    preset: str
    model: str
    seed: int
    out: Path
    overrides: str
    tile: int


@dataclass
class Outcome:
    """How it went. `report` is the engine's; `error` is empty when all is well."""

    name: str
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    error: str = ""


def orders(options: argparse.Namespace) -> list[Order]:
    """The examples to refine. SetupError where one does not exist."""
    import tomllib

    prompts: dict[str, str] = tomllib.loads((ROOT / "examples" / "prompts.toml").read_text(encoding="utf-8"))
    names = [(name, options.grey) for name in ([options.example] if options.example else prompts if options.all else [])] or SHOWN
    for name, _ in names:
        if name not in prompts or not (ROOT / "examples" / f"{name}.blend").is_file():
            raise SetupError(f"There is no example '{name}'.", f"Choose one of {', '.join(prompts)}.")
    settings = shared_settings(options)
    return [
        Order(
            name=f"{name}{GREY}" if grey else name,
            sketch=ROOT / "examples" / f"{name}.blend",
            grey=grey,
            prompt=options.prompt or prompts[name],
            preset=settings.preset,
            model=settings.model,
            seed=settings.seed,
            out=options.out.resolve(),
            overrides=json.dumps(settings.overrides),
            tile=options.tile,
        )
        for name, grey in names
    ]


def shared_settings(options: argparse.Namespace) -> JobSettings:
    """The settings that are the same for every example. SetupError where one cannot be used."""
    try:
        return JobSettings.from_dict({**values_from(options, SETTINGS), "prompt": "of each example"})
    except InputError as error:
        raise SetupError(error.message, error.fix) from error


def show(event: dict[str, Any], order: Order, place: str, status: StatusLine) -> None:
    """Put one sign of life from Blender on the screen."""
    if event["event"] == "progress":
        left = event.get("seconds_left")
        share = f" {event['step']}/{event['total']}" if event.get("total") else ""
        ending = f" · about {duration(left)} left" if left is not None else ""
        status.update(f"{place}{order.name} · {event['stage']}{share} · {duration(event['seconds'])}{ending}")
    elif event["event"] == "note":
        status.say(f"{place}{order.name} · {event['text']}")


def refine_in_blender(order: Order, blender: Blender, archive: Path, place: str, status: StatusLine) -> Outcome:
    """Let a fresh Blender refine one example. Raises KeyboardInterrupt, after Blender and the engine have ended."""
    outcome = Outcome(order.name)
    log = order.out / f"{order.name}.log"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sketchbridge-demo-") as scratch, log.open("w", encoding="utf-8") as errors:
        variables = {**bootstrap.engine_surroundings(), "BLENDER_USER_RESOURCES": scratch}
        told = {key: str(value) if isinstance(value, Path) else value for key, value in vars(order).items()}
        child = subprocess.Popen(
            blender.command("scripts.blender.demo", str(archive), json.dumps(told)),
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            for event in signs_of(child):
                show(event, order, place, status)
                if event["event"] == "done":
                    outcome.report, outcome.files = event["report"], event["files"]
                elif event["event"] == "failed":
                    outcome.error = f"{event['message']} {event['fix']}".strip()
        finally:
            end(child)
    status.clear()
    outcome.seconds = time.monotonic() - begun
    if not outcome.error and (child.returncode != 0 or not outcome.files):
        outcome.error = f"Blender ended with exit code {child.returncode}. Its log, {log}, ends with:\n{tail(log, 12)}"
    if not outcome.error:
        log.unlink()
    return outcome


def refine_without_blender(order: Order) -> Outcome:
    """Let the engine's command line refine the example's mesh file; what it prints goes to the screen. KeyboardInterrupt as above."""
    outcome = Outcome(order.name)
    begun = time.monotonic()
    options = {"prompt": order.prompt, "preset": order.preset, "model": order.model, "seed": order.seed, "out": order.out}
    command = [str(ENGINE.python), "-m", "engine.cli", "refine", str(order.sketch.with_suffix(".glb"))]
    if order.grey:
        command = [str(ENGINE.python), "-m", "scripts.examples.blockouts", order.sketch.stem, f"--suffix={GREY}"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command += [word for name, value in json.loads(order.overrides).items() for word in ("--set", f"{name}={json.dumps(value)}")]
    with subprocess.Popen(command, cwd=ROOT, env=bootstrap.engine_surroundings(), stdin=subprocess.DEVNULL) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            end(child)
            raise
    outcome.seconds = time.monotonic() - begun
    if code:
        outcome.error = f"The engine ended with exit code {code}; see above."
    else:
        outcome.report = json.loads((order.out / f"{order.name}.json").read_text(encoding="utf-8"))
        outcome.files = [str(order.out / f"{order.name}.{kind}") for kind in ("glb", "png", "json")]
    return outcome


def signs_of(child: subprocess.Popen[str]) -> Any:
    """The events that Blender's side prints, one JSON object a line, until it ends. SetupError after too long a silence."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    heard = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise SetupError(
                    f"Blender has said nothing for {duration(SILENCE_SECONDS)}; it was ended.",
                    "Run this again; if it comes back, please report it with the log in the output folder.",
                ) from None
            continue
        if line is None:
            child.wait()
            return
        heard = time.monotonic()
        yield json.loads(line)


def end(child: subprocess.Popen[Any]) -> None:
    """See that Blender is gone: asked at first, so that it cancels the job, then killed. The engine ends with it."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(CANCEL_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def print_outcome(outcome: Outcome) -> None:
    """Stage times, deviation and files of one example."""
    if outcome.error:
        print(f"\n{outcome.name} FAILED after {duration(outcome.seconds)}\n{outcome.error}", flush=True)
        return
    stages = outcome.report.get("stage_seconds", {})
    rows = [
        ["stage", "seconds"],
        *([name, f"{seconds:.1f}"] for name, seconds in stages.items()),
        ["all", f"{outcome.seconds:.1f}"],
    ]
    print(f"\n{outcome.name}: {outcome.report.get('prompt', '')}\n\n{text_table(rows)}\n")
    print(
        f"deviation from the sketch: mean {outcome.report['deviation_mean_percent']:.2f} %, "
        f"95th percentile {outcome.report['deviation_p95_percent']:.2f} % of the bounding box's diagonal"
    )
    for path in outcome.files:
        print(f"  {path}")
    sys.stdout.flush()


def print_table(outcomes: Sequence[Outcome]) -> None:
    """All examples in one table."""
    rows = [["example", "state", "time", "deviation mean %", "p95 %"]]
    for one in outcomes:
        figures = [one.report.get(f"deviation_{key}_percent") for key in ("mean", "p95")]
        rows.append(
            [
                one.name,
                "FAILED" if one.error else "ok",
                duration(one.seconds),
                *("" if value is None else f"{value:.2f}" for value in figures),
            ]
        )
    print(f"\n{text_table(rows)}\n\n{sum(not one.error for one in outcomes)} of {len(outcomes)} ok", flush=True)


def run(options: argparse.Namespace, blender: Blender | None, status: StatusLine) -> int:
    """Everything after the set-up; the exit code."""
    wanted = orders(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.out).close()
    except OSError as error:
        raise SetupError(f"The output folder {options.out} cannot be written to: {error.strerror}.", "Name another with --out.") from error
    outcomes: list[Outcome] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sketchbridge-extension-") as folder:
        archive = build_extension.build(Path(folder))
        for place, order in enumerate(wanted, 1):
            if blender is None:
                outcomes.append(refine_without_blender(order))
            else:
                words = f"[{place}/{len(wanted)}] " if len(wanted) > 1 else ""
                outcomes.append(refine_in_blender(order, blender, archive, words, status))
            print_outcome(outcomes[-1])
    if len(outcomes) > 1:
        print_table(outcomes)
    print(f"\nfinished in {duration(time.monotonic() - begun)} after the set-up", flush=True)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--example", default="", metavar="NAME", help="of examples/ (default: the flower, then the grey chair)")
    which.add_argument("--all", action="store_true", help="every example, with a table at the end")
    parser.add_argument("--grey", action="store_true", help="without the sketches' colours: all colour is the model's")
    parser.add_argument("--prompt", default="", help="instead of the example's own")
    add_options(parser, SETTINGS)
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="folder for the results (default: out)")
    parser.add_argument("--tile", type=int, default=224, help="edge of a picture in the contact sheet, in pixels (default: %(default)s)")
    parser.add_argument("--blender", metavar="PATH", default="", help="a Blender executable (4.2 or newer) instead of this project's own")
    parser.add_argument("--setup-only", action="store_true", help="make the environments and stop")
    bootstrap.add_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = build_parser().parse_args(arguments)
    status = StatusLine()

    def work() -> int:
        begun = time.monotonic()
        blender = find_blender(options.blender)
        environments = [one.name for one in (ENGINE, blender.environment if blender else None) if one]
        made = bootstrap.set_up(environments, options.torch_index, status)
        print(f"set-up: {duration(time.monotonic() - begun)}" + ("" if made else ", nothing to install"), flush=True)
        print(f"Blender {blender.version}: {blender.executable or 'as a Python module'}" if blender else f"\n{why_none()}\n", flush=True)
        return 0 if options.setup_only else run(options, blender, status)

    return bootstrap.guarded(work)
