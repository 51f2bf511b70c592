"""Deviation of known surfaces."""

from __future__ import annotations

import numpy as np
import pytest

from engine.mesh import Mesh
from engine.sketch.deviation import deviation, sample_surface
from tests.engine.shapes import box, merge, moved, ribbon, sphere, tube


def measure(result: Mesh, sketch: Mesh, seed: int = 0):
    return deviation(result.vertices, result.faces, sketch, np.random.default_rng(seed), samples=3000)


def test_same_surface_has_none():
    found = measure(sphere(), sphere())
    assert found.mean_percent < 1e-4 and found.p95_percent < 1e-4


def test_shifted_sheet():
    """A ribbon moved by 0.02 off its plane: every distance is 0.02 or, past the rim, not more than a hair over."""
    sketch = ribbon(0.6, 1.6)
    found = measure(moved(sketch, 0, 0, 0.02), sketch)
    percent = 100 * 0.02 / sketch.diagonal
    for figure in (found.mean_percent, found.p95_percent, found.result_mean, found.sketch_mean):
        assert figure == pytest.approx(percent, rel=1e-3)


def test_grown_sphere():
    sketch = sphere(0.5, 48, 96)
    found = measure(sphere(0.53, 48, 96), sketch)
    assert found.mean_percent == pytest.approx(100 * 0.03 / sketch.diagonal, rel=0.03)  # facets: 0.5 (1 - cos(pi / 48)) = 1e-3 of 0.03


def test_sides_are_told_apart():
    """A result that lacks one of two boxes adds nothing but loses much; one that has a box too many the other way round."""
    one, two = box((0.2, 0.2, 0.2)), merge(box((0.2, 0.2, 0.2)), moved(box((0.2, 0.2, 0.2)), 1.2, 0, 0))
    lost = measure(one, two)
    assert lost.result_mean < 1e-4 and lost.sketch_mean > 10
    added = measure(two, one)
    assert added.sketch_mean < 1e-4 and added.result_mean > 10
    assert lost.mean_percent == pytest.approx((lost.result_mean + lost.sketch_mean) / 2)


def test_what_the_artist_buried_does_not_count():
    sketch = merge(sphere(0.5), tube(0.05, 0.9))  # the tube is wholly inside
    found = measure(sphere(0.5), sketch)
    assert found.sketch_mean < 1e-4


def test_scale_and_place_do_not_matter():
    sketch, result = ribbon(0.6, 1.6), moved(ribbon(0.6, 1.6), 0, 0, 0.02)
    shifted = [moved(Mesh(mesh.vertices * 100, mesh.faces), 30, -20, 10) for mesh in (result, sketch)]
    assert measure(*shifted).mean_percent == pytest.approx(measure(result, sketch).mean_percent, rel=1e-3)


def test_same_generator_same_figures():
    assert measure(sphere(0.52), sphere()) == measure(sphere(0.52), sphere())


def test_samples_are_spread_by_area():
    flat = ribbon(0.5, 2.0, across=2, along=2)
    extra = Mesh(np.concatenate([flat.vertices, flat.vertices[:3] * 0.01]), np.concatenate([flat.faces, [[4, 5, 6]]]))
    points = sample_surface(extra.vertices.astype(float), extra.faces, 4000, np.random.default_rng(0))
    # uniform in x over -1..1: standard error of the mean is 2 / sqrt(12 * 4000) = 0.009, of the variance 1/3 about 0.005
    assert abs(points[:, 0].mean()) < 0.04
    assert points[:, 0].var() == pytest.approx(1 / 3, abs=0.02)
    with pytest.raises(ValueError, match="no area"):
        sample_surface(np.zeros((3, 3)), np.array([[0, 1, 2]]), 10, np.random.default_rng(0))
