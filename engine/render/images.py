"""Tensors of pixels: row order and colour encoding, differentiable. `engine.conventions` states them and has the same for arrays."""

from __future__ import annotations

import torch
from torch import Tensor


def image_from_raster(raster: Tensor) -> Tensor:
    """[B, H, W, C] with row 0 at the bottom -> [B, C, H, W] with row 0 at the top."""
    return raster.flip(1).permute(0, 3, 1, 2)


def srgb_to_linear(colour: Tensor) -> Tensor:
    """sRGB-encoded values in 0..1 -> linear (IEC 61966-2-1)."""
    safe = colour.clamp(min=0.04045)
    return torch.where(colour <= 0.04045, colour / 12.92, ((safe + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Linear light in 0..1 -> sRGB-encoded (IEC 61966-2-1). Finite gradient at 0."""
    safe = light.clamp(min=0.0031308)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * safe ** (1 / 2.4) - 0.055)
