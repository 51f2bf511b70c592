"""What the paper's ten descriptors do to an image, as tensor operations: the source distribution of a prior that has only clean images.

All functions take and return images [B, 3, H, W] in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from engine.diffusion.prompts import phrases

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601 weights of red, green and blue."""


def luma(images: Tensor) -> Tensor:
    """[B, 1, H, W] brightness of sRGB-encoded images (Rec. 601)."""
    return (images * torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def oversaturated(images: Tensor, generator: torch.Generator) -> Tensor:
    """Colours twice as far from grey, contrast up by 20 %."""
    del generator
    grey = luma(images)
    return ((grey + 2.0 * (images - grey) - 0.5) * 1.2 + 0.5).clamp(0, 1)


def blurred(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur whose radius is 1/40 of the side."""
    del generator
    sigma = max(images.shape[-1] / 40, 0.6)
    reach = max(int(3 * sigma), 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device) / sigma) ** 2)
    kernel = (taps / taps.sum()).repeat(3, 1)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    wide = functional.conv2d(padded, kernel[:, None, None, :], groups=3)
    return functional.conv2d(wide, kernel[:, None, :, None], groups=3)


def pixelated(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blocks of 1/16 of the side."""
    del generator
    size = images.shape[-2:]
    return functional.interpolate(functional.interpolate(images, size=(16, 16), mode="area"), size=size, mode="nearest")


def posterized(images: Tensor, generator: torch.Generator) -> Tensor:
    """Smoothed and reduced to four levels a channel."""
    return (blurred(images, generator) * 3).round() / 3


def hazed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half way to a light grey."""
    del generator
    return 0.5 * images + 0.5 * 0.85


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """White noise with a deviation of 0.12."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device, dtype=images.dtype).to(images.device)
    return (images + 0.12 * noise).clamp(0, 1)


def warped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pushed about by a smooth random field of up to a tenth of the side."""
    count, _, height, width = images.shape
    coarse = torch.randn(count, 2, 5, 5, generator=generator, device=generator.device, dtype=images.dtype).to(images.device)
    push = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = torch.eye(2, 3, dtype=images.dtype, device=images.device).expand(count, 2, 3)
    grid = functional.affine_grid(still, [count, 3, height, width], align_corners=False) + 0.08 * push
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


DEGRADATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "oversaturated": oversaturated,
    "smooth": blurred,
    "pixelated": pixelated,
    "cartoon": posterized,
    "foggy": hazed,
    "hazy": hazed,
    "blurry": blurred,
    "bad structure": warped,
    "noisy": noisy,
    "malformed": warped,
    "painting": posterized,
}
"""Descriptor -> what it looks like."""


def descriptors_of(prompt: str) -> tuple[str, ...]:
    """The descriptors among the prompt's phrases."""
    return tuple(phrase.lower() for phrase in phrases(prompt) if phrase.lower() in DEGRADATIONS)


def degrade(images: Tensor, descriptors: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Each image degraded as one or two of the descriptors say, chosen at random: a broad neighbourhood of the clean set."""
    result = images.clone()
    for row in range(images.shape[0]):
        count = min(len(descriptors), 1 + int(torch.randint(2, (1,), generator=generator)))
        for place in torch.randperm(len(descriptors), generator=generator)[:count].tolist():
            result[row : row + 1] = DEGRADATIONS[descriptors[place]](result[row : row + 1], generator)
    return result.clamp(0, 1)
