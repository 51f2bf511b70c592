"""Strokes that are asked together answer as each of them alone does."""

from __future__ import annotations

import igl
import numpy as np
import pytest

from engine.mesh import Mesh
from engine.sketch.crowd import Crowd, crowds
from engine.sketch.point_cells import PAIRS, PointCells
from engine.sketch.strokes import WORK, Stroke, inside, split_strokes
from engine.sketch.thin import find_growth, growth
from engine.sketch.together import SMALL, windings
from scripts.bench.reliability.cancel import loose_strokes
from tests.engine.shapes import box, flipped, merge, moved, ribbon, sphere, tube


@pytest.fixture(scope="module")
def strokes() -> list[Stroke]:
    sketch = loose_strokes(20)
    return split_strokes(sketch.vertices, sketch.faces)


def test_each_is_asked_for_itself(strokes: list[Stroke]) -> None:
    crowd, draw = Crowd(strokes), np.random.default_rng(0)
    points = np.concatenate([draw.uniform(stroke.low, stroke.high, (50, 3)) for stroke in strokes])
    owner = np.repeat(np.arange(len(strokes)), 50)
    distance, places, face = crowd.nearest(points, owner)
    alone = [stroke.surface.closest(points[owner == number]) for number, stroke in enumerate(strokes)]
    assert np.allclose(distance, np.concatenate([found[0] for found in alone]), atol=1e-12)
    assert np.allclose(np.linalg.norm(points - places, axis=1), distance, atol=1e-12)
    assert (crowd.owner[face] == owner).all()
    within = [inside(stroke, points[owner == number]) for number, stroke in enumerate(strokes)]
    assert np.array_equal(crowd.inside(points, owner), np.concatenate(within)) and crowd.inside(points, owner).any()


def test_growth_found_together_is_that_of_each_alone(strokes: list[Stroke]) -> None:
    (crowd,) = crowds(strokes)
    assert crowd.strokes == strokes
    alone = [growth(stroke, 0.02) for stroke in strokes]
    for stroke in strokes:
        stroke.grown.clear()
    find_growth(crowd, 0.02)
    assert [stroke.grown[0.02] for stroke in strokes] == pytest.approx(alone) and max(alone) > 0


def test_a_large_stroke_is_asked_alone(strokes: list[Stroke]) -> None:
    solid = box((1.0, 1.0, 1.0))
    large = split_strokes(solid.vertices, solid.faces)[0]
    faces = np.tile(large.bounding, (SMALL, 1))
    large = Stroke(large.vertices, faces, faces, large.sheet, large.radius, True)
    assert [len(crowd.strokes) for crowd in crowds([strokes[0], large, strokes[1]])] == [2, 1]


