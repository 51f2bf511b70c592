"""The measure of colours in the right parts: CIE L*a*b* values, and that it tells right from swapped."""

from __future__ import annotations

import numpy as np
import pytest

from engine.mesh import Mesh
from scripts.bench.blockouts import PROMPTS, compare, lab
from scripts.examples.sketches import DRAWINGS


def test_colours_have_their_places_in_lab():
    """Values of the CIE formulae for sRGB primaries under D65."""
    found = lab(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    expected = [[100, 0, 0], [53.2, 80.1, 67.2], [32.3, 79.2, -107.9], [0, 0, 0]]
    assert found == pytest.approx(np.array(expected), abs=0.3)


def test_the_right_colour_in_the_wrong_part_is_wrong():
    """Two squares side by side, one red, one blue."""
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    vertices = np.concatenate([square, square + np.array([2, 0, 0])]).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    colours = np.repeat(np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], np.float32), 4, axis=0)
    painted = Mesh(vertices, faces, colours)
    places = np.array([[0.5, 0.5, 0.1], [2.5, 0.5, -0.1]])
    assert compare(places, colours[[0, 4]], painted) == (1.0, pytest.approx(0.0, abs=1e-3))
    right, difference = compare(places, colours[[4, 0]], painted)
    assert right == 0.0 and difference > 90
    assert compare(places, np.full((2, 3), 0.6), painted)[0] == 0.0  # grey is neither
    with pytest.raises(ValueError, match="no colours"):
        compare(places, colours[[0, 4]], Mesh(vertices, faces))


def test_every_example_has_a_prompt():
    assert set(PROMPTS) == set(DRAWINGS)
