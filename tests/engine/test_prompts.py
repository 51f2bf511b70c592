"""Prompts: what goes into the source and target descriptions."""

from __future__ import annotations

import pytest

from engine import vocabulary
from engine.diffusion import prompts
from engine.errors import InputError


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


@pytest.mark.parametrize("text", ["", "   ", " , ,", "\n\t"])
def test_empty_prompt_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        prompts.check_prompt(text)


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


def test_domain_note_names_unknown_words_and_the_known_kinds():
    note = vocabulary.domain_note("a purple dragon", ["a", "purple", "tulip"], ["tulip", "mug"])
    assert note is not None and "dragon" in note and "mug, tulip" in note and "purple" not in note
    assert vocabulary.domain_note("purple tulips", ["purple", "tulip"], ["tulip"]) is None
