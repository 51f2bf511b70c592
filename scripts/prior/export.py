"""Writing the folder that ships: diffusers' layout, half precision, and what it knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel, __version__
from transformers import CLIPTextModel

from engine.diffusion.patch_autoencoder import PatchAutoencoder
from scripts.prior.data.captions import vocabulary
from scripts.prior.data.records import Record
from scripts.prior.networks import make_scheduler

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": __version__,
    "vae": ["engine.diffusion.patch_autoencoder", "PatchAutoencoder"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}


def known_words(records: list[Record]) -> dict[str, list[str]]:
    """The contents of kinds.json: kinds, and every word of the captions."""
    return {"kinds": sorted({record.kind for record in records}), "words": vocabulary(records)}


def write_folder(
    folder: Path,
    unet: UNet2DConditionModel,
    autoencoder: PatchAutoencoder,
    text_model: CLIPTextModel,
    tokenizer_folder: Path,
    records: list[Record],
) -> None:
    """Write weights as float16 safetensors, configurations, tokenizer and kinds.json.

    The networks given are left as they are; other files of the folder (its model card) too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half_unet = UNet2DConditionModel.from_config(unet.config)
    half_unet.load_state_dict(unet.state_dict())
    half_unet.to(torch.float16).save_pretrained(folder / "unet")
    half_text = CLIPTextModel(text_model.config)
    half_text.load_state_dict(text_model.state_dict())
    half_text.to(torch.float16).save_pretrained(folder / "text_encoder")
    make_scheduler().save_pretrained(folder / "scheduler")
    settings = {name: value for name, value in autoencoder.config.items() if not name.startswith("_")}  # no place it came from
    half_autoencoder = PatchAutoencoder(**settings)
    half_autoencoder.load_state_dict(autoencoder.state_dict())
    half_autoencoder.to(torch.float16).save_pretrained(folder / "vae")
    if tokenizer_folder.resolve() != (folder / "tokenizer").resolve():
        shutil.copytree(tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # diffusers writes them for the owner alone
    _write_json(folder / "model_index.json", MODEL_INDEX)
    _write_json(folder / "kinds.json", known_words(records))


def _write_json(path: Path, content: object) -> None:
    """Readable JSON with a line end."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
