"""The `sketchbridge` command. Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 cancelled."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from engine.dream_fields import JOB_OPTIONS, DreamNumbers
from engine.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, Cancelled, InputError, SketchbridgeError, tell_any_letter
from engine.fields import Door, add_options, parsed, shown, table, values_from
from engine.formats import SUFFIXES, UP_AXES
from engine.job_fields import DREAM, MODES, TEXT_TO_3D, Hyperparameters, JobSettings
from engine.memory import fault_of_the_machine
from engine.reporting import ConsoleReporter
from engine.stages import Stage

OPTIONS = shown(JobSettings, Door.ENGINE)
BEFORE_THE_WORK = ("", Stage.CHECK.value, Stage.LOAD.value)
"""Stages that read and import: nothing of the job is half done in them."""


class InterruptibleReporter(ConsoleReporter):
    """Console progress. While it is entered, Ctrl-C asks the job to end at its next step, and at once while it checks its input and loads
    its model, where it cannot ask; a second Ctrl-C ends the process."""

    def __init__(self) -> None:
        super().__init__()
        self._interrupted = False

    def __enter__(self) -> InterruptibleReporter:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL if self._before is None else self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\ncancelling; press Ctrl-C again to end at once", file=sys.stderr, flush=True)
        if self.stage in BEFORE_THE_WORK:
            raise Cancelled

    def cancelled(self) -> bool:
        return self._interrupted


def run_mesh_job(arguments: argparse.Namespace, mode: str) -> int:
    """`sketchbridge refine` and `sketchbridge texture`."""
    settings = JobSettings.from_dict({**values_from(arguments, OPTIONS), "mode": mode})
    source, folder = Path(arguments.input), Path(arguments.out)
    if source.suffix.lower() not in SUFFIXES:
        raise InputError(
            "unsupported_format",
            f"'{source.name}' is not one of {', '.join(SUFFIXES)}.",
            "Export it as .glb; a .blend goes through Blender: blender -b FILE --command sketchbridge refine ...",
        )
    from engine.formats.meshio import load_mesh, lying_note
    from engine.job import run_job
    from engine.results import prepare_folder, write_maps, write_result

    if (folder / f"{source.stem}.glb").resolve() == source.resolve():
        raise InputError(
            "would_overwrite", f"The result would be written over the sketch '{source}' itself.", "Choose another folder with --out."
        )
    notes: list[str] = []
    sketch = load_mesh(source, notes, up=arguments.up, texture=mode == "texture", colours=settings.keep_colours)
    if arguments.up is None and (lying := lying_note(sketch)):
        notes.append(lying)
    prepare_folder(folder)
    checkpoint = folder / f"{source.stem}.checkpoint"
    with InterruptibleReporter() as reporter:
        for note in notes:
            reporter.note(note)
        result = run_job(sketch, settings, reporter, checkpoint)
        result.report["notes"] = list(reporter.notes)
        written = write_result(result, sketch, folder, source.stem)
        if settings.image_files == "beside":
            written += write_maps(result, folder, source.stem, settings.map_format, settings.packing)
    result.delivered()
    mean, p95, most = (result.report[f"deviation_{name}_percent"] for name in ("mean", "p95", "max"))
    print(f"\ndeviation from the sketch: mean {mean:.2f} %, 95th percentile {p95:.2f} %, at most {most:.2f} % of its diagonal")
    for path in written:
        print(path)
    return EXIT_DONE


DOCTOR_OPTIONS = [table(JobSettings)[name] for name in ("model", "control", "lora", "reference")]
"""What the doctor examines beside this machine: a model, and what is put beside it."""

DREAM_NUMBERS = shown(DreamNumbers, Door.ENGINE)
DREAM_OPTIONS = [field for field in OPTIONS if field.name in JOB_OPTIONS]


def run_dream_command(arguments: argparse.Namespace) -> int:
    """`sketchbridge dream`."""
    dream = values_from(arguments, DREAM_NUMBERS)
    settings = JobSettings.from_dict({**values_from(arguments, DREAM_OPTIONS), "mode": DREAM, "dream": dream})
    from engine.dream.pictures import write_sheet, write_turntable
    from engine.dream.run import run_dream
    from engine.results import prepare_folder, write_maps, write_result

    folder = Path(arguments.out)
    prepare_folder(folder)
    with InterruptibleReporter() as reporter:
        dreamt = run_dream(settings, reporter, folder / f"{DREAM}.checkpoint")
        dreamt.result.report["notes"] = list(reporter.notes)
        written = write_result(dreamt.result, dreamt.mesh, folder, DREAM, sheet=False)
        write_sheet(folder / f"{DREAM}.png", dreamt.views, dreamt.result)
        write_turntable(folder / f"{DREAM}.gif", dreamt.result)
        if settings.image_files == "beside":
            written += write_maps(dreamt.result, folder, DREAM, settings.map_format, settings.packing)
    dreamt.result.delivered()
    print()
    for path in [*written, folder / f"{DREAM}.png", folder / f"{DREAM}.gif"]:
        print(path)
    return EXIT_DONE


def run_engine(arguments: argparse.Namespace) -> int:
    """`sketchbridge engine`: the child process on stdin and stdout."""
    from engine import server

    status = server.serve(*server.take_wire())
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not keep a finished engine alive


def run_doctor(arguments: argparse.Namespace) -> int:
    """`sketchbridge doctor`: what works here, what does not, and the fix."""
    from engine.doctor import examine, print_findings

    findings = examine(**values_from(arguments, DOCTOR_OPTIONS))
    print_findings(findings)
    return EXIT_FAILED if any(finding.state == "fails" for finding in findings) else EXIT_DONE


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from engine.batch.cli import add_command
    from engine.lab.cli import add_commands

    parser = argparse.ArgumentParser(
        prog="sketchbridge", description="Rough 3D sketches refined and textured by calibrated score distillation."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for mode in MODES:
        command = commands.add_parser(mode.value, help=mode.description, description=mode.description)
        command.add_argument("input", help=f"mesh file: {' '.join(SUFFIXES)}")
        command.add_argument("--up", choices=UP_AXES, help="the axis that points up in the file; default: the format's own")
        command.add_argument("--out", required=True, help="folder for the results")
        add_options(command, OPTIONS)
        command.set_defaults(run=_job_runner(mode.value))
    dream = commands.add_parser(DREAM, help=TEXT_TO_3D.description, description=f"{TEXT_TO_3D.label}: {TEXT_TO_3D.description}")
    dream.add_argument("--out", required=True, help="folder for the results")
    add_options(dream, [*DREAM_OPTIONS, *DREAM_NUMBERS])
    dream.set_defaults(run=run_dream_command)
    add_commands(commands)
    add_command(commands)
    commands.add_parser("engine", help="the child process that Blender talks to").set_defaults(run=run_engine)
    doctor = commands.add_parser("doctor", help="what works here, what does not, and the fix")
    add_options(doctor, DOCTOR_OPTIONS)
    doctor.set_defaults(run=run_doctor)
    return parser


def _job_runner(mode: str) -> Callable[[argparse.Namespace], int]:
    return lambda arguments: run_mesh_job(arguments, mode)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve each other on a busy machine
    tell_any_letter()
    arguments = parsed(build_parser(), argv, table(Hyperparameters))
    try:
        return arguments.run(arguments)
    except SketchbridgeError as error:
        return _tell(error)
    except (Cancelled, KeyboardInterrupt):
        print("\ncancelled; nothing was written but the checkpoint", file=sys.stderr)
        return EXIT_CANCELLED
    except Exception as error:
        exhausted = fault_of_the_machine(error)
        if exhausted is None:
            raise
        return _tell(exhausted)


def _tell(error: SketchbridgeError) -> int:
    print(f"\nsketchbridge: {error.message}\n  fix: {error.fix}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
