"""Refine or texture every sketch of a folder, one after another; goes on after a failure, and leaves out what is done already.

    python3 scripts/convert_folder.py SKETCHES --out RESULTS --prompt "a red tulip flower"
    python3 scripts/convert_folder.py SKETCHES --out RESULTS --prompts prompts.toml --preset standard --set stage1_steps=500

Takes .glb .gltf .obj .ply .stl, and .blend through Blender. Each sketch gets a folder of its own, RESULTS/NAME_TYPE, so that
`mug.glb` and `mug.blend` stay apart. Has every option of `sketchbridge refine|texture`; what follows `--` is handed to it as it is.
prompts.toml holds `NAME = "prompt"` by file name with or without its type; --prompt is for the rest.
Exit codes: 0 all done, 1 some failed, 2 bad usage, 130 cancelled.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.fields import Door, Field, add_options, shown, values_from, words_of
from engine.formats import SUFFIXES
from engine.formats.references import files_of, folder_contents
from engine.job_fields import MODES, JobSettings
from engine.words import duration
from scripts import ROOT
from scripts.setup import bootstrap
from scripts.setup.blenders import modules
from scripts.setup.bootstrap import ENGINE
from scripts.setup.commands import SetupError
from scripts.setup.console import table

BLENDER_TYPES = (".blend",)
DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130
RECORD = "done.json"
BLENDER_COMMAND = "scripts.blender.command"
MAKES_BLENDER = "run python3 scripts/demo.py --setup-only, which makes one"
WORDS = {DONE: "done", FAILED: "failed", BAD_INPUT: "bad input", CANCELLED: "cancelled"}


@dataclass(frozen=True)
class Tools:
    """How to start the engine's command line, and Blender's; None where there is no Blender."""

    engine: tuple[str, ...]
    blender: tuple[str, ...] | None


@dataclass(frozen=True)
class Task:
    """One sketch, its prompt ("" where none was given), where its results go, and the options for the command."""

    sketch: Path
    prompt: str
    folder: Path
    mode: str
    options: tuple[str, ...]

    def fingerprint(self) -> str:
        """Changes with what the sketch and the files that it names hold, the model's files, the prompt, the mode and the options: then it
        is done anew."""
        content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files_of(self.sketch)]
        model = folder_contents(model_named(self.options))
        return hashlib.sha256(json.dumps([content, model, self.prompt, self.mode, self.options]).encode()).hexdigest()

    def is_done(self) -> bool:
        """Whether an earlier run finished exactly this, and its result still lies there."""
        try:
            record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return record.get("fingerprint") == self.fingerprint() and any(self.folder.glob("[!.]*.glb"))


@dataclass(frozen=True)
class Outcome:
    """How a task ended: exit code, seconds, and the report that the engine wrote beside the result (empty where there is none)."""

    task: Task
    code: int
    seconds: float
    report: dict[str, object]
    skipped: bool = False


def model_named(options: Sequence[str]) -> str:
    """The model among a command's words, the last where there are several, as the command takes it."""
    named = JobSettings(prompt="-").model
    for word, following in zip(options, [*options[1:], ""], strict=False):
        option, sign, value = word.partition("=")
        if option == "--model":
            named = value if sign else following
    return named


