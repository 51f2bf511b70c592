"""The one job that runs: what was read from the scene, the session with the engine, and what becomes of its end.

Operators, the panel and the command line all come here. Datablocks are never kept; see scene_write.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np

from . import (
    busy,
    colour_source,
    engine_log,
    engine_process,
    preferences,
    properties,
    scene_preview,
    scene_read,
    scene_show,
    scene_targets,
    scene_textured,
    scene_write,
    view_colours,
)  # fmt: skip
from .errors import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_FAILED, InputError, SketchbridgeError
from .job_fields import JobSettings
from .protocol import Submit
from .scene_read import Reading
from .session import Phase, Problem, Session

LARGEST_PROPERTY = 2**31 - 1
"""A custom property holds no larger whole number."""
WAIT_SECONDS = 0.05


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
    figures: dict[str, float] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(eq=False)
class Job:
    """A running job."""

    mode: str
    settings: dict[str, Any]
    reading: Reading
    session: Session


running: Job | None = None
last: Outcome | None = None
"""What the panel shows of the job before; written by `_ended` alone."""


def begin(
    context: bpy.types.Context, mode: str, settings: dict[str, Any] | None = None, result_itself: bool = False, uv_layout: str = ""
) -> Outcome | None:
    """Read the selection and start the engine, with the scene's settings or those given (JobSettings).

    A selected result stands for what it was made from, unless `result_itself`. `uv_layout` takes the place of that setting.
    None where the job has begun, else why it has not; the scene is as before.
    """
    global running, last
    if running is not None:
        return _refused("A job is already running.", "Wait for it or press Cancel.")
    try:
        settings = properties.job_settings(context.scene.sketchbridge, mode) if settings is None else checked({**settings, "mode": mode})
        settings["uv_layout"] = uv_layout or settings["uv_layout"]
    except InputError as error:
        return _refused(error.message, error.fix, error.exit_code)
    try:
        reading = read(context, settings, result_itself)
        command = engine_process.find_command(preferences.engine_command(context))
        log = engine_log.new_log(preferences.log_folder())
    except SketchbridgeError as error:
        return _refused(error.message, error.fix)
    model = settings.get("model", "embedded")
    if model != "embedded" and os.path.isdir(model):  # relative to this process's folder, which is not the engine's
        settings["model"] = os.path.abspath(model)
    session = Session(command, submit_of(settings, reading), log)
    if session.problem is not None:
        return _refused(session.problem.message, session.problem.fix, session.problem.exit_code)
    session.notes.extend(reading.notes)
    running, last = Job(mode, settings, reading, session), None
    return None


def read(context: bpy.types.Context, settings: Mapping[str, Any], result_itself: bool = False) -> Reading:
    """What a job with these settings (all of them) is to work on. SceneError where the selection cannot be used."""
    if settings["mode"] == "refine":
        return scene_read.read_sketch(context, result_itself, settings["keep_colours"])
    return scene_targets.read_targets(context, settings, result_itself)


def submit_of(settings: dict[str, Any], reading: Reading) -> Submit:
    """The message that starts the job. New UV layers are made here, where polygons are known: the engine keeps what it is sent."""
    sent, targets, more = reading.part, reading.targets, {}
    if targets is not None:
        settings = {**settings, "uv_layout": "keep"}
        about: dict[str, Any] = {"pieces": [{"object": piece.object, "material": piece.material} for piece in targets.pieces]}
        more = {"piece_of_face": sent.pieces, "mask": sent.mask, "own_uvs": targets.own_uvs, "mask_image": targets.image, "about": about}
        if targets.pictures:
            about["looks"] = [{"piece": piece, "height": one.shape[0], "width": one.shape[1]} for piece, one in targets.pictures]
            more["looks"] = np.concatenate([one.ravel() for _, one in targets.pictures])
    paint = {} if sent.paint is None else {"paint_points": sent.paint.points, "paint_colours": sent.paint.colours}
    return Submit(uuid.uuid4().hex[:12], settings, sent.vertices, sent.faces, sent.colours, sent.uvs, **paint, **more)


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a job from those that are given. InputError where one cannot be used."""
    return JobSettings.from_dict(settings).to_dict()


