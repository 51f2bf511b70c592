"""What a model of the Stable Diffusion classes takes of the GPU's memory in a job, by its folder, before any weight is read.

Constants by meta tensors: `tests/engine/test_footprint.py` holds them to what the networks of those shapes really keep.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.model_fit import encodes_in_half, sample_size

ENCODER_SHARE = 0.41
"""Of an autoencoder's weights."""
KEPT = 12_300
"""Bytes of float32 that an encoder of 128 channels at the picture's size keeps a pixel until its backward pass."""
KEPT_TWICE = 7_900
"""The same where it keeps little and computes twice."""
LIVE = 26
"""Values alive at once in a denoiser without gradients, for each channel of a place of an item: a latent of a UNet, a patch of others."""


@dataclass(frozen=True)
class Portion:
    """How much of a step is asked of a large model at once.

    views   of the step
    pixels  along a side of the pictures that the model is asked for
    items   in a call of the denoiser, 0 = all
    twice   whether the encoder keeps little and computes twice
    """

    views: int
    pixels: int
    items: int = 0
    twice: bool = False


@dataclass(frozen=True)
class Footprint:
    """Bytes of a model by what they are for.

    pixels   along a side of its own pictures
    weights  that stay; texts: of the text encoders, which are given back before the steps
    kept, kept_twice  by the encoder, a pixel of one view
    place    of an item's picture, in a call of the denoiser, a pixel
    """

    pixels: int
    weights: float
    texts: float
    kept: float
    kept_twice: float
    place: float

    def bytes(self, portion: Portion, estimates: int = 2, texts: bool = False) -> int:
        """At the peak of a step with `estimates` of the denoiser for each view; texts: or while prompts are embedded, if that is more."""
        items = portion.items or estimates * portion.views
        working = portion.pixels**2 * ((self.kept_twice if portion.twice else self.kept) + items * self.place)
        return int(self.weights + max(working, self.texts if texts else 0))


def footprint_of(folder: Path, dtype: torch.dtype) -> Footprint | None:
    """Of a model's folder, whose denoiser computes in that type; None where it is no such model."""
    found = {name: _config(folder, name) for name in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2")}
    configs = {name: config for name, config in found.items() if config}
    denoiser = "transformer" if "transformer" in configs else "unet"
    if configs.get("vae", {}).get("_class_name") != "AutoencoderKL" or denoiser not in configs:
        return None
    kind, careful = dtype.itemsize, 2 if dtype == torch.float16 and encodes_in_half(configs) else 4
    blocks = configs["vae"].get("block_out_channels") or [128]
    down = 2 ** (len(blocks) - 1)
    widest, patch = (configs["unet"].get("block_out_channels") or [320])[0] if denoiser == "unet" else 0, 1
    if denoiser == "transformer":
        widest, patch = configs["transformer"].get("caption_projection_dim", 1536), configs["transformer"].get("patch_size", 2)
    clip = sum(values(folder / name) for name in ("text_encoder", "text_encoder_2"))
    encoder = careful / 4 * blocks[0] / 128
    return Footprint(
        pixels=(sample_size(configs) or 64) * down,
        weights=kind * values(folder / denoiser) + careful * ENCODER_SHARE * values(folder / "vae"),
        texts=4 * clip + kind * values(folder / "text_encoder_3"),
        kept=KEPT * encoder,
        kept_twice=KEPT_TWICE * encoder,
        place=kind * widest * LIVE / (down * patch) ** 2,
    )


def values(folder: Path) -> int:
    """Numbers in a part's weights, whatever precision they are stored in; 0 for none that can be read."""
    total = 0
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    plain = [name for name in names if ".fp16" not in name and "non_ema" not in name]
    for name in plain or names:
        with open(folder / name, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 2**27)))
        for key, entry in header.items():
            count = 1
            for side in entry["shape"] if key != "__metadata__" else [0]:
                count *= side
            total += count
    return total


def _config(folder: Path, part: str) -> Mapping[str, Any]:
    try:
        return json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
