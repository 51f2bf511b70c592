"""The generator's shapes and kinds, without Blender."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from scripts.prior.data import shapes
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.workbench import Workbench, with_article


def built(kind: str, seed: int) -> tuple[Workbench, object]:
    bench = Workbench(random.Random(seed))
    return bench, KINDS[kind](bench)


def signed_volume(mesh: shapes.Mesh) -> float:
    """By fans over the faces; of a closed mesh."""
    total = 0.0
    for face in mesh.faces:
        first = mesh.vertices[face[0]]
        for second, third in itertools.pairwise(face):
            total += np.dot(first, np.cross(mesh.vertices[second], mesh.vertices[third])) / 6
    return total


def test_there_are_forty_kinds_at_least():
    assert len(KINDS) >= 40
    assert all(name.isidentifier() for name in KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_makes_sound_parts_of_the_size_that_it_tells(kind):
    for seed in range(3):
        bench, subject = built(kind, seed)
        vertices = np.concatenate([part.mesh.vertices for part in bench.parts])
        assert np.isfinite(vertices).all()
        assert all(min(face) >= 0 and max(face) < len(part.mesh.vertices) for part in bench.parts for face in part.mesh.faces)
        assert -0.2 < vertices[:, 2].min() < 0.15
        assert vertices[:, 2].max() == pytest.approx(subject.height, abs=0.2)
        assert subject.radius * 0.5 < np.hypot(*vertices[:, :2].T).max() < subject.radius + 0.35
        assert subject.caption.split()[0] in ("a", "an")


@pytest.mark.parametrize("kind", ["tulip", "tree", "teapot", "rock", "snowman"])
def test_the_same_seed_makes_the_same_thing(kind):
    (one, first), (two, second) = built(kind, 11), built(kind, 11)
    assert first == second
    for a, b in zip(one.parts, two.parts, strict=True):
        assert np.array_equal(a.mesh.vertices, b.mesh.vertices)
        assert a.material == b.material


def test_volumes_of_simple_solids():
    assert abs(signed_volume(shapes.box(2, 3, 4))) == pytest.approx(24)
    assert abs(signed_volume(shapes.ball(1, 40, 60))) == pytest.approx(4 / 3 * math.pi, rel=0.02)
    assert abs(signed_volume(shapes.cylinder(0.5, 2, 64))) == pytest.approx(math.pi / 2, rel=0.02)


def test_a_tube_keeps_its_radius_around_a_bend():
    path = [(math.cos(t), math.sin(t), 0) for t in np.linspace(0, 3, 60)]
    tube = shapes.tube(path, 0.1)
    around = np.hypot(np.hypot(tube.vertices[:, 0], tube.vertices[:, 1]) - 1, tube.vertices[:, 2])
    assert around == pytest.approx(np.full(len(around), 0.1), abs=0.01)


def test_a_spline_goes_through_its_points():
    points = [(0, 0), (1, 2), (3, 1), (4, 4)]
    assert shapes.spline(points, 5)[::5] == pytest.approx(np.array(points, float))


def test_turns_are_right_handed():
    point = shapes.Mesh(np.array([[1.0, 0, 0]]), [])
    assert point.rotated("z", math.pi / 2).vertices[0] == pytest.approx([0, 1, 0])
    assert point.rotated("y", math.pi / 2).vertices[0] == pytest.approx([0, 0, -1])


@pytest.mark.parametrize(("words", "text"), [("red apple", "a red apple"), ("orange fruit", "an orange fruit")])
def test_articles(words, text):
    assert with_article(words) == text
