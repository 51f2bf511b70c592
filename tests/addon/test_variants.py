"""The results of one sketch: the list, and what can be done with each; what the panel says before the start."""

from __future__ import annotations

from types import ModuleType

import bpy
import numpy as np
import pytest
from helpers import add_cube, add_object, part, select

NO_PREVIEWS = pytest.mark.skipif(
    bpy.app.version < (4, 5, 0), reason="Blender 4.2 crashes some time after a preview is set: results have none"
)


@pytest.fixture
def three(scene: ModuleType) -> list[bpy.types.Object]:
    """A sketch and three results of it, seeds 0 to 2; the last is shown and selected."""
    sketch = add_cube()
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.variations = "a flower steps 20", 3  # long enough for a picture
    bpy.ops.sketchbridge.refine()
    settings.variations = 1
    return [sketch, *part(scene, "scene_show").variants_of([sketch])]


def in_sight() -> list[str]:
    return sorted(obj.name for obj in bpy.context.view_layer.objects if not obj.hide_get())


def test_choosing_a_row_shows_that_result_alone_and_selects_it(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    _, first, second, third = three
    assert in_sight() == [third.name]
    bpy.context.scene.sketchbridge.variant = list(bpy.data.objects).index(first)
    assert in_sight() == [first.name] and first.select_get() and bpy.context.view_layer.objects.active == first
    assert not first.hide_render and second.hide_render and third.hide_render
    bpy.context.scene.sketchbridge.variant = list(bpy.data.objects).index(three[0])
    assert in_sight() == [first.name], "the sketch is no row"


def test_a_deleted_result_takes_its_mesh_material_and_picture_along(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    sketch = three[0]
    counts = len(bpy.data.meshes), len(bpy.data.materials), len(bpy.data.images)
    for left in (2, 1, 0):
        assert bpy.ops.sketchbridge.delete_variant() == {"FINISHED"}
        assert len(part(scene, "scene_show").variants_of([sketch])) == left and len(in_sight()) == 1
    assert in_sight() == ["Sketch"] and sketch.select_get()
    assert (len(bpy.data.meshes), len(bpy.data.materials)) == (counts[0] - 3, counts[1] - 3) and len(bpy.data.images) < counts[2]


def test_a_result_gives_its_settings_back_to_the_panel(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.seed, settings.adherence = "something else", 99, 0.9
    assert bpy.ops.sketchbridge.load_settings() == {"FINISHED"}
    assert (settings.prompt, settings.seed, settings.adherence) == ("a flower steps 20", 2, 0.5)
    del three[-1]["sketchbridge_settings"]
    settings.prompt = ""
    assert bpy.ops.sketchbridge.load_settings() == {"FINISHED"} and settings.prompt == "a flower steps 20"


def test_again_takes_the_next_seed_that_was_not_had(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    bpy.context.scene.sketchbridge.prompt = "not this"
    bpy.context.scene.sketchbridge.variant = list(bpy.data.objects).index(three[1])
    jobs = part(scene, "jobs")
    assert bpy.ops.sketchbridge.refine_again() == {"FINISHED"}
    jobs.run_blocking(bpy.context)
    made = bpy.data.objects[jobs.last.result]
    assert made["sketchbridge_seed"] == 3 and made["sketchbridge_prompt"] == "a flower steps 20"


def test_side_by_side_lays_copies_in_a_row_and_takes_them_away(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    before = {obj.name: tuple(obj.location) for obj in bpy.data.objects}
    meshes = len(bpy.data.meshes)
    assert bpy.ops.sketchbridge.compare() == {"FINISHED"}
    row = bpy.data.collections["Sketchbridge Comparison"].objects
    assert len(row) == 4 and len(bpy.data.meshes) == meshes and in_sight() == sorted(obj.name for obj in row)
    places = sorted(obj.matrix_world.translation.x for obj in row)
    assert np.diff(places).min() >= 2.0, "none lies in another"
    assert not any("sketchbridge_sources" in obj for obj in row)
    assert bpy.ops.sketchbridge.compare() == {"FINISHED"}
    assert {obj.name: tuple(obj.location) for obj in bpy.data.objects} == before and in_sight() == [three[-1].name]


@NO_PREVIEWS
def test_a_result_becomes_an_asset_with_its_picture(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    assert bpy.ops.sketchbridge.mark_asset() == {"FINISHED"}
    marked = three[-1]
    assert marked.asset_data.description == "a flower steps 20" and [tag.name for tag in marked.asset_data.tags] == ["Sketchbridge"]
    assert marked.preview.is_image_custom and tuple(marked.preview.image_size) == (8, 8)


@NO_PREVIEWS
def test_the_first_of_the_pictures_side_by_side_is_the_preview_upright(scene: ModuleType) -> None:
    cube = add_cube()
    strip = np.zeros((4, 16, 3), np.uint8)
    strip[0, :4] = (255, 0, 0)  # the top row of the first picture
    part(scene, "scene_thumbnail").set_picture(cube, strip)
    pixels = np.empty(4 * 4 * 4, np.float32)
    cube.preview.image_pixels_float.foreach_get(pixels)
    assert pixels.reshape(4, 4, 4)[3, 0].tolist() == [1, 0, 0, 1] and pixels.reshape(4, 4, 4)[0, 0].tolist() == [0, 0, 0, 1]
    part(scene, "scene_thumbnail").set_picture(cube, None)


def told(scene: ModuleType) -> str:
    bpy.context.view_layer.update()
    return "\n".join(line for _, line in part(scene, "outline").lines(bpy.context))


def test_the_panel_says_what_would_be_sent(scene: ModuleType) -> None:
    assert told(scene) == ""
    cube = add_cube()
    assert told(scene) == "'Sketch': 12 triangles"
    wire = add_object("Wire", [(0, 0, 0), (1, 0, 0), (1, 1, 0)], [], [(0, 1), (1, 2)])
    light = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    bpy.context.scene.collection.objects.link(light)
    select(cube, wire, light)
    assert "12 triangles, 1 stroke\n" in told(scene) and "Left out: 'Lamp'" in told(scene)


def test_the_panel_tells_overlapping_uvs_before_the_start(scene: ModuleType) -> None:
    cube = add_cube()
    layer = cube.data.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0] * 6)
    assert "% of the UV layout lies upon other faces" in told(scene)
    layer.uv.foreach_set("vector", [value for face in range(6) for value in
                                    (face / 6, 0, (face + 1) / 6, 0, (face + 1) / 6, 1, face / 6, 1)])  # fmt: skip
    assert "UV" not in told(scene)


def test_a_result_says_that_it_starts_again_from_its_sketch(scene: ModuleType, three: list[bpy.types.Object]) -> None:
    assert told(scene) == "Starts again from 'Sketch'"


def test_the_panels_translations_reach_blender(scene: ModuleType) -> None:
    view = bpy.context.preferences.view
    if "de_DE" not in bpy.app.translations.locales:
        pytest.skip("this Blender was built without languages")
    before = view.language, view.use_translate_interface
    try:
        view.language, view.use_translate_interface = "de_DE", True
        assert bpy.app.translations.pgettext_iface("Keep This", "Operator") == "Dies behalten"
        assert bpy.app.translations.pgettext_iface("Adherence") == "Treue"
    finally:
        view.language, view.use_translate_interface = before
