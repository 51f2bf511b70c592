"""The networks learn: the text model what captions say, the picture network what pictures show."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from engine.diffusion.diffusers_prior import DiffusersPrior
from scripts.prior import autoencoder_training, dataset, sampling, text_model, training
from scripts.prior import train as train_prior
from scripts.prior.data.captions import vocabulary
from scripts.prior.networks import IMAGE_SIZE, TEXT_WIDTH, make_autoencoder, make_text_model, make_unet, tokenize
from scripts.prior.tokenizer import write_tokenizer

SMALL = (32, 64)


@pytest.fixture(scope="module")
def records(picture_folder):
    return dataset.read_records(picture_folder)


@pytest.fixture(scope="module")
def tokenizer(records, tmp_path_factory):
    return write_tokenizer(vocabulary(records), tmp_path_factory.mktemp("tokenizer"))


def make_trainer(**settings) -> training.Trainer:
    torch.manual_seed(0)
    chosen = training.TrainingSettings(**{"batch": 4, "warm_up_steps": 5, "bf16": False, **settings})
    return training.Trainer(make_unet(SMALL), chosen)


def make_sources(folder, records, tokenizer, trainer) -> list[training.BatchSource]:
    clean, degraded = dataset.build_splits(folder, records, IMAGE_SIZE, 1, seed=0)
    settings = trainer.settings
    torch.manual_seed(0)
    autoencoder = make_autoencoder()
    autoencoder_training.start_from_components(autoencoder, clean.pictures)
    autoencoder_training.normalize_latents(autoencoder, clean.pictures)
    latents = [training.encode_pictures(autoencoder, split.pictures) for split in (clean, degraded)]
    texts = training.TextFeatures(make_text_model(tokenizer), tokenizer)
    return [
        training.BatchSource(clean, degraded, *latents, texts, settings, (trainer.progress.step, worker))
        for worker in range(settings.workers)
    ]


def test_the_weight_follows_the_signal_to_noise_ratio():
    kept = torch.tensor([0.0, 0.5, 0.999])
    assert training.loss_weight(kept).tolist() == pytest.approx([1.0, 2.0, training.LARGEST_WEIGHT])


def test_the_learning_rate_warms_up_and_falls():
    settings = training.TrainingSettings(learning_rate=1.0, warm_up_steps=10, final_rate_share=0.1)
    assert training.learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert training.learning_rate(settings, 100, 0.0) == pytest.approx(1.0)
    assert training.learning_rate(settings, 100, 1.0) == pytest.approx(0.1)


def test_progress_ends_by_steps_or_by_minutes():
    progress = training.Progress(step=5, seconds=30)
    assert progress.share(training.TrainingSettings(steps=10)) == pytest.approx(0.5)
    assert progress.share(training.TrainingSettings(minutes=0.5)) == 1.0
    assert progress.share(training.TrainingSettings(minutes=math.inf)) < 1e-9


def test_batches_follow_from_the_seed(picture_folder, records, tokenizer):
    trainer = make_trainer()
    first, second = (make_sources(picture_folder, records, tokenizer, trainer)[0].draw() for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[0].shape == (4, 16, 8, 8)
    assert first[1].shape[::2] == (4, TEXT_WIDTH)


def test_remembered_text_features_are_those_of_the_model(tokenizer):
    torch.manual_seed(0)
    model = make_text_model(tokenizer)
    texts = training.TextFeatures(model, tokenizer, capacity=2)
    first = texts(["a red apple", "a blue mug", "a red apple"])
    again = texts(["a blue mug", "a red apple", "a yellow apple"])
    with torch.no_grad():
        direct = text_model.text_features(model.eval(), tokenize(tokenizer, ["a red apple", "a blue mug"]))
    assert torch.allclose(first[:2], direct, atol=5e-3)  # kept in half precision
    assert torch.equal(first[0], first[2])
    assert torch.equal(again[0], first[1])
    assert torch.equal(again[1], first[0])


def test_captions_and_targets_agree(records):
    names = text_model.attribute_names(records)
    captions, targets = text_model.draw_batch(records, names, 64, np.random.default_rng(0))
    for row, caption in enumerate(captions):
        for index, word in enumerate(names.modifiers):
            assert bool(targets.modifiers[row, index]) == (word in caption.split())
        background = names.backgrounds[int(targets.background[row])]
        assert all(word in caption for word in background.split()), caption


@pytest.mark.slow
def test_the_text_model_learns_to_tell_captions_apart(records, tokenizer):
    torch.manual_seed(0)
    model = make_text_model(tokenizer)
    accuracy = text_model.pretrain(model, tokenizer, records, steps=60, seed=0, batch=16, report=lambda line: None)
    assert accuracy > 0.3  # by chance: about 0.05
    with torch.no_grad():
        red, blue, again = text_model.text_features(model, tokenize(tokenizer, ["a red apple", "a blue apple", "a red apple"])).mean(1)
    assert torch.equal(red, again)
    assert (red - blue).norm() > 0.1 * red.norm()


@pytest.mark.slow
def test_fifty_steps_lower_the_loss(picture_folder, records, tokenizer, tmp_path):
    trainer = make_trainer(steps=50, learning_rate=1e-3)
    sources = make_sources(picture_folder, records, tokenizer, trainer)
    training.run_training(trainer, sources, tmp_path, report=lambda line: None)
    losses = list(trainer.progress.losses)
    assert trainer.progress.step == len(losses) == 50
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert (tmp_path / training.CHECKPOINT_NAME).exists()


@pytest.mark.slow
def test_two_workers_share_the_steps_and_the_weights(picture_folder, records, tokenizer, tmp_path):
    trainer = make_trainer(steps=12, workers=2)
    before = [parameter.detach().clone() for parameter in trainer.unet.parameters()]
    sources = make_sources(picture_folder, records, tokenizer, trainer)
    progress = training.run_training(trainer, sources, tmp_path, report=lambda line: None)
    assert progress.step == 12
    assert progress.samples == 12 * trainer.settings.batch
    for old, new in zip(before, trainer.unet.parameters(), strict=True):
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_replica_has_the_present_weights(bf16):
    trainer = make_trainer(steps=1, bf16=bf16)
    twin = trainer.replica()
    with torch.no_grad():
        next(trainer.unet.parameters()).add_(1)
    trainer.refresh(twin)
    for own, shared in zip(twin.parameters(), trainer.unet.parameters(), strict=True):
        assert torch.equal(own, shared.to(own.dtype))
        assert own.dtype == (torch.bfloat16 if bf16 else torch.float32) and shared.dtype == torch.float32


@pytest.mark.slow
def test_a_checkpoint_goes_on_where_it_stopped(picture_folder, records, tokenizer, tmp_path):
    trainer = make_trainer(steps=4)
    training.run_training(trainer, make_sources(picture_folder, records, tokenizer, trainer), tmp_path, report=lambda line: None)
    again = make_trainer(steps=6)
    assert again.load(tmp_path)
    assert again.progress.step == 4
    for one, two in zip(trainer.unet.parameters(), again.unet.parameters(), strict=True):
        assert torch.equal(one, two)
    sources = make_sources(picture_folder, records, tokenizer, again)
    assert training.run_training(again, sources, tmp_path, report=lambda line: None).step == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_ends_all_and_reaches_the_caller(picture_folder, records, tokenizer, tmp_path, workers):
    """At once, though the other one could go on: it would train at half the speed, and the reason would wait until the end."""
    trainer = make_trainer(steps=100_000, workers=workers)
    sources = make_sources(picture_folder, records, tokenizer, trainer)
    sources[0].draw = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        training.run_training(trainer, sources, tmp_path, report=lambda line: None)


@pytest.mark.slow
def test_the_script_trains_fifty_steps_and_exports_a_folder_that_the_engine_reads(picture_folder, tmp_path):
    """As a user runs it, with the network that ships."""
    run, model = tmp_path / "run", tmp_path / "model"
    shared = ["--data", str(picture_folder), "--out", str(run), "--kinds", "all"]
    few = ["--steps", "50", "--batch", "4", "--copies", "1", "--text-steps", "5", "--autoencoder-steps", "30", "--device", "cpu"]
    train_prior.main(["train", *shared, *few])
    assert json.loads((run / "progress.json").read_text("utf-8"))["step"] == 50
    train_prior.main(["export", *shared, "--to", str(model)])
    prior = DiffusersPrior.from_folder(model, torch.device("cpu"), torch.float32)
    picture = torch.rand(1, 3, 64, 64)
    noise = prior.predict_noise(prior.encode(picture), torch.tensor([500]), prior.embed(["a red apple"]))
    assert noise.shape == (1, 16, 8, 8)
    assert torch.isfinite(noise).all()
    assert prior.kinds == ("apple", "mug")


def test_a_sheet_holds_its_labels_whole_above_their_pictures(tmp_path):
    """The last words of a long label are drawn: another one there changes the sheet. No letter reaches a picture."""
    images = np.full((4, 64, 64, 3), 200, dtype=np.uint8)
    sheets = []
    for last in ("blurry", "painting"):
        path = tmp_path / f"{last}.png"
        sampling.contact_sheet(images, ["a photo of a red mushroom, on a wooden table, back view, " + last, "a mug"], path)
        sheets.append(np.asarray(Image.open(path)))
    head = sheets[0].shape[0] - 64
    assert (sheets[0][:head] != sheets[1][:head]).any()
    assert all((sheet[head:, :128] == 200).all() for sheet in sheets)
