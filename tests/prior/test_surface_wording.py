"""The text model of the prior that sees the surface: it learns which part has which look, and goes on from what an earlier one knew."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextModel

from scripts.prior.networks import make_text_model, tokenize
from scripts.prior.surface import wording
from scripts.prior.surface.train import take_text
from scripts.prior.tokenizer import write_tokenizer

KINDS = ("house", "chair")
BACKGROUNDS = ["on a grey background", "on sand"]


@pytest.fixture(scope="module")
def descriptions():
    return wording.made_up(KINDS, 6, 0)


@pytest.fixture(scope="module")
def words(descriptions):
    return wording.all_words(wording.as_records(descriptions, BACKGROUNDS), descriptions)


def test_the_look_is_read_at_the_last_word_of_its_part(descriptions, words, tmp_path):
    tokenizer = write_tokenizer(words, tmp_path)
    names = wording.attribute_names(wording.as_records(descriptions, BACKGROUNDS))
    heads = wording.PartHeads(names, ("door", "roof"), tokenizer, 8)
    ids = tokenize(tokenizer, ["a white house with a red roof and a wooden door", "a white house", ""])
    red, wooden = wording.LOOKS.index("red"), wording.LOOKS.index("wooden")
    looks = torch.tensor([[wooden, red], [0, 0], [0, 0]])
    features = torch.arange(ids.numel(), dtype=torch.float32).reshape(*ids.shape, 1).expand(-1, -1, 8)
    seen: list[torch.Tensor] = []
    heads.word.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 0]))
    logits, wanted = heads.word_logits(features, ids, looks)
    assert logits.shape == (2, len(wording.LOOKS)) and wanted.tolist() == [wooden, red]
    spoken = [tokenizer.decode([ids.flatten()[int(place)]]).strip() for place in seen[0]]
    assert spoken == ["door", "roof"]


@pytest.mark.slow
def test_the_text_model_learns_to_read_parts(descriptions, words, tmp_path):
    tokenizer = write_tokenizer(words, tmp_path)
    torch.manual_seed(0)
    model = make_text_model(tokenizer, 64, 2)
    _, _, untaught = wording.pretrain(model, tokenizer, descriptions, BACKGROUNDS, steps=1, seed=0, batch=4, report=lambda _: None)
    _, _, taught = wording.pretrain(model, tokenizer, descriptions, BACKGROUNDS, steps=250, seed=0, batch=32, report=lambda _: None)
    assert untaught < 0.3 and taught > 0.7


def test_a_text_model_begins_with_what_an_earlier_one_knew(words, tmp_path):
    before_words = write_tokenizer([word for word in words if word != "roof"], tmp_path / "prior" / "tokenizer")
    before = make_text_model(before_words, 16, 1)
    before.half().save_pretrained(tmp_path / "prior" / "text_encoder")
    tokenizer = write_tokenizer([*words, "zeppelin"], tmp_path / "new")
    model = make_text_model(tokenizer, 16, 1)
    fresh = model.get_input_embeddings().weight.clone()
    take_text(model, tokenizer, tmp_path / "prior")
    old = CLIPTextModel.from_pretrained(tmp_path / "prior" / "text_encoder", dtype=torch.float32)
    for name, value in old.state_dict().items():
        if "token_embedding" not in name:
            assert torch.equal(model.state_dict()[name], value), name

    def row(vectors: torch.Tensor, known, word: str) -> torch.Tensor:
        return vectors[known(word, add_special_tokens=False).input_ids[0]]

    now = model.get_input_embeddings().weight
    assert torch.equal(row(now, tokenizer, "house"), row(old.get_input_embeddings().weight, before_words, "house"))
    assert torch.equal(row(now, tokenizer, "zeppelin"), row(fresh, tokenizer, "zeppelin"))
