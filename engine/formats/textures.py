"""Pictures as arrays. numpy and Pillow only."""

from __future__ import annotations

import numpy as np


def sample_image(image: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear samples float64 [N, C] of an image [H, W, C] (row 0 at the top) at uvs [N, 2] (v up), wrapping."""
    height, width = image.shape[:2]
    x, y = uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    columns = [np.mod(left + offset, width).astype(np.int64) for offset in (0, 1)]
    rows = [np.mod(top + offset, height).astype(np.int64) for offset in (0, 1)]
    above = (1 - fx) * image[rows[0], columns[0]] + fx * image[rows[0], columns[1]]
    below = (1 - fx) * image[rows[1], columns[0]] + fx * image[rows[1], columns[1]]
    return (1 - fy) * above + fy * below
