"""Strokes that are asked together answer as each of them alone does."""

from __future__ import annotations

import numpy as np
import pytest

from engine.sketch.crowd import SMALL, Crowd, crowds
from engine.sketch.strokes import Stroke, inside, split_strokes
from engine.sketch.thin import find_growth, growth
from scripts.bench.reliability.cancel import loose_strokes
from tests.engine.shapes import box


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
