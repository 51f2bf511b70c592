"""UV layouts and decimation: no overlaps, no loss, bounded time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import trimesh

from engine.errors import Cancelled
from engine.mesh import Mesh
from engine.reporting import unwatched
from engine.texture import atlas
from engine.texture.atlas import decimate, grid_layout, is_closed, unwrap
from engine.texture.bake import rasterize_layout, signed_areas


def sphere(subdivisions: int, radius: float = 0.8) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32))


def volume(mesh: Mesh) -> float:
    corners = mesh.corner_vertices().astype(np.float64)
    return float((corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def assert_no_overlap(uvs: np.ndarray) -> None:
    """Triangles that do not overlap cover, at texel centres, as many texels as their areas add up to."""
    assert uvs.min() >= 0 and uvs.max() <= 1
    size = 512
    area = np.abs(signed_areas(uvs.astype(np.float64))).sum() * size**2
    # every texel centre belongs to one face; a claim for a face without centre adds at most one texel a face
    covered = np.count_nonzero(rasterize_layout(uvs, size).owners >= 0)
    assert covered == pytest.approx(area, rel=0.02)


def test_unwrap_covers_every_face_without_overlap() -> None:
    mesh = sphere(3)
    uvs = unwrap(mesh, 512, 4)
    assert uvs.shape == (1280, 3, 2) and uvs.dtype == np.float32
    assert (np.abs(signed_areas(uvs.astype(np.float64))) > 1e-9).all()
    assert_no_overlap(uvs)
    assert np.abs(signed_areas(uvs.astype(np.float64))).sum() > 0.35  # the texture is used


def test_unwrap_leaves_padding_between_charts() -> None:
    """Texels of two charts are never nearer than the padding: charts grown by half of it still do not meet."""
    from scipy.ndimage import binary_dilation, label

    mesh = sphere(3)
    uvs = unwrap(mesh, 512, 6)
    covered = rasterize_layout(uvs, 512).owners >= 0
    assert label(covered, np.ones((3, 3)))[1] == label(binary_dilation(covered, iterations=2), np.ones((3, 3)))[1]
    border = np.concatenate([covered[:2].ravel(), covered[-2:].ravel(), covered[:, :2].ravel(), covered[:, -2:].ravel()])
    assert not border.any()  # opposite borders are neighbours when a texture wraps


def test_large_meshes_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "CHUNK_FACES", 300)
    mesh = sphere(3)
    chunk = atlas._chunks(mesh)
    sizes = np.bincount(chunk)
    assert sizes.sum() == 1280 and sizes.max() <= 300 and len(sizes) == 8
    for index in range(len(sizes)):  # compact: each piece is an eighth of the sphere at most
        centres = mesh.corner_vertices().mean(axis=1)[chunk == index]
        assert np.linalg.norm(centres.mean(axis=0)) > 0.4
    told: list[tuple[int, int]] = []
    assert_no_overlap(unwrap(mesh, 512, 4, on_step=lambda done, total, figures=None, /: told.append((done, total))))
    assert {total for _, total in told[1:]} <= {1, 9}  # eight pieces, then all are packed
    assert told == sorted(told, key=lambda step: step[0] / step[1]) and told[-1] >= (6, 9)  # the result may overtake the last of them


def test_pieces_are_cut_to_one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A texel covers as much of the surface in one piece as in another."""
    monkeypatch.setattr(atlas, "CHUNK_FACES", 300)
    mesh = sphere(3)
    uvs, chunk = unwrap(mesh, 512, 4).astype(np.float64), atlas._chunks(mesh)
    sides = mesh.corner_vertices()
    area = np.linalg.norm(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), axis=1) / 2
    scale = np.bincount(chunk, np.abs(signed_areas(uvs))) / np.bincount(chunk, area)
    assert scale.max() < 1.15 * scale.min()


def test_too_slow_falls_back_to_a_grid_and_says_so() -> None:
    notes: list[str] = []
    started = time.monotonic()
    uvs = unwrap(sphere(5), 1024, 4, seconds=0.1, note=notes.append)
    assert time.monotonic() - started < 5
    assert "plain grid" in notes[0]
    assert np.array_equal(uvs, grid_layout(20480, 1024, 4))


def test_cancel_ends_the_worker_at_once() -> None:
    started = time.monotonic()

    def on_step(done: int, total: int, figures: object = None, /) -> None:
        if time.monotonic() - started > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        unwrap(sphere(5), on_step=on_step)
    assert time.monotonic() - started < 3  # an unwrap of this mesh takes seconds; the rest is waiting for the process' end


