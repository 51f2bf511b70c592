"""PNG files made without a picture library are what a picture library reads."""

from __future__ import annotations

import io

import numpy as np
import pytest

from engine.formats.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 1), (6, 4, 3), (3, 300, 4)])
def test_a_picture_library_reads_back_what_was_written(shape: tuple[int, int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    read = np.array(image.open(io.BytesIO(encode_png(pixels))))
    np.testing.assert_array_equal(read.reshape(shape), pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(pixels)
