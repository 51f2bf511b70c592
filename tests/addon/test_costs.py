"""Nothing that the add-on does on Blender's main thread takes long with a large surface and a large texture, by what Blender itself takes.

Processor time of this thread, both in turns and the least of six: neither what else the machine does nor how fast it is must decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import bpy
import numpy as np
import pytest
from helpers import add_cube, part, select

from engine.formats.png import encode_png

FREE, CALLBACK, RESULT = 0.2, 2.5, 3.0
"""Of the time for the plainest mesh of the same size (and, for a result, the plainest image): what is done all the while, what a message
of the engine may cause, and what puts a result in, once a job."""
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


def plain_mesh(vertices: np.ndarray, faces: np.ndarray) -> bpy.types.Mesh:
    """The surface by the quickest calls that Blender has."""
    mesh = bpy.data.meshes.new("Plain")
    mesh.vertices.add(len(vertices))
    mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
    mesh.loops.add(faces.size)
    mesh.attributes[".corner_vert"].data.foreach_set("value", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    return mesh


def plain_image(file: bytes) -> None:
    image = bpy.data.images.new("Plain", 8, 8)
    image.source = "FILE"
    image.pack(data=file, data_len=len(file))


def cost(call: Callable[[], object], plain: Callable[[], object], tries: int = 6) -> float:
    """The time of a call by that of what it is measured by."""

    def once(one: Callable[[], object]) -> float:
        started = time.thread_time()
        one()
        return time.thread_time() - started

    taken = [(once(call), once(plain)) for _ in range(tries)]
    return min(first for first, _ in taken) / min(second for _, second in taken)


@pytest.mark.slow
def test_what_the_panel_says_before_the_start_costs_nothing_however_large_the_selection(scene: ModuleType) -> None:
    vertices, faces = wave()
    mesh = plain_mesh(vertices, faces)
    mesh.uv_layers.new(name="UVMap")
    large = bpy.data.objects.new("Large", mesh)
    bpy.context.scene.collection.objects.link(large)
    select(large)
    outline = part(scene, "outline")
    assert "199,712 triangles" in outline.lines(bpy.context)[0][1]
    one_mesh = partial(plain_mesh, vertices, faces)
    assert cost(lambda: outline.lines(bpy.context), one_mesh) < FREE
    small = plain_mesh(vertices, faces[: outline.UV_FACES - 10])
    small.uv_layers.new(name="UVMap").uv.foreach_set("vector", vertices[faces[: outline.UV_FACES - 10]][..., :2].ravel())
    assert cost(lambda: outline._overlap_lines(small), one_mesh, 4) < CALLBACK
    assert cost(lambda: part(scene, "jobs").unfinished_jobs(), one_mesh) < CALLBACK


@pytest.mark.slow
def test_a_large_result_and_its_preview_are_put_in_without_a_pause(scene: ModuleType) -> None:
    read, write, preview, protocol = (part(scene, name) for name in ("scene_read", "scene_write", "scene_preview", "protocol"))
    add_cube()
    reading = read.read_sketch(bpy.context)
    vertices, faces = wave()
    uvs = np.ascontiguousarray(vertices[faces][..., :2])
    update = protocol.MeshUpdate("a", vertices, faces, np.abs(vertices))
    one_mesh = partial(plain_mesh, vertices, faces)
    assert cost(lambda: preview.show(bpy.context, reading, update), one_mesh) < CALLBACK
    assert cost(preview.remove, one_mesh) < CALLBACK
    file = picture()
    assert 15e6 < len(file) < 40e6
    done = protocol.Done("a", {"mean_colours": {"albedo": [0.5, 0.4, 0.3]}}, vertices, faces, uvs, {"albedo": file})

    def plain() -> None:
        one_mesh()
        plain_image(file)

    assert cost(lambda: write.apply_refined(bpy.context, reading, done, {}), plain) < RESULT
    made = next(obj for obj in bpy.data.objects if "refined" in obj.name)
    image = next(node for node in made.material_slots[0].material.node_tree.nodes if node.type == "TEX_IMAGE").image
    assert len(made.data.polygons) == len(faces) and tuple(image.size) == (4096, 4096) and image.packed_file.size == len(file)
    np.testing.assert_allclose(made.material_slots[0].material.diffuse_color[:3], [0.214041, 0.132868, 0.073239], atol=1e-4)
