"""Refine through the add-on's own operator with a real engine process: result, transform, streaming, undo, provenance."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, add_object, matrix, part, select, world_vertices

POSES = {
    "as drawn": matrix(),
    "moved and turned": matrix((3, -2, 1), (0.4, -1.1, 2.5)),
    "mirrored": matrix((0, 1, 0), (0.2, 0.1, -0.7), (-1, 1, 1)),
    "stretched": matrix((-5, 0, 2), (1.0, 0.3, 0.2), (0.01, 3, 40)),
    "stretched and mirrored": matrix((1, 2, 3), (0.5, -0.4, 0.3), (2, -0.5, 7)),
    "far away": matrix((1e5, -2e5, 3e4), (0.1, 0.2, 0.3), (1, 2, 1)),
    "small": matrix((0, 0, 0), (0, 0, 1), (1e-4, 1e-4, 1e-4)),
}
"""World matrices; what the tiny job makes of a mesh is known: its vertices drawn toward their mean."""


def drawn_together(vertices: np.ndarray, steps: int = 5) -> np.ndarray:
    """The tiny job's own result, in float64."""
    mean = vertices.mean(axis=0)
    return mean + (vertices - mean) * 0.9**steps


def result() -> bpy.types.Object:
    return bpy.context.view_layer.objects.active


@pytest.mark.parametrize("pose", POSES)
def test_the_transform_is_the_originals_and_the_surface_in_its_place(scene: ModuleType, pose: str) -> None:
    cube = add_cube()
    cube.matrix_world = POSES[pose]
    bpy.context.view_layer.update()
    wanted, before = np.array(cube.matrix_world), world_vertices(cube)
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(result().matrix_world), wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted[:3, :3]).max())
    np.testing.assert_array_equal(np.array(cube.matrix_world), wanted)
    expected, got = drawn_together(before), world_vertices(result())
    # Single precision of local coordinates bounds the error by 1e-6 of the object's size, plus that of Blender's own float32
    # matrix, whose translation is exact here because the same matrix is used.
    assert np.abs(got - expected).max() < 2e-6 * np.ptp(before, axis=0).max()


