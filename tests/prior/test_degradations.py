"""Each degradation does what its name says, and nothing else about the picture's format."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.prior import judges
from scripts.prior.data.degradations import (
    ALL_DESCRIPTORS,
    APPLICATION_ORDER,
    DEGRADATIONS,
    DOMAINS,
    apply_degradations,
    draw_degradation,
)

EVERY = {**DEGRADATIONS, **DOMAINS}


@pytest.fixture
def picture() -> Image.Image:
    """A textured disc before a pale ground, 64 x 64."""
    rng = np.random.default_rng(0)
    pixels = np.full((64, 64, 3), (170, 190, 150)) + rng.normal(0, 6, (64, 64, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((16, 14, 48, 46), fill=(170, 60, 50))
    draw.line((32, 46, 30, 62), fill=(50, 110, 40), width=3)
    return image


def measured(name: str, picture: Image.Image, measure) -> tuple[float, float]:
    """The measure before, and its mean after over five seeds."""
    after = [np.asarray(EVERY[name](picture, np.random.default_rng(seed))) for seed in range(5)]
    return float(measure(np.asarray(picture)[None])[0]), float(measure(np.stack(after)).mean())


@pytest.mark.parametrize("name", sorted(EVERY))
def test_keeps_size_and_mode_and_changes_the_picture(name, picture):
    changed = EVERY[name](picture, np.random.default_rng(3))
    assert changed.size == picture.size
    assert changed.mode == "RGB"
    assert np.abs(np.asarray(changed, float) - np.asarray(picture, float)).mean() > 1


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_same_seed_gives_the_same_picture(name, picture):
    first, second = (np.asarray(EVERY[name](picture, np.random.default_rng(7))) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", sorted(judges.DEGRADATION_MEASURES))
def test_moves_its_measure_in_its_direction(name, picture):
    measure, sign = judges.DEGRADATION_MEASURES[name]
    before, after = measured(name, picture, measure)
    assert sign * (after - before) > 0.1 * before


def test_a_mosaic_has_flat_blocks(picture):
    pixels = np.asarray(EVERY["pixelated"](picture, np.random.default_rng(0)), float)
    equal_neighbours = np.mean(np.all(pixels[:, 1:] == pixels[:, :-1], axis=-1))
    assert equal_neighbours > 0.6


def test_a_cartoon_has_few_colours(picture):
    def colours(image: Image.Image) -> int:
        return len(np.unique(np.asarray(image).reshape(-1, 3) // 32, axis=0))

    flat = np.mean([colours(EVERY["cartoon"](picture, np.random.default_rng(seed))) for seed in range(5)])
    assert flat < colours(EVERY["noisy"](picture, np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["malformed", "bad structure"])
def test_structure_is_moved_and_brightness_kept(name, picture):
    before, after = measured(name, picture, lambda images: images.mean((1, 2, 3)))
    assert after == pytest.approx(before, rel=0.1)


def test_the_order_of_application_names_every_degradation_once():
    assert sorted(APPLICATION_ORDER) == sorted(DEGRADATIONS)


def test_an_unknown_degradation_is_refused(picture):
    with pytest.raises(ValueError, match="known"):
        apply_degradations(picture, {"crooked"}, np.random.default_rng(0))


def test_about_a_third_of_the_copies_carry_the_whole_list(picture):
    small = picture.resize((16, 16))
    rng = np.random.default_rng(0)
    words = [draw_degradation(small, rng)[1] for _ in range(300)]
    assert 0.25 < np.mean([each == ALL_DESCRIPTORS for each in words]) < 0.42
    assert all(set(each) <= set(EVERY) and each for each in words)
