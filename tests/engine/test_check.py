"""Every bad input: refused with what was expected, what was found and the fix, or mended and reported."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.mesh import Mesh, Paint
from engine.sketch.check import check_sketch
from tests.engine.shapes import box, merge, moved


def refused(mesh: Mesh, code: str, *said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_sketch(mesh)
    error = caught.value
    assert error.code == code
    assert error.exit_code == 2
    for words in said:
        assert words in error.message
    assert len(error.fix) > 10 and error.fix.endswith(".")


def replaced(mesh: Mesh, vertex: int, *position: float) -> Mesh:
    vertices = mesh.vertices.copy()
    vertices[vertex] = position
    return mesh.with_vertices(vertices)


BOX = box((0.5, 0.4, 0.3))
NO_FACES = np.zeros((0, 3), dtype=np.int32)


def test_good_mesh_is_untouched():
    mesh, mended = check_sketch(BOX)
    assert mended == []
    assert np.array_equal(mesh.vertices, BOX.vertices) and np.array_equal(mesh.faces, BOX.faces)


def test_no_faces():
    refused(Mesh(BOX.vertices, NO_FACES), "sketch_empty", "8 vertices and 0 faces")


def test_empty():
    refused(Mesh(np.zeros((0, 3), dtype=np.float32), NO_FACES), "sketch_empty", "0 vertices")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float):
    refused(replaced(BOX, 3, 0, value, 0), "sketch_not_finite", "vertex 3", "finite")


def test_not_finite_vertex_that_no_face_uses_is_dropped():
    mesh, mended = check_sketch(Mesh(np.concatenate([BOX.vertices, np.full((1, 3), np.nan, dtype=np.float32)]), BOX.faces))
    assert len(mesh.vertices) == 8
    assert mended == ["1 vertices that belong to no face were dropped."]


def test_faces_of_missing_vertices():
    refused(Mesh(BOX.vertices, np.array([[0, 1, 8]], dtype=np.int32)), "sketch_faces", "0 to 7", "8")
    refused(Mesh(BOX.vertices, np.array([[0, 1, -1]], dtype=np.int32)), "sketch_faces", "-1")


def test_zero_area():
    line = Mesh(np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0]], dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))
    refused(line, "sketch_no_area", "1 faces")


def test_all_in_one_place():
    refused(Mesh(np.ones((3, 3), dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32)), "sketch_too_small")


def test_coordinates_of_a_thousand_million():
    refused(BOX.with_vertices(BOX.vertices * 1e9), "sketch_too_far", "5e+08")
    refused(moved(BOX, 1e9, 0, 0), "sketch_too_far", "1e+09")


def test_coordinates_of_a_thousandth_of_a_millionth():
    refused(BOX.with_vertices(BOX.vertices * 1e-9), "sketch_too_small", "1e-09")


def test_small_sketch_far_out_has_lost_its_precision():
    refused(moved(BOX.with_vertices(BOX.vertices * 1e-3), 1000, 0, 0), "sketch_imprecise", "1000")
    mesh, mended = check_sketch(moved(BOX, 1000, 0, 0))
    assert mended == [] and len(mesh.faces) == 12


def test_odd_but_usable_scales_pass():
    for scale in (1e-4, 1e5):
        mesh, mended = check_sketch(BOX.with_vertices(BOX.vertices * np.float32(scale)))
        assert mended == [] and len(mesh.faces) == 12


def test_one_triangle_is_a_sketch():
    mesh, mended = check_sketch(Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32)))
    assert len(mesh.faces) == 1 and mended == []


def test_duplicate_vertices_are_merged():
    soup = Mesh(BOX.corner_vertices().reshape(-1, 3), np.arange(36, dtype=np.int32).reshape(-1, 3))
    mesh, mended = check_sketch(soup)
    assert len(mesh.vertices) == 8 and len(mesh.faces) == 12
    assert np.array_equal(mesh.corner_vertices(), soup.corner_vertices())
    assert mended == ["28 duplicate vertices were merged."]


def test_vertices_of_different_colours_are_not_merged():
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0], [0, -1, 0]], dtype=np.float32)
    colours = np.repeat(np.array([[1, 0, 0], [0, 0, 1]], dtype=np.float32), 3, axis=0)
    mesh, mended = check_sketch(Mesh(positions, np.arange(6, dtype=np.int32).reshape(2, 3), colours))
    assert len(mesh.vertices) == 6 and mended == []
    assert np.array_equal(mesh.colours, colours)


def test_degenerate_and_repeated_faces_are_dropped():
    extra = np.array([[0, 0, 1], [2, 2, 2], [1, 0, 3]], dtype=np.int32)
    faces = np.concatenate([BOX.faces, extra[:2], BOX.faces[:1, ::-1]])
    uvs = np.arange(len(faces) * 6, dtype=np.float32).reshape(-1, 3, 2)
    mesh, mended = check_sketch(Mesh(BOX.vertices, faces, None, uvs))
    assert np.array_equal(mesh.faces, BOX.faces)
    assert np.array_equal(mesh.uvs, uvs[:12]), "texture coordinates stay with their faces"
    assert mended == ["2 faces without area were dropped.", "1 faces that were drawn twice were dropped."]


def test_loose_vertices_are_dropped_and_do_not_count_for_the_size():
    far = np.array([[1e8, 0, 0]], dtype=np.float32)
    mesh, mended = check_sketch(Mesh(np.concatenate([far, BOX.vertices]), BOX.faces + 1))
    assert np.array_equal(mesh.vertices, BOX.vertices) and np.array_equal(mesh.faces, BOX.faces)
    assert mended == ["1 vertices that belong to no face were dropped."]


def test_bad_colours_are_mended():
    colours = np.full((8, 3), 0.5, dtype=np.float32)
    colours[0], colours[1], colours[2] = np.inf, 2.0, np.nan
    mesh, mended = check_sketch(Mesh(BOX.vertices, BOX.faces, colours))
    assert np.isnan(mesh.colours[[0, 2]]).all() and np.isfinite(mesh.colours[[1, 3, 4, 5, 6, 7]]).all()
    assert np.nanmin(mesh.colours) >= 0 and np.nanmax(mesh.colours) <= 1
    assert mended == ["1 colours that are no numbers are taken as unknown.", "1 colours outside of 0..1 were clipped."]


def test_paint_that_is_nowhere_is_dropped_and_colours_are_clipped():
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [1, 0, 0]], dtype=np.float32)
    colours = np.array([[2, 0, -1], [0, 0, 0], [np.inf, 0, 0]], dtype=np.float32)
    mesh, mended = check_sketch(Mesh(BOX.vertices, BOX.faces, paint=Paint(points, colours)))
    assert mended == ["1 painted points that are nowhere were dropped."]
    assert np.array_equal(mesh.paint.points, points[[0, 2]])
    assert np.array_equal(mesh.paint.colours[0], [1, 0, 0]) and np.isnan(mesh.paint.colours[1]).all()
    with pytest.raises(InputError, match="2 painted colours, expected 3"):
        check_sketch(Mesh(BOX.vertices, BOX.faces, paint=Paint(points, colours[:2])))


def test_colours_follow_their_vertices():
    pair = merge(BOX, moved(BOX, 2, 0, 0))
    colours = np.random.default_rng(0).random((16, 3)).astype(np.float32)
    vertices = np.concatenate([pair.vertices, pair.vertices[:4]])
    mesh, _ = check_sketch(Mesh(vertices, np.concatenate([pair.faces, pair.faces[:0]]), np.concatenate([colours, colours[:4]])))
    assert np.array_equal(mesh.vertices, pair.vertices) and np.array_equal(mesh.colours, colours)


def test_input_is_not_changed():
    vertices, faces = BOX.vertices.copy(), BOX.faces.copy()
    check_sketch(Mesh(np.concatenate([vertices, vertices]), faces))
    assert np.array_equal(vertices, BOX.vertices) and np.array_equal(faces, BOX.faces)
