"""What the panel shows, where it can be told without a window."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from helpers import part


def test_a_strip_of_views_becomes_a_square(scene: ModuleType) -> None:
    squared = part(scene, "panels").squared
    strip = np.concatenate([np.full((5, 5, 3), index, np.uint8) for index in range(4)], axis=1)
    tiles = squared(strip)
    assert tiles.shape == (10, 10, 3) and [tiles[0, 0, 0], tiles[0, 9, 0], tiles[9, 0, 0], tiles[9, 9, 0]] == [0, 1, 2, 3]
    for shape in ((5, 5, 3), (5, 10, 3), (5, 15, 3), (7, 5, 3)):
        assert squared(np.zeros(shape, np.uint8)).shape == shape
