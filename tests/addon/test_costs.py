"""Nothing that the add-on does on Blender's main thread takes long: a large surface and a large texture, in processor time.

Processor time of this thread, the least of a dozen tries: what else the machine does must not decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import bpy
import numpy as np
import pytest
from helpers import add_cube, part, select

from engine.formats.png import encode_png

CALLBACK_SECONDS = 0.05
"""What a user does not notice: every mesh while a job runs needs a half of it."""
RESULT_SECONDS = 0.1
"""Of the one callback that puts a result in, once a job; 55 ms were measured, a third of them Blender's copy of the 4k file."""
SIDE = 317  # 2 * 316 ** 2 = 199,712 triangles


def wave() -> tuple[np.ndarray, np.ndarray]:
    """A surface of 200k triangles."""
    u, v = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    vertices = np.stack([u, v, 0.1 * np.sin(9 * u)], axis=-1).reshape(-1, 3).astype(np.float32)
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def picture() -> bytes:
    """A 4k map, as fine as a baked one: some 25 MB."""
    steps = np.add.outer(np.arange(4096, dtype=np.int32), np.arange(4096, dtype=np.int32))[..., None] // 32
    return encode_png((steps + np.random.default_rng(0).integers(0, 8, (4096, 4096, 3), dtype=np.int32)).astype(np.uint8))


def least(call: Callable[[], object], tries: int = 12) -> float:
    def once() -> float:
        started = time.thread_time()
        call()
        return time.thread_time() - started

    return min(once() for _ in range(tries))


@pytest.mark.slow
def test_what_the_panel_says_before_the_start_costs_nothing_however_large_the_selection(scene: ModuleType) -> None:
    vertices, faces = wave()
    mesh = bpy.data.meshes.new("Large")
    part(scene, "scene_write").fill_mesh(mesh, vertices, faces)
    mesh.update(calc_edges=True)
    mesh.uv_layers.new(name="UVMap")
    large = bpy.data.objects.new("Large", mesh)
    bpy.context.scene.collection.objects.link(large)
    select(large)
    outline = part(scene, "outline")
    assert "199,712 triangles" in outline.lines(bpy.context)[0][1]
    assert least(lambda: outline.lines(bpy.context)) < CALLBACK_SECONDS / 5
    small = bpy.data.objects.new("Small", bpy.data.meshes.new("Small"))
    part(scene, "scene_write").fill_mesh(small.data, vertices, faces[: outline.UV_FACES - 10])
    small.data.update(calc_edges=True)
    small.data.uv_layers.new(name="UVMap").uv.foreach_set("vector", vertices[faces[: outline.UV_FACES - 10]][..., :2].ravel())
    assert least(lambda: outline._overlap_lines(small.data), 4) < CALLBACK_SECONDS
    assert least(lambda: part(scene, "jobs").unfinished_jobs()) < CALLBACK_SECONDS


@pytest.mark.slow
def test_a_large_result_and_its_preview_are_put_in_without_a_pause(scene: ModuleType) -> None:
    read, write, preview, protocol = (part(scene, name) for name in ("scene_read", "scene_write", "scene_preview", "protocol"))
    add_cube()
    reading = read.read_sketch(bpy.context)
    vertices, faces = wave()
    uvs = np.ascontiguousarray(vertices[faces][..., :2])
    update = protocol.MeshUpdate("a", vertices, faces, np.abs(vertices))
    assert least(lambda: preview.show(bpy.context, reading, update)) < CALLBACK_SECONDS
    assert least(preview.remove) < CALLBACK_SECONDS
    file = picture()
    assert 15e6 < len(file) < 40e6
    done = protocol.Done("a", {"mean_colours": {"albedo": [0.5, 0.4, 0.3]}}, vertices, faces, uvs, {"albedo": file})
    assert least(lambda: write.apply_refined(bpy.context, reading, done, {})) < RESULT_SECONDS
    made = next(obj for obj in bpy.data.objects if "refined" in obj.name)
    image = next(node for node in made.material_slots[0].material.node_tree.nodes if node.type == "TEX_IMAGE").image
    assert len(made.data.polygons) == len(faces) and tuple(image.size) == (4096, 4096) and image.packed_file.size == len(file)
    np.testing.assert_allclose(made.material_slots[0].material.diffuse_color[:3], [0.214041, 0.132868, 0.073239], atol=1e-4)
