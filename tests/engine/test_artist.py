"""The artist's colours: held where somebody chose them, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.fit import SketchViews
from engine.formats.parts import Appearance, appearance_from
from engine.mesh import Mesh, Paint
from engine.render.base import select_rasterizer
from engine.sketch.check import check_sketch
from engine.texture.artist import ArtistColours, colours_kept, known_share, paint_between, painted_points
from engine.texture.field import GREY, ColourField
from tests.engine.shapes import box, moved

RED = np.array([0.9, 0.1, 0.1], np.float32)


def half_known() -> Mesh:
    """Two boxes; the left one's colour is red, nobody chose the right one's."""
    left, right = moved(box((0.2, 0.2, 0.2)), -0.5, 0, 0), moved(box((0.2, 0.2, 0.2)), 0.5, 0, 0)
    colours = np.concatenate([np.tile(RED, (len(left.vertices), 1)), np.full((len(right.vertices), 3), np.nan, np.float32)])
    faces = np.concatenate([left.faces, right.faces + len(left.vertices)])
    return Mesh(np.concatenate([left.vertices, right.vertices]), faces.astype(np.int32), colours)


def field_of(mesh: Mesh, resolution: int = 32) -> ColourField:
    field = ColourField(resolution)
    field.initialize(*painted_points(mesh))
    return field


def test_what_nobody_chose_is_grey_and_not_held() -> None:
    mesh, mended = check_sketch(half_known())
    assert mended == [] and abs(known_share(mesh) - 0.5) < 0.01
    artist = ArtistColours.of(field_of(mesh), mesh)
    assert artist is not None
    colours, known = artist(torch.tensor([[-0.5, 0, 0.2], [0.5, 0, 0.2]]))
    assert isinstance(known, torch.Tensor) and known.flatten().tolist() == [1, 0]
    assert np.allclose(colours[0].numpy(), RED, atol=0.02) and np.allclose(colours[1].numpy(), GREY, atol=0.02)


def test_a_sketch_without_chosen_colours_has_none_to_hold() -> None:
    shape = box((0.5, 0.5, 0.5))
    for colours in (None, np.full((len(shape.vertices), 3), np.nan, np.float32)):
        mesh = Mesh(shape.vertices, shape.faces, colours)
        assert known_share(mesh) == 0 and ArtistColours.of(field_of(mesh), mesh) is None


def test_wholly_known_colours_are_held_everywhere() -> None:
    shape = box((0.5, 0.5, 0.5))
    mesh = Mesh(shape.vertices, shape.faces, np.tile(RED, (len(shape.vertices), 1)))
    artist = ArtistColours.of(field_of(mesh), mesh)
    assert artist is not None and artist(torch.zeros(1, 3))[1] == 1.0


def test_paint_between_the_vertices_is_what_the_fit_sees() -> None:
    """Vertices say white, the paint between them says red: red is seen, apart from the very corners."""
    shape = box((0.8, 0.8, 0.8))
    points, _ = painted_points(shape)
    paint = Paint(points, np.tile(RED, (len(points), 1)))
    mesh = Mesh(shape.vertices, shape.faces, np.ones_like(shape.vertices), paint=paint)
    views = SketchViews.render(mesh, select_rasterizer(torch.device("cpu")), 48, torch.device("cpu"))
    assert torch.allclose(views.colours, torch.from_numpy(RED).expand_as(views.colours), atol=1e-6)
    shown = views.colour.permute(0, 2, 3, 1)[views.solid[:, 0]]
    assert torch.allclose(shown, torch.from_numpy(RED).expand_as(shown), atol=1e-6)


def test_paint_moves_with_the_mesh_and_unknown_paint_stays_unknown() -> None:
    shape = moved(box((0.5, 0.5, 0.5)), 2, 0, 0)
    paint = Paint(np.array([[1.5, 0, 0], [2.5, 0, 0]], np.float32), np.array([RED, [np.nan] * 3], np.float32))
    mesh = Mesh(shape.vertices, shape.faces, paint=paint)
    local = mesh.mapped(SceneNormalization.of_bounds(mesh.vertices).to_engine)
    assert local.paint is not None and np.allclose(local.paint.points, [[-0.8, 0, 0], [0.8, 0, 0]], atol=1e-6)
    assert np.array_equal(paint_between(local, np.array([[-1.0, 0, 0]])), [RED])
    assert np.isnan(paint_between(local, np.array([[1.0, 0, 0]]))).all()
    assert mesh.with_vertices(mesh.vertices + 1).paint is None


def test_the_switch_leaves_colours_aside_and_says_so() -> None:
    colours = np.tile(np.float32([1, 0, 0]), (8, 1))
    mesh = replace(box((0.5, 0.5, 0.5)), colours=colours)
    kept, told = colours_kept(mesh, "yes")
    assert kept is mesh and told == []
    left, told = colours_kept(mesh, "no")
    assert left.colours is None and left.paint is None and "left aside" in told[0]


@pytest.mark.parametrize(("keep", "expected"), [("yes", [0.5, 0, 0]), ("materials", [1, 0, 0]), ("attributes", [0.5, 0.5, 0.5])])
def test_one_source_of_colours_alone(keep: str, expected: list[float]) -> None:
    """A grey attribute under a red material: both multiply, unless one source is asked for."""
    both = Appearance(np.array([1.0, 0, 0, 1]), vertex=np.full((3, 4), 0.5))
    chosen = appearance_from(both, keep)
    assert chosen is not None
    np.testing.assert_allclose(chosen.at_vertices(3)[:, :3], [expected] * 3)


def test_a_source_that_says_nothing_is_unknown() -> None:
    painted = Appearance(np.array([0.8, 0.8, 0.8, 1]), vertex=np.full((3, 4), 0.5))
    assert appearance_from(painted, "materials") is None  # what is left is an application's default
    assert appearance_from(Appearance(np.array([1.0, 0, 0, 1])), "attributes") is None
    assert appearance_from(None, "materials") is None