def find_sketches(folder: Path) -> list[Path]:
    """The sketches of a folder, by name; hidden files and Blender's back-ups are none."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES + BLENDER_TYPES)


def result_folder(out: Path, sketch: Path) -> Path:
    """RESULTS/NAME_TYPE: different for any two files of one folder, whatever else lies there."""
    return out / f"{sketch.stem}_{sketch.suffix[1:]}"


def read_prompts(path: Path) -> dict[str, str]:
    """NAME -> prompt from a TOML file. ValueError naming what is wrong."""
    import tomllib

    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"The prompts file '{path}' cannot be read: {error}.") from error
    wrong = [name for name, prompt in held.items() if not isinstance(prompt, str)]
    if wrong:
        raise ValueError(f"The prompts file '{path}' must hold lines NAME = \"prompt\"; '{wrong[0]}' is no text.")
    return held


def prompt_for(sketch: Path, prompts: dict[str, str], default: str) -> str:
    """The prompt by file name, by name without type, or the one for all."""
    return prompts.get(sketch.name, prompts.get(sketch.stem, default))


def command_for(task: Task, tools: Tools) -> list[str] | None:
    """The command line that does a task; None for a .blend without a Blender."""
    arguments = ["--prompt", task.prompt, "--out", str(task.folder), *task.options]
    if task.sketch.suffix.lower() in SUFFIXES:
        return [*tools.engine, task.mode, str(task.sketch), *arguments]
    if tools.blender is None:
        return None
    if tools.blender[-1] == BLENDER_COMMAND:
        return [*tools.blender, str(task.sketch), task.mode, *arguments]
    return [*tools.blender, "-b", str(task.sketch), "--command", "sketchbridge", task.mode, *arguments]


def find_tools(engine: str | None, blender: str | None) -> Tools:
    """The engine and Blender as named, in the environments of this project, or on the PATH. SetupError without an engine."""
    if engine:
        engine_command = tuple(shlex.split(engine))
    elif ENGINE.python.exists():
        engine_command = (str(ENGINE.python), "-m", "engine")
    elif found := shutil.which("sketchbridge"):
        engine_command = (found,)
    else:
        raise SetupError("There is no engine.", "Run python3 scripts/demo.py --setup-only, which makes it, or name one with --engine.")
    if blender is None:
        made = [one.environment.python for one in modules() if one.environment and one.environment.python.exists()]
        blender = str(made[0]) if made else shutil.which("blender")
    if blender is None:
        return Tools(engine_command, None)
    is_python = Path(blender).name.startswith("python")
    return Tools(engine_command, (blender, "-m", BLENDER_COMMAND) if is_python else (blender,))


def do(task: Task, tools: Tools) -> Outcome:
    """Run one task; its output goes to the screen. Any failure is an exit code."""
    begun = time.monotonic()
    (task.folder / RECORD).unlink(missing_ok=True)
    command = command_for(task, tools)
    if not task.prompt.strip():
        print(f"no prompt for {task.sketch.name}; add it to the prompts file or give --prompt", file=sys.stderr)
        return Outcome(task, BAD_INPUT, 0.0, {})
    if command is None:
        print(f"{task.sketch.name} needs Blender; {MAKES_BLENDER}, or name one with --blender", file=sys.stderr)
        return Outcome(task, BAD_INPUT, 0.0, {})
    surroundings = {
        **bootstrap.engine_surroundings(),
        "SKETCHBRIDGE_ENGINE": shlex.join([*tools.engine, *([] if tools.engine[-1] == "engine" else ["engine"])]),
    }
    with subprocess.Popen(command, cwd=ROOT, env=surroundings, stdin=subprocess.DEVNULL) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            code = wait_for_cancel(child)
    report = read_report(task.folder)
    if code == DONE and not any(task.folder.glob("[!.]*.glb")):
        print(f"{task.sketch.name}: the command ended without an error and left no result in {task.folder}", file=sys.stderr)
        code = FAILED
    if code == DONE:
        record = task.folder / RECORD
        record.write_text(json.dumps({"fingerprint": task.fingerprint(), "sketch": task.sketch.name, "prompt": task.prompt}) + "\n")
    return Outcome(task, code, time.monotonic() - begun, report)


def wait_for_cancel(child: subprocess.Popen[bytes]) -> int:
    """After Ctrl-C, which the child got too: let it end by itself, and end it if it does not."""
    try:
        child.wait(15)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
    return CANCELLED


def read_report(folder: Path) -> dict[str, object]:
    """The engine's report, from the newest NAME.json in a result's folder; empty where there is none."""
    reports = sorted((path for path in folder.glob("[!.]*.json") if path.name != RECORD), key=lambda path: path.stat().st_mtime)
    try:
        return dict(json.loads(reports[-1].read_text(encoding="utf-8"))) if reports else {}
    except (OSError, ValueError):
        return {}


def summary(outcomes: Sequence[Outcome]) -> str:
    """A table of all tasks and a line of totals."""
    rows = [["sketch", "state", "exit code", "time", "deviation mean %", "p95 %"]]
    for one in outcomes:
        figures = [one.report.get(f"deviation_{key}_percent") for key in ("mean", "p95")]
        shown = [f"{figure:.2f}" if isinstance(figure, int | float) else "" for figure in figures]
        state = "done before" if one.skipped else WORDS.get(one.code, "crashed")
        rows.append([one.task.sketch.name, state, str(one.code), duration(one.seconds), *shown])
    done, failed = sum(one.code == DONE for one in outcomes), sum(one.code != DONE for one in outcomes)
    return f"{table(rows)}\n\n{done} done ({sum(one.skipped for one in outcomes)} of them before), {failed} failed"


def run(tasks: Sequence[Task], tools: Tools, force: bool) -> int:
    """Do all tasks in order, print the summary, and answer the exit code."""
    outcomes: list[Outcome] = []
    for place, task in enumerate(tasks, 1):
        if task.is_done() and not force:
            outcomes.append(Outcome(task, DONE, 0.0, read_report(task.folder), skipped=True))
            continue
        print(f"\n[{place}/{len(tasks)}] {task.sketch.name} -> {task.folder}", flush=True)
        if force:
            for checkpoint in task.folder.glob("*.checkpoint"):
                checkpoint.unlink()
        outcomes.append(do(task, tools))
        if outcomes[-1].code == CANCELLED:
            break
    print("\n" + summary(outcomes), flush=True)
    codes = {outcome.code for outcome in outcomes}
    return CANCELLED if CANCELLED in codes else DONE if codes == {DONE} else FAILED


def shared_settings() -> list[Field]:
    """The settings that are the same for every sketch: all but the prompt."""
    return [field for field in shown(JobSettings, Door.ENGINE) if field.name != "prompt"]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sketches", type=Path, help="folder of sketches")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--prompt", default="", help="for every sketch that the prompts file does not name")
    parser.add_argument("--prompts", type=Path, help="TOML file of prompts; default: prompts.toml in the folder, if there is one")
    parser.add_argument("--mode", choices=[mode.value for mode in MODES], default="refine")
    add_options(parser, shared_settings())
    parser.add_argument("--force", action="store_true", help="do again what is done")
    parser.add_argument("--engine", help="the engine's command; default: this project's environment, or sketchbridge on the PATH")
    parser.add_argument("--blender", help="a blender executable, or a Python that has the bpy module; default: this project's")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = build_parser()
    options = parser.parse_args(given[:cut])
    if not options.sketches.is_dir():
        parser.error(f"no such folder: {options.sketches}")
    sketches = find_sketches(options.sketches)
    if not sketches:
        parser.error(f"no sketches in {options.sketches}; expected files of type {' '.join(SUFFIXES + BLENDER_TYPES)}")
    beside = options.sketches / "prompts.toml"
    try:
        prompts = read_prompts(options.prompts) if options.prompts else read_prompts(beside) if beside.is_file() else {}
        settings = values_from(options, shared_settings())
        JobSettings.from_dict({**settings, "prompt": "of each sketch", "mode": options.mode})  # a mistake shows now, not a hundred times
    except (ValueError, InputError) as error:
        parser.error(str(error))
    passed_on = (*words_of(settings, shared_settings()), *given[cut + 1 :])
    tasks = [
        Task(path.resolve(), prompt_for(path, prompts, options.prompt), result_folder(options.out.resolve(), path), options.mode, passed_on)
        for path in sketches
    ]

    def work() -> int:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"the folder {options.out} cannot be made: {error.strerror}")
        return run(tasks, find_tools(options.engine, options.blender), options.force)

    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return bootstrap.guarded(work)
