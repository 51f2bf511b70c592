"""Operators about results of one sketch: look, compare, keep, delete, refine again, take their settings, mark as assets."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import bpy
import numpy as np

from . import jobs, properties, pulse, scene_show, scene_thumbnail
from .errors import SketchbridgeError
from .scene_show import MARK

COMPARISON = "Sketchbridge Comparison"
GAP = 1.25
"""Distance of two variants side by side, in widths of the widest."""


def current(context: bpy.types.Context) -> bpy.types.Object | None:
    """The result that the list's operators are about."""
    return jobs.find_result(context)


class _OnResult:
    """For the result that is selected, or that was made last of what is selected."""

    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to object mode first")  # type: ignore[attr-defined]
            return False
        return current(context) is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        result = current(context)
        assert result is not None
        try:
            self.act(context, result)
        except SketchbridgeError as error:
            self.report({"ERROR"}, f"{error.message} {error.fix}")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        pulse.redraw()
        return {"FINISHED"}

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        """What is done. SketchbridgeError where it cannot be."""
        raise NotImplementedError


class SKETCHBRIDGE_OT_delete_variant(_OnResult, bpy.types.Operator):
    """Delete this result. The one before it is shown, or the sketch"""

    bl_idname = "sketchbridge.delete_variant"
    bl_label = "Delete Result"

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        layer, sources = context.view_layer, scene_show.sources_of(result)
        mesh, materials = result.data, [slot.material for slot in result.material_slots if slot.material is not None]
        bpy.data.objects.remove(result)
        if mesh.users == 0:
            bpy.data.meshes.remove(mesh)
        _remove_unused(materials)
        others = scene_show.variants_of(sources)
        if others:
            scene_show.show_result(layer, others[-1])
        else:
            scene_show.hide(layer, sources, False, render=True)
            scene_show.select_only(layer, sources)


