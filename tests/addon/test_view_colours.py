"""Solid views show colours: of the growing surface, then of the result; views that somebody has set are left alone."""

from __future__ import annotations

from types import ModuleType

import bpy
import pytest
from helpers import add_cube, part, run_until


@pytest.fixture
def shading(scene: ModuleType) -> bpy.types.View3DShading:
    views = [area for area in bpy.context.window.screen.areas if area.type == "VIEW_3D"]
    if not views:
        bpy.context.window.screen.areas[0].type = "VIEW_3D"
        views = [bpy.context.window.screen.areas[0]]
    shading = views[0].spaces.active.shading
    shading.type, shading.color_type = "SOLID", "MATERIAL"
    return shading


def in_mid_job(scene: ModuleType) -> ModuleType:
    jobs = part(scene, "jobs")
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    assert jobs.begin(bpy.context, "refine") is None
    run_until(jobs, lambda: part(scene, "scene_preview").PREVIEW_NAME in bpy.data.objects)
    return jobs


def test_the_result_is_shown_with_its_texture(scene: ModuleType, shading: bpy.types.View3DShading) -> None:
    add_cube()
    bpy.ops.sketchbridge.refine()
    assert shading.color_type == "TEXTURE"


def test_the_growing_surface_is_shown_with_its_colours_and_cancel_takes_that_back(
    scene: ModuleType, shading: bpy.types.View3DShading
) -> None:
    jobs = in_mid_job(scene)
    assert shading.color_type == "VERTEX"
    assert bpy.data.objects[part(scene, "scene_preview").PREVIEW_NAME].data.color_attributes.active_color is None  # the tiny job's has none
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert shading.color_type == "MATERIAL"


@pytest.mark.parametrize("chosen", ["OBJECT", "RANDOM", "TEXTURE"])
def test_what_somebody_chose_stays(scene: ModuleType, shading: bpy.types.View3DShading, chosen: str) -> None:
    shading.color_type = chosen
    jobs = in_mid_job(scene)
    assert shading.color_type == chosen
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert shading.color_type == chosen


def test_what_somebody_chose_in_mid_job_stays(scene: ModuleType, shading: bpy.types.View3DShading) -> None:
    jobs = in_mid_job(scene)
    shading.color_type = "OBJECT"
    jobs.cancel()
    jobs.run_blocking(bpy.context)
    assert shading.color_type == "OBJECT"


def test_the_preference_turns_it_off(scene: ModuleType, shading: bpy.types.View3DShading) -> None:
    chosen = bpy.context.preferences.addons[scene.__name__].preferences
    chosen.show_colours = False
    try:
        add_cube()
        bpy.ops.sketchbridge.refine()
        assert shading.color_type == "MATERIAL"
    finally:
        chosen.show_colours = True
