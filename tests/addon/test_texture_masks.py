"""What is painted and what is not: the rest of an object keeps its materials, slots and images; what cannot be is told before the start."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, mesh_bytes, part
from test_texture_parts import GRID, QUAD, cubes, laid, material, results


def two_slots(scene: ModuleType) -> bpy.types.Object:
    """A cube with UVs whose first three faces are Oak and the others Velvet."""
    cube = laid(add_cube("Chair"), np.tile(QUAD, (6, 1)) * 0.3 + np.repeat(GRID, 4, axis=0))
    for name in ("Oak", "Velvet"):
        cube.data.materials.append(material(name))
    cube.data.polygons.foreach_set("material_index", np.array([0, 0, 0, 1, 1, 1], np.int32))
    return cube


def ask(**settings: Any) -> None:
    for name, value in settings.items():
        setattr(bpy.context.scene.sketchbridge, name, value)


def materials_of_faces(obj: bpy.types.Object) -> list[str]:
    slots = [slot.material.name if slot.material is not None else "" for slot in obj.material_slots]
    return [slots[face.material_index] for face in obj.data.polygons]


def reading(scene: ModuleType) -> Any:
    settings = part(scene, "properties").job_settings(bpy.context.scene.sketchbridge, "texture")
    return part(scene, "scene_targets").read_targets(bpy.context, settings)


def test_slots_that_are_not_named_keep_their_material(scene: ModuleType) -> None:
    cube = two_slots(scene)
    before = mesh_bytes(cube.data)
    ask(paint="slots", paint_name="velvet")
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    (made,) = results()
    assert materials_of_faces(made) == ["Oak"] * 3 + ["Chair textured"] * 3 and mesh_bytes(made.data) == before
    assert bpy.data.materials["Oak"] == made.material_slots[0].material and materials_of_faces(cube) == ["Oak"] * 3 + ["Velvet"] * 3


def test_selected_faces_alone_are_painted(scene: ModuleType) -> None:
    cube = add_cube("Bare")  # without material or UVs
    cube.data.polygons.foreach_set("select", np.array([1, 0, 0, 0, 0, 1], bool))
    ask(paint="faces")
    seen = reading(scene)
    corners = seen.part.vertices[seen.part.faces]
    assert seen.part.mask.shape == (12, 3) and seen.part.mask.sum() == 12 and len(corners) == 12
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    (made,) = results()
    assert materials_of_faces(made) == ["Bare textured", "", "", "", "", "Bare textured"]
    assert made.data.uv_layers.active.name == "UVMap" and not cube.data.uv_layers


def test_a_new_layer_for_some_faces_leaves_the_others_materials_where_they_look(scene: ModuleType) -> None:
    cube = two_slots(scene)
    ask(paint="slots", paint_name="Oak", uv_layout="new")
    bpy.ops.sketchbridge.texture()
    layers = results()[0].data.uv_layers
    assert layers.active.name == "UVMap" and layers["Artist's"].active_render and cube.data.uv_layers.keys() == ["Artist's"]
    texture = results()[0].material_slots[2].material.node_tree
    assert next(node for node in texture.nodes if node.type == "UVMAP").uv_map == "UVMap"


def test_weights_colours_and_images_are_read_at_the_corners(scene: ModuleType) -> None:
    cube = two_slots(scene)
    cube.vertex_groups.new(name="Top").add([0, 1, 2, 3], 0.25, "REPLACE")
    ask(paint="group", paint_name="Top")
    seen = reading(scene).part
    np.testing.assert_allclose(seen.mask, np.where(seen.vertices[seen.faces][..., 0] < 0, 0.25, 0))
    attribute = cube.data.color_attributes.new("Where", "BYTE_COLOR", "CORNER")
    shades = np.repeat(np.array([0, 0, 0, 1, 1, 1], np.float32), 4)
    attribute.data.foreach_set("color", np.stack([shades, shades, shades, shades * 0 + 1], axis=1).ravel())
    ask(paint="colour", paint_name="Where")
    seen = reading(scene).part
    np.testing.assert_array_equal(seen.mask.min(axis=1), seen.pieces)  # the second slot's faces are white
    image = bpy.data.images.new("Stencil", 4, 2)
    image.pixels.foreach_set(np.tile(np.array([0.2, 0.2, 0.2, 1.0], np.float32), 8))
    ask(paint="image", paint_name="Stencil")
    found = reading(scene)
    assert found.targets.image.shape == (2, 4) and set(found.targets.image.ravel().tolist()) == {51}
    assert found.part.mask.min() == 1 and np.array_equal(found.targets.own_uvs, found.part.uvs)


def test_the_picture_that_a_material_shows_is_sent_byte_for_byte(scene: ModuleType) -> None:
    cube = two_slots(scene)
    image = bpy.data.images.new("Painted", 3, 2)
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4) * 10 / 255
    values[..., 3] = 1
    image.pixels.foreach_set(values.ravel())
    oak = bpy.data.materials["Oak"]
    oak.use_nodes = True
    texture = oak.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = next(node for node in oak.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    oak.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    ask(paint="slots", paint_name="Oak")
    ((piece, picture),) = reading(scene).targets.pictures
    assert piece == 0 and np.array_equal(picture, np.rint(values[::-1, :, :3] * 255))
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"} and cube.hide_get()


def test_modifiers_carry_the_mask_along(scene: ModuleType) -> None:
    cube = two_slots(scene)
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    cube.data.polygons.foreach_set("select", np.array([1, 0, 0, 0, 0, 0], bool))
    ask(paint="faces")
    seen = reading(scene).part
    assert len(seen.faces) == 48 and (seen.mask.min(axis=1) == 1).sum() == 8
    bpy.ops.sketchbridge.texture()
    assert materials_of_faces(results()[0]) == ["Chair textured", "Oak", "Oak", "Velvet", "Velvet", "Velvet"]


def test_objects_that_are_not_painted_get_no_result(scene: ModuleType) -> None:
    first, second = cubes("A", "B")
    ask(paint="slots", paint_name="B paint")
    bpy.ops.sketchbridge.texture()
    assert [obj.name for obj in results()] == ["B textured"] and not first.hide_get() and second.hide_get()


def test_parts_have_prompts_of_their_own_in_the_message(scene: ModuleType) -> None:
    two_slots(scene)
    ask(part_prompts="oak: dark wood; Velvet: green velvet")
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert "green velvet" in results()[0]["sketchbridge_part_prompts"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"paint": "slots", "paint_name": "legs"}, "no part, slot or object 'legs'; there are 'Oak', 'Chair', 'Velvet'"),
        ({"paint": "group", "paint_name": "Top"}, "has a vertex group 'Top'; there are: none"),
        ({"paint": "colour", "paint_name": ""}, "has a colour attribute ''; there are: none"),
        ({"paint": "image", "paint_name": "lost.png"}, "There is no image 'lost.png'"),
        ({"paint": "faces"}, "no face is selected"),
        ({"part_prompts": "legs: oak"}, "no part, slot or object 'legs'"),
        ({"part_prompts": "oak"}, "NAME: PROMPT"),
    ],
)
def test_what_cannot_be_painted_is_told_before_the_start(scene: ModuleType, settings: dict[str, str], words: str) -> None:
    cube = two_slots(scene)
    cube.data.polygons.foreach_set("select", np.zeros(6, bool))
    ask(**settings)
    before = helpers.fingerprint()
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.sketchbridge.texture()
    assert words in str(caught.value)
    assert helpers.fingerprint() == before and part(scene, "jobs").running is None
