"""A teacher speaks where it knows every word, and what it says is drawn towards in the share that is stated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.diffusion.surface_unet import SurfaceUNet
from scripts.prior.networks import make_text_model
from scripts.prior.surface.dataset import Told
from scripts.prior.surface.teacher import TEACHER_SHARE, Teacher
from scripts.prior.surface.training import SurfaceTrainer
from scripts.prior.tokenizer import write_tokenizer
from scripts.prior.training import TextFeatures, TrainingSettings

WORDS = ("a", "photo", "of", "red", "chair", "white", "front", "view")
TINY = {"channels": (32, 32, 32), "text_width": 16, "embedding": 32, "heads": 2, "head_channels": 4}
CAPTIONS = ["a photo of a red chair, front view", "a photo of a red cactus", "", "red chairs"]
KNOWN = [True, False, False, True]


@pytest.fixture
def teacher(tmp_path) -> Teacher:
    torch.manual_seed(0)
    tokenizer = write_tokenizer(list(WORDS), tmp_path)
    return Teacher(SurfaceUNet(**TINY), TextFeatures(make_text_model(tokenizer, 16, 1), tokenizer), frozenset(WORDS))


def batch(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    pictures, noised = torch.randn(2, 4, 3, 32, 32, generator=generator)
    told = Told(torch.zeros(4, 64, 16), torch.zeros(4, 5, 32, 32), torch.zeros(4, 8, 8, 64, dtype=torch.bool), CAPTIONS)
    return pictures, noised, torch.tensor([10, 400, 700, 999]), told


def test_it_knows_captions_of_its_own_words_alone(teacher):
    assert [teacher.knows(caption) for caption in CAPTIONS] == KNOWN


def test_what_it_knows_is_drawn_towards_it_and_the_rest_stays(teacher):
    pictures, noised, timesteps, told = batch()
    before = pictures.clone()
    mixed = teacher.mixed(pictures, noised, timesteps, told)
    assert torch.equal(pictures, before)
    assert torch.equal(mixed[1:3], pictures[1:3])
    states = teacher.texts([CAPTIONS[0], CAPTIONS[3]])
    said = teacher.unet(noised[[0, 3]], timesteps[[0, 3]], states, told.control[[0, 3]])
    assert torch.allclose(mixed[[0, 3]], (1 - TEACHER_SHARE) * pictures[[0, 3]] + TEACHER_SHARE * said, atol=1e-5)


def test_nothing_known_nothing_changed(teacher):
    pictures, noised, timesteps, told = batch()
    unknown = Told(told.states, told.control, told.spoken, ["a cactus"] * 4)
    assert teacher.mixed(pictures, noised, timesteps, unknown) is pictures


def test_a_trainer_learns_towards_its_teacher(teacher):
    """Pictures are black and the teacher calls everything bright: what it knows becomes as bright as its share, the rest stays black."""
    for parameter in teacher.unet.parameters():
        parameter.zero_()
    teacher.unet.leave[-1].bias.fill_(0.5)
    torch.manual_seed(1)
    trainer = SurfaceTrainer(SurfaceUNet(**TINY), TrainingSettings(learning_rate=3e-3, warm_up_steps=5, steps=10_000, bf16=False))
    trainer.teacher = teacher
    worker, generator = trainer.replica(), torch.Generator().manual_seed(0)
    words = torch.randn(4, 64, 16, generator=generator)
    for step in range(150):
        told = replace(batch(step)[3], states=words, shares=[])
        loss = trainer.loss(worker, torch.zeros(4, 3, 32, 32), told, generator)
        loss.backward()
        trainer.apply(worker, 4, float(loss.detach()))
    _, noised, timesteps, told = batch(999)
    with torch.no_grad():
        answer = trainer.unet(noised, timesteps, words, told.control).mean((1, 2, 3))
    assert answer.tolist() == pytest.approx([TEACHER_SHARE * 0.5 * known for known in KNOWN], abs=0.1)
