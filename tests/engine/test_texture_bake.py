"""Baking against a field that is a known function of position: everywhere, and above all at seams."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from engine.conventions import SceneNormalization
from engine.errors import Cancelled
from engine.formats.meshio import save_glb
from engine.formats.textures import sample_image
from engine.mesh import Mesh
from engine.texture.atlas import grid_layout, unwrap
from engine.texture.bake import bake, rasterize_layout
from engine.texture.field import ColourField
from engine.texture_sets import shared_part

SLOPE = 2.0
PLACEMENT = SceneNormalization((3.0, -1.0, 0.5), 0.4)
QUANTIZED = 0.5 / 255 + 1e-4  # rounding to a byte, and float32


def ramp_field() -> ColourField:
    """sigmoid(SLOPE * position): smooth, different everywhere, exact under trilinear interpolation before the sigmoid."""
    field = ColourField(16)
    ticks = torch.linspace(-1, 1, 16) * SLOPE
    with torch.no_grad():
        field.grids[-1].copy_(torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1))
    return field


def truth(world: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-SLOPE * PLACEMENT.to_engine(world).astype(np.float64)))


def bumpy(subdivisions: int = 3) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions)
    points = shape.vertices * (1 + 0.2 * np.sin(5 * shape.vertices[:, :1])) * 0.75
    return Mesh(PLACEMENT.to_world(points), shape.faces.astype(np.int32))


def surface_points(mesh: Mesh, count: int, edges: bool) -> tuple[np.ndarray, np.ndarray]:
    """World positions [N, 3] and uvs [N, 2] of random points within faces, or on their edges."""
    assert mesh.uvs is not None
    rng = np.random.default_rng(0)
    face = rng.integers(0, len(mesh.faces), count)
    weights = rng.dirichlet((1, 1, 1), count)
    if edges:
        weights[np.arange(count), rng.integers(0, 3, count)] = 0
        weights /= weights.sum(axis=1, keepdims=True)
    world = np.einsum("nk,nkd->nd", weights, mesh.corner_vertices()[face].astype(np.float64))
    return world, np.einsum("nk,nkd->nd", weights, mesh.uvs[face].astype(np.float64))


def with_uvs(mesh: Mesh, uvs: np.ndarray) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, None, uvs.astype(np.float32))


def test_no_seams_are_visible() -> None:
    """Bilinear samples at faces and on their edges, seams included, differ from the field by no more than a byte's rounding."""
    mesh = bumpy()
    mesh = with_uvs(mesh, unwrap(mesh, 512, 6))
    texture = bake(mesh, ramp_field(), PLACEMENT, 512)
    assert texture.shape == (512, 512, 3) and texture.dtype == np.uint8
    for edges in (False, True):
        world, uvs = surface_points(mesh, 20_000, edges)
        error = np.abs(sample_image(texture, uvs) / 255 - truth(world))
        # plus what bilinear filtering cannot follow: the sigmoid's curvature over one texel, about 1e-4
        assert error.max() < QUANTIZED + 1e-3


def test_smaller_mipmap_levels_stay_clean_at_seams() -> None:
    """A texture averaged down twice mixes each chart with its own padding: the error grows with the texel, not with the background."""
    mesh = bumpy()
    mesh = with_uvs(mesh, unwrap(mesh, 512, 6))
    texture = bake(mesh, ramp_field(), PLACEMENT, 512).astype(np.float64)
    quarter = texture.reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    world, uvs = surface_points(mesh, 20_000, True)
    error = np.abs(sample_image(quarter, uvs) / 255 - truth(world)).max(axis=1)
    assert np.quantile(error, 0.99) < 0.02 and error.max() < 0.08


def test_without_padding_the_seams_would_show() -> None:
    """The same measure finds the seams when padding is left out: the test above can fail."""
    mesh = bumpy()
    mesh = with_uvs(mesh, unwrap(mesh, 512, 6))
    texture = bake(mesh, ramp_field(), PLACEMENT, 512, padding=0)
    world, uvs = surface_points(mesh, 20_000, True)
    assert np.abs(sample_image(texture, uvs) / 255 - truth(world)).max() > 0.05


