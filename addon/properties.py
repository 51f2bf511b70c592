"""What the artist sets, kept with the scene; the running job's state is not here (see jobs).

The properties follow from engine.job_fields: a setting of a job is a property of the same name. A number that may be left to the
preset has a switch `use_NAME` beside it, or is a list whose first entry is the preset's. Lengths are shown in percent of the
sketch's longest side. Numbers of the preset that are no settings of their own travel under `overrides`, those of a dream under `dream`;
the panel's field of overrides takes either.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from . import scene_show
from .dream_fields import DreamNumbers
from .errors import InputError
from .fields import Door, Field, Unit, shown, table
from .job_fields import DREAM, LONGEST_SIDE, MODEL_NUMBERS, PRESETS, Hyperparameters, JobSettings

FROM_PRESET = "0"
"""The list entry that leaves a number to the preset."""
LARGEST_INT = 2**31 - 1
_SUBTYPES = {Unit.SHARE: "FACTOR", Unit.LENGTH: "PERCENTAGE", Unit.TEXELS: "PIXEL"}

DESCRIBED = (JobSettings, Hyperparameters, DreamNumbers)
FIELDS: Mapping[str, Field] = {field.name: field for described in DESCRIBED for field in shown(described, Door.PANEL)}
"""Every setting in the panel, by name."""


def left_to_preset(field: Field) -> bool:
    """Whether the preset has a number for it, which is taken unless the artist says otherwise."""
    return field.name in table(Hyperparameters)


def _of_dreams(field: Field) -> bool:
    return field.name in table(DreamNumbers)


def scale(field: Field) -> float:
    """How many of the panel's units make up one of the setting's."""
    return 100 / LONGEST_SIDE if field.spec.unit is Unit.LENGTH else 1.0


def preset_value(field: Field, preset: str, model: str = "") -> Any:
    """What the preset says, or the model where it has a number of its own, in the panel's units."""
    value: Any = MODEL_NUMBERS.get(model, {}).get(field.name, getattr(PRESETS[preset], field.name))
    return value * scale(field) if field.kind is float else value


def tooltip(field: Field) -> str:
    """What it is, with its unit and range, or an example."""
    more = f"; {field.bounds}" if field.spec.unit not in (Unit.NONE, Unit.SHARE) else ""
    if field.spec.unit is Unit.LENGTH:
        more = "; percent of the sketch's longest side"
    elif field.default is dataclasses.MISSING and field.spec.example:
        more = f", for example '{field.spec.example}'"
    return field.spec.description + more


def job_settings(settings: SketchbridgeSettings, mode: str) -> dict[str, Any]:
    """The settings as JobSettings takes them, checked; InputError says which cannot be used."""
    values: dict[str, Any] = {"mode": mode}
    overrides = _parsed_overrides(settings.overrides)
    more = {name: overrides.pop(name) for name in table(DreamNumbers) if name in overrides}
    dream: dict[str, Any] = {}
    for field in FIELDS.values():
        value = _given(settings, field)
        if value is not None:
            (values if field.name in table(JobSettings) else dream if _of_dreams(field) else overrides)[field.name] = value
    return JobSettings.from_dict({**values, "overrides": overrides, "dream": {**dream, **more} if mode == DREAM else {}}).to_dict()


def show(settings: SketchbridgeSettings, values: Mapping[str, Any]) -> None:
    """The reverse of `job_settings`: the panel takes on the settings of a job, as stored on its result. InputError where it cannot."""
    job = JobSettings.from_dict(values).to_dict()
    overrides, dream = job.pop("overrides"), job.pop("dream")
    if job["seed"] > LARGEST_INT:
        message = f"Seed {job['seed']} is too large for Blender; the largest is {LARGEST_INT}."
        raise InputError("bad_setting", message, "Start that job from a command line.")
    for field in FIELDS.values():
        if field.kind is Mapping:
            continue
        if _of_dreams(field):
            if job["mode"] == DREAM:
                setattr(settings, field.name, dream.pop(field.name, field.default))
            continue
        value = job.get(field.name) if field.name in job else overrides.pop(field.name, None)
        if value is not None and not _listed(field, value):
            overrides[field.name], value = value, None
        if field.spec.offered:
            setattr(settings, field.name, FROM_PRESET if value is None else str(value))
        elif left_to_preset(field):
            setattr(settings, f"use_{field.name}", value is not None)
            if value is not None:
                setattr(settings, field.name, value * scale(field) if field.kind is float else value)
        else:
            setattr(settings, field.name, "" if value is None else value)
    overrides |= dream
    settings.overrides = json.dumps(overrides) if overrides else ""


