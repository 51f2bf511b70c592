"""The probe of colours says which kinds it can read, and reads those that it never saw."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.prior.colour_probe import ColourProbe, Examples, colour_features, colour_word
from scripts.prior.data.palette import COLOURS

NAMES = ("red", "blue", "green", "white", "black", "yellow")


def painted(word: str, rng: np.random.Generator, share: float = 1.0) -> np.ndarray:
    """Pixels of a surface under a light of unknown strength; the rest of it has any colour."""
    linear = np.array(COLOURS[word]) * rng.uniform(0.85, 1.15, 3) * rng.uniform(0.5, 1.0, (400, 1))
    other = np.array(COLOURS[str(rng.choice(NAMES))]) * rng.uniform(0.5, 1.0, (400, 1))
    return np.where(rng.random((400, 1)) < share, linear, other).clip(0, 1) ** (1 / 2.2)


@pytest.fixture(scope="module")
def examples() -> Examples:
    """A kind whose surface has the word's colour, and one where a twentieth of it has."""
    rng, rows = np.random.default_rng(0), []
    for number in range(120):
        for kind, share in (("apple", 1.0), ("bed", 0.05)):
            word = NAMES[number % len(NAMES)]
            rows.append((colour_features(painted(word, rng, share)), word, kind, f"000_{number:05d}"))
    features, words, kinds, subjects = (np.array(column) for column in zip(*rows, strict=True))
    return Examples(features, words, kinds, subjects)


def test_it_reads_the_kind_that_can_be_read_and_leaves_the_other_out(examples):
    probe = ColourProbe(examples)
    assert probe.kinds == ("apple",) and probe.score[0] >= 0.95 and probe.score[1] >= 6
    rng = np.random.default_rng(1)
    told = [probe.tells(painted(word, rng)) for word in NAMES * 4]
    assert np.mean([a == b for a, b in zip(told, NAMES * 4, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("caption", "word"),
    [("a red mug", "red"), ("a white chair with a red seat", ""), ("a wooden chair", ""), ("a blue, tall vase", "blue")],
)
def test_a_caption_has_one_colour_or_none(caption, word):
    assert colour_word(caption) == word
