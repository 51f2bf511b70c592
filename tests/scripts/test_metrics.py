"""The measures of pictures against known values."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scripts import metrics


def test_frechet_distance_of_shifted_and_scaled_clouds() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((4000, 3))
    assert metrics.fid(cloud, cloud) == pytest.approx(0.0, abs=1e-6)
    assert metrics.fid(cloud, cloud + np.array([1.0, 2.0, 0.0])) == pytest.approx(5.0, abs=1e-6)
    # standard deviations 1 and 3 in each of three dimensions: 3 (1 - 3)^2, up to the sample's own deviation
    assert metrics.fid(cloud, 3 * cloud) == pytest.approx(12.0, rel=0.05)


def test_kernel_distance_is_unbiased_and_sees_a_shift() -> None:
    rng = np.random.default_rng(1)
    same = np.mean([metrics.kid(rng.standard_normal((30, 8)), rng.standard_normal((30, 8))) for _ in range(200)])
    assert abs(same) < 0.02
    assert metrics.kid(rng.standard_normal((60, 8)), rng.standard_normal((60, 8)) + 1.0) > 1.0


def test_statistics_of_plain_pictures() -> None:
    grey, red = np.full((1, 8, 8, 3), 128, np.uint8), np.zeros((1, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert metrics.saturation(np.concatenate([grey, red])) == pytest.approx([0.0, 1.0])
    board = np.indices((8, 8)).sum(0) % 2 * 255
    checkered = np.repeat(board[None, :, :, None], 3, axis=3).astype(np.uint8)
    # at each inner pixel the four neighbours are the other colour: |4 * 255|
    assert metrics.sharpness(np.concatenate([grey, checkered])) == pytest.approx([0.0, 1020.0], rel=1e-6)
    assert metrics.contrast(checkered) == pytest.approx([127.5], rel=1e-6)


def test_the_probe_tells_apart_what_is_apart() -> None:
    rng = np.random.default_rng(2)
    rows = np.concatenate([rng.standard_normal((50, 20)) + 1.5, rng.standard_normal((50, 20)) - 1.5])
    kinds = ["mug"] * 50 + ["tulip"] * 50
    probe = metrics.RidgeProbe(rows, kinds)
    assert metrics.share_right(probe.predict(rows + 0.1), kinds) > 0.95
    assert metrics.share_right(probe.predict(rows), kinds[::-1]) < 0.05
    assert probe.margin(rows, "mug")[:50].min() > probe.margin(rows, "mug")[50:].max()


def test_a_rare_label_weighs_as_much_as_a_common_one() -> None:
    """One feature, two overlapping clouds, 400 of one and 20 of the other: the border lies in the middle, not beside the few."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(-1, 1, (400, 1)), rng.normal(1, 1, (20, 1))])
    probe = metrics.RidgeProbe(rows, ["many"] * 400 + ["few"] * 20)
    line = np.linspace(-3, 3, 601)[:, None]
    border = line[probe.predict(line).index("few"), 0]
    assert abs(border) < 0.35
    assert metrics.balanced_share(["a", "a", "a", "a"], ["a", "a", "a", "b"]) == 0.5


def test_preparing_scales_as_pillow_does_and_normalizes() -> None:
    pictures = np.random.default_rng(4).integers(80, 176, (2, 96, 96, 3), dtype=np.uint8)  # no clipping between Pillow's two passes
    for side in (40, 160):
        mine = metrics.prepared(pictures, side, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).permute(0, 2, 3, 1).numpy()
        scaled = [np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
        assert np.abs(mine - (np.stack(scaled) / 255 - 0.5) / 0.25).max() < 4 * 1.5 / 255  # Pillow rounds each pass to bytes
