"""Texture: vertices, faces and an existing UV layer come back byte-identical; a missing one is unwrapped on the copy alone."""

from __future__ import annotations

from types import ModuleType

import bpy
import helpers
import numpy as np
from helpers import add_cube, add_object, matrix, mesh_bytes, part, select


def result() -> bpy.types.Object:
    return bpy.context.view_layer.objects.active


def with_uvs(obj: bpy.types.Object, name: str = "Artist's") -> bpy.types.Object:
    layer = obj.data.uv_layers.new(name=name)
    layer.uv.foreach_set("vector", np.random.default_rng(1).random(len(obj.data.loops) * 2).astype(np.float32))
    return obj


def test_everything_but_the_material_is_byte_identical(scene: ModuleType) -> None:
    cube = with_uvs(add_cube())
    cube.matrix_world = matrix((1, 2, 3), (0.3, 0.4, 0.5), (2, -1, 0.3))
    cube.data.materials.append(bpy.data.materials.new("Old"))
    cube.vertex_groups.new(name="Group").add([0, 3], 0.5, "ADD")
    before = mesh_bytes(cube.data)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    bpy.context.view_layer.update()
    made = result()
    assert made != cube and made.data != cube.data
    assert mesh_bytes(made.data) == before == mesh_bytes(cube.data)
    np.testing.assert_array_equal(np.array(made.matrix_world), np.array(cube.matrix_world))
    assert [slot.material.name for slot in cube.material_slots] == ["Old"] and len(made.material_slots) == 1
    assert made.vertex_groups.keys() == ["Group"] and cube.hide_get() and cube.hide_render


def test_the_material_uses_the_layer_it_was_baked_into(scene: ModuleType) -> None:
    cube = with_uvs(with_uvs(add_cube(), "First"), "Second")
    cube.data.uv_layers["Second"].active = True
    bpy.ops.sketchbridge.texture()
    nodes = result().material_slots[0].material.node_tree.nodes
    assert next(node for node in nodes if node.type == "UVMAP").uv_map == "Second"
    assert result().data.uv_layers["Second"].active_render


def test_without_uvs_the_copy_is_unwrapped_and_the_original_is_not(scene: ModuleType) -> None:
    cube = add_cube()
    before = mesh_bytes(cube.data)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    made = mesh_bytes(result().data)
    uvs = np.frombuffer(made.pop("uv UVMap"), np.float32)
    assert made == before == mesh_bytes(cube.data) and not cube.data.uv_layers
    assert uvs.min() >= 0 and uvs.max() <= 1 and np.ptp(uvs) > 0.5
    assert len(bpy.data.objects) == 2 and len(bpy.data.meshes) == 2


def test_unwrapping_leaves_no_scene_in_the_context(scene: ModuleType) -> None:
    """Where another file is opened the scene is freed, and Blender 4.2 wrote to it at the next glTF export."""
    part(scene, "scene_targets").unwrap(bpy.context, add_cube())
    assert bpy.context.id_data is None


def test_modifiers_stay_on_the_copy(scene: ModuleType) -> None:
    cube = with_uvs(add_cube())
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 2
    reading = part(scene, "scene_targets").read_targets(
        bpy.context, part(scene, "properties").job_settings(bpy.context.scene.sketchbridge, "texture")
    )
    assert len(reading.part.faces) == 6 * 16 * 2 and reading.part.uvs is not None  # what is seen is what is baked
    before = mesh_bytes(cube.data)
    bpy.ops.sketchbridge.texture()
    assert mesh_bytes(result().data) == before and result().modifiers.keys() == ["Subdivision"]


def test_uvs_of_triangles_are_those_of_their_corners(scene: ModuleType) -> None:
    obj = add_object("Pair", [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 1]], [[0, 1, 2, 3], [3, 2, 4]])
    layer = obj.data.uv_layers.new(name="UVMap")
    corners = np.array([vertex.co.xy for vertex in (obj.data.vertices[loop.vertex_index] for loop in obj.data.loops)], np.float32)
    layer.uv.foreach_set("vector", corners.ravel())
    obj.scale = (1, 1, -1)  # mirrored: the corners of each triangle are sent the other way round
    bpy.context.view_layer.update()
    reading = part(scene, "scene_targets").read_targets(
        bpy.context, part(scene, "properties").job_settings(bpy.context.scene.sketchbridge, "texture")
    )
    positions = reading.part.vertices + reading.origin
    np.testing.assert_allclose(reading.part.uvs, positions[reading.part.faces][..., :2], atol=1e-6)


