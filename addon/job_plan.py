"""Jobs that are to be done: settings and what was read of the scene, from the selection or from a job that was left unfinished."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import geometry, preferences, scene_cursor, scene_read, scene_targets, unfinished
from .errors import InputError
from .job_fields import DREAM, JobSettings
from .messages import Submit
from .scene_objects import is_readable
from .scene_read import Reading
from .scene_show import Place, Selection
from .unfinished import Record

LARGEST_SEED = 2**31 - 1
_PART = ("vertices", "faces", "colours", "uvs")


@dataclass(eq=False)
class Planned:
    """One job before it runs; `job` is its id on the wire."""

    mode: str
    settings: dict[str, Any]
    reading: Reading
    job: str

    @property
    def title(self) -> str:
        """'Flower, seed 3'."""
        return f"{self.reading.active}, seed {self.settings['seed']}"

    def submit(self) -> Submit:
        """What the engine is told."""
        return submit_of(self.settings, self.reading, self.job)


@dataclass(frozen=True)
class Choice:
    """What a press of a button makes of the selection.

    result_itself  a selected result stands for itself, not for what it was made from
    uv_layout      takes the place of that setting; empty where the setting counts
    each           a job for each selected object, not one for all together
    variations     so many jobs, with one seed after the other
    """

    result_itself: bool = False
    uv_layout: str = ""
    each: bool = False
    variations: int = 1


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a job from those that are given. InputError where one cannot be used."""
    return JobSettings.from_dict(settings).to_dict()


def of_selection(context: bpy.types.Context, settings: dict[str, Any], choice: Choice, before: Sequence[Planned] = ()) -> list[Planned]:
    """The jobs that the selection and the settings ask for; of a dream, which is made of no selection, those that the settings ask for.

    before  jobs that have not come to their end. InputError where selection or settings cannot be used.
    """
    readings = [] if settings["mode"] == DREAM else _chosen(context, settings, choice)
    model = settings.get("model", "embedded")
    if model != "embedded" and os.path.isdir(model):  # relative to this process's folder, which is not the engine's
        settings = {**settings, "model": os.path.abspath(model)}
    if settings["seed"] + choice.variations - 1 > LARGEST_SEED and choice.variations > 1:
        raise InputError(
            "bad_setting", f"Seed {settings['seed']} leaves no room for {choice.variations} variations.", "Take a smaller seed."
        )
    seeds = [settings["seed"] + index for index in range(max(choice.variations, 1))]
    pairs = [(reading, seed) for reading in readings for seed in seeds]
    if settings["mode"] == DREAM:
        expected = [one.reading.origin for one in before if one.mode == DREAM]
        pairs = list(zip(scene_cursor.readings(context, settings["prompt"], len(seeds), expected), seeds, strict=True))
    return [Planned(settings["mode"], {**settings, "seed": seed}, reading, uuid.uuid4().hex[:12]) for reading, seed in pairs]


def _chosen(context: bpy.types.Context, settings: Mapping[str, Any], choice: Choice) -> list[Reading]:
    """What the selection stands for: all of it together, or each object by itself."""
    objects = scene_read.chosen_objects(context, settings["mode"], choice.result_itself)
    if choice.each and len(objects) > 1:
        return [read(context, settings, [obj]) for obj in objects if is_readable(obj)]
    return [read(context, settings, objects)]


def read(context: bpy.types.Context, settings: Mapping[str, Any], objects: Sequence[bpy.types.Object] | None = None) -> Reading:
    """What a job with these settings (all of them) is to work on, by default what the selection stands for. InputError where it cannot."""
    if settings["mode"] == "refine":
        return scene_read.read_sketch(context, objects, settings["keep_colours"])
    return scene_targets.read_targets(context, settings, objects)


def submit_of(settings: dict[str, Any], reading: Reading, job: str = "") -> Submit:
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
    return Submit(job or uuid.uuid4().hex[:12], settings, sent.vertices, sent.faces, sent.colours, sent.uvs, **paint, **more)


def keep(planned: Planned) -> None:
    """Write the job down for as long as it runs. A texture is read again from its objects, which it is nothing without."""
    reading, sent = planned.reading, planned.reading.part
    record = Record(
        planned.job, planned.mode, planned.settings, bpy.data.filepath, reading.names, reading.active, reading.place.scene,
        reading.place.layer, time.time(), os.getpid(),
    )  # fmt: skip
    arrays = {} if planned.mode == "texture" else {name: getattr(sent, name) for name in _PART}
    if arrays and sent.paint is not None:
        arrays |= {"paint_points": sent.paint.points, "paint_colours": sent.paint.colours}
    unfinished.keep(folder(), record, {**arrays, "origin": reading.origin, "matrix": reading.matrix})


def again(context: bpy.types.Context, record: Record) -> Planned:
    """A job that was left unfinished, as it was sent. InputError where what was kept of it cannot be read or its objects are gone."""
    settings, job = checked(record.settings), uuid.uuid4().hex[:12]
    if record.mode == "texture":
        return Planned(record.mode, settings, read(context, settings, _objects_of(record)), job)
    try:
        held = unfinished.arrays_of(folder(), record.job)
        paint = geometry.Paint(held["paint_points"], held["paint_colours"]) if "paint_points" in held else None
        part = geometry.Part(held["vertices"], held["faces"], held.get("colours"), held.get("uvs"), paint)
        origin, matrix = held["origin"], held["matrix"]
    except (OSError, ValueError, KeyError) as error:
        message = f"What was kept of the job {record.title} cannot be read: {error}."
        raise InputError("cannot_read", message, "Start it anew from the sketch.") from error
    scene = bpy.data.scenes.get(record.scene) or context.scene
    place = Place(scene.name, scene.session_uid, record.layer)
    uids = tuple(0 if (obj := bpy.data.objects.get(name)) is None else obj.session_uid for name in record.names)
    reading = Reading(part, origin, record.names, uids, record.active, matrix, place, Selection.of(context.view_layer))
    return Planned(record.mode, settings, reading, job)


def _objects_of(record: Record) -> list[bpy.types.Object]:
    found = {name: bpy.data.objects.get(name) for name in record.names}
    lost = [name for name, obj in found.items() if obj is None or obj.name not in bpy.context.view_layer.objects]
    if lost:
        where = f" Open '{record.file}'." if record.file else ""
        raise InputError("missing_object", f"There is no object '{lost[0]}' in this scene.", f"It was textured in another.{where}")
    return [obj for obj in found.values() if obj is not None]


def left(running: str = "") -> list[Record]:
    """Jobs that were left unfinished, the newest first."""
    return unfinished.left(folder(), running)


def forget(job: str) -> None:
    """The job has come to its end, or is given up."""
    unfinished.forget(folder(), job)


def folder() -> Any:
    """Where unfinished jobs are kept."""
    return preferences.own_folder("unfinished")
