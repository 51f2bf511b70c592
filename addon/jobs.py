"""The job that runs and those that wait: sessions with the engine, and what becomes of their end.

Operators, the panel and the command line all come here. Datablocks are never kept; see scene_write.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import bpy

from . import (
    busy,
    engine_log,
    job_plan,
    preferences,
    properties,
    remembered,
    scene_preview,
    scene_read,
    scene_show,
    scene_targets,
    scene_textured,
    scene_thumbnail,
    scene_write,
    view_colours,
)  # fmt: skip
from .errors import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_FAILED, InputError, SketchbridgeError
from .job_plan import Choice, Planned, checked
from .scene_show import Selection
from .session import Phase, Problem, Session
from .unfinished import Record

LARGEST_PROPERTY = 2**31 - 1
"""A custom property holds no larger whole number."""
FIGURES = (
    *(f"deviation_{name}_percent" for name in ("mean", "p95", "max")), "volume_change_percent", "genus", "genus_of_sketch", "components",
    "components_of_sketch",
)  # fmt: skip
"""What the report tells of a result beside its sketch, kept on the result."""
WAIT_SECONDS = 0.05
LOOK_SECONDS = 5.0
LOST = ("engine", "out_of_memory", "gpu_lost", "disk_full")
"""Codes of failures after which the same job may well come to its end, from its checkpoint."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended, for the panel and for exit codes."""

    phase: Phase
    text: str
    fix: str = ""
    exit_code: int = 0
    result: str = ""
    results: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    measured: str = ""
    """A sentence on how far the result left its sketch."""
    figures: dict[str, float] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(eq=False)
class Job:
    """A running job."""

    planned: Planned
    session: Session
    begun: float = field(default_factory=time.monotonic)

    @property
    def mode(self) -> str:
        """'refine', 'texture' or 'dream'."""
        return self.planned.mode

    @property
    def settings(self) -> dict[str, Any]:
        """As the engine was told."""
        return self.planned.settings

    @property
    def reading(self) -> scene_read.Reading:
        """What was sent, and where the answer goes."""
        return self.planned.reading


running: Job | None = None
waiting: list[Planned] = []
last: Outcome | None = None
"""What the panel shows of the job before; written by `_ended` alone."""


def begin(
    context: bpy.types.Context, mode: str, settings: dict[str, Any] | None = None, choice: Choice = Choice(),  # noqa: B008  immutable
) -> Outcome | None:  # fmt: skip
    """Read the selection, which a dream does without, and start the engine, with the scene's settings or those given (JobSettings);
    while a job runs, wait in line.

    None where the job has begun or waits, else why it has not; the scene is as before.
    """
    global last
    try:
        settings = properties.job_settings(context.scene.sketchbridge, mode) if settings is None else checked({**settings, "mode": mode})
        settings["uv_layout"] = choice.uv_layout or settings["uv_layout"]
    except InputError as error:
        return _refused(error.message, error.fix, error.exit_code)
    try:
        preferences.engine_command(context)
        before = [*([] if running is None else [running.planned]), *waiting]
        planned = job_plan.of_selection(context, settings, choice, before)
    except SketchbridgeError as error:
        return _refused(error.message, error.fix)
    remembered.data().remember(settings)
    if running is not None:
        waiting.extend(planned)
        return None
    refusal = _start(context, planned[0])
    if refusal is None:
        last = None
        waiting.extend(planned[1:])
    return refusal


def resume(context: bpy.types.Context, record: Record) -> Outcome | None:
    """Start a job that was left unfinished, or let it wait in line; the engine goes on from its checkpoint. As `begin`."""
    global last
    try:
        planned = job_plan.again(context, record)
    except SketchbridgeError as error:
        return _refused(error.message, error.fix)
    if running is not None:
        waiting.append(planned)
    elif (refusal := _start(context, planned)) is not None:
        return refusal
    else:
        last = None
    forget(record.job)
    return None


def _start(context: bpy.types.Context, planned: Planned) -> Outcome | None:
    global running
    try:
        command = preferences.engine_command(context)
        log = engine_log.new_log(preferences.log_folder())
    except SketchbridgeError as error:
        return _refused(error.message, error.fix)
    session = Session(command, planned.submit(), log)
    if session.problem is not None:
        return _refused(session.problem.message, session.problem.fix, session.problem.exit_code)
    session.notes.extend(planned.reading.notes)
    job_plan.keep(planned)
    running = Job(planned, session)
    return None


_left: dict[str, Any] = {"at": float("-inf"), "records": []}


def unfinished_jobs() -> list[Record]:
    """Jobs of an earlier session, or that an engine did not see to their end, the newest first; looked for every few seconds."""
    if time.monotonic() - _left["at"] > LOOK_SECONDS:
        _left.update(at=time.monotonic(), records=job_plan.left("" if running is None else running.planned.job))
    return _left["records"]