def test_a_refined_object_can_be_textured_and_tells_of_its_own_job_alone(scene: ModuleType) -> None:
    add_cube()
    bpy.ops.sketchbridge.refine()
    refined = result()
    refined["sketchbridge_stale"] = "of the first job"
    bpy.context.scene.sketchbridge.prompt = "gold"
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert (
        result()["sketchbridge_prompt"] == "gold" and "sketchbridge_stale" not in result() and refined["sketchbridge_prompt"] == "a flower"
    )


def test_text_becomes_a_textured_mesh(scene: ModuleType) -> None:
    bpy.ops.object.text_add(location=(1, 2, 3))
    text = bpy.context.object
    text.data.extrude = 0.1
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    assert result().type == "MESH" and len(result().data.polygons) and tuple(result().location) == (1, 2, 3)
    assert text.hide_get() and len(bpy.data.meshes) == 1 and len(bpy.data.curves) == 1


def test_an_object_that_is_edited_meanwhile_is_left_alone(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    cube = add_cube()
    assert not jobs.begin(bpy.context, "texture")
    cube.data.clear_geometry()
    before = helpers.fingerprint()
    outcome = jobs.run_blocking(bpy.context)
    assert outcome.phase.value == "failed" and "was edited" in outcome.text
    assert helpers.fingerprint() == before


def test_a_new_uv_layer_is_the_active_one_everywhere(scene: ModuleType) -> None:
    """What the UV editor, the Solid view and Texture Paint take is the active layer; what renders take is the render layer."""
    bpy.ops.object.text_add()
    bpy.context.object.data.extrude = 0.1
    bpy.ops.sketchbridge.texture()
    layers = result().data.uv_layers
    material = result().material_slots[0].material
    used = next(node for node in material.node_tree.nodes if node.type == "UVMAP").uv_map
    assert layers.active.name == used and layers[used].active_render
    assert material.node_tree.nodes.active.type == "TEX_IMAGE"


def stacked(scene: ModuleType) -> bpy.types.Object:
    """A cube all of whose faces lie upon each other in UV space."""
    cube = add_cube()
    layer = cube.data.uv_layers.new(name="Stacked")
    layer.uv.foreach_set("vector", np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (6, 1)).ravel())
    return cube


def test_overlapping_uvs_are_told_before_the_work(scene: ModuleType) -> None:
    stacked(scene)
    jobs = part(scene, "jobs")
    (warning,) = jobs.warnings(bpy.context)
    assert warning.startswith("About 83 % of the UV layout of 'Sketch' lies upon other faces") and "new UV layer" in warning
    assert jobs.begin(bpy.context, "texture") is None
    assert jobs.running.session.notes == [warning]  # before the engine has said a word
    jobs.run_blocking(bpy.context)
    select(with_uvs(add_object("Quad", [[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 2]])))
    assert jobs.warnings(bpy.context) == ()


def test_a_new_uv_layer_is_made_where_it_is_asked_for(scene: ModuleType) -> None:
    cube = stacked(scene)
    before = mesh_bytes(cube.data)
    bpy.ops.sketchbridge.texture(uv_layout="new")
    made = mesh_bytes(result().data)
    uvs = np.frombuffer(made.pop("uv UVMap"), np.float32).reshape(-1, 2)
    assert made == before == mesh_bytes(cube.data) and cube.data.uv_layers.keys() == ["Stacked"]
    assert part(scene, "texture_sets").shared_part(uvs.reshape(-1, 4, 2)[:, :3]) < 0.02
    assert result().data.uv_layers.active.name == "UVMap"


def test_a_texture_is_one_undo_step_and_no_material_changes_before(scene: ModuleType) -> None:
    cube = with_uvs(add_cube())
    cube.data.materials.append(bpy.data.materials.new("Old"))
    bpy.ops.ed.undo_push(message="drawn")
    jobs = part(scene, "jobs")
    before = helpers.fingerprint()
    assert jobs.begin(bpy.context, "texture") is None
    helpers.run_until(jobs, lambda: jobs.running.session.progress is not None)
    assert helpers.fingerprint()["materials/Old"] == before["materials/Old"] and len(bpy.data.materials) == 1
    jobs.abandon()
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    name = result().name
    bpy.ops.ed.undo()
    (slot,) = bpy.data.objects["Sketch"].material_slots
    assert name not in bpy.data.objects and slot.material.name == "Old" and not bpy.data.objects["Sketch"].hide_get()
    bpy.ops.ed.redo()
    assert [slot.material.name for slot in bpy.data.objects[name].material_slots] == [name]