def test_many_small_faces_keep_their_colour() -> None:
    """Two thousand faces on a 64 x 64 texture: most are smaller than a texel, none may show the background."""
    mesh = bumpy(3)
    mesh = with_uvs(mesh, grid_layout(len(mesh.faces), 64, 1))
    texture = bake(mesh, ramp_field(), PLACEMENT, 64)
    middle = mesh.uvs.mean(axis=1) if mesh.uvs is not None else np.zeros(0)
    texels = np.floor(middle * 64).astype(int)
    seen = texture[63 - texels[:, 1], texels[:, 0]] / 255
    error = np.abs(seen - truth(mesh.corner_vertices().mean(axis=1))).max(axis=1)
    assert np.median(error) < 0.03  # its own colour, or that of the face that shares the texel


def test_uvs_outside_of_the_square_wrap() -> None:
    """A layout moved by whole tiles, and by a part of one, bakes to the same texture moved."""
    mesh = bumpy(2)
    uvs = unwrap(mesh, 256, 6).astype(np.float64)
    plain = bake(with_uvs(mesh, uvs + np.array((1, 0))), ramp_field(), PLACEMENT, 256)
    moved = bake(with_uvs(mesh, uvs + np.array((3, -2))), ramp_field(), PLACEMENT, 256)
    assert np.abs(plain.astype(int) - moved).max() <= 1  # float32 uvs away from the origin are coarser
    part = bake(with_uvs(mesh, uvs + np.array((0.25, 0.5))), ramp_field(), PLACEMENT, 256)
    shifted = np.roll(plain, (-128, 64), axis=(0, 1))
    assert np.quantile(np.abs(shifted.astype(int) - part), 0.999) <= 1


def test_what_lies_at_the_opposite_border_is_not_mixed_into_a_layout_that_does_not_repeat(tmp_path: Path) -> None:
    """A ball in the whole square, its poles along the lower and the upper border with gaps between their triangles."""
    around, along = 24, 12
    turn, height = np.meshgrid(np.arange(around) / around, np.arange(along) / along, indexing="ij")
    low, step = np.stack([turn.ravel(), height.ravel()], axis=1), np.array([1 / around, 1 / along])
    uvs = np.concatenate([low[:, None] + step * np.array(corners) for corners in ([(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 1), (0, 1)])])
    pole = np.array([(uvs[:, [0, 1, 2], 1] == end)[:, [0, 1, 2]].sum(axis=1) == 2 for end in (0.0, 1.0)]).any(axis=0)
    uvs = uvs[~pole]
    angle, polar = 2 * np.pi * uvs[..., 0], np.pi * uvs[..., 1]
    points = 0.8 * np.stack([np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), -np.cos(polar)], axis=-1)
    mesh = Mesh(PLACEMENT.to_world(points.reshape(-1, 3)), np.arange(3 * len(uvs), dtype=np.int32).reshape(-1, 3))
    texture = bake(with_uvs(mesh, uvs), ramp_field(), PLACEMENT, 128) / 255
    blue = truth(PLACEMENT.to_world(np.array([[0, 0, -0.8], [0, 0, 0.8]])))[:, 2]
    assert np.abs(texture[-1, :, 2] - blue[0]).max() < 0.02 and np.abs(texture[0, :, 2] - blue[1]).max() < 0.02
    for moved, sampler in ((0, 33071), (0.5, 10497)):
        save_glb(tmp_path / "ball.glb", with_uvs(mesh, uvs + moved), {"albedo": np.zeros((4, 4, 3), np.uint8)})
        data = (tmp_path / "ball.glb").read_bytes()
        tables = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        assert tables["samplers"][tables["textures"][0]["sampler"]]["wrapT"] == sampler


