"""Short jobs with the real engine: torch, Warp, the embedded prior, from the panel's operators and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, add_object, matrix, mesh_bytes, part, world_vertices

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("real_engine")]

TINY = {
    "grid": 20,
    "colour_grid": 16,
    "views": 2,
    "supersample": 1,
    "fit_steps": 4,
    "stage1_steps": 2,
    "stage2_steps": 2,
    "faces": 800,
    "texture_size": 64,
}


def prepare(prompt: str = "a red apple") -> None:
    settings = bpy.context.scene.sketchbridge
    settings.prompt, settings.overrides = prompt, json.dumps(TINY)


def open_tube() -> bpy.types.Object:
    """A stroke as a VR brush leaves it: a bent tube, open at both ends."""
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    rings = [[np.cos(a) * 0.15 + 0.2 * np.sin(3 * z), np.sin(a) * 0.15, z] for z in np.linspace(0, 1, 10) for a in angle]
    faces = [[r * 8 + s, r * 8 + (s + 1) % 8, (r + 1) * 8 + (s + 1) % 8, (r + 1) * 8 + s] for r in range(9) for s in range(8)]
    return add_object("Stroke", rings, faces)


def test_refine(scene: ModuleType) -> None:
    prepare()
    stroke = open_tube()
    stroke.matrix_world = matrix((2, -3, 5), (0.5, -0.4, 0.3), (2, -1, 3))
    bpy.context.view_layer.update()
    wanted, before, drawn = np.array(stroke.matrix_world), mesh_bytes(stroke.data), world_vertices(stroke)
    assert bpy.ops.sketchbridge.refine() == {"FINISHED"}
    result = bpy.context.view_layer.objects.active
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(result.matrix_world), wanted, rtol=1e-6, atol=1e-6)
    made = world_vertices(result)
    diagonal = np.linalg.norm(np.ptp(drawn, axis=0))
    assert (
        np.abs(made.min(axis=0) - drawn.min(axis=0)).max() < 0.1 * diagonal
        and np.abs(made.max(axis=0) - drawn.max(axis=0)).max() < 0.1 * diagonal
    )
    assert 50 < len(result.data.polygons) <= 800 and mesh_bytes(stroke.data) == before
    assert 0 < result["sketchbridge_deviation_mean_percent"] < 10 and json.loads(result["sketchbridge_versions"])["torch"]
    shader = next(node for node in result.material_slots[0].material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    image = shader.inputs["Base Color"].links[0].from_node.image
    assert tuple(image.size) == (64, 64) and image.packed_file is not None


def test_text_to_3d_arrives_at_the_cursor(scene: ModuleType) -> None:
    """Four steps of a cloud: what is there is the ball that it begins as, half a metre in radius, refined and textured."""
    prepare()
    dream = {"dream_views": 2, "dream_size": 16, "dream_samples": 16}
    settings = bpy.context.scene.sketchbridge
    settings.dream_steps, settings.dream_grid, settings.overrides = 4, 16, json.dumps({**TINY, **dream})
    bpy.context.scene.cursor.location = (4, 0, 2)
    assert bpy.ops.sketchbridge.dream() == {"FINISHED"}
    result = bpy.context.view_layer.objects.active
    bpy.context.view_layer.update()
    made = world_vertices(result)
    assert result.name == "a red apple" and np.abs(made.mean(axis=0) - (4, 0, 2)).max() < 0.2
    assert (np.ptp(made, axis=0) > 0.4).all() and (np.ptp(made, axis=0) < 1.6).all() and 50 < len(result.data.polygons) <= 800
    assert result.data.uv_layers and json.loads(result["sketchbridge_settings"])["dream"]["dream_steps"] == 4
    shader = next(node for node in result.material_slots[0].material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert tuple(shader.inputs["Base Color"].links[0].from_node.image.size) == (64, 64)


def test_texture_leaves_everything_byte_identical(scene: ModuleType) -> None:
    prepare()
    cube = add_cube()
    cube.scale = (1, -2, 0.5)
    layer = cube.data.uv_layers.new(name="Artist's")
    grid = [
        ((face % 3) / 3 + 0.3 * (corner in (1, 2)), (face // 3) / 2 + 0.4 * (corner in (2, 3))) for face in range(6) for corner in range(4)
    ]
    layer.uv.foreach_set("vector", np.array(grid, np.float32).ravel())
    before = mesh_bytes(cube.data)
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    result = bpy.context.view_layer.objects.active
    assert result != cube and mesh_bytes(result.data) == before == mesh_bytes(cube.data)


def test_a_mesh_without_area_is_refused_and_nothing_changes(scene: ModuleType) -> None:
    """Three corners a millimetre apart at a billion metres are one point in single precision."""
    prepare()
    add_object("Broken", [[1e9, 1e9, 1e9], [1e9, 1e9 + 1e-3, 1e9], [1e9, 1e9, 1e9 + 1e-3]], [[0, 1, 2]])
    before = helpers.fingerprint()
    with pytest.raises(RuntimeError):
        bpy.ops.sketchbridge.refine()
    outcome = part(scene, "jobs").last
    assert outcome.fix and outcome.exit_code == 2 and helpers.fingerprint() == before


def test_a_model_folder_that_is_missing(scene: ModuleType, tmp_path: Path) -> None:
    prepare()
    add_cube()
    bpy.context.scene.sketchbridge.model = str(tmp_path / "no model here")
    before = helpers.fingerprint()
    with pytest.raises(RuntimeError, match="no model here"):
        bpy.ops.sketchbridge.refine()
    assert part(scene, "jobs").last.exit_code == 2 and helpers.fingerprint() == before


def test_the_connection(scene: ModuleType) -> None:
    assert bpy.ops.sketchbridge.test_connection() == {"FINISHED"}
