"""A grid around a surface: the same mesh as the whole grid's, vertex for vertex, whatever a bounded field does, of a part of its size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.isosurface.dmtet import TetGrid
from engine.isosurface.sparse import LEAST, Fineness, Planes, cells_around, fitting_field, shell_thickness, surface_area
from engine.isosurface.topology import without_small_holes
from engine.sketch.sdf import SketchField
from engine.subject import RefineSubject
from engine.surface import Surface
from engine.texture.field import ColourField
from tests.engine.stroke_sketches import draw
from tests.engine.test_closing import in_engine_space
from tests.engine.test_isosurface import assert_watertight


def grid_around(resolution: int, planes: Planes, reach: float) -> tuple[TetGrid, np.ndarray, np.ndarray]:
    cells, values, normals = cells_around(resolution, planes, reach)
    return TetGrid.of_cells(resolution, cells), values, normals


def ball(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.linalg.norm(points, axis=1)
    return (length - 0.5).astype(np.float32), (points / np.maximum(length, 1e-9)[:, None]).astype(np.float32)


def test_a_part_of_the_grid_lists_what_it_has_in_the_order_of_the_whole():
    whole, (part, *_) = TetGrid.make(24), grid_around(24, ball, 0.02)
    assert 0 < len(part.cells) < len(whole.cells)
    where = {tuple(point): index for index, point in enumerate(whole.points.tolist())}
    own = torch.tensor([where[tuple(point)] for point in part.points.tolist()])
    assert (own.diff() > 0).all()
    tets = {tuple(tet): index for index, tet in enumerate(whole.tets.tolist())}
    number = torch.tensor([tets[tuple(tet)] for tet in own[part.tets].tolist()])
    assert (number.diff() > 0).all() and torch.equal(whole.kind[number], part.kind)
    assert torch.equal(whole.boundary[own], part.boundary)
    for local, (a, b) in enumerate(((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))):
        ends = part.edges[part.tet_edges[:, local]].sort(dim=1).values
        assert torch.equal(ends, torch.stack([part.tets[:, a], part.tets[:, b]], dim=1).sort(dim=1).values)


def test_the_rim_is_where_neighbours_or_tetrahedra_are_missing():
    whole, (part, *_) = TetGrid.make(24), grid_around(24, ball, 0.02)
    assert torch.equal(whole.rim, whole.boundary)
    count = torch.bincount(part.tets.reshape(-1), minlength=len(part.points))
    assert torch.equal(count == 24, ~part.rim), "24 tetrahedra meet in a vertex"


@pytest.mark.parametrize("crisp", [True, False])
def test_the_mesh_is_that_of_the_whole_grid_as_far_as_the_field_may_move(crisp: bool):
    sketch = SketchField.of(in_engine_space(draw("cup")), 0.05, 0.04)
    reach, generator = 0.06, torch.Generator().manual_seed(0)
    whole = TetGrid.make(40)
    part, values, normals = grid_around(40, sketch.planes, reach)
    everywhere, directions = sketch.planes(whole.points.numpy())
    where = {tuple(point): index for index, point in enumerate(whole.points.tolist())}
    own = torch.tensor([where[tuple(point)] for point in part.points.tolist()])
    assert torch.equal(torch.from_numpy(everywhere)[own], torch.from_numpy(values))
    for _ in range(3):
        change = reach * (2 * torch.rand(len(whole.points), generator=generator) - 1)
        here = Surface.from_sdf(part, torch.from_numpy(values), torch.from_numpy(normals) if crisp else None)
        there = Surface.from_sdf(whole, torch.from_numpy(everywhere), torch.from_numpy(directions) if crisp else None)
        with torch.no_grad():
            here.sdf += change[own]
            there.sdf += change
        vertices, faces = here.extract()
        assert_watertight(faces)
        for mine, its in zip((vertices, faces), there.extract(), strict=True):
            assert torch.equal(mine, its)


def test_small_holes_are_closed_alike():
    sketch = SketchField.of(in_engine_space(draw("lamp")), 0.05, 0.04)
    whole = TetGrid.make(40)
    part, values, _ = grid_around(40, sketch.planes, 0.04)
    here = without_small_holes(part, torch.from_numpy(values), 0.04)
    there = without_small_holes(whole, torch.from_numpy(sketch.planes(whole.points.numpy())[0]), 0.04)
    for mine, its in zip(Surface.from_sdf(part, here).extract(), Surface.from_sdf(whole, there).extract(), strict=True):
        assert torch.equal(mine, its)


def test_bounds_are_alike():
    sketch = SketchField.of(in_engine_space(draw("cup")), 0.05, 0.04)
    whole = TetGrid.make(40)
    part, values, _ = grid_around(40, sketch.planes, 0.08125)
    where = {tuple(point): index for index, point in enumerate(whole.points.tolist())}
    own = torch.tensor([where[tuple(point)] for point in part.points.tolist()])
    here = RefineSubject(Surface.from_sdf(part, torch.from_numpy(values)), ColourField(8), 0.5, None)
    everywhere = torch.from_numpy(sketch.planes(whole.points.numpy())[0])
    there = RefineSubject(Surface.from_sdf(whole, everywhere), ColourField(8), 0.5, None)
    close = torch.from_numpy(values).abs() < 0.08
    assert torch.equal(here.largest[close], there.largest[own][close])
    assert torch.equal(here.least, there.least[own])


def test_vertices_follow_the_surface():
    """Four times the cells across: about four layers for one, not sixty-four times the vertices."""
    coarse, fine = (len(grid_around(resolution, ball, 0.0)[0].points) for resolution in (32, 128))
    assert fine < 22 * coarse
    assert fine < 0.12 * 128**3 / 4


def test_the_area_of_a_field_is_found():
    assert surface_area(ball) == pytest.approx(np.pi, rel=0.03)
    assert surface_area(lambda points: (np.ones(len(points)), points)) == 0


@pytest.mark.parametrize("name", ["ladder", "cup"])
def test_the_grid_is_as_fine_as_the_surface_lets_it_be(name: str):
    sketch, fineness = in_engine_space(draw(name)), Fineness(144, 60_000, 0.03, 2.0)
    resolution, field = fitting_field(sketch, fineness, 0.01, 0.03, lambda *_: None)
    grid, values, _ = grid_around(resolution, field.planes, 0.03)
    triangles = len(Surface.from_sdf(grid, torch.from_numpy(values)).extract()[1])
    if name == "ladder":
        assert resolution == 144 and triangles < 60_000, "so little surface that no bound is in the way"
    else:
        assert LEAST < resolution < 144 and triangles == pytest.approx(60_000, rel=0.1)
        assert shell_thickness(0.01, resolution) > shell_thickness(0.01, 144)


def test_no_sketch_gets_less_than_the_least_grid_and_an_even_one():
    fineness = Fineness(192, 100_000, 0.03, 2.0, "auto")
    assert [fineness.resolution(area, 0.0) for area in (0.0, 1.0, 10.0, 100.0)] == [192, 192, 112, LEAST]
    assert fineness.resolution(10.0, 1.0) == 90, "drawn crisp, a surface has more triangles"
    assert Fineness(40, 100, 0.03, 2.0).resolution(10.0, 0.0) == 40


def test_a_surface_comes_back_from_its_state():
    part, values, normals = grid_around(32, ball, 0.03)
    surface = Surface.from_sdf(part, torch.from_numpy(values), torch.from_numpy(normals))
    again = Surface.of_state(surface.state_dict())
    for mine, its in zip(again.extract(), surface.extract(), strict=True):
        assert torch.equal(mine, its)
