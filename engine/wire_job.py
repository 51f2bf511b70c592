"""A job of the wire: a Submit comes in, the job runs, and whatever happens goes out as messages.

Nothing heavy is imported before the job itself is.
"""

from __future__ import annotations

import importlib
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import messages
from engine.errors import Cancelled, InputError, SketchbridgeError
from engine.formats.map_files import encode_map, packed
from engine.memory import fault_of_the_machine
from engine.mesh import Mask, Mesh, Paint, Parts
from engine.messages import Message
from engine.texture_sets import Piece, map_name, repeats

if TYPE_CHECKING:
    from engine.formats.parts import Look
    from engine.job_fields import JobSettings
    from engine.reporting import Reporter
    from engine.results import ImageSet, JobResult

PAUSE_LOOK_SECONDS = 0.2
"""How often a job that is paused looks whether it was cancelled."""
_MINIMUM_SECONDS = {messages.Progress: 0.1, messages.Preview: 0.3, messages.MeshUpdate: 0.4}


class WireReporter:
    """Tells the host about one job (engine.reporting.Reporter), a few times a second at most."""

    def __init__(
        self,
        job: str,
        put: Callable[[Message], None],
        cancel: threading.Event,
        going: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`going` is set but for pauses; None for a host that never pauses."""
        self._job, self._put, self._cancel, self._going, self._clock = job, put, cancel, going, clock
        self._last: dict[type, float] = {}
        self._stage = ""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        """Sent at once for a new stage and for its last step, otherwise at most ten times a second."""
        urgent = stage != self._stage or step >= total
        self._stage = stage
        if self._due(messages.Progress) or urgent:
            finite = {name: float(value) for name, value in figures.items() if np.isfinite(value)}
            left = None if seconds_left is None or not np.isfinite(seconds_left) else float(seconds_left)
            self._put(messages.Progress(self._job, stage, int(step), int(total), left, finite))

    def preview(self, image: np.ndarray) -> None:
        """Sent at most about three times a second."""
        if self._due(messages.Preview):
            self._put(messages.Preview(self._job, np.array(image, dtype=np.uint8, order="C")))

    def mesh(self, mesh: Mesh) -> None:
        """Sent at most about twice a second."""
        if self._due(messages.MeshUpdate):
            colours = None if mesh.colours is None else np.array(mesh.colours, dtype=np.float32, order="C")
            vertices, faces = np.array(mesh.vertices, dtype=np.float32, order="C"), np.array(mesh.faces, dtype=np.int32, order="C")
            self._put(messages.MeshUpdate(self._job, vertices, faces, colours))

    def note(self, text: str) -> None:
        """Always sent."""
        self._put(messages.Note(self._job, text))

    def cancelled(self) -> bool:
        """True once the host sent Cancel or went away. During a pause it waits for that, or for the pause's end."""
        while self._going is not None and not self._cancel.is_set() and not self._going.wait(PAUSE_LOOK_SECONDS):
            pass
        return self._cancel.is_set()

    def _due(self, kind: type) -> bool:
        now = self._clock()
        if now - self._last.get(kind, -1e9) < _MINIMUM_SECONDS[kind]:
            return False
        self._last[kind] = now
        return True


def outcome(submit: messages.Submit, job_name: str, reporter: Reporter) -> tuple[Message, Callable[[], None]]:
    """Run the job "module:function"; whatever happens is a message, and what to call once the host has it.

    Broad on purpose: nowhere later can a failure be told.
    """
    try:
        result = _run(submit, job_name, reporter)
        return _done(submit, result), result.delivered
    except Exception as error:
        return _failure(submit, error), lambda: None


def _mean_colour(image: np.ndarray) -> list[float]:
    """The mean of each channel of a map, in 0..1 as it is encoded: a host can show it without decoding the image."""
    most = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    return [float(image[..., channel].mean(dtype=np.float64)) / most for channel in range(image.shape[2])]


def _done(submit: messages.Submit, result: JobResult) -> messages.Done:
    sets = result.everything
    packing, kind = str(submit.settings.get("packing", "separate")), str(submit.settings.get("map_format", "png8"))
    images = {name: image for index, (_, one) in enumerate(sets) for name, image in _named(index, one, len(sets), packing)}
    maps = {name: encode_map(name.rsplit("/", 1)[-1], image, kind) for name, image in images.items()}
    uvs = None if result.mesh.uvs is None else _float32(result.mesh.uvs)
    report = {**_plain(result.report), "mean_colours": {name: _mean_colour(image) for name, image in images.items()}}
    report["images"] = [
        {
            "name": one.name,
            "pieces": list(one.pieces),
            "tiles": list(one.tiles),
            "variation": number,
            "repeats": result.mesh.uvs is None or repeats(result.mesh.uvs[one.faces]),
        }
        for number, one in sets
    ]
    return messages.Done(submit.job, report, _float32(result.mesh.vertices), _int32(result.mesh.faces), uvs, maps)


def _named(index: int, images: ImageSet, count: int, packing: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every map of one of `count` texture sets by its name on the wire (engine.messages.Done)."""
    for tile, maps in images.tiles.items():
        for kind, image in packed(maps, packing).items():
            yield map_name(index, tile, kind) if count > 1 or len(images.tiles) > 1 else kind, image


def _failure(submit: messages.Submit, error: Exception) -> Message:
    if isinstance(error, Cancelled):
        return messages.CancelledJob(submit.job)
    told = error if isinstance(error, SketchbridgeError) else fault_of_the_machine(error)
    if told is not error:
        traceback.print_exception(error)
    if told is not None:
        return messages.Failed(submit.job, told.code, told.message, told.fix, told.exit_code)
    where = os.environ.get("SKETCHBRIDGE_LOG") or "the engine's standard error"
    return messages.Failed(submit.job, "internal", f"The engine met an error of its own: {type(error).__name__}: {error}.",
                           f"This is a bug; please report it with the log in {where}.")  # fmt: skip


def _run(submit: messages.Submit, job_name: str, reporter: Reporter) -> JobResult:
    from engine.job_fields import JobSettings

    settings = JobSettings.from_dict(submit.settings)
    module, _, function = job_name.partition(":")
    run_job: Callable[[Mesh, JobSettings, Reporter], JobResult] = getattr(importlib.import_module(module), function)
    return run_job(mesh_of(submit), settings, reporter)


def mesh_of(submit: messages.Submit) -> Mesh:
    """The sketch of a message. InputError where its parts do not fit together."""
    paint = None
    if submit.paint_points is not None and submit.paint_colours is not None:
        paint = Paint(submit.paint_points, submit.paint_colours)
    mask = None if submit.mask is None else Mask(submit.mask, submit.mask_image, submit.own_uvs)
    parts = _parts(submit)
    return Mesh(submit.vertices, submit.faces, submit.colours, submit.uvs, paint, parts, _look(submit, parts), mask)


def _parts(submit: messages.Submit) -> Parts | None:
    """What the sketch is made of; None where the host did not say. InputError for a list that is none."""
    if submit.piece_of_face is None:
        return None
    try:
        pieces = tuple(Piece(str(entry["object"]), str(entry["material"])) for entry in submit.about["pieces"])
    except (KeyError, TypeError) as error:
        raise InputError("sketch_layers", "The message does not say what the sketch's pieces are.", "The message is damaged.") from error
    return Parts(submit.piece_of_face, pieces)


def _look(submit: messages.Submit, parts: Parts | None) -> Look | None:
    """What the pieces show, where a host says so. InputError where that does not fit together."""
    if submit.looks is None or submit.own_uvs is None or parts is None:
        return None
    from engine.formats.parts import Appearance, Look

    of_piece, shown, start = np.full(len(parts.pieces), -1), [], 0
    try:
        for index, entry in enumerate(submit.about["looks"]):
            shape = (int(entry["height"]), int(entry["width"]), 3)
            rgb = submit.looks[start : start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)
            of_piece[int(entry["piece"])] = index
            image = np.concatenate([rgb, np.full((*shape[:2], 1), 255, np.uint8)], axis=2)
            shown.append(Appearance(image=image, uvs=submit.own_uvs.reshape(-1, 2).astype(np.float64)))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError("sketch_layers", "The pictures of the message do not fit its description.", "The message is damaged.") from error
    flat = np.arange(3 * len(submit.faces)).reshape(-1, 3)
    return Look(of_piece[parts.of_face], flat, tuple(shown))


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """The report with numpy's numbers turned into Python's and what JSON cannot hold into None."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not np.isfinite(value):
            return None
        return value if isinstance(value, str | int | float | bool | type(None)) else str(value)

    return plain(report)


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _int32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)