def warnings(context: bpy.types.Context, result_itself: bool = False) -> tuple[str, ...]:
    """What a user should know of the UVs before the selection is textured; empty where there is nothing, or nothing usable is selected."""
    settings = context.scene.sketchbridge
    if settings.uv_layout != "keep":
        return ()
    try:
        return scene_targets.uv_notes(context, result_itself, settings.texture_sets)
    except SketchbridgeError:
        return ()


_told: tuple[float, object, str] = (0.0, None, "")
TOLD_SECONDS = 1.0


def colours_told(context: bpy.types.Context) -> str:
    """What a job on the selection would take for the artist's colours; looked at again when the selection or the switch changes, and
    every second."""
    global _told
    keep = context.scene.sketchbridge.keep_colours
    try:
        objects = scene_read.chosen_objects(context, "refine", False)
    except SketchbridgeError:
        return ""
    asked, now = (keep, [obj.session_uid for obj in objects]), time.monotonic()
    if _told[1] != asked or now - _told[0] > TOLD_SECONDS:
        _told = now, asked, colour_source.told(objects, keep)
    return _told[2]


def step(context: bpy.types.Context, blocking: bool = False) -> bool:
    """Take in what the engine said and show its newest mesh. True once the job has ended; call `finish` then.

    The scene is left alone while the user is in another mode than Object Mode, uses a tool or renders, and a result waits until then.
    `blocking` where nobody can do anything meanwhile.
    """
    job = running
    if job is None:
        return True
    job.session.poll()
    if job.session.finished:
        return not (busy.obstacle(context, blocking) if job.session.phase is Phase.DONE else busy.renders())
    if busy.obstacle(context, blocking):
        return False
    mesh = job.session.take_mesh()
    if mesh is not None and job.mode == "refine" and len(mesh.faces):
        scene_preview.show(context, job.reading, mesh)
        if preferences.shows_colours(context):
            view_colours.show(context, view_colours.GROWING)
    return False


def finish(context: bpy.types.Context) -> Outcome:
    """Take the preview away and apply the result in one undo step; afterwards no job runs. Never raises for a job's failure."""
    global running
    assert running is not None, "no job runs"
    job, running = running, None
    scene_preview.remove()
    outcome = _outcome(context, job)
    if preferences.shows_colours(context):
        view_colours.end(context, with_result=outcome.phase is Phase.DONE)
    return _ended(outcome)


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
    told = provenance(job.settings, done.report)
    try:
        if job.mode == "refine":
            made = [scene_write.apply_refined(context, job.reading, done, told)]
        else:
            made = scene_textured.apply_textured(context, job.reading, done, told)
    except SketchbridgeError as error:
        return Outcome(Phase.FAILED, error.message, error.fix, EXIT_FAILED)
    except Exception as error:
        traceback.print_exc()
        return Outcome(Phase.FAILED, f"The result cannot be put into the scene: {error}.", "Try again.", EXIT_FAILED)
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message="Sketchbridge Result")
    figures = {name: value for name, value in done.report.items() if name.startswith("deviation_") and isinstance(value, float)}
    names = tuple(obj.name for obj in made)
    text = f"Made {', '.join(map(repr, names))} from {', '.join(scene_read.named_now(job.reading).names)}."
    if job.mode == "refine" and "deviation_mean_percent" in figures:
        text += f" Deviation from the sketch: mean {figures['deviation_mean_percent']:.2f} %"
        text += f", 95 % of it within {figures['deviation_p95_percent']:.2f} %." if "deviation_p95_percent" in figures else "."
    return Outcome(Phase.DONE, text, result=names[0], results=names, notes=tuple(job.session.notes), figures=figures)


def run_blocking(context: bpy.types.Context, tell: Callable[[Session], None] | None = None) -> Outcome:
    """See a job that has begun through to its end, for hosts without a window. Ctrl+C cancels it."""
    assert running is not None
    if context.mode != "OBJECT":  # nobody else could leave it while this blocks
        bpy.ops.object.mode_set(mode="OBJECT")
    while True:
        try:
            if step(context, blocking=True):
                return finish(context)
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


def cancel() -> None:
    """Ask the running job to stop; a result that waits for the user is given up."""
    if running is not None:
        running.session.discard()
        running.session.cancel()


def abandon(*_: object) -> None:
    """End the running job without touching more of the scene than its preview: Blender quits or the add-on goes."""
    global running
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
    told = {name: report[name] for name in ("deviation_mean_percent", "deviation_p95_percent", "versions") if report.get(name) is not None}
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
    return outcome