def _listed(field: Field, value: Any) -> bool:
    """Whether the panel can show it: a list holds no other values than its own."""
    listed = field.spec.offered or tuple(choice.value for choice in field.spec.choices)
    return not listed or value in listed


def _given(settings: SketchbridgeSettings, field: Field) -> Any:
    """What the artist gave, None where it is left out."""
    value = getattr(settings, field.name)
    if field.kind is Mapping or (left_to_preset(field) and not field.spec.offered and not getattr(settings, f"use_{field.name}")):
        return None
    if field.spec.offered:
        return None if value == FROM_PRESET else int(value)
    if field.kind is str and not value.strip() and field.default is not dataclasses.MISSING:
        return None
    if field.name == "model" and value.strip().startswith("//") and bpy.data.filepath:
        return bpy.path.abspath(value.strip())  # relative to the open file, as Blender writes such paths
    if field.kind is float:  # Blender's are float32: 0.3 is meant, not 0.30000001192092896
        return float(f"{value:.7g}") / scale(field)
    return value.strip() if field.kind is str else value


def _parsed_overrides(text: str) -> dict[str, Any]:
    try:
        overrides = json.loads(text) if text.strip() else {}
        if not isinstance(overrides, dict):
            raise ValueError("expected a JSON object")
    except ValueError as error:
        raise InputError("bad_setting", f"The overrides cannot be read as JSON: {error}.",
                         'Write them as {"stage1_steps": 100} or leave them empty.') from error  # fmt: skip
    return overrides


def _property(field: Field) -> Any:
    """Blender's property for a field: name, tooltip, default, range, unit."""
    spec, told = field.spec, {"name": field.spec.label, "description": tooltip(field)}
    default = preset_value(field, "draft") if left_to_preset(field) else field.default
    if spec.offered:
        first = (FROM_PRESET, "From Preset", "The preset's own")
        sizes = ((str(size), f"{size} px", f"{size} by {size} pixels") for size in spec.offered)
        return EnumProperty(items=(first, *sizes), default=FROM_PRESET, **told)
    if spec.choices:
        return EnumProperty(items=[(choice.value, choice.label, choice.description) for choice in spec.choices], default=default, **told)
    if field.kind in (int, float):
        low, high = (bound * scale(field) for bound in (spec.low, spec.high))
        subtype = _SUBTYPES.get(spec.unit, "NONE")
        if field.kind is int:
            return IntProperty(default=default, min=int(low), max=min(int(high), LARGEST_INT), subtype=subtype, **told)
        return FloatProperty(default=default, min=low, max=high, subtype=subtype, precision=2, **told)
    return StringProperty(default=default if isinstance(default, str) else "", **told)


def _annotations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in FIELDS.values():
        if left_to_preset(field) and not field.spec.offered:
            told = {"name": f"Set {field.spec.label}", "description": f"{tooltip(field)}. Off: the preset's"}
            found[f"use_{field.name}"] = BoolProperty(update=_starting_from_what_was_shown(field), **told)
        found[field.name] = _property(field)
    found["each"] = BoolProperty(
        name="One Job for Each", description="A job for each selected object, one after another. Off: all together are one sketch"
    )
    found["variant"] = IntProperty(name="Variant", description="The result that is shown", options={"SKIP_SAVE"}, update=_show_variant)
    return found


def _starting_from_what_was_shown(field: Field) -> Callable[[SketchbridgeSettings, bpy.types.Context], None]:
    """The switch of a number: on, a number that the artist has not set is the one that stood beside the switch, by preset and model; off,
    one that is still that is forgotten, so that it follows them again. One that the artist set stays."""

    def switched(settings: SketchbridgeSettings, context: bpy.types.Context) -> None:
        del context
        shown = preset_value(field, settings.preset, settings.model)
        if not getattr(settings, f"use_{field.name}"):
            value = getattr(settings, field.name)
            if value == shown or (field.kind is float and math.isclose(value, shown, rel_tol=1e-6)):  # Blender's are float32
                settings.property_unset(field.name)
        elif not settings.is_property_set(field.name):
            setattr(settings, field.name, shown)

    return switched


def _show_variant(settings: SketchbridgeSettings, context: bpy.types.Context) -> None:
    """A row of the list of variants was chosen, by its place among the file's objects."""
    objects = bpy.data.objects
    if 0 <= settings.variant < len(objects) and scene_show.is_result(objects[settings.variant]):
        scene_show.show_result(context.view_layer, objects[settings.variant])


class SketchbridgeSettings(bpy.types.PropertyGroup):
    """Settings of the next job."""

    __annotations__ = _annotations()


CLASSES = (SketchbridgeSettings,)
