"""Several objects, several materials, UDIM tiles, mirrored and rigged meshes: each part its own image, in one step; the originals stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, add_object, everything, mesh_bytes, part, select

QUAD = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def results() -> list[bpy.types.Object]:
    """The selected results by name."""
    return sorted((obj for obj in bpy.context.view_layer.objects if obj.select_get()), key=lambda obj: obj.name)


def laid(obj: bpy.types.Object, uvs: np.ndarray, name: str = "Artist's") -> bpy.types.Object:
    """The object with a UV layer of these corners [C, 2]."""
    obj.data.uv_layers.new(name=name).uv.foreach_set("vector", np.ascontiguousarray(uvs, np.float32).ravel())
    return obj


def material(name: str) -> bpy.types.Material:
    return bpy.data.materials.new(name)


def cubes(*names: str) -> list[bpy.types.Object]:
    """Cubes beside each other, each with the whole square six times over and a material of its own."""
    made = []
    for index, name in enumerate(names):
        cube = laid(add_cube(name), np.tile(QUAD, (6, 1)) * 0.3 + np.repeat(GRID, 4, axis=0))
        cube.location.x = 3 * index
        cube.data.materials.append(material(f"{name} paint"))
        made.append(cube)
    select(*made)
    return made


GRID = np.array([[0, 0], [0.33, 0], [0.66, 0], [0, 0.5], [0.33, 0.5], [0.66, 0.5]], np.float32)


def image_of(made: bpy.types.Material) -> bpy.types.Image:
    return next(node.image for node in made.node_tree.nodes if node.type == "TEX_IMAGE")


def test_several_objects_are_textured_in_one_step_each_with_its_image(scene: ModuleType) -> None:
    made = cubes("A", "B", "C")
    before = [everything(obj) for obj in made]
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    found = results()
    assert [obj.name for obj in found] == ["A textured", "B textured", "C textured"]
    assert [everything(obj) for obj in found] == before == [everything(obj) for obj in made]
    images = {image_of(obj.material_slots[0].material) for obj in found}
    assert len(images) == 3 and all(image.packed_file is not None for image in images)
    assert [obj.material_slots[0].material.name for obj in found] == [f"{name} paint textured" for name in "ABC"]
    assert all(obj.hide_get() for obj in made) and all(
        obj["sketchbridge_sources"] == f'["{name}"]' for obj, name in zip(found, "ABC", strict=True)
    )
    assert part(scene, "jobs").last.results == ("A textured", "B textured", "C textured")


def test_a_material_that_objects_share_and_fit_into_together_has_one_image(scene: ModuleType) -> None:
    first, second = (
        add_object("Left", [[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 2]]),
        add_object("Right", [[2, 0, 0], [3, 0, 0], [3, 1, 0]], [[0, 1, 2]]),
    )
    laid(first, QUAD[:3] * 0.4), laid(second, QUAD[:3] * 0.4 + 0.5, "Other name")
    wood = material("Wood")
    for obj in (first, second):
        obj.data.materials.append(wood)
    select(first, second)
    bpy.ops.sketchbridge.texture()
    left, right = (obj.material_slots[0].material for obj in results())
    assert image_of(left) == image_of(right)
    uv_maps = [next(node for node in one.node_tree.nodes if node.type == "UVMAP").uv_map for one in (left, right)]
    assert uv_maps == ["Artist's", "Other name"]  # each looks where its own object has it


def test_slots_with_a_square_each_keep_their_faces_and_get_an_image_each(scene: ModuleType) -> None:
    cube = laid(add_cube("Box"), np.tile(QUAD, (6, 1)))
    uvs = np.tile(QUAD, (6, 1)).reshape(6, 4, 2) / [3, 1] + np.array([[0, 0], [1 / 3, 0], [2 / 3, 0]] * 2)[:, None]
    cube.data.uv_layers[0].uv.foreach_set("vector", uvs.astype(np.float32).ravel())
    for name in ("Oak", "Velvet"):
        cube.data.materials.append(material(name))
    cube.data.polygons.foreach_set("material_index", np.array([0, 0, 0, 1, 1, 1], np.int32))
    before = everything(cube)
    bpy.ops.sketchbridge.texture()
    (made,) = results()
    assert everything(made) == before
    assert [slot.material.name for slot in made.material_slots] == ["Oak textured", "Velvet textured"]
    assert [slot.material.name for slot in cube.material_slots] == ["Oak", "Velvet"]
    assert image_of(made.material_slots[0].material) != image_of(made.material_slots[1].material)


def wall() -> bpy.types.Object:
    """Two squares, each in a UDIM tile."""
    plane = add_object("Wall", [[x, 0, z] for z in (0, 1) for x in (0, 1, 2)], [[0, 1, 4, 3], [1, 2, 5, 4]])
    laid(plane, np.concatenate([QUAD, QUAD + np.float32([1, 0])]))
    plane.data.materials.append(material("Brick"))
    return plane


def test_udim_tiles_become_tiles_of_one_image(scene: ModuleType) -> None:
    plane = wall()
    before = everything(plane)
    bpy.ops.sketchbridge.texture()
    (made,) = results()
    assert everything(made) == before
    image = image_of(made.material_slots[0].material)
    assert image.source == "TILED" and [tile.number for tile in image.tiles] == [1001, 1002] and "<UDIM>" in image.filepath
    assert len(image.packed_files) == 2 and tuple(image.size) == (16, 16)


def test_the_command_writes_packed_tiles_into_a_glb(scene: ModuleType, tmp_path: Path) -> None:
    """Blender's exporter reads tiles from files alone."""
    wall()
    bpy.ops.sketchbridge.texture()
    image = image_of(results()[0].material_slots[0].material)
    before = image.filepath_raw
    part(scene, "cli")._export(tmp_path / "wall.glb", results())
    data = (tmp_path / "wall.glb").read_bytes()
    assert data.count(b'"baseColorTexture"') == data.count(b'"metallicRoughnessTexture"') == 2
    assert image.filepath_raw == before and len(image.packed_files) == 2


