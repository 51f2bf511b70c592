"""The wording of captions, and the tokens that they become."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.prior.data import captions
from scripts.prior.data.degradations import ALL_DESCRIPTORS
from scripts.prior.data.records import Record

TULIP = Record("1.webp", "a red tulip flower", "on a grass field", "front", "tulip")
MUG = Record("2.webp", "an orange coffee mug", "on sand", "back", "mug")


def test_a_full_caption_reads_as_documented():
    text = captions.compose(TULIP.caption, "a photo of", TULIP.background, TULIP.view)
    assert text == "a photo of a red tulip flower, on a grass field, front view"


def test_absent_parts_leave_no_trace():
    assert captions.compose(MUG.caption, "") == "an orange coffee mug"
    assert captions.compose(MUG.caption, "", descriptors=("blurry",)) == "an orange coffee mug, blurry"


def test_the_whole_list_is_that_of_the_paper():
    text = captions.compose("a rose", "", descriptors=ALL_DESCRIPTORS)
    assert text == ("a rose, oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed")


@pytest.mark.parametrize(("record", "words"), [(TULIP, ("red",)), (MUG, ("orange",))])
def test_modifiers_leave_out_the_noun(record, words):
    assert captions.modifiers_of(record) == words


def test_captions_tell_what_they_say_they_tell():
    rng = np.random.default_rng(0)
    for _ in range(200):
        text, tells_background, tells_view = captions.draw_caption(TULIP, ("noisy",), rng)
        assert ("grass field" in text) == tells_background
        assert ("front view" in text) == tells_view
        assert "red tulip" in text
        assert text.endswith(", noisy")


def test_every_word_of_a_caption_is_in_the_vocabulary():
    known = set(captions.vocabulary([TULIP, MUG]))
    rng = np.random.default_rng(1)
    for record in (TULIP, MUG):
        for _ in range(50):
            text, _, _ = captions.draw_caption(record, ALL_DESCRIPTORS, rng)
            assert set(captions.words_of(text)) - {","} <= known


def test_known_words_are_one_token_and_others_still_have_tokens(tmp_path):
    tokenizer_module = pytest.importorskip("scripts.prior.tokenizer")
    tokenizer = tokenizer_module.write_tokenizer(captions.vocabulary([TULIP, MUG]), tmp_path)
    ids = tokenizer("a red tulip, on a grass field").input_ids
    assert len(ids) == 2 + 8
    unknown = tokenizer("a zebra é 42").input_ids
    assert len(unknown) > 6
    assert tokenizer.decode(ids[1:-1]).replace(" ,", ",") == "a red tulip, on a grass field"


def test_the_longest_caption_fits(tmp_path):
    tokenizer_module = pytest.importorskip("scripts.prior.tokenizer")
    record = Record("3.webp", "a yellow and blue spotted teapot", "on a grass field", "overhead", "teapot")
    tokenizer = tokenizer_module.write_tokenizer(captions.vocabulary([record]), tmp_path)
    text = captions.compose(record.caption, "a high quality photo of", record.background, record.view, ALL_DESCRIPTORS)
    assert len(tokenizer(text).input_ids) <= tokenizer_module.MAX_TOKENS
