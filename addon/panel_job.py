"""What the panel shows of jobs: the one that runs, those in line, those left unfinished, and how the last one ended."""

from __future__ import annotations

from typing import Any

import bpy
import bpy.utils.previews
import numpy as np

from . import busy, jobs
from .report import paragraph
from .session import Phase, Session
from .stages import stage_label
from .words import duration

_previews: dict[str, Any] = {}


def draw_progress(layout: bpy.types.UILayout, job: jobs.Job, width: int) -> None:
    """Bar, time left, preview, buttons; of a finished job, what it waits for."""
    session, box = job.session, layout.box()
    box.label(text=job.planned.title, icon="RENDER_STILL", translate=False)
    if session.phase is Phase.DONE:
        paragraph(box, busy.waiting_text(bpy.context), "INFO", width)
        box.operator("sketchbridge.cancel", icon="X")
        return
    box.label(text=stage_label(session.stage) + step_text(session))
    left = duration(session.seconds_left)
    box.progress(factor=session.fraction, type="BAR", text=f"{session.fraction:.0%}" + (f", {left} left" if left else ""))
    if session.quiet and not session.paused:
        box.label(text="The engine does not answer", icon="ERROR")
    row = box.row(align=True)
    row.enabled = session.phase is not Phase.CANCELLING
    if session.paused:
        row.operator("sketchbridge.pause", text="Resume", icon="PLAY")
    else:
        row.operator("sketchbridge.pause", icon="PAUSE")
    row.operator("sketchbridge.cancel", icon="X")
    if job.mode != "texture":
        box.operator("sketchbridge.keep", icon="DUPLICATE")
    icon = _preview_icon(session.preview)
    if icon:
        box.template_icon(icon_value=icon, scale=8.0)
    for note in session.notes[-2:]:
        paragraph(box, note, "INFO", width)


def draw_line(layout: bpy.types.UILayout) -> None:
    """The jobs that wait, each with a button that takes it out."""
    if not jobs.waiting:
        return
    box = layout.box()
    row = box.row()
    row.label(text="In Line", icon="SORTTIME")
    if len(jobs.waiting) > 1:
        row.operator("sketchbridge.take_out", text="Clear").place = -1
    column = box.column(align=True)
    for place, planned in enumerate(jobs.waiting):
        row = column.row()
        row.label(text=planned.title, translate=False)
        row.operator("sketchbridge.take_out", text="", icon="X", emboss=False).place = place


def draw_left(layout: bpy.types.UILayout, width: int) -> None:
    """Jobs that Blender or the engine did not see to their end."""
    for record in jobs.unfinished_jobs()[:3]:
        box = layout.box()
        paragraph(box, f"Not finished: {record.title}", "RECOVER_LAST", width)
        if record.file and record.file != bpy.data.filepath:
            paragraph(box, f"It began in '{bpy.path.basename(record.file)}'.", "BLANK1", width)
        row = box.row(align=True)
        row.operator("sketchbridge.resume", icon="PLAY").job = record.job
        row.operator("sketchbridge.forget", icon="X").job = record.job


def draw_outcome(layout: bpy.types.UILayout, outcome: jobs.Outcome | None, width: int) -> None:
    """How the last job ended, with the fix where it failed and what was noticed until then; of a result that is told below it."""
    if outcome is None:
        return
    box = layout.box()
    icon = {Phase.DONE: "CHECKMARK", Phase.CANCELLED: "CANCEL"}.get(outcome.phase, "ERROR")
    paragraph(box, outcome.text, icon, width)
    if outcome.fix:
        paragraph(box, outcome.fix, "TOOL_SETTINGS", width)
    if outcome.phase is not Phase.DONE:
        for note in outcome.notes[-3:]:
            paragraph(box, note, "INFO", width)


def step_text(session: Session) -> str:
    """' 12 / 240', empty where the stage has a single step."""
    progress = session.progress
    return f"  {progress.step} / {progress.total}" if progress is not None and progress.total > 1 and session.phase is Phase.RUNNING else ""


def squared(image: np.ndarray) -> np.ndarray:
    """A strip of square pictures side by side, [H, k H, 3], laid out in rows as near to a square as they fill."""
    height, width, _ = image.shape
    count = width // height if height else 0
    across = max((n for n in range(1, count + 1) if count % n == 0 and n * n <= count), default=1)
    if count < 2 or width % height or across == 1:
        return image
    return np.concatenate(np.split(image, across, axis=1), axis=0)


def free_preview() -> None:
    """Give the preview's icon back."""
    collection = _previews.pop("collection", None)
    _previews.clear()
    if collection is not None:
        bpy.utils.previews.remove(collection)


def _preview_icon(image: np.ndarray | None) -> int:
    """Icon id of the newest picture, 0 where there is none; an icon is no datablock and leaves the file alone."""
    if image is None:
        return 0
    if "collection" not in _previews:
        _previews["collection"] = bpy.utils.previews.new()
        _previews["icon"] = _previews["collection"].new("preview")
    icon = _previews["icon"]
    if _previews.get("image") is not image:
        _previews["image"] = image
        tiles = squared(image)
        height, width, _ = tiles.shape
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = tiles[::-1] / np.float32(255)
        icon.image_size = (width, height)
        icon.image_pixels_float.foreach_set(pixels.ravel())
    return icon.icon_id