def test_only_the_object_without_uvs_is_unwrapped(scene: ModuleType) -> None:
    first, second = cubes("A")[0], add_cube("B")
    select(first, second)
    before = [everything(obj) for obj in (first, second)]
    bpy.ops.sketchbridge.texture()
    made = results()
    after = [everything(obj) for obj in made]
    new = np.frombuffer(after[1].pop("uv UVMap"), np.float32)
    assert after == before == [everything(obj) for obj in (first, second)] and np.ptp(new) > 0.5
    assert made[1].data.uv_layers.active.name == "UVMap" and made[0].data.uv_layers.active.name == "Artist's"


def test_a_slot_whose_uvs_have_no_area_alone_is_unwrapped(scene: ModuleType) -> None:
    uvs = (np.tile(QUAD, (6, 1)) * 0.3 + np.repeat(GRID, 4, axis=0)).reshape(6, 4, 2)
    uvs[3:] = 0.5
    cube = laid(add_cube("Box"), uvs)
    for name in ("Good", "Flat"):
        cube.data.materials.append(material(name))
    cube.data.polygons.foreach_set("material_index", np.array([0, 0, 0, 1, 1, 1], np.int32))
    bpy.ops.sketchbridge.texture()
    (made,) = results()
    layer = np.empty(48, np.float32)
    made.data.uv_layers["UVMap"].uv.foreach_get("vector", layer)
    np.testing.assert_array_equal(layer[:24], uvs[:3].astype(np.float32).ravel())
    assert np.ptp(layer[24:]) > 0.5


def mirrored(scene: ModuleType) -> bpy.types.Object:
    """Two quads upon each other in UV space, the second mirrored."""
    plane = add_object("Body", [[x, 0, z] for z in (0, 1) for x in (-1, 0, 1)], [[0, 1, 4, 3], [1, 2, 5, 4]])
    return laid(plane, np.concatenate([QUAD, QUAD * np.float32([-1, 1]) + np.float32([1, 0])]))


def test_mirrored_halves_are_told_and_kept_or_get_a_new_layer(scene: ModuleType) -> None:
    plane = mirrored(scene)
    before = everything(plane)
    (warning,) = part(scene, "jobs").warnings(bpy.context)
    assert "About 50 % of the UV layout of 'Body'" in warning and "mean of its colours" in warning
    bpy.ops.sketchbridge.texture()
    assert everything(results()[0]) == before
    bpy.context.scene.sketchbridge.uv_layout = "apart"  # the result that is selected stands for what it was made from
    assert part(scene, "jobs").warnings(bpy.context) == ()
    bpy.ops.sketchbridge.texture()
    made = everything(results()[0])
    uvs = np.frombuffer(made.pop("uv UVMap"), np.float32).reshape(2, 4, 2)
    assert made == before == everything(plane)
    assert part(scene, "texture_sets").shared_part(np.concatenate([uvs[:, [0, 1, 2]], uvs[:, [0, 2, 3]]])) < 0.01


