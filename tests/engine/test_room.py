"""What a large model is asked at once on cards of every size: by numbers that are put in, since no card is here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_model import make_tiny_model

from engine import room
from engine.diffusion.footprint import Portion, footprint_of
from engine.diffusion.load import load_prior
from engine.errors import JobError
from engine.job_fields import JobSettings
from engine.room import ROOM, Room, fitting, lowering, model_folder, portions, presets_that_fit, room_for, smaller
from scripts import ROOT
from scripts.bench.cards import CARDS, MODELS, TAKEN, needs_of, rows, shaped_folder

GIB = 2**30


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shaped")
    return {name: shaped_folder(root / str(number), parts) for number, (name, parts) in enumerate(MODELS.items())}


def test_the_table_of_the_cards_is_the_documents():
    assert "\n".join(rows()) in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("preset", ["draft", "standard", "high"])
def test_more_memory_never_means_less(folders, name, preset):
    needs, settings, wished = needs_of(folders[name], preset)
    found = [fitting(needs, int(card * GIB - TAKEN), wished, settings) for card in CARDS]
    order = list(portions(wished, fixed_views=False))
    places = [order.index(portion) for portion in found]
    assert places == sorted(places, reverse=True)
    assert found[-1] == fitting(needs, 10**12, wished, settings) == wished or name == "SD XL, 1024"


def test_stable_diffusion_fits_six_gigabytes_as_it_is(folders):
    needs, settings, wished = needs_of(folders["SD 2.1 base, 512"], "draft")
    free = int(6 * GIB - TAKEN)
    assert fitting(needs, free, wished, settings) == wished == Portion(1, 512)
    assert needs.bytes(wished) <= ROOM * free


def test_views_that_the_user_asked_for_stay(folders):
    needs, _, _ = needs_of(folders["SD 2.1, 768"], "standard")
    asked = JobSettings("a chair", preset="standard", overrides={"views": 6})
    found = fitting(needs, int(5.5 * GIB), Portion(6, 768), asked)
    assert found.views == 6 and found.pixels < 768


def test_what_is_lowered_goes_from_time_to_views_to_pixels():
    order = list(portions(Portion(4, 1024), fixed_views=False))
    assert order[:4] == [Portion(4, 1024), Portion(4, 1024, 1), Portion(4, 1024, 0, True), Portion(4, 1024, 1, True)]
    assert [portion.views for portion in order[::4]] == [4, 2, 1, 1, 1, 1] and [portion.pixels for portion in order[::4]][3:] == [
        768,
        576,
        512,
    ]
    assert smaller(512, 512) == 384 and smaller(256, 256) == 256 and smaller(64, 64) == 64
    told = " ".join(lowering(Portion(4, 1024), Portion(1, 512, 1, True)))
    assert all(words in told for words in ("one item", "computes twice", "1 of 4 views", "512 pixels instead of 1024"))
    assert lowering(Portion(4, 1024), Portion(4, 1024)) == []


@pytest.fixture()
def card(monkeypatch):
    """A card with so many free bytes: torch is asked nothing."""

    def of(free: int) -> torch.device:
        monkeypatch.setattr(room, "free_on", lambda device: free)
        monkeypatch.setattr(room, "fast_dtype", lambda device: torch.float16)
        return torch.device("cuda")

    return of


def test_a_job_on_a_small_card_is_told_with_the_numbers(folders, card):
    settings = JobSettings("a chair", model=str(folders["SD 2.1, 768"]), preset="standard", overrides={"views": 2, "supersample": 1})
    found = room_for(settings, 12, card(int(5.5 * GIB)), 1)
    assert "of memory will be needed; 5.9 GB of the GPU's are free." in found.told and "To fit" in found.told
    assert found.portion is not None and found.portion != Portion(2, 768) and found.numbers.views == found.portion.views
    large = room_for(settings, 12, card(24 * GIB), 1)
    assert large.portion == Portion(2, 768) and "To fit" not in large.told


@pytest.mark.parametrize("name", ["SD 1.5, 512", "SD XL, 1024", "SD 3 medium, 1024"])
def test_two_gigabytes_are_refused_before_the_start(folders, card, name):
    settings = JobSettings("a chair", model=str(folders[name]))
    with pytest.raises(JobError, match=r"needs about .* GB of memory; 2\.1 GB of the GPU's are free") as caught:
        room_for(settings, 12, card(2 * GIB), 1)
    assert caught.value.code == "needs_memory" and "Close other programs" in caught.value.fix


def test_on_the_cpu_nothing_is_lowered(folders, monkeypatch):
    monkeypatch.setattr(room, "free_on", lambda device: 6 * GIB)
    settings = JobSettings("a chair", model=str(folders["SD 2.1 base, 512"]), overrides={"views": 2, "supersample": 1})
    found = room_for(settings, 12, torch.device("cpu"), 1)
    assert found.portion == Portion(2, 512) and "the machine's" in found.told


def test_a_prior_does_as_it_is_told_and_another_job_is_not_held_to_it(tmp_path):
    prior = load_prior(str(make_tiny_model(tmp_path / "model")), "cpu", torch.float32)
    measured = prior.gain
    Room("", None, Portion(1, 24, 1, True)).settled(prior)
    assert (prior.image_size, prior.at_once, prior.vae.is_gradient_checkpointing) == (24, 1, True)
    image = torch.rand(1, 3, 48, 48, requires_grad=True)
    latents = prior.encode(image)
    assert (
        latents.shape == (1, 4, 12, 12) and prior.predict_noise(latents, torch.tensor([500]), prior.embed(["a cup"])).shape == latents.shape
    )
    assert prior.gain != measured
    Room("", None, Portion(1, 16)).settled(prior)
    assert (prior.image_size, prior.at_once, prior.vae.is_gradient_checkpointing) == (prior.own_size, 0, False)
    assert prior.gain == pytest.approx(measured)
    assert Room("", None).settled(prior) is prior


def test_the_embedded_model_has_no_portion(card):
    found = room_for(JobSettings("a chair"), 12, card(3 * GIB), 1)
    assert found.portion is None and "3.2 GB of the GPU's are free" in found.told
    assert footprint_of(model_folder("embedded"), torch.float16) is None
    assert model_folder("nobody/nothing") == Path("nobody/nothing")


def test_the_doctor_says_which_presets_fit(folders, card):
    name = str(folders["SD 2.1, 768"])
    told = [presets_that_fit(name, card(int(free * GIB))) for free in (2, 7.6, 24)]
    assert told[0].count("does not fit") == 3
    assert "draft fits, " in told[1] and "with less at once" in told[1]
    assert told[2].endswith("draft fits, standard fits, high fits")
    assert presets_that_fit(name, torch.device("cpu")) == presets_that_fit("embedded", card(24 * GIB)) == ""
