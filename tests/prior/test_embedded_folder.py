"""The folder that ships: loads offline, answers finite numbers, holds what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.diffusion.pixel_autoencoder import PixelShuffleAutoencoder
from scripts.prior import dataset, sampling
from scripts.prior.captions import vocabulary
from scripts.prior.export import write_folder
from scripts.prior.networks import make_text_model, make_unet
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
)


def test_the_autoencoder_is_lossless_and_differentiable():
    autoencoder = PixelShuffleAutoencoder()
    image = (torch.rand(2, 3, 16, 24) * 2 - 1).requires_grad_()
    latents = autoencoder.encode(image).latent_dist.sample()
    assert latents.shape == (2, 48, 4, 6)
    assert torch.equal(autoencoder.decode(latents).sample, image)
    assert torch.equal(autoencoder.encode(image).latent_dist.mode(), latents)
    latents.square().sum().backward()
    assert torch.allclose(image.grad, 2 * image)


def test_the_autoencoder_refuses_sides_that_do_not_divide():
    with pytest.raises(ValueError, match="multiples of 4"):
        PixelShuffleAutoencoder().encode(torch.zeros(1, 3, 10, 16))


def test_the_autoencoder_survives_its_configuration(tmp_path):
    PixelShuffleAutoencoder(patch=2).save_config(tmp_path)
    again = PixelShuffleAutoencoder.from_config(PixelShuffleAutoencoder.load_config(tmp_path))
    assert again.config.patch == 2
    assert again.encode(torch.zeros(1, 3, 4, 4)).latent_dist.mode().shape == (1, 12, 2, 2)


def test_an_exported_folder_answers_like_the_networks(picture_folder, tmp_path):
    records = dataset.read_records(picture_folder)
    torch.manual_seed(0)
    tokenizer = write_tokenizer(vocabulary(records), tmp_path / "tokenizer")
    text, unet = make_text_model(tokenizer).eval(), make_unet((32, 32, 64)).eval()
    write_folder(tmp_path / "model", unet, text, tmp_path / "tokenizer", records)
    models = sampling.load_models(tmp_path / "model")
    options = {"steps": 2, "bf16": False}
    exported = sampling.sample(models, ["a red apple"], **options)
    original = sampling.sample(sampling.models_for_training(unet, text, tokenizer), ["a red apple"], **options)
    assert exported.shape == (1, 64, 64, 3)
    assert abs(exported.astype(int) - original.astype(int)).mean() < 3  # half precision
    known = json.loads((tmp_path / "model" / "kinds.json").read_text("utf-8"))
    assert known["kinds"] == ["apple", "mug"]
    assert {"apple", "coffee", "blurry", "view"} <= set(known["words"])


@pytest.mark.parametrize("name", FILES)
def test_the_embedded_folder_is_whole(name):
    assert (EMBEDDED / name).is_file()


def test_the_embedded_folder_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 40e6


def test_the_contract_with_the_engine():
    read = {name: json.loads((EMBEDDED / name).read_text("utf-8")) for name in FILES if name.endswith("config.json")}
    assert read["vae/config.json"]["_class_name"] == "PixelShuffleAutoencoder"
    assert read["unet/config.json"]["sample_size"] == 16
    assert read["scheduler/scheduler_config.json"]["prediction_type"] == "sample"


def test_the_embedded_prior_loads_offline_and_follows_the_prompt():
    models = sampling.load_models(EMBEDDED)
    noise = torch.randn(1, 48, 16, 16, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1, -1)
    prompts = ["a photo of a red mushroom, on a white background", "a photo of a red mushroom, on a black background", ""]
    with torch.no_grad():
        features = models.text_model(sampling.tokenize(models.tokenizer, prompts)).last_hidden_state
        answer = models.unet(noise, torch.tensor(950), encoder_hidden_states=features).sample
    assert torch.isfinite(answer).all()
    white, black, _ = answer.mean((1, 2, 3)).tolist()
    assert white > black + 0.2


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