def test_a_rigged_mesh_with_shape_keys_keeps_all_of_it(scene: ModuleType) -> None:
    (cube,) = cubes("Figure")
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    cube.vertex_groups.new(name="Bone").add(list(range(8)), 0.75, "REPLACE")
    cube.modifiers.new("Rig", "ARMATURE").object = rig
    cube.parent = rig
    cube.shape_key_add(name="Basis")
    cube.shape_key_add(name="Wide").data[0].co.x = -2
    normals = [(0.0, 0.6, 0.8)] * len(cube.data.loops)
    cube.data.normals_split_custom_set(normals)
    select(cube)
    before = everything(cube)
    bpy.ops.sketchbridge.texture()
    (made,) = results()
    assert everything(made) == before == everything(cube)
    assert made.modifiers["Rig"].object == rig and made.parent == rig and made.data.shape_keys != cube.data.shape_keys


def test_objects_of_one_mesh_each_get_their_own(scene: ModuleType) -> None:
    (first,) = cubes("First")
    second = bpy.data.objects.new("Second", first.data)
    bpy.context.scene.collection.objects.link(second)
    second.location.x = 4
    select(first)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert any("shares its mesh with 'Second'" in note for note in part(scene, "jobs").last.notes)
    assert results()[0].data != first.data == second.data and len(second.material_slots) == 1
    first.hide_set(False)
    select(first, second)
    bpy.ops.sketchbridge.texture()
    made = results()
    assert len({obj.data for obj in made}) == 2 and first.data not in {obj.data for obj in made}
    assert len({image_of(obj.material_slots[0].material) for obj in made}) == 2  # they lie upon each other in one material's layout


def test_a_child_stays_the_child_of_its_textured_parent(scene: ModuleType) -> None:
    parent, child = cubes("Parent", "Child")
    child.parent = parent
    child.matrix_parent_inverse = helpers.matrix((0, 1, 0))
    select(parent, child)
    bpy.context.view_layer.update()
    place = np.array(child.matrix_world)
    bpy.ops.sketchbridge.texture()
    made = {obj.name: obj for obj in results()}
    bpy.context.view_layer.update()
    assert made["Child textured"].parent == made["Parent textured"]
    np.testing.assert_allclose(np.array(made["Child textured"].matrix_world), place, atol=1e-6)


def test_a_linked_object_gets_a_local_result(scene: ModuleType, tmp_path: Any) -> None:
    cubes("Library cube")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.sketchbridge.prompt = "a box"
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = ["Library cube"]
    linked = wanted.objects[0]
    bpy.context.scene.collection.objects.link(linked)
    select(linked)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    (made,) = results()
    assert made.library is None and made.data.library is None and mesh_bytes(made.data) == mesh_bytes(linked.data)
    assert linked.material_slots[0].material.name == "Library cube paint"


@pytest.mark.parametrize("trouble", [lambda: bpy.ops.object.light_add(), lambda: bpy.ops.object.empty_add()])
def test_what_has_no_surface_is_refused_alone_and_left_out_among_others(scene: ModuleType, trouble: Callable[[], object]) -> None:
    (cube,) = cubes("A")
    trouble()
    other = bpy.context.object
    select(other)
    with pytest.raises(RuntimeError, match="no surface to texture"):
        bpy.ops.sketchbridge.texture()
    select(cube, other)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"} and len(results()) == 1
    assert any("was left out" in note for note in part(scene, "jobs").last.notes)


def test_a_failure_at_the_last_object_leaves_nothing_behind(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    first, second = cubes("A", "B")
    assert jobs.begin(bpy.context, "texture") is None
    second.data.uv_layers.remove(second.data.uv_layers[0])
    before = helpers.fingerprint()
    outcome = jobs.run_blocking(bpy.context)
    assert outcome.phase.value == "failed" and "UV layer of 'B' was removed" in outcome.text
    assert helpers.fingerprint() == before and first.hide_get() is False


def test_variations_lie_hidden_behind_the_first_in_one_step(scene: ModuleType) -> None:
    made = cubes("A", "B")
    bpy.context.scene.sketchbridge.variations = 3
    bpy.context.scene.sketchbridge.seed = 7
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert [obj.name for obj in results()] == ["A textured", "B textured"]
    others = [bpy.data.objects[f"{name} textured {number}"] for number in (2, 3) for name in "AB"]
    assert all(obj.hide_get() and obj.hide_render for obj in others) and not any(obj.hide_get() for obj in results())
    assert [obj["sketchbridge_seed"] for obj in [*results(), *others]] == [7, 7, 8, 8, 9, 9]
    images = {image_of(obj.material_slots[0].material) for obj in [*results(), *others]}
    assert len(images) == 6 and all(obj.hide_get() for obj in made)
