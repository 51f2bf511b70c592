"""What the artist sets, kept with the scene; the running job's state is not here (see jobs)."""

from __future__ import annotations

import json
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

ENGINE_LONGEST_SIDE = 1.6
"""Length in engine space of the longest side of the sketch's bounding box (2 * engine.conventions.FIT_EXTENT)."""

_PRESETS = (
    ("draft", "Draft", "Minutes; coarse detail"),
    ("standard", "Standard", "Finer detail, several times longer"),
    ("high", "High", "Finest detail; wants a GPU"),
)
_DEVICES = (
    ("auto", "Automatic", "A GPU where the engine finds one"),
    ("cpu", "CPU", "Compute on the processor"),
    ("cuda", "GPU", "Compute on the NVIDIA GPU"),
)
_TEXTURE_SIZES = (
    ("0", "From Preset", "The preset's texture size"),
    *((str(size), f"{size} px", f"{size} by {size} pixels") for size in (256, 512, 1024, 2048, 4096)),
)


class SketchbridgeSettings(bpy.types.PropertyGroup):
    """Settings of the next job."""

    prompt: StringProperty(  # type: ignore[valid-type]
        name="Prompt", description="What the sketch should become, for example 'a red tulip flower'"
    )
    source: StringProperty(  # type: ignore[valid-type]
        name="Source Prompt", description="What it looks like now; empty builds it from the prompt"
    )
    preset: EnumProperty(name="Preset", description="Quality and time", items=_PRESETS, default="draft")  # type: ignore[valid-type]
    seed: IntProperty(  # type: ignore[valid-type]
        name="Seed", description="Another seed gives another result; the same seed gives the same", default=0, min=0
    )
    adherence: FloatProperty(  # type: ignore[valid-type]
        name="Adherence", description="How closely the result follows the sketch", default=0.5, min=0.0, max=1.0, subtype="FACTOR"
    )
    model: StringProperty(  # type: ignore[valid-type]
        name="Model", description="'embedded', a hub id, a folder with a diffusers model, or a folder of images", default="embedded"
    )
    device: EnumProperty(name="Device", description="Where the engine computes", items=_DEVICES, default="auto")  # type: ignore[valid-type]
    use_closing: BoolProperty(name="Set Closing", description="Use this closing radius instead of the preset's")  # type: ignore[valid-type]
    closing: FloatProperty(  # type: ignore[valid-type]
        name="Closing", description="Strokes nearer than twice this grow together; percent of the sketch's longest side",
        default=3.0, min=0.0, max=31.25, subtype="PERCENTAGE",
    )  # fmt: skip
    use_thickness: BoolProperty(name="Set Thickness", description="Use this thickness instead of the preset's")  # type: ignore[valid-type]
    thickness: FloatProperty(  # type: ignore[valid-type]
        name="Thickness", description="Half thickness that ribbons and open strokes get; percent of the sketch's longest side",
        default=1.5, min=0.1, max=18.75, subtype="PERCENTAGE",
    )  # fmt: skip
    faces: IntProperty(  # type: ignore[valid-type]
        name="Faces", description="Largest number of triangles of the result; 0 takes the preset's", default=0, min=0, max=5_000_000
    )
    texture_size: EnumProperty(  # type: ignore[valid-type]
        name="Texture", description="Width and height of the texture", items=_TEXTURE_SIZES, default="0"
    )
    overrides: StringProperty(  # type: ignore[valid-type]
        name="Overrides", description="Hyperparameters of the preset to change, as JSON, for scripts", default=""
    )


def job_settings(settings: SketchbridgeSettings, mode: str) -> dict[str, Any]:
    """The settings as engine.config.JobSettings takes them. ValueError where the overrides are no JSON object."""
    overrides = json.loads(settings.overrides) if settings.overrides.strip() else {}
    if not isinstance(overrides, dict):
        raise ValueError("expected a JSON object")
    model = settings.model.strip() or "embedded"
    if model.startswith("//") and bpy.data.filepath:  # relative to the open file, as Blender writes such paths
        model = bpy.path.abspath(model)
    values: dict[str, Any] = {
        "mode": mode, "prompt": settings.prompt, "model": model, "preset": settings.preset,
        "seed": settings.seed, "adherence": settings.adherence, "device": settings.device, "overrides": overrides,
    }  # fmt: skip
    if settings.source.strip():
        values["source"] = settings.source
    if settings.use_closing:
        values["closing"] = settings.closing / 100 * ENGINE_LONGEST_SIDE
    if settings.use_thickness:
        values["thickness"] = settings.thickness / 100 * ENGINE_LONGEST_SIDE
    if settings.faces:
        values["faces"] = settings.faces
    if settings.texture_size != "0":
        values["texture_size"] = int(settings.texture_size)
    return values


CLASSES = (SketchbridgeSettings,)
