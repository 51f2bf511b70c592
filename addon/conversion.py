"""Commands for batches: the batch itself, which the engine runs, and what the engine asks of Blender for it.

blender -b --command sketchbridge batch JOBS.toml --out FOLDER
blender -b FILE.blend --command sketchbridge read --settings JSON --out FILE.sketch
blender -b --command sketchbridge write --import FILE.glb --out FILE.blend --out FILE.usdc
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy

from . import files, job_plan, preferences, protocol
from .errors import EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, InputError, SketchbridgeError
from .opened import check_file, select

BATCH, READ, WRITE = "batch", "read", "write"
COMMANDS = (READ, WRITE)
ENDS_VARIABLE = "SKETCHBRIDGE_ENDS_WITH_PARENT"
"""Tells the engine's batch that it is Blender's child and must not outlive it."""


def add_commands(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    """Adds them to the command line."""
    commands.add_parser(BATCH, help="Many sketches from a job file; `batch --help` lists the options of the engine's own command")
    read = commands.add_parser(READ, help="Write what a job would be sent of the file; used by batches")
    read.add_argument("--settings", required=True, metavar="JSON", help="The job's settings")
    read.add_argument("--import", type=Path, dest="source", metavar="FILE", help="Read this .fbx or .glb in place of the open file")
    read.add_argument("--out", type=Path, required=True)
    write = commands.add_parser(WRITE, help="A .glb as .blend or USD; used by batches")
    write.add_argument("--import", type=Path, dest="source", metavar="FILE", required=True)
    write.add_argument("--out", type=Path, action="append", required=True, help="FILE.blend or FILE.usdc; may be repeated")


def run_batch(words: Sequence[str]) -> int:
    """Have the engine run a batch that comes back to this Blender for what only Blender can; its exit code."""
    try:
        command = preferences.engine_command(bpy.context)
    except SketchbridgeError as error:
        return _complain(error)
    remote = Path(command[0]).stem == "ssh"
    command = [*(command[:-1] if command[-1] == "engine" else command), BATCH, *words]
    if bpy.app.binary_path and not remote and "--blender" not in words:
        command += ["--blender", _quoted(bpy.app.binary_path)]
    with subprocess.Popen(command, env={**os.environ, ENDS_VARIABLE: "1"}) as child:
        before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            while True:
                try:
                    return _exit_code(child.wait())
                except KeyboardInterrupt:  # the child has heard it too
                    continue
        finally:
            signal.signal(signal.SIGTERM, before)


def run(arguments: argparse.Namespace) -> int:
    """`read` or `write`; the exit code."""
    try:
        if arguments.source is not None:
            _import(arguments.source)
        if arguments.mode == READ:
            _read(job_plan.checked(json.loads(arguments.settings)), arguments.source, arguments.out)
        else:
            for target in arguments.out:
                _write(target)
    except SketchbridgeError as error:
        return _complain(error)
    except (RuntimeError, OSError, ValueError) as error:  # Blender's operators say it so
        print(f"sketchbridge: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


def _read(settings: dict[str, Any], source: Path | None, target: Path) -> None:
    """A line of JSON (origin, notes, files read besides the one opened), then the message that a job would begin with."""
    if source is None:
        check_file(sys.argv, bpy.data.filepath)
    select([])
    reading = job_plan.read(bpy.context, settings)
    submit = job_plan.submit_of(settings, reading)
    own = tuple(path for kind in ("LOCAL", "SYSTEM", "USER") if (path := bpy.utils.resource_path(kind)))  # its own brushes are no input
    others = sorted({path for path in bpy.utils.blend_paths(absolute=True) if Path(path).is_file() and not path.startswith(own)})
    head = {"origin": [float(value) for value in reading.origin], "notes": list(reading.notes), "files": others}
    files.write_atomically(target, json.dumps(head).encode() + b"\n" + b"".join(bytes(piece) for piece in protocol.encode(submit)))


def _write(target: Path) -> None:
    """The open scene as a file of this type, whole or not at all."""
    if target.suffix.lower() not in (".blend", ".usdc", ".usd", ".usda"):
        raise InputError("unsupported_format", f"'{target.name}' is not .blend or USD.", "Name another file with --out.")
    with files.replacing(target.absolute()) as unfinished:
        if target.suffix.lower() == ".blend":
            bpy.ops.file.pack_all()
            bpy.ops.wm.save_as_mainfile(filepath=str(unfinished), copy=True, compress=True)
        else:
            bpy.ops.wm.usd_export(filepath=str(unfinished))


def _import(source: Path) -> None:
    """The scene holds a file's objects and nothing else."""
    if not source.is_file():
        raise InputError("missing_file", f"There is no file '{source}'.", "Check the path.")
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    if source.suffix.lower() == ".fbx":
        importer = bpy.ops.wm.fbx_import if hasattr(bpy.types, "WM_OT_fbx_import") else bpy.ops.import_scene.fbx
        importer(filepath=str(source.absolute()))
    else:
        bpy.ops.import_scene.gltf(filepath=str(source.absolute()))
    bpy.ops.object.select_all(action="DESELECT")


def _quoted(path: str) -> str:
    """A path as one word of a command line in a text."""
    return "'" + path.replace("'", "'\\''") + "'"


def _exit_code(status: int) -> int:
    return status if status >= 0 else EXIT_CANCELLED if -status in (signal.SIGINT, signal.SIGTERM) else EXIT_FAILED


def _complain(error: SketchbridgeError) -> int:
    print(f"sketchbridge: {error.message} {error.fix}", file=sys.stderr)
    return error.exit_code