@pytest.mark.parametrize("faces", [1, 2, 7, 5000])
def test_grid_layout_never_overlaps(faces: int) -> None:
    uvs = grid_layout(faces, 512, 4)
    assert uvs.shape == (faces, 3, 2)
    assert (signed_areas(uvs.astype(np.float64)) > 0).all()
    if faces < 1000:
        assert_no_overlap(uvs)


def test_messy_faces_do_not_break_unwrapping() -> None:
    """Degenerate and repeated triangles, three faces on one edge, a bow tie."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [2, 2, 2]], np.float32)
    faces = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 0, 1], [0, 4, 5], [2, 2, 2]], np.int32)
    uvs = unwrap(Mesh(vertices, faces), 128, 2)
    assert uvs.shape == (7, 3, 2) and np.isfinite(uvs).all()


@pytest.mark.parametrize("target", [2000, 400, 60])
def test_decimation_keeps_a_closed_surface_closed_and_outward(target: int) -> None:
    mesh = sphere(4)
    reduced = decimate(mesh, target)
    assert len(reduced.faces) <= target
    assert is_closed(reduced.faces)
    # chords cut off at most the sagitta: a polyhedron of n triangles on a sphere loses about 7.3 / n of the volume (60: 12 %)
    assert volume(mesh) * (1 - 10 / target) < volume(reduced) < volume(mesh) * 1.02
    radius = np.linalg.norm(reduced.vertices, axis=1)
    assert radius.min() > 0.7 and radius.max() < 0.9


def test_thin_parts_stay_closed_within_the_budget() -> None:
    """A wire ring, 2,400 faces to 100: the quick reduction folds it, the careful one takes over; the budget holds and so does the ring."""
    ring = trimesh.creation.torus(0.7, 0.02, 200, 6)
    mesh = Mesh(ring.vertices.astype(np.float32), ring.faces.astype(np.int32))
    assert not is_closed(atlas._reduce_quickly(mesh, 100, unwatched)[1])  # otherwise this test shows nothing
    reduced = decimate(mesh, 100)
    assert len(reduced.faces) <= 100 and is_closed(reduced.faces)
    assert len(reduced.vertices) == len(reduced.faces) // 2  # Euler's characteristic of a torus is 0
    assert volume(reduced) == pytest.approx(volume(mesh), rel=0.3)  # three-sided prisms hold less than six-sided ones
    radius = np.linalg.norm(reduced.vertices[:, :2], axis=1)
    assert radius.min() > 0.62 and radius.max() < 0.76


def test_a_careful_reduction_of_many_faces_is_asked_whether_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: with the result that it has here."""
    ring = trimesh.creation.torus(0.7, 0.02, 200, 6)
    mesh = Mesh(ring.vertices.astype(np.float32), ring.faces.astype(np.int32))
    here, asked = decimate(mesh, 100), []
    monkeypatch.setattr(atlas, "CAREFUL_FACES", 1000)
    apart = decimate(mesh, 100, lambda done, total, figures=None: asked.append(done))
    assert np.array_equal(apart.vertices, here.vertices) and np.array_equal(apart.faces, here.faces)
    assert len(asked) > 1 + 2  # once in each way of reducing, were they both here

    def cancelled(done: int, total: int, figures: object = None) -> None:
        asked.append(done)
        if len(asked) > 2:
            raise Cancelled()

    asked.clear()
    with pytest.raises(Cancelled):
        decimate(mesh, 100, cancelled)


def test_decimation_carries_colours_and_leaves_small_meshes_alone() -> None:
    mesh = sphere(3)
    painted = Mesh(mesh.vertices, mesh.faces, (mesh.vertices + 0.8) / 1.6)
    reduced = decimate(painted, 300)
    assert reduced.colours is not None
    assert np.abs(reduced.colours - (reduced.vertices + 0.8) / 1.6).max() < 0.15  # the nearest vertex is within an edge length
    assert decimate(painted, 5000) is painted


def test_is_closed() -> None:
    closed = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    assert is_closed(closed)
    assert not is_closed(closed[:3])
    assert not is_closed(np.concatenate([closed[:3], closed[3:, ::-1]]))  # one face looks inward
    assert not is_closed(np.concatenate([closed, closed]))
    assert not is_closed(np.zeros((0, 3), np.int64))
