"""Refine or texture every sketch of a folder: a short way to `sketchbridge batch` (docs/batch.md) for one folder and one set of settings.

    python3 scripts/convert_folder.py SKETCHES --out RESULTS --prompt "a red tulip flower"
    python3 scripts/convert_folder.py SKETCHES --out RESULTS --prompts prompts.toml --preset standard --set stage1_steps=500

Takes .glb .gltf .obj .ply .stl, and .blend and .fbx through Blender. Each sketch gets a folder of its own, RESULTS/NAME_TYPE, so that
`mug.glb` and `mug.blend` stay apart; what is done already is left out. Has every option of `sketchbridge refine|texture`.
prompts.toml holds `NAME = "prompt"` by file name with or without its type, a .csv the columns file and prompt; --prompt is for the rest
and may hold {name}, the words of the file's name.
Exit codes: 0 all done, 1 some failed, 2 bad usage, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EXIT_CANCELLED, InputError
from engine.fields import Door, Field, add_options, shown, values_from
from engine.job_fields import MODES, JobSettings
from engine.setup_commands import SetupError
from scripts import ROOT
from scripts.setup import bootstrap
from scripts.setup.blenders import modules
from scripts.setup.bootstrap import ENGINE

BLENDER_COMMAND = "scripts.blender.command"
LEAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Tools:
    """How to start the engine's command line, and Blender's; None where there is no Blender."""

    engine: tuple[str, ...]
    blender: tuple[str, ...] | None


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


def job_file(folder: Path, prompt: str, prompts: Path | None, settings: Mapping[str, Any]) -> str:
    """The job file, TOML, for all sketches of a folder."""
    numbers = settings.get("overrides", {})
    told = {"input": str(folder), "prompt": prompt, **({"prompts": str(prompts)} if prompts else {}), **settings, **numbers}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in told.items() if name != "overrides"]
    return "\n".join(["[[job]]", *lines]) + "\n"


def run(jobs: str, out: Path, tools: Tools, force: bool) -> int:
    """Run the batch; its exit code."""
    surroundings = bootstrap.engine_surroundings()
    surroundings["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [surroundings.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="sketchbridge-folder-") as scratch:
        path = Path(scratch) / "jobs.toml"
        path.write_text(jobs, encoding="utf-8")
        command = [*tools.engine, "batch", str(path), "--out", str(out.absolute()), "--fresh" if force else "--resume"]
        command += ["--blender", shlex.join(tools.blender)] if tools.blender else []
        with subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL) as child:
            try:
                return child.wait()
            except KeyboardInterrupt:
                child.terminate()  # it is asked twice where it heard Ctrl-C itself, and once where only this process was to end
                return wait_for_cancel(child)


def wait_for_cancel(child: subprocess.Popen[bytes]) -> int:
    """Let the batch end by itself, and end it if it does not."""
    try:
        child.wait(LEAVE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
    return EXIT_CANCELLED


def shared_settings() -> list[Field]:
    """The settings that are the same for every sketch: all but the prompt."""
    return [field for field in shown(JobSettings, Door.ENGINE) if field.name != "prompt"]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sketches", type=Path, help="folder of sketches")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--prompt", default="", help="for every sketch that the prompts file does not name")
    parser.add_argument("--prompts", type=Path, help="file of prompts, .toml or .csv; default: prompts.toml in the folder, if there is one")
    parser.add_argument("--mode", choices=[mode.value for mode in MODES], default="refine")
    add_options(parser, shared_settings())
    parser.add_argument("--force", action="store_true", help="do again what is done")
    parser.add_argument("--engine", help="the engine's command; default: this project's environment, or sketchbridge on the PATH")
    parser.add_argument("--blender", help="a blender executable, or a Python that has the bpy module; default: this project's")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.sketches.is_dir():
        parser.error(f"no such folder: {options.sketches}")
    beside = options.sketches / "prompts.toml"
    prompts = options.prompts or (beside if beside.is_file() else None)
    try:
        settings = {**values_from(options, shared_settings()), "mode": options.mode}
        JobSettings.from_dict({**settings, "prompt": "of each sketch"})
    except InputError as error:
        parser.error(str(error))
    if "model" in settings and Path(settings["model"]).is_dir():
        settings["model"] = str(Path(settings["model"]).resolve())  # the job file lies elsewhere
    jobs = job_file(options.sketches.resolve(), options.prompt, prompts.resolve() if prompts else None, settings)
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return bootstrap.guarded(lambda: run(jobs, options.out, find_tools(options.engine, options.blender), options.force))
