"""Closing never opens: on piles of strokes every stroke and every shell stays inside, and the solid has no hole that it should not have."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.errors import Cancelled
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.sparse import HELD
from engine.isosurface.topology import without_small_holes
from engine.mesh import Mesh
from engine.sketch.closing import Body
from engine.sketch.deviation import sample_surface
from engine.sketch.sdf import leaning, sheets_of, sketch_sdf
from engine.sketch.strokes import face_normals, split_strokes
from engine.sketch.triangles import Triangles
from engine.sketch.union import StrokeUnion
from engine.sketch_surface import UNHELD
from engine.surface import Surface
from tests.engine.shapes import merge, moved, ribbon, sphere
from tests.engine.stroke_sketches import STROKE_SKETCHES, draw, tube_along

CLOSING = 0.04
GRID = TetGrid.make(56)
THICKNESS = HELD * GRID.spacing


def in_engine_space(mesh: Mesh) -> Mesh:
    return mesh.with_vertices(SceneNormalization.of_bounds(mesh.vertices).to_engine(mesh.vertices))


def handles(values: torch.Tensor, grid: TetGrid = GRID) -> int:
    """Genus, summed over the components, of the extracted surface, which must be closed."""
    vertices, faces = Surface.from_sdf(grid, values).extract()
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long().sort(dim=1).values
    unique, count = torch.unique(edges, dim=0, return_counts=True)
    assert (count == 2).all()
    label = torch.arange(len(vertices))
    for _ in range(len(vertices)):
        low = torch.minimum(label[unique[:, 0]], label[unique[:, 1]])
        new = label.scatter_reduce(0, unique.reshape(-1), low.repeat_interleave(2), "amin")
        if torch.equal(new, label):
            break
        label = new
    euler = len(vertices) - len(unique) + len(faces)
    return (2 * len(torch.unique(label)) - euler) // 2


@pytest.mark.parametrize("name", STROKE_SKETCHES)
def test_closing_never_opens(name: str):
    """No hole is made, on the strokes nothing is outside, and next to each place of a sheet lies the middle of its shell, as deep as the
    shell is thick."""
    sketch = in_engine_space(draw(name))
    generator = np.random.default_rng(0)
    on_strokes = sample_surface(sketch.vertices.astype(np.float64), sketch.faces.astype(np.int64), 1000, generator)
    strokes = split_strokes(sketch.vertices, sketch.faces)
    solids = [stroke for stroke in strokes if len(stroke.solid)]
    drawn = sheets_of(strokes, THICKNESS, CLOSING)
    sheets = drawn.triangles + drawn.inset
    area = np.linalg.norm(np.cross(sheets[:, 1] - sheets[:, 0], sheets[:, 2] - sheets[:, 0]), axis=1)
    sheets = sheets[area > 1e-5]  # those at drawn-in rims are too narrow to have a direction
    chosen = sheets[generator.integers(max(len(sheets), 1), size=300 if len(sheets) else 0)]
    normals = np.cross(chosen[:, 1] - chosen[:, 0], chosen[:, 2] - chosen[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = chosen.mean(axis=1) + np.linspace(-1, 1, 17)[:, None, None] * THICKNESS * normals
    middles = np.array([stroke.vertices.mean(axis=0) for stroke in solids]).reshape(-1, 3)
    parts = (GRID.points.numpy(), on_strokes, across.reshape(-1, 3), middles)
    values = sketch_sdf(sketch, np.concatenate(parts), THICKNESS, CLOSING)
    grid, strokes_values, through, within = np.split(values, np.cumsum([len(part) for part in parts])[:-1])

    assert np.quantile(strokes_values, 0.9) < 0.1 * THICKNESS  # the body's surface is known to about a millesimal
    assert strokes_values.max() < 0.5 * THICKNESS  # and corners of ribbons are rounded: by (sqrt(2) - 1) times it
    if len(sheets):
        assert through.reshape(17, -1).min(axis=0).max() < -0.85 * THICKNESS
    for stroke, middle, depth in zip(solids, middles, within, strict=True):
        assert depth <= sketch_sdf(Mesh(stroke.vertices, stroke.solid), middle[None], 0.0, 0.0)[0] + 1e-3
    field = torch.from_numpy(grid)
    closed = without_small_holes(GRID, field, CLOSING)
    assert (closed <= field).all()
    assert handles(closed) <= STROKE_SKETCHES[name][1]
    assert handles(closed) <= handles(field)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["tubes", "ribbons", "crossing", "nested", "inside_out"])
def test_closing_makes_no_hole_in_any_drawing(name: str, seed: int):
    """The property for other random drawings: no handle more than without the closing, and what was inside is so still, or in the outer
    half of a shell, which may lean inwards where it bounds a body."""
    sketch = in_engine_space(draw(name, seed))
    bare, closed = (torch.from_numpy(sketch_sdf(sketch, GRID.points.numpy(), THICKNESS, closing)) for closing in (0.0, CLOSING))
    assert closed[bare < 0].max() < THICKNESS + 1e-3
    kept = without_small_holes(GRID, closed, UNHELD * GRID.spacing)
    assert handles(kept) <= max(handles(bare), 1)


def test_leaning_moves_the_skin_inwards_only_where_there_is_a_body():
    """A ribbon on a ball leans into it by the thickness; where the ribbon leaves the ball it stays where it was drawn."""
    ball, band = sphere(0.4, 24, 48), moved(ribbon(0.2, 1.6, across=5, along=33), 0, 0, 0.4)
    strokes = split_strokes(*(lambda mesh: (mesh.vertices, mesh.faces))(merge(ball, band)))
    sheets = sheets_of(strokes, 0.03, 0.04)
    body = Body.of(StrokeUnion(strokes, sheets, 0.03), 0.04)
    moves = (leaning(sheets, body, 0.03).triangles - sheets.triangles).mean(axis=1)
    along, rims = np.abs(sheets.samples[:, 0]), sheets.inset.mean(axis=1)
    assert moves[along < 0.03, 2].max() < -0.025
    assert np.abs(moves[along < 0.03, :2]).max() < 1e-6, "where it bounds the ball its rims stay"
    assert np.abs(rims[along > 0.55]).max() > 0.02
    assert np.abs((moves - rims)[along > 0.55]).max() < 1e-3, "and where it bounds nothing they are drawn in"
    assert np.abs(moves[:, 1]).max() < 0.032
    steps = np.abs(np.diff(moves[np.argsort(sheets.samples[:, 0]), 2]))
    assert steps.max() < 0.02, "the lean is continuous"


def test_outline_of_a_body_does_not_grow():
    sketch = in_engine_space(draw("inside_out"))
    points = GRID.points.numpy().astype(np.float64)
    added = sketch_sdf(sketch, points, THICKNESS, CLOSING) < 0
    distance = Triangles(sketch.vertices.astype(np.float64), sketch.faces.astype(np.int64)).closest(points)[0]
    bare = sketch_sdf(sketch, points, 1e-3, CLOSING) < 0
    assert (distance[added & ~bare] < 0.7 * THICKNESS).mean() > 0.95


def loose_tubes(count: int) -> Mesh:
    random = np.random.default_rng(0)
    parts = []
    for _ in range(count):
        centre = random.normal(size=3)
        centre /= np.linalg.norm(centre)
        along = np.cross(centre, random.normal(size=3))
        along /= np.linalg.norm(along)
        parts.append(
            tube_along(np.array([centre * (1 + 0.02 * np.sin(6 * t)) + along * (t - 0.5) * 0.3 for t in np.linspace(0, 1, 6)]), 0.012, 5)
        )
    return in_engine_space(merge(*parts))


def test_many_strokes_are_asked_about_often():
    """Between two questions whether to stop there is less than a second of work, and a yes ends it at once."""
    sketch, longest, last = loose_tubes(400), 0.0, time.process_time()

    def heard(done: int, total: int, figures: object = None, /) -> None:
        nonlocal longest, last
        now = time.process_time()
        longest, last = max(longest, now - last), now

    sketch_sdf(sketch, TetGrid.make(48).points.numpy(), 0.03, 0.03, heard)
    assert longest < 1.0
    asked = 0

    def later(done: int, total: int, figures: object = None, /) -> None:
        nonlocal asked
        asked += 1
        if asked > 420:
            raise Cancelled

    with pytest.raises(Cancelled):
        sketch_sdf(sketch, TetGrid.make(48).points.numpy(), 0.03, 0.03, later)
    assert asked == 421


@pytest.mark.long
def test_work_grows_with_the_number_of_strokes_and_not_with_its_square():
    points, seconds = TetGrid.make(48).points.numpy(), []
    for count in (500, 5000):
        start = time.process_time()
        sketch_sdf(loose_tubes(count), points, 0.025, 0.03)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 15 * seconds[0]


def test_radius_larger_than_the_object():
    """Everything is closed to one body about as large as the object."""
    sketch = in_engine_space(draw("ladder"))
    values = torch.from_numpy(sketch_sdf(sketch, GRID.points.numpy(), THICKNESS, 0.5))
    assert handles(without_small_holes(GRID, values, 0.5)) == 0
    assert np.abs(GRID.points.numpy()[values.numpy() < 0]).max() < 0.95


def test_sheets_are_cut_small_and_keep_their_area():
    strokes = split_strokes(ribbon(0.3, 1.0).vertices, ribbon(0.3, 1.0).faces)
    triangles = sheets_of(strokes, 0.03, 0.04).triangles
    sides = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)
    assert sides.max() <= 0.04
    corners = triangles.reshape(-1, 3)
    area = np.linalg.norm(face_normals(corners, np.arange(len(corners)).reshape(-1, 3)), axis=1).sum() / 2
    assert area == pytest.approx(0.3)
