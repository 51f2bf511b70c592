"""What a job does otherwise under a large model: numbers of its presets, and its prompts before all else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from engine.diffusion.load import EMBEDDED, HUB_ID
from engine.diffusion.model_fit import sample_size
from engine.diffusion.model_folder import read_json
from engine.diffusion.prior import Prior
from engine.distillation import PromptPair
from engine.errors import ModelError
from engine.job_fields import JobSettings
from engine.user_path import user_path
from engine.view_batch import every_words

LARGE = 256
"""Pixels along a side from which on a model is large."""

NUMBERS: dict[str, dict[str, Any]] = {
    "draft": {"views": 1},
    "standard": {"views": 2, "stage1_steps": 1200, "stage2_steps": 400, "geometry_every": 1},
    "high": {"views": 2},
}
"""By preset: a view of 512 x 512 pixels holds 64 times what one of 64 x 64 does, and there is more to learn from it."""

OF_ALL: dict[str, Any] = {
    "supersample": 1, "guidance_scale": 50.0, "stage2_weight": 50.0, "t_high": 0.98, "elevation_low": -10.0, "stage2_geometry": 0.3,
}  # fmt: skip
"""Of every preset: guidance of models that see the prompt alone (the paper's 100 in 3D, 40 in 2D), as strong in stage 2, so that the scale
is kept across the switch, where the paper's 3D code lets it fall from 100 to 1. Chosen by the paper's numbers, not tuned."""


def for_its_model(settings: JobSettings) -> JobSettings:
    """The settings with the numbers of a large model where theirs is one and they do not say otherwise."""
    if (picture_size(settings.model) or 0) < LARGE:
        return settings
    return dataclasses.replace(settings, overrides={**OF_ALL, **NUMBERS[settings.preset], **settings.overrides})


def picture_size(model: str) -> int | None:
    """Pixels along a side of a diffusers model's pictures, by its folder alone; those of Stable Diffusion for an id of the hub; None for
    every other model, or one that will be refused."""
    folder = user_path(model)
    if model == EMBEDDED or not (folder / "model_index.json").is_file():
        return 512 if not folder.exists() and HUB_ID.fullmatch(model) else None
    try:
        parts = {name: read_json(folder, f"{name}/config.json") for name in ("unet", "transformer", "vae") if (folder / name).is_dir()}
    except ModelError:
        return None
    latents = sample_size(parts) if "vae" in parts and len(parts) > 1 else None
    blocks = parts.get("vae", {}).get("block_out_channels")
    return latents * 2 ** (len(blocks) - 1) if latents and isinstance(blocks, list) else None


def embed_ahead(prior: Prior, prompts: PromptPair, parts: Sequence[str] = ()) -> None:
    """All that the steps of a job will ask of a model whose text encoders are large is embedded, and those are given back.

    parts  prompts of parts of the surface
    """
    rest = getattr(prior, "rest_text", None)
    if rest is None:
        return
    pairs = [prompts, *(dataclasses.replace(prompts, prompt=told) for told in parts)]
    asked = [text for pair in pairs for words in every_words() for text in (pair.target_for(words), pair.source_for(words))]
    for start in range(0, len(asked), 16):
        prior.embed(["", *asked[start : start + 16]])
    rest()
