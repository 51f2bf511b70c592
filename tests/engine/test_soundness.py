"""Holes, parts and volume of known solids, and the sentences about what broke."""

from __future__ import annotations

import numpy as np
import pytest

from engine.mesh import Mesh
from engine.sketch.deviation import deviation
from engine.sketch.soundness import Soundness
from tests.engine.shapes import box, lattice, merge, moved, sphere


def torus() -> Mesh:
    turn, around = np.linspace(0, 2 * np.pi, 48, endpoint=False)[None], np.linspace(0, 2 * np.pi, 25)[:, None]
    radius = 0.5 + 0.2 * np.cos(around)
    mesh = lattice(np.stack(np.broadcast_arrays(radius * np.cos(turn), radius * np.sin(turn), 0.2 * np.sin(around)), -1), closed=True)
    last = np.where(mesh.faces >= 24 * 48, mesh.faces - 24 * 48, mesh.faces)  # the last ring is the first
    return Mesh(mesh.vertices, last.astype(np.int32))


def test_known_solids():
    whole = Soundness.of(box((0.5, 0.4, 0.3)).vertices, box((0.5, 0.4, 0.3)).faces)
    assert (whole.genus, whole.components) == (0, 1)
    assert whole.volume == pytest.approx(8 * 0.5 * 0.4 * 0.3)
    assert Soundness.of(torus().vertices, torus().faces).genus == 1
    three = merge(torus(), moved(torus(), 2, 0, 0), moved(sphere(0.3), 0, 2, 0))
    assert (Soundness.of(three.vertices, three.faces).genus, Soundness.of(three.vertices, three.faces).components) == (2, 3)
    assert Soundness.of(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32)) == Soundness(0, 0, 0.0)


def test_what_broke_is_said_with_its_figures():
    start = Soundness(2, 1, 1.0)
    assert Soundness(4, 1, 0.8).faults(start) == []
    torn, hollow, loose = Soundness(9, 3, 0.5).faults(start)
    assert "9 holes" in torn and "has 2" in torn and "50 %" in hollow and "3 loose parts" in loose
    assert Soundness(9, 3, 0.5).against(start)["volume_change_percent"] == pytest.approx(-50)


def test_the_largest_deviation_is_that_of_a_single_spike():
    """A spike of a quarter that mean and 95th percentile hardly notice."""
    ball = sphere(0.5)
    spiked = ball.vertices.copy()
    spiked[-1, 2] += 0.25
    found = deviation(spiked, ball.faces, ball, np.random.default_rng(0))
    assert found.mean_percent < 0.2
    assert 0.5 * 25 / np.sqrt(3) < found.max_percent <= 25 / np.sqrt(3) + 0.1
