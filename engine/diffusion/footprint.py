"""What a model of the Stable Diffusion classes takes of the GPU's memory in a job, by its folder, before any weight is read.

Constants by meta tensors: `tests/engine/test_footprint.py` holds them to what the networks of those shapes really keep.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENCODER_SHARE = 0.41
"""Of an autoencoder's weights."""
KEPT = 12_300
"""Bytes of float32 that an encoder of 128 channels at the picture's size keeps a pixel until its backward pass."""
LIVE = 24
"""Values alive at once in a denoiser without gradients, for each channel of a latent at its full size."""


def model_bytes(folder: Path, half: bool, views: int, estimates: int = 2) -> int | None:
    """Weights that stay, what one view keeps in the encoder, and the denoiser's call for `estimates` of each view; None where the folder
    is no such model. half: whether it computes in float16."""
    unet, vae = _config(folder, "unet"), _config(folder, "vae")
    if vae.get("_class_name") != "AutoencoderKL" or not (unet or _config(folder, "transformer")):
        return None
    kind = 2 if half else 4
    denoiser = _config(folder, "transformer") or unet
    blocks = vae.get("block_out_channels") or [128]
    latents = denoiser.get("sample_size") or 64
    latents = min(latents) if isinstance(latents, list) else int(latents)
    pixels = (latents * 2 ** (len(blocks) - 1)) ** 2
    widest = (unet.get("block_out_channels") or [denoiser.get("caption_projection_dim", 320)])[0]
    weights = values(folder / ("unet" if unet else "transformer")) + ENCODER_SHARE * values(folder / "vae")
    call = estimates * views * latents**2 * widest * LIVE
    return int(kind * (weights + call) + pixels * KEPT * kind / 4 * blocks[0] / 128)


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
