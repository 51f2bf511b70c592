"""Prompts: what goes into the source and target descriptions."""

from __future__ import annotations

import pytest

from engine import vocabulary
from engine.diffusion import prompts
from engine.errors import InputError
from engine.job_fields import JobSettings


def test_source_prompt_has_the_descriptors_and_no_quality_words():
    source = prompts.source_prompt("a red tulip, high quality, DSLR", "back view")
    assert source == f"a red tulip, back view, {prompts.DESCRIPTORS}"


def test_target_prompt_keeps_the_artists_words():
    assert prompts.target_prompt("a red tulip, high quality", "front view") == "a red tulip, high quality, front view"
    assert prompts.target_prompt("a red tulip") == "a red tulip"


def test_paper_has_ten_descriptors():
    assert len(prompts.phrases(prompts.DESCRIPTORS)) == 10


def test_quality_words_alone_are_kept():
    assert prompts.without_quality("high quality") == "high quality"


def test_nothing_is_said_twice():
    assert prompts.source_prompt("a rose, front view", "front view", "blurry") == "a rose, front view, blurry"


def test_painting_source():
    assert prompts.painting_source("a mountain lake, photorealistic") == "a mountain lake, painting"


@pytest.mark.parametrize("text", ["", "   ", " , ,", "\n\t", "?!", "\u200b", "\u202e"])
def test_empty_prompt_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        prompts.check_prompt(text)
    with pytest.raises(InputError, match="empty"):
        JobSettings(text)


@pytest.mark.parametrize("name", ["prompt", "source", "descriptors", "part_prompts"])
def test_bytes_that_are_no_text_are_refused(name):
    """As Python hands on what a terminal of another encoding gave: tokenizers and JSON take no such letter."""
    with pytest.raises(InputError, match="bytes that are no text, the first at letter 7") as caught:
        JobSettings(**{"prompt": "a cup", name: "legs: \udce9"})
    assert "UTF-8" in caught.value.fix


def test_a_prompt_may_be_of_signs_and_of_any_script():
    for text in ("🍎", "תפוח אדום", "लाल सेब", "红色的苹果", "90"):
        assert prompts.check_prompt(text) == text and JobSettings(text).prompt == text
    with pytest.raises(InputError, match="must be text, got 5"):
        prompts.check_prompt(5)  # type: ignore[arg-type]


def test_vowel_signs_and_accents_belong_to_their_words():
    assert vocabulary.content_words("लाल सेब") == ["लाल", "सेब"]
    assert vocabulary.content_words("cafe\u0301 ❤\ufe0f") == ["café"]
    assert vocabulary.content_words("می\u200cخواهم") == ["می\u200cخواهم"]
    assert vocabulary.content_words("king's snake_case 4x4") == ["king", "s", "snake", "case", "4x4"]


def test_a_prompt_without_a_word_that_says_something_is_told():
    for text in ("🍎", "the", "!"):
        assert "finds no word" in str(vocabulary.domain_note(text, ["mug"], ["mug"]))


def test_a_note_on_a_long_prompt_stays_readable():
    note = vocabulary.domain_note(" ".join(f"word{number}" for number in range(2000)) + " " + "x" * 9000, ["mug"], ["mug"])
    assert note is not None and "word0, word1" in note and "1,989 more words" in note and len(note) < 400
    note = vocabulary.domain_note("x" * 9000, ["mug"], ["mug"])
    assert note is not None and "9,000 letters" in note and len(note) < 400


def test_check_prompt_tidies():
    assert prompts.check_prompt("  a   red\ttulip ,") == "a red tulip"


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("tulips", "tulip"),
        ("berries", "berry"),
        ("boxes", "box"),
        ("glass", "glass"),
        ("cactus", "cactus"),
        ("bus", "bus"),
        ("houses", "house"),
    ],
)
def test_singular(word, base):
    assert vocabulary.singular(word) == base


def test_content_words_in_order_without_stop_words():
    assert vocabulary.content_words("A photo of two red Tulips, on a table") == ["red", "tulip", "table"]


@pytest.mark.parametrize(
    ("text", "view"), [("a rose, front view", "front"), ("a rose, Overhead View", "overhead"), ("the front door", None), ("", None)]
)
def test_view_of(text, view):
    assert prompts.view_of(text) == view


def test_a_word_that_may_be_misspelt_is_told_with_the_known_one():
    note = vocabulary.domain_note("a wodden hat on an owl", ["wooden", "hat", "bowl"], ["hat"])
    assert note == "The model does not know: wodden (wooden?), owl. It knows: hat."


def test_domain_note_names_unknown_words_and_the_known_kinds():
    note = vocabulary.domain_note("a purple dragon", ["a", "purple", "tulip"], ["tulip", "mug"])
    assert note is not None and "dragon" in note and "mug, tulip" in note and "purple" not in note
    assert vocabulary.domain_note("purple tulips", ["purple", "tulip"], ["tulip"]) is None
