"""The folder that ships: loads offline, answers finite numbers, holds what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.guidance.step import ConditionPair, GuidanceSettings, distill, distill_latents
from scripts.prior import dataset, sampling
from scripts.prior.data.captions import vocabulary
from scripts.prior.export import write_folder
from scripts.prior.networks import make_autoencoder, make_text_model, make_unet
from scripts.prior.tokenizer import write_tokenizer

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "engine" / "diffusion" / "embedded"
FILES = (
    "model_index.json",
    "kinds.json",
    "README.md",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
    "scheduler/scheduler_config.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)


def test_an_exported_folder_answers_like_the_networks(picture_folder, tmp_path):
    records = dataset.read_records(picture_folder)
    torch.manual_seed(0)
    tokenizer = write_tokenizer(vocabulary(records), tmp_path / "tokenizer")
    text, unet, autoencoder = make_text_model(tokenizer).eval(), make_unet((32, 64)).eval(), make_autoencoder().eval()
    write_folder(tmp_path / "model", unet, autoencoder, text, tmp_path / "tokenizer", records)
    models = sampling.load_models(tmp_path / "model")
    options = {"steps": 2, "bf16": False}
    exported = sampling.sample(models, ["a red apple"], **options)
    original = sampling.sample(sampling.models_for_training(unet, autoencoder, text, tokenizer), ["a red apple"], **options)
    assert exported.shape == (1, 64, 64, 3)
    assert abs(exported.astype(int) - original.astype(int)).mean() < 3  # half precision
    known = json.loads((tmp_path / "model" / "kinds.json").read_text("utf-8"))
    assert known["kinds"] == ["apple", "mug"]
    assert {"apple", "coffee", "blurry", "view"} <= set(known["words"])
    prior = DiffusersPrior.from_folder(tmp_path / "model", torch.device("cpu"), torch.float32)
    picture = torch.rand(1, 3, 64, 64)
    expected = autoencoder.encode(picture * 2 - 1).latent_dist.mode()
    assert torch.allclose(prior.encode(picture), expected, atol=2e-2)  # half precision
    assert prior.decode(expected).shape == picture.shape


@pytest.mark.parametrize("name", FILES)
def test_the_embedded_folder_is_whole(name):
    assert (EMBEDDED / name).is_file()


def test_the_embedded_folder_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 64e6


def test_the_contract_with_the_engine():
    read = {name: json.loads((EMBEDDED / name).read_text("utf-8")) for name in FILES if name.endswith("config.json")}
    assert read["vae/config.json"]["_class_name"] == "PatchAutoencoder"
    assert read["unet/config.json"]["sample_size"] == 8
    assert read["scheduler/scheduler_config.json"]["prediction_type"] == "sample"


def test_the_embedded_prior_loads_offline_and_follows_the_prompt():
    models = sampling.load_models(EMBEDDED)
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1, -1)
    prompts = ["a photo of a red mushroom, on a white background", "a photo of a red mushroom, on a black background", ""]
    with torch.no_grad():
        features = models.text_model(sampling.tokenize(models.tokenizer, prompts)).last_hidden_state
        answer = models.unet(noise, torch.tensor(950), encoder_hidden_states=features).sample
        pictures = models.autoencoder.decode(answer).sample
    assert torch.isfinite(answer).all()
    white, black, _ = pictures.mean((1, 2, 3)).tolist()
    assert white > black + 0.2


def test_under_x0_weighting_pixels_receive_the_difference_of_images():
    """The guidance's gradient at the latents goes through the encoder's pseudo-inverse, not through its transpose."""
    prior = DiffusersPrior.from_folder(EMBEDDED, torch.device("cpu"), torch.float32)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    prompt = prior.embed(["a red apple"])

    def gradients(weighting: str) -> tuple[torch.Tensor, torch.Tensor]:
        settings = GuidanceSettings("sds", 3.0, weighting=weighting)
        latents = prior.encode(image).detach().requires_grad_()
        distill_latents(prior, latents, ConditionPair(prompt), settings, torch.Generator().manual_seed(0))[0].backward()
        loss, _ = distill(prior, image, ConditionPair(prompt), settings, torch.Generator().manual_seed(0))
        return latents.grad, torch.autograd.grad(loss, image)[0]

    at_latents, at_pixels = gradients("x0")
    (expected,) = torch.autograd.grad(prior.encode(image), image, prior.precondition(at_latents))
    assert torch.allclose(at_pixels, expected, rtol=1e-3, atol=1e-6)
    at_latents, at_pixels = gradients("sigma2")
    (expected,) = torch.autograd.grad(prior.encode(image), image, at_latents)
    assert torch.allclose(at_pixels, expected, rtol=1e-3, atol=1e-6)


def test_loading_needs_no_network():
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from scripts.prior.sampling import load_models\n"
        "load_models(Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(EMBEDDED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