@pytest.mark.parametrize("pose", POSES)
def test_faces_look_outward_in_every_pose(scene: ModuleType, pose: str) -> None:
    add_cube().matrix_world = POSES[pose]
    bpy.ops.sketchbridge.refine()
    mesh, vertices = result().data, world_vertices(result())
    vertices = vertices - vertices.mean(axis=0)
    mesh.calc_loop_triangles()
    corners = np.array([triangle.vertices for triangle in mesh.loop_triangles])
    a, b, c = (vertices[corners[:, index]] for index in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert volume * (-1 if np.linalg.det(np.array(result().matrix_world)[:3, :3]) < 0 else 1) > 0 and len(corners) == 12


def test_edges_of_boards_are_shaded_as_edges_and_facets_are_not(scene: ModuleType) -> None:
    """The result is a cube of triangles: its twelve edges are sharp, the six diagonals are not, and faces are smooth."""
    add_cube()
    bpy.ops.sketchbridge.refine()
    mesh = result().data
    sharp = np.zeros(len(mesh.edges), dtype=bool)
    mesh.attributes["sharp_edge"].data.foreach_get("value", sharp)
    assert len(mesh.edges) == 18 and sharp.sum() == 12
    assert all(polygon.use_smooth for polygon in mesh.polygons)


def test_a_parent_with_shear_and_delta_transforms(scene: ModuleType) -> None:
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.scene.collection.objects.link(parent)
    parent.matrix_world = matrix((1, 0, 0), (0, 0, 0.6), (3, 1, 1))
    cube = add_cube()
    cube.parent = parent
    cube.matrix_parent_inverse = matrix((0, 0.5, 0), (0.3, 0, 0))
    cube.rotation_mode = "QUATERNION"
    cube.rotation_quaternion, cube.delta_location, cube.delta_scale = (0.9, 0.1, 0.3, 0.2), (0, 0, 2), (1, 1.5, 1)
    bpy.context.view_layer.update()
    before = world_vertices(cube)
    bpy.ops.sketchbridge.refine()
    bpy.context.view_layer.update()
    assert result().parent == parent and result().rotation_mode == "QUATERNION"
    np.testing.assert_allclose(np.array(result().matrix_world), np.array(cube.matrix_world), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(world_vertices(result()), drawn_together(before), atol=1e-5)


def test_a_constraint_keeps_the_world_matrix(scene: ModuleType) -> None:
    target = bpy.data.objects.new("Target", None)
    bpy.context.scene.collection.objects.link(target)
    target.matrix_world = matrix((4, 5, 6), (0.3, 0.2, 0.1), (2, 2, -2))
    cube = add_cube()
    cube.constraints.new("COPY_TRANSFORMS").target = target
    bpy.context.view_layer.update()
    before = world_vertices(cube)
    bpy.ops.sketchbridge.refine()
    np.testing.assert_allclose(np.array(result().matrix_world), np.array(cube.matrix_world), rtol=1e-6, atol=3e-6)
    np.testing.assert_allclose(world_vertices(result()), drawn_together(before), atol=2e-5)


def test_a_scale_of_zero_gives_the_identity(scene: ModuleType) -> None:
    cube = add_cube()
    cube.matrix_world = matrix((1, 2, 3), (0.3, 0, 0), (1, 1, 0))
    bpy.context.view_layer.update()
    before = world_vertices(cube)
    bpy.ops.sketchbridge.refine()
    np.testing.assert_array_equal(np.array(result().matrix_world), np.eye(4))
    np.testing.assert_allclose(world_vertices(result()), drawn_together(before), atol=1e-5)


def test_several_objects_become_one_with_the_active_ones_transform(scene: ModuleType) -> None:
    first, second = add_cube("First"), add_cube("Second")
    first.matrix_world, second.matrix_world = matrix((-3, 0, 0), (0, 0, 0.4), (1, 2, 1)), matrix((3, 0, 1), (0.5, 0, 0), (-1, 1, 1))
    bpy.context.view_layer.update()
    before = np.concatenate([world_vertices(second), world_vertices(first)])
    select(second, first)
    bpy.ops.sketchbridge.refine()
    np.testing.assert_allclose(np.array(result().matrix_world), np.array(second.matrix_world), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(world_vertices(result()), drawn_together(before), atol=1e-5)
    assert json.loads(result()["sketchbridge_sources"]) == ["Second", "First"]
    assert all(obj.hide_get() and obj.hide_render for obj in (first, second))


def test_the_original_is_kept_hidden_and_untouched(scene: ModuleType) -> None:
    cube = add_cube()
    collection = bpy.data.collections.new("Drawings")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(cube)
    bpy.context.scene.collection.objects.unlink(cube)
    select(cube)
    before = helpers.mesh_bytes(cube.data)
    bpy.ops.sketchbridge.refine()
    assert helpers.mesh_bytes(cube.data) == before and cube.hide_get() and cube.hide_render
    assert list(result().users_collection) == [collection]
    assert result().select_get() and not result().hide_render and len(bpy.data.objects) == 2


def test_the_material_shows_the_maps_and_they_are_packed(scene: ModuleType) -> None:
    add_cube()
    bpy.context.scene.sketchbridge.texture_size = "256"
    bpy.ops.sketchbridge.refine()
    material = result().material_slots[0].material
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    albedo = shader.inputs["Base Color"].links[0].from_node.image
    roughness = shader.inputs["Roughness"].links[0].from_node.image
    assert albedo.colorspace_settings.name == "sRGB" and roughness.colorspace_settings.name == "Non-Color"
    assert albedo.packed_file is not None and roughness.packed_file is not None
    pixels = np.array(albedo.pixels[:]).reshape(256, 256, 4)
    # The tiny job's albedo runs from 0 in its first row, the top, to 255 in its last; Blender's first row is at the bottom.
    assert pixels[0, 0, 0] == 1.0 and pixels[-1, 0, 0] == 0.0
    np.testing.assert_allclose(pixels[..., 1:3], 40 / 255, atol=1e-6)
    np.testing.assert_allclose(np.array(roughness.pixels[:4])[:3], 128 / 255, atol=1e-6)
    uvs = part(scene, "scene_objects").read_uvs(result().data)
    assert uvs.min() >= 0 and uvs.max() <= 1 and np.ptp(uvs) > 0.9


def test_provenance_is_stored_on_the_result(scene: ModuleType) -> None:
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.seed, settings.preset = "a red tulip", 2_000_000_000, "draft"
    add_cube("Tulip")
    bpy.ops.sketchbridge.refine()
    stored = result()
    assert stored["sketchbridge_prompt"] == "a red tulip" and stored["sketchbridge_seed"] == 2_000_000_000
    assert stored["sketchbridge_model"] == "embedded" and stored["sketchbridge_preset"] == "draft"
    assert stored["sketchbridge_deviation_mean_percent"] == pytest.approx(1.5)
    assert part(scene, "panel_variants").facts(stored) == [
        "Deviation 1.50 %, at most 7.50 %", "95 % of it within 2.25 %", "Volume -4.5 %", "Holes 3, the sketch 1", "Parts 2, the sketch 2",
    ]  # fmt: skip
    assert json.loads(stored["sketchbridge_sources"]) == ["Tulip"]
    assert json.loads(stored["sketchbridge_settings"])["mode"] == "refine"


def test_before_and_after(scene: ModuleType) -> None:
    cube = add_cube()
    bpy.ops.sketchbridge.refine()
    made = result()
    assert bpy.ops.sketchbridge.toggle() == {"FINISHED"}
    assert made.hide_get() and made.hide_render and not cube.hide_get() and not cube.hide_render
    select(cube)
    bpy.ops.sketchbridge.toggle()
    assert not made.hide_get() and cube.hide_get() and cube.hide_render and not made.hide_render


def test_meshes_are_streamed_into_the_scene_and_leave_no_trace(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = add_cube()
    cube.location = (5, 6, 7)
    bpy.context.scene.sketchbridge.prompt = "steps 100"
    seen, preview, jobs = [], part(scene, "scene_preview"), part(scene, "jobs")
    shown = preview.show

    def watched(context: bpy.types.Context, reading: object, update: object) -> None:
        shown(context, reading, update)
        placed = world_vertices(bpy.data.objects[preview.PREVIEW_NAME])
        seen.append((np.ptp(placed, axis=0).max(), placed.mean(axis=0), cube.hide_get()))

    monkeypatch.setattr(jobs.scene_preview, "show", watched)
    bpy.ops.sketchbridge.refine()
    sizes = [size for size, _, _ in seen]
    assert len(seen) >= 2 and sizes == sorted(sizes, reverse=True) and all(hidden for _, _, hidden in seen)
    np.testing.assert_allclose(seen[-1][1], [5, 6, 7], atol=1e-4)
    assert helpers.no_preview() and not [material for material in bpy.data.materials if "Preview" in material.name]


def test_the_preview_is_neither_saved_nor_kept_when_the_file_changes(scene: ModuleType, tmp_path: object) -> None:
    add_cube()
    bpy.context.scene.sketchbridge.prompt = "steps 5000"
    jobs, preview = part(scene, "jobs"), part(scene, "scene_preview")
    assert not jobs.begin(bpy.context, "refine")
    while preview.PREVIEW_NAME not in bpy.data.objects:
        assert not jobs.step(bpy.context)
        jobs.running.session.wait(0.05)
    session = jobs.running.session
    path = str(tmp_path / "file.blend")  # type: ignore[operator]
    bpy.ops.wm.save_as_mainfile(filepath=path)
    assert helpers.no_preview() and not bpy.data.objects["Sketch"].hide_get() and jobs.running is not None
    bpy.ops.wm.open_mainfile(filepath=path)
    assert jobs.running is None and session.finished and session.wait_closed()
    assert helpers.no_preview() and "Sketch" in bpy.data.objects


def test_a_result_survives_saving_and_loading(scene: ModuleType, tmp_path: object) -> None:
    add_cube()
    bpy.ops.sketchbridge.refine()
    name = result().name
    path = str(tmp_path / "file.blend")  # type: ignore[operator]
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    loaded = bpy.data.objects[name]
    shader = next(node for node in loaded.material_slots[0].material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert shader.inputs["Base Color"].links[0].from_node.image.packed_file is not None
    assert bpy.data.objects["Sketch"].hide_get() and loaded["sketchbridge_prompt"] == "a flower"


def test_curves_and_drawings_are_refined_too(scene: ModuleType) -> None:
    bpy.ops.curve.primitive_bezier_circle_add()
    bpy.context.object.data.bevel_depth = 0.1
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"} and len(result().data.polygons) > 100
    bpy.ops.object.gpencil_add(type="MONKEY") if bpy.app.version < (4, 3) else bpy.ops.object.grease_pencil_add(type="MONKEY")
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"} and len(result().data.polygons) > 1000


def test_the_original_may_be_renamed_or_deleted_meanwhile(scene: ModuleType) -> None:
    jobs = part(scene, "jobs")
    cube = add_cube()
    cube.matrix_world = POSES["stretched and mirrored"]
    bpy.context.view_layer.update()
    wanted, before = np.array(cube.matrix_world), world_vertices(cube)
    assert not jobs.begin(bpy.context, "refine")
    bpy.data.objects.remove(cube)
    assert jobs.run_blocking(bpy.context).phase.value == "done"
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(result().matrix_world), wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(world_vertices(result()), drawn_together(before), atol=1e-5)


def test_panel_settings_become_the_jobs_settings(scene: ModuleType) -> None:
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.source, settings.use_faces, settings.faces, settings.texture_size = "p", "s", True, 700, "512"
    settings.use_closing, settings.closing, settings.use_thickness, settings.thickness = True, 5.0, True, 2.5
    settings.overrides = '{"stage1_steps": 3}'
    from engine.job_fields import JobSettings

    checked = JobSettings.from_dict(part(scene, "properties").job_settings(settings, "texture"))
    assert (checked.mode, checked.prompt, checked.source, checked.faces, checked.texture_size) == ("texture", "p", "s", 700, 512)
    assert checked.closing == pytest.approx(0.08) and checked.thickness == pytest.approx(0.04) and checked.resolve().stage1_steps == 3


def test_a_strip_without_volume_can_be_refined(scene: ModuleType) -> None:
    add_object("Ribbon", [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2, 3]])
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}


def test_a_model_folder_beside_the_file(scene: ModuleType, tmp_path: Path) -> None:
    settings, job_settings = bpy.context.scene.sketchbridge, part(scene, "properties").job_settings
    settings.model = "//models/flowers"
    assert job_settings(settings, "refine")["model"] == "//models/flowers"  # a file without a name has no folder
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "sketch.blend"))
    assert os.path.normpath(job_settings(settings, "refine")["model"]) == str(tmp_path / "models" / "flowers")
    settings.model = "owner/model"
    assert job_settings(settings, "refine")["model"] == "owner/model"


def test_a_result_is_one_undo_step(scene: ModuleType) -> None:
    cube = add_cube()
    bpy.ops.ed.undo_push(message="drawn")
    bpy.ops.sketchbridge.refine()
    name, corners = result().name, len(result().data.vertices)
    bpy.ops.ed.undo()
    cube = bpy.data.objects["Sketch"]
    assert name not in bpy.data.objects and not cube.hide_get() and not cube.hide_render and cube.select_get()
    bpy.ops.ed.redo()
    made = bpy.data.objects[name]
    shader = next(node for node in made.material_slots[0].material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert len(made.data.vertices) == corners and shader.inputs["Base Color"].links[0].from_node.image.packed_file is not None
    assert bpy.data.objects["Sketch"].hide_get()


def test_a_model_folder_beside_the_current_one_is_sent_with_its_whole_path(
    scene: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is started in a folder of its own."""
    for name in ("flowers", "embedded"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for typed, sent in (("flowers", str(tmp_path / "flowers")), ("embedded", "embedded"), ("owner/model", "owner/model")):
        select(add_cube())
        bpy.context.scene.sketchbridge.model = typed
        bpy.ops.sketchbridge.refine()
        assert result()["sketchbridge_model"] == sent