def forget(job: str) -> None:
    """Give up an unfinished job."""
    job_plan.forget(job)
    _left["at"] = float("-inf")


def warnings(context: bpy.types.Context, result_itself: bool = False) -> tuple[str, ...]:
    """What a user should know of the UVs before the selection is textured; empty where there is nothing, or nothing usable is selected."""
    settings = context.scene.sketchbridge
    if settings.uv_layout != "keep":
        return ()
    try:
        return scene_targets.uv_notes(context, result_itself, settings.texture_sets)
    except SketchbridgeError:
        return ()


def step(context: bpy.types.Context, blocking: bool = False, show: bool = True) -> bool:
    """Take in what the engine said and, where `show`, show its newest mesh. True once the job has ended; call `finish` then.

    The scene is left alone while the user is in another mode than Object Mode, uses a tool or renders, and a result waits until then.
    `blocking` where nobody can do anything meanwhile.
    """
    job = running
    if job is None:
        return True
    job.session.poll()
    if job.session.finished:
        return not (busy.obstacle(context, blocking) if job.session.phase is Phase.DONE else busy.renders())
    if not show or busy.obstacle(context, blocking):
        return False
    mesh = job.session.take_mesh()
    if mesh is not None and job.mode != "texture" and len(mesh.faces):
        scene_preview.show(context, job.reading, mesh)
        if preferences.shows_colours(context):
            view_colours.show(context, view_colours.GROWING)
    return False


def finish(context: bpy.types.Context) -> Outcome:
    """Take the preview away and apply the result in one undo step; then the next job in line begins. Never raises for a job's failure."""
    global running
    assert running is not None, "no job runs"
    job, running = running, None
    scene_preview.remove()
    outcome = _outcome(context, job)
    if job.session.problem is None or job.session.problem.code not in LOST:
        job_plan.forget(job.planned.job)
    if preferences.shows_colours(context):
        view_colours.end(context, with_result=outcome.phase is Phase.DONE)
    outcome = _ended(outcome)
    while waiting and running is None:
        _start(context, waiting.pop(0))
    return outcome


def _outcome(context: bpy.types.Context, job: Job) -> Outcome:
    if job.session.phase is Phase.DONE:
        return _applied(context, job)
    if job.session.phase is Phase.CANCELLED:
        return Outcome(Phase.CANCELLED, "Cancelled; nothing was changed.", exit_code=EXIT_CANCELLED)
    problem = job.session.problem or Problem("internal", "The job ended without a result.", "Try again.")
    return Outcome(Phase.FAILED, problem.message, problem.fix, problem.exit_code, notes=tuple(job.session.notes))


def _applied(context: bpy.types.Context, job: Job) -> Outcome:
    """Write a finished job's result into the scene. Broad on purpose: a result that cannot be written is told, and nothing of it stays."""
    done = job.session.result
    assert done is not None, "no finished job"
    told = {**provenance(job.settings, done.report), "seconds": round(job.session.worked, 1)}
    try:
        untouched = _selection_is_ours(context, job)
        if job.mode == "texture":
            made = scene_textured.apply_textured(context, job.reading, done, told)
        else:
            made = [scene_write.apply_refined(context, job.reading, done, told)]
        for obj in made:
            scene_thumbnail.set_picture(obj, job.session.preview)
        if untouched:
            _follow_selection(context, job)
    except SketchbridgeError as error:
        return Outcome(Phase.FAILED, error.message, error.fix, EXIT_FAILED)
    except Exception as error:
        traceback.print_exc()
        return Outcome(Phase.FAILED, f"The result cannot be put into the scene: {error}.", "Try again.", EXIT_FAILED)
    remembered.data().remember_time(job.settings, job.session.worked)
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message="Sketchbridge Result")
    figures = {name: value for name, value in done.report.items() if name.startswith("deviation_") and isinstance(value, float)}
    names = tuple(obj.name for obj in made)
    text = f"Made {', '.join(map(repr, names))} from {', '.join(scene_read.named_now(job.reading).names) or 'words alone'}."
    measured = ""
    if job.mode == "refine" and "deviation_mean_percent" in figures:
        measured = f"Deviation from the sketch: mean {figures['deviation_mean_percent']:.2f} %"
        measured += f", 95 % of it within {figures['deviation_p95_percent']:.2f} %" if "deviation_p95_percent" in figures else ""
        measured += f", at most {figures['deviation_max_percent']:.2f} %." if "deviation_max_percent" in figures else "."
    return Outcome(Phase.DONE, text, result=names[0], results=names, notes=tuple(job.session.notes), measured=measured, figures=figures)


def _selection_is_ours(context: bpy.types.Context, job: Job) -> bool:
    """Whether the user has left the selection alone since the job began."""
    with job.reading.place.entered(context) as layer:
        return job.reading.selection.holds(layer)


