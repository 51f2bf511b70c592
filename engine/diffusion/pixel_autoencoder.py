"""A lossless stand-in for an autoencoder: pixels rearranged into patches.

The embedded prior works on pixels. To let it live in the usual folder format and take the
usual calls, its "autoencoder" only moves each patch of pixels into the channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch.nn import functional


@dataclass(frozen=True)
class PointDistribution:
    """A posterior without spread, with the methods of diffusers' Gaussian one.

    Attributes:
        value: [B, C, H, W].
    """

    value: torch.Tensor

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """The value; ``generator`` is accepted for the interface and not used."""
        del generator
        return self.value

    def mode(self) -> torch.Tensor:
        """The value."""
        return self.value


class PixelShuffleAutoencoder(ModelMixin, ConfigMixin):
    """Encodes by ``pixel_unshuffle`` and decodes by ``pixel_shuffle``: exact both ways.

    Args:
        patch: side of the patches, in pixels.
        in_channels: colour channels.
        scaling_factor: what a pipeline multiplies encoded values by; 1, as nothing is rescaled.
    """

    @register_to_config
    def __init__(
        self, patch: int = 4, in_channels: int = 3, scaling_factor: float = 1.0
    ) -> None:
        super().__init__()
        self.patch = patch
        # diffusers reads dtype and device off the first parameter or buffer.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """[B, 3, H, W] in -1..1 -> ``.latent_dist`` of [B, 3 p^2, H / p, W / p]."""
        height, width = x.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"image of {height} x {width} pixels: both sides must be multiples of "
                f"{self.patch}; resize or pad it"
            )
        posterior = PointDistribution(functional.pixel_unshuffle(x, self.patch))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: torch.Tensor, return_dict: bool = True, **_: object) -> DecoderOutput:
        """[B, 3 p^2, h, w] -> ``.sample`` [B, 3, h p, w p], in -1..1 where z was encoded."""
        image = functional.pixel_shuffle(z, self.patch)
        return DecoderOutput(sample=image) if return_dict else (image,)
