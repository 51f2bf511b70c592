"""Words for views and backgrounds: the engine's, and those of the training pictures."""

from __future__ import annotations

import pytest

from engine.views import BACKGROUNDS, VIEWS, view_word
from scripts.prior.data.grounds import GROUNDS


@pytest.mark.parametrize(
    ("angles", "word"),
    [
        ((0, 0), "front"),
        ((-40, 0), "front"),
        ((40.5, 0), "side"),
        ((90, 20), "side"),
        ((270, -20), "side"),
        ((140, 0), "back"),
        ((200, 55), "back"),
        ((-179, 0), "back"),
        ((0, 55.5), "overhead"),
        ((360 + 39, 0), "front"),
    ],
)
def test_view_words_of_angles(angles: tuple[float, float], word: str) -> None:
    assert view_word(*angles) == word and word in VIEWS


def test_the_engine_renders_before_backgrounds_whose_words_the_training_pictures_have() -> None:
    plain = {ground.words for ground in GROUNDS if ground.has_wall}
    assert {background.words for background in BACKGROUNDS} <= plain