def test_a_face_that_spans_tiles_covers_all_of_them() -> None:
    mesh = Mesh(PLACEMENT.to_world(np.array([[-0.5, 0, 0], [0.5, 0, 0], [-0.5, 0, 1]])), np.array([[0, 1, 2]], np.int32))
    layout = rasterize_layout(np.array([[[0, 0], [3, 0], [0, 3]]], np.float32), 32)
    assert (layout.owners >= 0).all() and set(layout.faces.tolist()) == {0}
    assert shared_part(np.array([[[0, 0], [3, 0], [0, 3]]], np.float32)) > 0.7  # 4.5 squares of area on one
    bake(with_uvs(mesh, np.array([[[0, 0], [3, 0], [0, 3]]])), ramp_field(), PLACEMENT, 32)


def test_the_last_face_wins_where_faces_overlap() -> None:
    uvs = np.array([[[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [0, 1]], [[1, 0], [1, 1], [0, 1]]], np.float32)
    layout = rasterize_layout(uvs, 64)
    assert set(layout.faces[layout.owners].ravel().tolist()) == {1, 2} and (layout.owners >= 0).all()
    assert shared_part(uvs) == pytest.approx(1 / 3, abs=0.02) and shared_part(uvs[1:]) < 0.02


def test_rows_run_from_the_top() -> None:
    """A quad whose v rises with z: the texture's first row is the highest place."""
    corners = PLACEMENT.to_world(np.array([[-0.5, 0, -0.9], [0.5, 0, -0.9], [0.5, 0, 0.9], [-0.5, 0, 0.9]]))
    uvs = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32)
    texture = bake(Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), None, uvs), ramp_field(), PLACEMENT, 32)
    assert texture[0, :, 2].min() > 200 and texture[-1, :, 2].max() < 55
    assert (np.diff(texture[:, 5, 2].astype(int)) <= 0).all() and (np.diff(texture[5, :, 0].astype(int)) >= 0).all()


def test_degenerate_and_broken_uvs_do_not_break_baking() -> None:
    mesh = bumpy(1)
    uvs = np.zeros((80, 3, 2), np.float32)
    uvs[:40] = grid_layout(40, 64, 1)
    uvs[70, 1] = np.nan
    assert bake(with_uvs(mesh, uvs), ramp_field(), PLACEMENT, 64).shape == (64, 64, 3)
    with pytest.raises(ValueError, match="without uvs"):
        bake(mesh, ramp_field(), PLACEMENT, 64)


def test_progress_rises_and_cancel_stops() -> None:
    mesh = bumpy(2)
    mesh = with_uvs(mesh, unwrap(mesh, 512, 4))
    calls: list[float] = []
    bake(mesh, ramp_field(), PLACEMENT, 512, on_step=lambda done, total: calls.append(done / total))
    assert len(calls) >= 3 and calls == sorted(calls) and calls[-1] <= 1

    def stop(done: int, total: int) -> None:
        if done:
            raise Cancelled()

    with pytest.raises(Cancelled):
        bake(mesh, ramp_field(), PLACEMENT, 512, on_step=stop)


@pytest.mark.slow
def test_a_large_texture_stays_under_300_megabytes() -> None:
    """numpy's allocations at 2,048 squared (torch's buffers are the bands': 256 rows x 24 bytes a texel, 13 MB)."""
    mesh = bumpy(3)
    mesh = with_uvs(mesh, unwrap(mesh, 2048, 6))
    tracemalloc.start()
    try:
        bake(mesh, ramp_field(), PLACEMENT, 2048)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 280e6


def test_sample_image_is_bilinear_and_wraps() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 10
    at = np.array([[0.25, 0.75], [0.75, 0.25], [0.5, 0.5], [0.0, 0.75], [1.25, -0.25]])
    expected = [image[0, 0], image[1, 1], image.mean(axis=(0, 1)), image[0].mean(axis=0), image[0, 0]]
    assert np.allclose(sample_image(image, at), expected)
