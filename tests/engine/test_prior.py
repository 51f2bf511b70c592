"""Priors by name: diffusers folders of every prediction kind, folders of images, and whatever can be missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_model import TOKENS, make_tiny_model

from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.load import EMBEDDED_FOLDER, load_prior
from engine.diffusion.prior import AdaptablePrior, Conditions, Prior, fit_square
from engine.errors import ModelError
from engine.guidance.step import ConditionPair, GuidanceSettings, distill


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(tiny_folder) -> Prior:
    return load_prior(str(tiny_folder), "cpu", torch.float32)


def with_prediction(folder: Path, target: Path, prediction: str) -> Path:
    shutil.copytree(folder, target)
    path = target / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": prediction}))
    return target


def test_folder_is_loaded_and_satisfies_the_protocol(tiny):
    assert isinstance(tiny, Prior) and isinstance(tiny, AdaptablePrior)
    assert tiny.image_size == 16 and len(tiny.schedule) == 1000 and tiny.device.type == "cpu" and tiny.kinds == ()
    images = torch.rand(2, 3, 16, 16)
    latents = tiny.encode(images)
    assert latents.shape == (2, 4, 8, 8) and tiny.decode(latents).shape == (2, 3, 16, 16)


def test_encoding_is_differentiable_at_any_size(tiny):
    images = torch.rand(1, 3, 40, 40, requires_grad=True)
    tiny.encode(images).square().sum().backward()
    assert float(images.grad.abs().min()) >= 0 and float(images.grad.abs().sum()) > 0


def test_posterior_is_sampled_with_a_generator_and_repeatable(tiny):
    images = torch.rand(1, 3, 16, 16)
    draws = [tiny.encode(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_every_prediction_kind_answers_in_noise(tiny, tiny_folder, tmp_path, prediction):
    """The same weights read as another prediction must give the same raw output, converted."""
    other = load_prior(str(with_prediction(tiny_folder, tmp_path / "other", prediction)), "cpu", torch.float32)
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([100, 700])
    raw = tiny.predict_noise(x_t, t, tiny.embed(["a", "b"]))
    alpha, sigma = tiny.schedule.levels(t, x_t)
    expected = alpha * raw + sigma * x_t if prediction == "v_prediction" else (x_t - alpha * raw) / sigma
    assert torch.allclose(other.predict_noise(x_t, t, other.embed(["a", "b"])), expected, atol=1e-5)


def test_noise_estimates_carry_no_graph(tiny):
    estimate = tiny.predict_noise(torch.randn(1, 4, 8, 8, requires_grad=True), torch.tensor([5]), tiny.embed(["a"]))
    assert not estimate.requires_grad


def test_batching_does_not_change_the_answer(tiny):
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([50, 900])
    conditions = tiny.embed(["a rose", "b"])
    both = tiny.predict_noise(x_t, t, conditions)
    each = torch.cat([tiny.predict_noise(x_t[i : i + 1], t[i : i + 1], conditions.select([i])) for i in range(2)])
    assert torch.allclose(both, each, atol=1e-5)


def test_text_is_embedded_once(tiny, monkeypatch):
    tiny.embed(["once only"])
    monkeypatch.setattr(tiny.text, "text_states", lambda prompts: pytest.fail("embedded again"))
    assert tiny.embed(["once only", "once only"]).data.shape == (2, TOKENS, 8)


def test_words_that_do_not_fit_are_named(tiny):
    """A letter is a token here; 16 tokens are 14 letters and the two ends."""
    assert tiny.embed(["abcde fghij klm"]).notes == ()
    (note,) = tiny.embed(["abcde fghij klmno pq"]).notes
    assert '"klmno pq"' in note and "16 tokens" in note


def test_unknown_words_are_reported_where_the_model_lists_its_kinds(tiny_folder, tmp_path):
    folder = tmp_path / "narrow"
    shutil.copytree(tiny_folder, folder)
    (folder / "kinds.json").write_text(json.dumps({"kinds": ["mug"], "words": ["red", "mug"]}))
    prior = load_prior(str(folder), "cpu", torch.float32)
    (note,) = prior.embed(["red owl"]).notes
    assert "owl" in note and "mug" in note
    assert prior.embed(["red mug", ""]).notes == ()


def test_whole_step_through_the_networks_is_repeatable(tiny):
    gradients = []
    for _ in range(2):
        images = torch.full((2, 3, 16, 16), 0.5, requires_grad=True)
        loss, figures = distill(
            tiny,
            images,
            ConditionPair(tiny.embed(["a", "b"]), tiny.embed(["c"])),
            GuidanceSettings("calibrated"),
            torch.Generator().manual_seed(5),
        )
        loss.backward()
        gradients.append(images.grad)
    assert torch.equal(*gradients) and float(gradients[0].abs().sum()) > 0
    assert 20 <= figures["t"] <= 979


@pytest.mark.parametrize(
    "part", ["unet/config.json", "tokenizer", "scheduler/scheduler_config.json", "text_encoder/config.json", "vae/config.json"]
)
def test_missing_file_is_named(tiny_folder, tmp_path, part):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder, folder)
    target = folder / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(ModelError) as caught:
        load_prior(str(folder))
    assert part in caught.value.message and "again" in caught.value.fix


def test_pickled_weights_are_not_read(tiny_folder, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_prior(str(folder))


def test_broken_weights_are_an_error_of_the_model(tiny_folder, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(tiny_folder, folder)
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_prior(str(folder))


def test_half_precision_variant_is_found(tiny_folder, tmp_path):
    folder = tmp_path / "variant"
    shutil.copytree(tiny_folder, folder)
    for part in ("unet", "vae"):
        (folder / part / "diffusion_pytorch_model.safetensors").rename(folder / part / "diffusion_pytorch_model.fp16.safetensors")
    assert load_prior(str(folder)).image_size == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no model folder"),
        ("./nowhere", "no model folder"),
        ("surely-not-there", "no model folder"),
        ("nobody/nothing-of-the-kind", "could not be downloaded"),
    ],
)
def test_models_that_do_not_exist(name, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_prior(name)
    assert "embedded" in caught.value.fix


def test_empty_folder_and_file(tmp_path):
    with pytest.raises(ModelError, match=r"no model_index\.json and no images"):
        load_prior(str(tmp_path))
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(ModelError, match="expected a folder"):
        load_prior(str(tmp_path / "model.ckpt"))


def test_other_architectures_are_refused(tiny_folder, tmp_path):
    folder = tmp_path / "flux"
    shutil.copytree(tiny_folder, folder)
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unet": ["diffusers", "SomeTransformer2DModel"]}))
    with pytest.raises(ModelError, match="SomeTransformer2DModel"):
        load_prior(str(folder))


def test_embedded_prior_loads_and_answers():
    if not (EMBEDDED_FOLDER / "model_index.json").is_file():
        pytest.fail("the embedded prior is missing: engine/diffusion/embedded has no model_index.json")
    prior = load_prior("embedded")
    assert isinstance(prior, DiffusersPrior)
    slope = torch.linspace(0.1, 0.9, prior.image_size).expand(3, prior.image_size, -1)
    images = torch.stack([slope, slope.mT * torch.tensor([0.2, 1.0, 0.5])[:, None, None]])
    latents = prior.encode(images)
    assert (prior.decode(latents) - images).abs().mean() < 0.03
    both = Conditions.cat([prior.embed(["a red tulip, front view"]), prior.embed([""])])
    estimate = prior.predict_noise(torch.randn_like(latents), torch.tensor([980, 980]), both)
    # nearly pure noise: any denoiser worth the name returns most of it
    assert estimate.shape == latents.shape and torch.isfinite(estimate).all() and 0.5 < float(estimate.std()) < 1.5


def test_resizing_is_an_average_over_blocks():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(fit_square(image, 2), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert fit_square(torch.rand(1, 3, 30, 50), 16).shape == (1, 3, 16, 16)


def test_the_inverse_of_the_patches_is_made_once_and_anew_where_they_change(monkeypatch):
    from engine.diffusion.patch_autoencoder import PatchAutoencoder

    model, made, true = PatchAutoencoder(width=8), [], torch.linalg.inv
    monkeypatch.setattr(torch.linalg, "inv", lambda matrix: made.append(1) or true(matrix))
    difference = torch.randn(1, 16, 2, 2)
    first = model.precondition(difference)
    assert torch.equal(model.precondition(difference), first) and len(made) == 1
    with torch.no_grad():
        model.encoder.weight.mul_(2)
    torch.testing.assert_close(model.precondition(difference), first / 4)
    assert len(made) == 2