def _remove_unused(materials: list[bpy.types.Material]) -> None:
    for material in materials:
        if material.users == 0:
            images = [node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE" and node.image is not None]
            bpy.data.materials.remove(material)
            for image in images:
                if image.users == 0:
                    bpy.data.images.remove(image)


class SKETCHBRIDGE_OT_load_settings(_OnResult, bpy.types.Operator):
    """Take the settings that made this result back into the panel"""

    bl_idname = "sketchbridge.load_settings"
    bl_label = "Load Settings"

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        properties.show(context.scene.sketchbridge, settings_of(result))


class SKETCHBRIDGE_OT_refine_again(_OnResult, bpy.types.Operator):
    """Start again from the sketch with the settings that made this result and the next seed that it has not had"""

    bl_idname = "sketchbridge.refine_again"
    bl_label = "Another Seed"
    bl_options: ClassVar[set[str]] = {"REGISTER"}

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        settings = settings_of(result)
        had = [settings_of(variant)["seed"] for variant in scene_show.variants_of(scene_show.sources_of(result))]
        scene_show.show_result(context.view_layer, result)
        refusal = jobs.begin(context, settings["mode"], {**settings, "seed": min(max([settings["seed"], *had]) + 1, 2**31 - 1)})
        if refusal is not None:
            self.report({"ERROR"}, f"{refusal.text} {refusal.fix}")
        pulse.start()


class SKETCHBRIDGE_OT_mark_asset(_OnResult, bpy.types.Operator):
    """Mark this result as an asset, with its picture and the prompt as description"""

    bl_idname = "sketchbridge.mark_asset"
    bl_label = "Mark as Asset"

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        had_picture = scene_thumbnail.icon_of(result) != 0
        result.asset_mark()
        result.asset_data.description = str(result.get(f"{MARK}_prompt", ""))
        result.asset_data.tags.new("Sketchbridge", skip_if_exists=True)
        if not had_picture and not bpy.app.background:
            result.asset_generate_preview()


class SKETCHBRIDGE_OT_compare(_OnResult, bpy.types.Operator):
    """Lay copies of the sketch and of all its results side by side, in a collection of their own; press again to take them away"""

    bl_idname = "sketchbridge.compare"
    bl_label = "Side by Side"

    def act(self, context: bpy.types.Context, result: bpy.types.Object) -> None:
        if not end_comparison(context):
            lay_out(context, result)


class SKETCHBRIDGE_OT_end_comparison(bpy.types.Operator):
    """Take the copies that lie side by side away"""

    bl_idname = "sketchbridge.end_comparison"
    bl_label = "End Side by Side"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return compares()

    def execute(self, context: bpy.types.Context) -> set[str]:
        end_comparison(context)
        return {"FINISHED"}


def lay_out(context: bpy.types.Context, result: bpy.types.Object) -> None:
    """Copies that share their meshes, in a row along the view's right; what they are of is hidden in the view."""
    layer = context.view_layer
    sources = [source for source in scene_show.sources_of(result) if source.name in layer.objects]
    variants = scene_show.variants_of(sources) or [result]
    groups = [sources, *([variant] for variant in variants)] if sources else [[variant] for variant in variants]
    hidden = [obj for group in groups for obj in group if obj.name in layer.objects and not obj.hide_get(view_layer=layer)]
    scene_show.hide(layer, [obj for group in groups for obj in group], False)
    layer.update()
    right = _right_of_view(context)
    width = GAP * max(_extent(group, right) for group in groups)
    scene_show.hide(layer, [obj for group in groups for obj in group], True)
    collection = bpy.data.collections.new(COMPARISON)
    collection[f"{MARK}_shown"] = json.dumps([obj.name for obj in hidden])
    context.scene.collection.children.link(collection)
    for place, group in enumerate(groups):
        for obj in group:
            copy = obj.copy()
            for key in [key for key in copy.keys() if key.startswith(f"{MARK}_")]:  # noqa: SIM118
                del copy[key]
            copy.hide_render, copy.hide_select = False, True
            collection.objects.link(copy)
            copy.hide_set(False, view_layer=layer)
            copy.matrix_world = _moved(obj, right * width * place)


def end_comparison(context: bpy.types.Context) -> bool:
    """Take the copies away and show again what was in sight. False where there are none."""
    collection = bpy.data.collections.get(COMPARISON)
    if collection is None:
        return False
    try:
        names = json.loads(collection.get(f"{MARK}_shown", "[]"))
    except ValueError:
        names = []
    for obj in list(collection.objects):
        bpy.data.objects.remove(obj)
    bpy.data.collections.remove(collection)
    scene_show.hide(context.view_layer, [obj for name in names if (obj := bpy.data.objects.get(name)) is not None], False)
    return True


def compares() -> bool:
    """Whether copies lie side by side."""
    return COMPARISON in bpy.data.collections


def _moved(obj: bpy.types.Object, by: np.ndarray) -> Any:
    matrix = obj.matrix_world.copy()
    matrix.translation = [value + step for value, step in zip(matrix.translation, by, strict=True)]
    return matrix


def _right_of_view(context: bpy.types.Context) -> np.ndarray:
    """[3]: the level world axis nearest to the view's right, x where there is no view."""
    space = context.space_data
    if space is None or space.type != "VIEW_3D" or space.region_3d is None:
        return np.array([1.0, 0.0, 0.0])
    right = np.array(space.region_3d.view_rotation.to_matrix())[:, 0] * [1, 1, 0]
    axis = int(np.abs(right).argmax())
    return np.eye(3)[axis] * (1.0 if right[axis] >= 0 else -1.0)


def _extent(objects: list[bpy.types.Object], axis: np.ndarray) -> float:
    corners = [
        np.array(obj.matrix_world)[:3, :3] @ np.array(corner) + np.array(obj.matrix_world)[:3, 3]
        for obj in objects
        for corner in obj.bound_box
    ]
    along = np.array(corners) @ np.abs(axis)
    return max(float(np.ptp(along)), 1e-3)


def settings_of(result: bpy.types.Object) -> dict[str, Any]:
    """The settings that made a result. InputError where they are not stored on it, or cannot be used any more."""
    try:
        stored = json.loads(result.get(f"{MARK}_settings", ""))
    except (ValueError, TypeError):
        stored = {"prompt": str(result.get(f"{MARK}_prompt", "")), "mode": str(result.get(f"{MARK}_mode", "refine"))}
    return jobs.checked(stored)


class SKETCHBRIDGE_OT_keep(bpy.types.Operator):
    """Keep the surface as it is now as a result of its own; the job goes on"""

    bl_idname = "sketchbridge.keep"
    bl_label = "Keep This"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.running is not None and jobs.running.mode != "texture" and context.mode == "OBJECT"

    def execute(self, context: bpy.types.Context) -> set[str]:
        kept = jobs.keep_preview(context)
        if kept is None:
            self.report({"WARNING"}, "There is no surface yet")
            return {"CANCELLED"}
        self.report({"INFO"}, f"Kept as '{kept.name}', hidden until the job has ended")
        return {"FINISHED"}


CLASSES = (
    SKETCHBRIDGE_OT_delete_variant, SKETCHBRIDGE_OT_load_settings, SKETCHBRIDGE_OT_refine_again, SKETCHBRIDGE_OT_mark_asset,
    SKETCHBRIDGE_OT_compare, SKETCHBRIDGE_OT_end_comparison, SKETCHBRIDGE_OT_keep,
)  # fmt: skip
