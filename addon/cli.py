"""`blender -b FILE --command sketchbridge refine|texture|dream ...`, and the same as `main(argv)` for the bpy module.

Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 cancelled. Works without a window only in so far as Blender does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bpy

from . import conversion, files, jobs
from .dream_fields import JOB_OPTIONS, DreamNumbers
from .errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, InputError
from .fields import Door, add_options, parsed, shown, table, values_from
from .job_fields import DREAM, MODES, TEXT_TO_3D, Hyperparameters, JobSettings
from .job_plan import Choice
from .opened import check_file, select
from .scene_maps import tiles_on_disk
from .session import Phase, Session
from .words import duration

OPTIONS = shown(JobSettings, Door.BLENDER)
DREAM_OPTIONS = [field for field in OPTIONS if field.name in JOB_OPTIONS]
DREAM_NUMBERS = shown(DreamNumbers, Door.BLENDER)
OUT = "FILE.blend, FILE.glb, or a folder for both (default: save the open file)"
LINE_SECONDS = 5.0


def build_parser() -> argparse.ArgumentParser:
    """The command's options; those of the job are the same as the engine's own command line has."""
    parser = argparse.ArgumentParser(prog="blender -b FILE --command sketchbridge", description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest="mode", required=True)
    for mode in MODES:
        command = commands.add_parser(mode.value, help=mode.description, description=mode.description)
        command.add_argument("--object", action="append", default=[], metavar="NAME", dest="objects",
                             help="Work on this object; may be repeated (default: the selection, else all that is visible)")  # fmt: skip
        command.add_argument("--out", type=Path, help=OUT)
        add_options(command, OPTIONS)
    dream = commands.add_parser(DREAM, help=TEXT_TO_3D.description, description=f"{TEXT_TO_3D.label}: {TEXT_TO_3D.description}")
    dream.add_argument("--out", type=Path, help=OUT)
    add_options(dream, [*DREAM_OPTIONS, *DREAM_NUMBERS])
    conversion.add_commands(commands)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command on the open file and return its exit code."""
    if argv and argv[0] == conversion.BATCH:  # its options are the engine's
        return conversion.run_batch(argv[1:])
    try:
        arguments = parsed(build_parser(), list(argv), table(Hyperparameters))
    except SystemExit as ended:  # argparse has printed the usage
        return EXIT_DONE if ended.code in (0, None) else EXIT_BAD_INPUT
    with jobs.windowed(bpy.context):
        return conversion.run(arguments) if arguments.mode in conversion.COMMANDS else _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        check_file(sys.argv, bpy.data.filepath)
        settings = _settings(arguments)
        target = _prepare_target(arguments.out)
        objects = [] if arguments.mode == DREAM else arguments.objects
        if arguments.mode != DREAM:
            select(objects)
    except InputError as error:
        return _complain(f"{error.message} {error.fix}", error.exit_code)
    choice = Choice(result_itself=bool(objects))  # a result that is named is meant
    outcome = jobs.begin(bpy.context, arguments.mode, settings, choice)
    if outcome is None:
        with _interrupt_cancels():
            outcome = jobs.run_blocking(bpy.context, _Teller().tell)
    for note in outcome.notes:
        print(f"note: {note}", file=sys.stderr)
    if outcome.phase is not Phase.DONE:
        return _complain(f"{outcome.text} {outcome.fix}".strip(), outcome.exit_code)
    print(f"{outcome.text} {outcome.measured}".strip())
    try:
        for path in _save(target, [bpy.data.objects[name] for name in outcome.results]):
            print(path)
    except (RuntimeError, OSError) as error:
        return _complain(f"The result cannot be saved: {error}. Choose another place with --out.", EXIT_FAILED)
    return EXIT_DONE


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """All settings of the job. InputError where one cannot be used."""
    if arguments.mode == DREAM:
        given = {**values_from(arguments, DREAM_OPTIONS), "dream": values_from(arguments, DREAM_NUMBERS)}
    else:
        given = values_from(arguments, OPTIONS)
    return jobs.checked({**given, "mode": arguments.mode})


def _prepare_target(out: Path | None) -> Path:
    """Where results go, proven writable before any work; a folder is made."""
    if out is None:
        if not bpy.data.filepath:
            raise InputError("cannot_write", "The open file has no name.", "Give a place for the result with --out FILE.blend.")
        out = Path(bpy.data.filepath)
    out = out.absolute()
    _keep_open_file(out)
    folder = out.parent if out.suffix.lower() in (".blend", ".glb") else out
    try:
        files.prepare_folder(folder)
    except OSError as error:
        message = f"'{folder}' cannot be written to: {error.strerror or error}."
        raise InputError("cannot_write", message, "Choose another place with --out.") from error
    return out


def _keep_open_file(out: Path) -> None:
    """A folder gets STEM.blend, which must not be the open file itself."""
    opened = Path(bpy.data.filepath)
    blend = out / f"{opened.stem}.blend"
    if bpy.data.filepath and out.suffix.lower() not in (".blend", ".glb") and blend.exists() and opened.exists() and blend.samefile(opened):
        raise InputError("would_overwrite", f"The folder '{out}' holds the open file, which the result '{blend.name}' would overwrite.",
                         "Name another folder or a FILE.blend with --out, or leave --out away to save into the open file.")  # fmt: skip


def _save(target: Path, results: Sequence[bpy.types.Object]) -> list[Path]:
    kind = target.suffix.lower()
    if kind == ".blend":
        _save_blend(target)
        return [target]
    if kind == ".glb":
        _export(target, results)
        return [target]
    stem = Path(bpy.data.filepath).stem or "result"
    paths = [target / f"{stem}.glb", target / f"{stem}.blend", target / f"{stem}.json"]
    _export(paths[0], results)
    _save_blend(paths[1])
    first = results[0]
    stored = {key.removeprefix("sketchbridge_"): first[key] for key in first.keys() if key.startswith("sketchbridge_")}  # noqa: SIM118
    files.write_atomically(paths[2], (json.dumps(stored, indent=2) + "\n").encode())
    return paths


def _save_blend(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=str(path) != bpy.data.filepath, compress=True)


def _export(path: Path, results: Sequence[bpy.types.Object]) -> None:
    """The results alone as GLB with their materials and custom properties; the selection is as before afterwards."""
    layer = bpy.context.view_layer
    selected = [obj for obj in layer.objects if obj.select_get()]
    for obj in layer.objects:
        obj.select_set(obj in results)
    with files.replacing(path) as unfinished, tiles_on_disk(results):
        bpy.ops.export_scene.gltf(filepath=str(unfinished), export_format="GLB", use_selection=True, export_extras=True, export_apply=True)
    for obj in layer.objects:
        obj.select_set(obj in selected)


class _Teller:
    """Progress on standard error: a line that is rewritten on a terminal, one every few seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last, self._stage = 0.0, ""

    def tell(self, session: Session) -> None:
        now = time.monotonic()
        if not self._terminal and session.stage == self._stage and now - self._last < LINE_SECONDS:
            return
        self._last, self._stage = now, session.stage
        left, progress = duration(session.seconds_left), session.progress
        steps = f" {progress.step}/{progress.total}" if progress is not None and progress.total > 1 else ""
        line = f"{session.fraction:4.0%} {session.stage}{steps}" + (f", about {left} left" if left else "")
        print(f"\r\033[K{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _interrupt_cancels() -> Iterator[None]:
    """Ctrl+C and a polite kill cancel the job; the second one ends Blender."""

    def cancel(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        jobs.cancel()

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _complain(text: str, status: int) -> int:
    print(f"sketchbridge: {text}", file=sys.stderr)
    return status
