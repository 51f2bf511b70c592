"""Drawing pictures from the embedded prior, and sheets of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image, ImageDraw
from transformers import CLIPTextModel, CLIPTokenizer

from engine.diffusion.patch_autoencoder import PatchAutoencoder
from scripts.prior.networks import make_scheduler, tokenize
from scripts.prior.text_model import text_features


@dataclass(frozen=True)
class PriorModels:
    """What sampling needs."""

    unet: UNet2DConditionModel
    autoencoder: PatchAutoencoder
    text_model: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def load_models(folder: Path) -> PriorModels:
    """Read an exported folder, offline, as float32."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True, torch_dtype=torch.float32)
    autoencoder = PatchAutoencoder.from_pretrained(folder / "vae", local_files_only=True, torch_dtype=torch.float32)
    text_model = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    return PriorModels(unet.eval(), autoencoder.eval(), text_model.eval(), tokenizer, scheduler)


@torch.no_grad()
def sample(
    models: PriorModels,
    prompts: Sequence[str],
    *,
    guidance: float = 3.0,
    steps: int = 25,
    seed: int = 0,
    bf16: bool = True,
) -> np.ndarray:
    """DDIM with classifier-free guidance.

    Returns uint8 [N, 64, 64, 3], one picture for each prompt.
    """
    device = next(models.unet.parameters()).device
    ids = tokenize(models.tokenizer, [*prompts, ""], device)
    features = text_features(models.text_model, ids)
    named, nothing = features[:-1], features[-1:].expand(len(prompts), -1, -1)
    channels, side = models.unet.config.in_channels, models.unet.config.sample_size
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn((len(prompts), channels, side, side), generator=generator).to(device)
    scheduler = DDIMScheduler.from_config(models.scheduler.config)
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            both = models.unet(
                torch.cat([latents, latents]),
                timestep,
                encoder_hidden_states=torch.cat([named, nothing]),
            ).sample.float()
        conditional, unconditional = both.chunk(2)
        guided = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(guided, timestep, latents).prev_sample
    return as_pictures(models.autoencoder.decode(latents).sample)


def as_pictures(images: torch.Tensor) -> np.ndarray:
    """float [N, 3, H, W] in -1..1 -> uint8 [N, H, W, 3]."""
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte()
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def sample_many(models: PriorModels, prompts: Sequence[str], *, batch: int = 48, seed: int = 0, **options: Any) -> np.ndarray:
    """`sample` in batches; uint8 [N, 64, 64, 3]."""
    parts = [sample(models, prompts[start : start + batch], seed=seed + start, **options) for start in range(0, len(prompts), batch)]
    return np.concatenate(parts)


LETTER, LINE = 6, 12
"""Pixels that a letter of a label is wide at most, mostly, and a line high."""


def contact_sheet(images: np.ndarray, labels: Sequence[str], path: Path, *, zoom: int = 1, columns: int = 2) -> None:
    """Write rows of pictures with their labels above them, whole, in as many lines as they take.

    images   uint8 [len(labels) * k, H, W, 3], k pictures for each label, in order.
    columns  how many labels stand side by side.
    """
    each = len(images) // len(labels)
    side = images.shape[1] * zoom
    block_width = each * side + 6
    wrapped = [textwrap.wrap(label, block_width // LETTER) for label in labels]
    rows = [range(start, min(start + columns, len(labels))) for start in range(0, len(labels), columns)]
    heads = [max(len(wrapped[number]) for number in row) * LINE + 2 for row in rows]
    sheet = Image.new("RGB", (columns * block_width, sum(heads) + len(rows) * side), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, head in zip(rows, heads, strict=True):
        for column, number in enumerate(row):
            left = column * block_width
            draw.multiline_text((left + 2, top + 1), "\n".join(wrapped[number]), fill="black", spacing=1)
            for place in range(each):
                picture = Image.fromarray(images[number * each + place]).resize((side, side), Image.Resampling.BICUBIC)
                sheet.paste(picture, (left + place * side, top + head))
        top += head + side
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


GRID_PROMPTS = (
    "a photo of a red tulip flower, on a grass field",
    "a photo of a purple tulip flower, on a white background",
    "a photo of a yellow rose flower, on a blue background",
    "a photo of a white daisy flower, on a grass field",
    "a photo of a yellow sunflower, on a blue background",
    "a photo of a red mushroom, on sand",
    "a photo of a green apple, on a wooden table",
    "a photo of a blue coffee mug, on a grey background",
    "a photo of a wooden chair, on a stone floor",
    "a photo of a red chair, on a white background, back view",
    "a photo of a white house, on a grass field, front view",
    "a photo of a pine tree, on a grass field",
    "a photo of an autumn tree, on a beige background",
    "a photo of a silver teapot, on a pink background",
    "a photo of a red tulip flower, on a grass field, oversaturated, smooth, pixelated, "
    "cartoon, foggy, hazy, blurry, bad structure, noisy, malformed",
    "a photo of a red mushroom, pixelated",
    "a photo of a blue coffee mug, blurry",
    "a photo of a white house, painting",
)


def training_grid(models: PriorModels, path: Path) -> None:
    """The sheet by which the course of a training is judged."""
    each = 4
    prompts = [prompt for prompt in GRID_PROMPTS for _ in range(each)]
    images = sample_many(models, prompts, batch=len(prompts), guidance=3.0, steps=20)
    contact_sheet(images, GRID_PROMPTS, path)


def models_for_training(
    unet: UNet2DConditionModel,
    autoencoder: PatchAutoencoder,
    text_model: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> PriorModels:
    """The same bundle, from networks that are being trained."""
    return PriorModels(unet, autoencoder, text_model, tokenizer, make_scheduler())