def _follow_selection(context: bpy.types.Context, job: Job) -> None:
    """Jobs in line that began with this one's selection take over from its result: they, too, are what the user waits for."""
    with job.reading.place.entered(context) as layer:
        now = Selection.of(layer)
    for planned in waiting:
        if planned.reading.selection == job.reading.selection:
            planned.reading = replace(planned.reading, selection=now)


def run_blocking(context: bpy.types.Context, tell: Callable[[Session], None] | None = None) -> Outcome:
    """See a job that has begun through to its end, for hosts without a window. Ctrl+C cancels it."""
    assert running is not None
    if context.mode != "OBJECT":  # nobody else could leave it while this blocks
        bpy.ops.object.mode_set(mode="OBJECT")
    while True:
        try:
            if step(context, blocking=True):
                outcome = finish(context)
                if running is None:
                    return outcome
                continue
            if tell is not None:
                tell(running.session)
            running.session.wait(WAIT_SECONDS)
        except KeyboardInterrupt:
            running.session.cancel()
        except BaseException:
            abandon()
            raise


@contextlib.contextmanager
def windowed(context: bpy.types.Context) -> Iterator[None]:
    """Operators of Blender's want a window in the context, which `blender -b FILE` has and does not enter there."""
    windows = context.window_manager.windows
    if context.window is not None or not len(windows):
        yield
    else:
        with context.temp_override(window=windows[0]):
            yield


def find_result(context: bpy.types.Context) -> bpy.types.Object | None:
    """The result that the active object is, or that was made from it, or that the last job made."""
    active = context.view_layer.objects.active
    found = scene_show.result_of(active) if active is not None else None
    if found is None and last is not None and last.result:
        found = bpy.data.objects.get(last.result)
    return found


def has_result() -> bool:
    """True while a finished result waits for the user."""
    return running is not None and running.session.phase is Phase.DONE


def pause(paused: bool) -> None:
    """Let the running job stand still, or go on."""
    if running is not None:
        running.session.pause(paused)


def take_out(place: int) -> None:
    """Give up one of the jobs that wait in line; all of them for -1."""
    del waiting[slice(None) if place < 0 else slice(place, place + 1)]


def keep_preview(context: bpy.types.Context) -> bpy.types.Object | None:
    """The surface as it is now becomes a result of its own beside what is still to come; None where none has come yet."""
    if running is None or running.mode == "texture":
        return None
    told = {"seconds": round(running.session.worked, 1), "kept": running.session.fraction}
    kept = scene_preview.keep(context, running.reading, {**provenance(running.settings, {}), **told})
    if kept is not None:
        scene_thumbnail.set_picture(kept, running.session.preview)
    return kept


def cancel() -> None:
    """Ask the running job to stop; a result that waits for the user is given up."""
    if running is not None:
        running.session.discard()
        running.session.cancel()


def abandon(*_: object) -> None:
    """End the running job without touching more of the scene than its preview: Blender quits or the add-on goes.

    What is kept of it on the disk stays, so that it can be resumed; those in line are given up.
    """
    global running
    waiting.clear()
    if running is None:
        return
    job, running = running, None
    job.session.close()
    _ended(Outcome(Phase.CANCELLED, "The job was ended; nothing was changed.", exit_code=EXIT_CANCELLED))
    if hasattr(bpy.data, "objects"):  # not while Blender starts or quits
        scene_preview.remove()
        if getattr(bpy.context, "window_manager", None) is not None:
            view_colours.end(bpy.context, with_result=False)


def provenance(settings: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """What is stored on the result: enough to make it again, and how it fared."""
    given = ((name, value) for name, value in settings.items() if value is not None and not isinstance(value, Mapping))
    kept = {name: str(value) if isinstance(value, int) and value > LARGEST_PROPERTY else value for name, value in given}
    told = {name: report[name] for name in (*FIGURES, "versions") if report.get(name) is not None}
    return {**kept, **told, "made": time.time(), "blender": bpy.app.version_string, "settings": json.dumps(settings)}


@bpy.app.handlers.persistent
def before_load(*_: object) -> None:
    """Another file is about to be opened: the job's scene goes away."""
    abandon()


@bpy.app.handlers.persistent
def after_load(*_: object) -> None:
    """A preview that a crash left in the file is removed."""
    if running is None:
        scene_preview.remove()


@bpy.app.handlers.persistent
def before_save(*_: object) -> None:
    """The preview is not saved; the next mesh brings it back."""
    if running is not None:
        scene_preview.remove()


@bpy.app.handlers.persistent
def after_undo(*_: object) -> None:
    """Undo may bring back a preview that was in the scene when the user did something else."""
    if running is None:
        scene_preview.remove()


def _refused(message: str, fix: str, exit_code: int = EXIT_BAD_INPUT) -> Outcome:
    return _ended(Outcome(Phase.FAILED, message, fix, exit_code))


def _ended(outcome: Outcome) -> Outcome:
    global last
    last = outcome
    _left["at"] = float("-inf")
    return outcome
