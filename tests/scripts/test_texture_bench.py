"""What the texture bench measures, on textures of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.mesh import Mesh
from engine.results import ImageSet
from scripts.bench.texture_measures import Textures, seam_contrast, wrong_texels

POINTS = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 1], [1, 0, 1], [2, 0, 1]], np.float32)
FACES = np.array([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]], np.int32)
"""Two squares side by side."""


def in_tiles() -> Mesh:
    """Each square fills the middle of a UDIM tile."""
    uvs = POINTS[FACES][..., [0, 2]] * 0.8 + 0.1
    uvs[2:, :, 0] += 0.2
    return Mesh(POINTS, FACES, None, uvs.astype(np.float32))


def textures(second: int) -> Textures:
    """The first square 100, the other `second`."""
    images = {number: {"albedo": np.full((32, 32, 3), value, np.uint8)} for number, value in ((1001, 100), (1002, second))}
    return Textures.of(in_tiles(), [ImageSet("Wall", np.arange(4), images, np.array([1001, 1001, 1002, 1002]))])


def test_each_face_shows_the_image_of_its_tile() -> None:
    found = textures(150)
    assert len(found.images) == 2 and found.of_face.tolist() == [0, 0, 1, 1]
    assert found.uvs.min() >= 0.1 - 1e-6 and found.uvs.max() <= 0.9 + 1e-6
    np.testing.assert_array_equal(found.at(np.array([0, 3]), np.array([[0.5, 0.5], [0.5, 0.5]]))[:, 0], [100, 150])


def test_a_seam_between_two_images_counts_as_one() -> None:
    assert seam_contrast(in_tiles(), textures(100)) == pytest.approx(1.0)
    assert seam_contrast(in_tiles(), textures(150)) > 100
    one = Mesh(POINTS, FACES, None, (POINTS[FACES][..., [0, 2]] * 0.4 + 0.1).astype(np.float32))
    assert np.isnan(seam_contrast(one, Textures.whole(one, np.full((32, 32, 3), 100, np.uint8))))


def test_texels_lie_in_the_faces_that_they_show() -> None:
    wrong, shown = wrong_texels(textures(100).uvs[:2], 64)
    assert wrong == 0 and shown == pytest.approx((0.8 * 64) ** 2, rel=0.05)
