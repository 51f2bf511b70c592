"""The panel of a sketch's results: a list to look through, what the shown one was made with, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import bpy

from . import jobs, scene_show, scene_thumbnail, variant_operators
from .report import columns, paragraph
from .scene_show import MARK
from .session import Phase
from .words import duration

PICTURE_SHARE = 0.3
"""Of the panel's width."""
SEED_UNITS = 1.5
"""The seed's width in a row, in buttons of 20 pixels; the name has the rest."""


def sketch_of(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The originals whose results are listed: those of the active object."""
    result = jobs.find_result(context)
    return [] if result is None else scene_show.sources_of(result)


class SKETCHBRIDGE_UL_variants(bpy.types.UIList):
    """The results of one sketch, out of all objects of the file."""

    bl_idname = "SKETCHBRIDGE_UL_variants"

    def draw_item(
        self, context: bpy.types.Context, layout: bpy.types.UILayout, data: Any, item: Any, icon: int, active: Any, name: str,
        index: int = 0, flag: int = 0,
    ) -> None:  # fmt: skip
        shown = not item.hide_get() and item.visible_get()
        picture = scene_thumbnail.icon_of(item)
        row = layout.row(align=True)
        row.label(text="", icon_value=picture) if picture else row.label(text="", icon="OBJECT_DATA")
        row.prop(item, "name", text="", emboss=False)
        seed = row.row()
        seed.ui_units_x, seed.alignment = SEED_UNITS, "RIGHT"
        seed.label(text=f"{item.get(f'{MARK}_seed', 0)}", translate=False)
        row.label(text="", icon="HIDE_OFF" if shown else "HIDE_ON")

    def filter_items(self, context: bpy.types.Context, data: Any, name: str) -> tuple[list[int], list[int]]:
        """Only results of this sketch, the newest last."""
        objects = getattr(data, name)
        variants = scene_show.variants_of(sketch_of(context)) or [result for result in [jobs.find_result(context)] if result is not None]
        places = {obj.name: place for place, obj in enumerate(variants)}
        flags = [self.bitflag_filter_item if obj.name in places else 0 for obj in objects]
        others = iter(range(len(variants), len(objects)))
        order = [places[obj.name] if obj.name in places else next(others) for obj in objects]
        return flags, order


class SKETCHBRIDGE_PT_variants(bpy.types.Panel):
    """The results of the sketch."""

    bl_idname = "SKETCHBRIDGE_PT_variants"
    bl_label = "Results"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    layout: bpy.types.UILayout

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.find_result(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        result = jobs.find_result(context)
        assert result is not None
        layout, settings = self.layout, context.scene.sketchbridge
        count = len(scene_show.variants_of(scene_show.sources_of(result)))
        row = layout.row(align=True)
        row.operator("sketchbridge.toggle", icon="ARROW_LEFTRIGHT")
        row.operator("sketchbridge.compare", icon="MOD_ARRAY", depress=variant_operators.compares())
        layout.template_list("SKETCHBRIDGE_UL_variants", "", bpy.data, "objects", settings, "variant", rows=min(max(count, 1), 6))
        draw_facts(layout, result, columns(context))
        grid = layout.grid_flow(columns=2, align=True, even_columns=True)
        grid.operator("sketchbridge.refine_again", icon="FILE_REFRESH")
        grid.operator("sketchbridge.load_settings", icon="IMPORT")
        grid.operator("sketchbridge.mark_asset", icon="ASSET_MANAGER")
        grid.operator("sketchbridge.delete_variant", icon="TRASH")


class SKETCHBRIDGE_PT_notes(bpy.types.Panel):
    """What the last job noticed on its way to its result."""

    bl_idname = "SKETCHBRIDGE_PT_notes"
    bl_label = "Notes"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    layout: bpy.types.UILayout

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.last is not None and jobs.last.phase is Phase.DONE and bool(jobs.last.notes)

    def draw(self, context: bpy.types.Context) -> None:
        assert jobs.last is not None
        for note in jobs.last.notes:
            paragraph(self.layout, note, "INFO", columns(context))


class SKETCHBRIDGE_PT_comparison(bpy.types.Panel):
    """The way back from a comparison, whatever is selected."""

    bl_idname = "SKETCHBRIDGE_PT_comparison"
    bl_label = "Side by Side"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    bl_options: ClassVar[set[str]] = {"HIDE_HEADER"}
    layout: bpy.types.UILayout

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return variant_operators.compares() and jobs.find_result(context) is None

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.operator("sketchbridge.end_comparison", icon="X")


def draw_facts(layout: bpy.types.UILayout, result: bpy.types.Object, width: int) -> None:
    """Picture, prompt, seed, time and deviation of the shown result."""
    picture = scene_thumbnail.icon_of(result)
    beside, room = layout, width
    if picture:
        beside, room = layout.split(factor=PICTURE_SHARE), int(width * (1 - PICTURE_SHARE))
        beside.template_icon(icon_value=picture, scale=3.4)
    column = beside.column(align=True)
    seconds = result.get(f"{MARK}_seconds")
    took = f", {duration(seconds)}" if isinstance(seconds, int | float) else ""
    paragraph(column, str(result.get(f"{MARK}_prompt", "")), "NONE", room)
    paragraph(column, f"{result.get(f'{MARK}_preset', '')}, seed {result.get(f'{MARK}_seed', 0)}{took}", "NONE", room)
    below = layout.column(align=True)
    for line in facts(result):
        paragraph(below, line, "NONE", width)


def facts(result: Mapping[str, Any]) -> list[str]:
    """How far a refined result left its sketch, by the figures stored on it: distances, volume, holes and parts."""
    own = {name: result[f"{MARK}_{name}"] for name in jobs.FIGURES if f"{MARK}_{name}" in result}
    if result.get(f"{MARK}_mode") != "refine":
        return []
    lines = [
        (("deviation_mean_percent", "deviation_max_percent"), "Deviation {:.2f} %, at most {:.2f} %"),
        (("deviation_p95_percent",), "95 % of it within {:.2f} %"),
        (("volume_change_percent",), "Volume {:+.1f} %"),
        (("genus", "genus_of_sketch"), "Holes {}, the sketch {}"),
        (("components", "components_of_sketch"), "Parts {}, the sketch {}"),
    ]
    return [text.format(*(own[name] for name in names)) for names, text in lines if all(name in own for name in names)]


CLASSES = (SKETCHBRIDGE_UL_variants, SKETCHBRIDGE_PT_variants, SKETCHBRIDGE_PT_notes, SKETCHBRIDGE_PT_comparison)