def touching() -> Mesh:
    """Two triangles that share a corner alone: two strokes."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], dtype=np.float32)
    return Mesh(corners, np.array([[0, 1, 2], [0, 3, 4]], dtype=np.int32))


def test_strokes_judged_together_are_what_each_is_alone() -> None:
    """Open tubes, ribbons, boxes inside out, a ball of more than SMALL faces: in one pile and one by one."""
    kinds = [*(loose_strokes(count) for count in range(1, 20)), box((1, 1, 1)), flipped(box((1, 0.5, 0.1))), ribbon(0.3, 1.0), touching(),
             tube(0.1, 1.0, columns=6, rows=4), sphere(0.5)]  # fmt: skip
    parts = [moved(kind, 4.0 * number, 0, 0) for number, kind in enumerate(kinds)]
    pile = merge(*parts)
    together = split_strokes(pile.vertices, pile.faces)
    alone = [stroke for part in parts for stroke in split_strokes(part.vertices, part.faces)]
    assert len(parts[-1].faces) > SMALL and len(together) == len(alone) == sum(range(1, 20)) + 7
    for one, other in zip(*(sorted(strokes, key=whereabouts) for strokes in (together, alone)), strict=True):
        for name in ("vertices", "solid", "bounding", "sheet"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert one.radius == pytest.approx(other.radius, rel=1e-9) and one.closed == other.closed
    solid = sum(len(stroke.solid) > 0 for stroke in together)
    assert [sum(stroke.closed for stroke in together), len(together) - solid] == [3, 3]  # two boxes, a ball; a ribbon, two triangles


def whereabouts(stroke: Stroke) -> tuple[float, ...]:
    return tuple(np.concatenate([stroke.low, stroke.high]))


def test_many_are_judged_in_portions_and_each_is_heard_of() -> None:
    sketch, told = loose_strokes(1 + 2 * WORK // 50**2), []
    strokes = split_strokes(sketch.vertices, sketch.faces, lambda done, total, figures=None: told.append((done, total)))
    assert len(told) >= 3 and told[0] == (0, len(strokes)) and sorted(told) == told


def test_the_winding_number_is_the_angle_that_libigl_sums() -> None:
    """Of closed, open and inside-out surfaces, twice around and on corners."""
    shapes = [box((1, 1, 1)), flipped(sphere(0.7)), ribbon(0.5, 1.0), tube(0.3, 1.0), merge(box((1, 1, 1)), box((0.8, 0.8, 0.8)))]
    vertices, draw = [shape.vertices.astype(np.float64) for shape in shapes], np.random.default_rng(0)
    begin = np.cumsum([0, *map(len, vertices)])
    faces = [shape.faces.astype(np.int64) for shape in shapes]
    first = np.cumsum([0, *map(len, faces)])
    points = np.concatenate([draw.uniform(-1, 1, (200, 3)), vertices[0]])
    owner = np.repeat(np.arange(len(shapes)), len(points))
    joined = np.concatenate([own + start for own, start in zip(faces, begin, strict=False)])
    found = windings(np.concatenate(vertices), joined, first, np.tile(points, (len(shapes), 1)), owner)
    expected = np.concatenate([igl.winding_number(own, of, points[:200]) for own, of in zip(vertices, faces, strict=True)])
    free = np.tile(np.arange(len(points)) < 200, len(shapes))
    assert np.isfinite(found).all() and np.abs(found[free] - expected).max() < 1e-9
    assert np.rint(np.abs(found)).max() == 2


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_points_in_boxes_are_found_by_their_cells(count: int) -> None:
    """Everything, a part, a flat box, one beyond all points, and what is on a border."""
    draw = np.random.default_rng(0)
    points = draw.uniform(-1, 1, (count, 3)).round(2) * [1, 3, 0.1]
    low = np.concatenate([[[-9, -9, -9]], draw.uniform(-1, 0, (200, 3)).round(2), [[5, 5, 5]]])
    high = np.concatenate([[[9, 9, 9]], low[1:-1] + draw.uniform(0, 1, (200, 3)).round(2) * (draw.random((200, 1)) < 0.8), [[6, 6, 6]]])
    pairs = list(PointCells(points).in_boxes(low, high))
    own, place = np.concatenate([np.zeros((2, 0), int), *(np.stack(pair) for pair in pairs)], axis=1)
    inside = ((points >= low[:, None]) & (points <= high[:, None])).all(axis=2)
    assert np.array_equal(np.stack(np.nonzero(inside)), np.stack([own, place])[:, np.lexsort((place, own))])
    assert (np.diff(own) >= 0).all()


def test_many_pairs_come_in_portions_and_those_of_a_box_together() -> None:
    points, ends = np.random.default_rng(0).uniform(-1, 1, (PAIRS // 10, 3)), np.ones((25, 3))
    portions = [own for own, _ in PointCells(points).in_boxes(-ends, ends)]
    assert len(portions) >= 3 and sum(map(len, portions)) == 25 * len(points)
    assert len(np.concatenate([np.unique(own) for own in portions])) == 25
