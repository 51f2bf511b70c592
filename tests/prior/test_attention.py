"""Places are drawn to the words of their part: which words those are, and a loss that knows right from wrong."""

from __future__ import annotations

import math

import pytest
import torch

from scripts.prior.networks import tokenize
from scripts.prior.surface.attention import SpokenParts, attention_loss
from scripts.prior.surface.dataset import resized_owner
from scripts.prior.tokenizer import write_tokenizer

WORDS = ["a", "photo", "of", "white", "house", "with", "red", "roof", "and", "blue", "window", "frames", "on", "grey", "background", "pink"]
PARTS = [("", "white"), ("roof", "red"), ("window frames", "blue"), ("door", "white"), ("chimney", "pink")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(WORDS, tmp_path_factory.mktemp("words"))


def test_every_part_has_the_words_that_speak_of_it(tokenizer):
    caption = "a photo of a white house with a red roof and blue window frames, on a white background"
    spoken = SpokenParts(tokenizer)(caption, "house", {"roof": "red", "window frames": "blue"}, PARTS)
    names = tokenizer.convert_ids_to_tokens(tokenize(tokenizer, [caption])[0].tolist())
    said = [[names[place].removesuffix("</w>") for place in row.nonzero()[:, 0].tolist()] for row in spoken]
    assert said == [["white", "house"], ["red", "roof"], ["blue", "frames"], ["white", "house"], []]


def test_what_is_not_said_speaks_of_nothing(tokenizer):
    find = SpokenParts(tokenizer)
    assert not find("", "house", {}, PARTS).any() and find("a white house", "house", {}, []).shape == (0, 64)
    assert not find("a house", "house", {}, PARTS).any()


def test_the_loss_is_nothing_where_all_attention_is_right_and_counts_told_places_alone():
    wanted = torch.zeros((1, 4, 4, 6), dtype=torch.bool)
    wanted[0, :2, :, 1] = True
    right = torch.zeros((1, 2, 16, 6))
    right[..., 1] = 1
    halves = torch.full((1, 2, 16, 6), 0.5)
    quarter = torch.full((1, 2, 4, 6), 0.25)
    assert attention_loss([right], wanted).item() == 0
    assert attention_loss([halves], wanted).item() == pytest.approx(math.log(2))
    assert attention_loss([halves, quarter], wanted).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert attention_loss([torch.zeros((1, 2, 16, 6))], wanted).isfinite()
    assert attention_loss([halves], torch.zeros_like(wanted)).item() == 0


def test_the_owner_of_a_place_is_what_lies_in_its_middle():
    owner = torch.arange(64).reshape(8, 8)
    assert torch.equal(resized_owner(owner, 2), torch.tensor([[18, 22], [50, 54]]))
