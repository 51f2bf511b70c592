"""The embedded prior's autoencoder: a linear encoder, a small convolutional decoder.

What a guided job differentiates through is the encoder alone. Here it is one strided convolution
whose kernels span the leading principal components of overlapping patches, so the pull-back of a
latent gradient to pixels is a fixed smooth filter: it cannot answer an unusual render with the
high-frequency patterns that a deep encoder's Jacobian has, and it costs next to nothing.
The decoder, which only sampling needs, puts back what the components leave out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

PATCH = 8
"""Pixels for each latent along a side: the decoder doubles three times."""


@dataclass(frozen=True)
class PointDistribution:
    """A posterior without spread, with the methods of diffusers' Gaussian one.

    value  [B, C, H, W].
    """

    value: torch.Tensor

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """The value; `generator` is accepted for the interface and not used."""
        del generator
        return self.value

    def mode(self) -> torch.Tensor:
        """The value."""
        return self.value


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))), [B, C, H, W] -> the same; the identity at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # a convolution made with its bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return x + self.second(functional.silu(self.first(functional.silu(x))))


def doubling(channels: int, to: int) -> nn.Sequential:
    """[B, channels, h, w] -> [B, to, 2 h, 2 w]."""
    return nn.Sequential(nn.Conv2d(channels, 4 * to, 3, padding=1), nn.PixelShuffle(2))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Eight pixels a side become one latent pixel.

    latent_channels  channels of the latents.
    width            channels of the decoder at full size / 4; twice as many below, half above.
    in_channels      colour channels.
    patch            pixels for each latent along a side; 8 is what the decoder is built for.
    scaling_factor   what a pipeline multiplies encoded values by; 1, as the encoder's kernels are scaled already.
    """

    @register_to_config
    def __init__(
        self, latent_channels: int = 16, width: int = 64, in_channels: int = 3, patch: int = PATCH, scaling_factor: float = 1.0
    ) -> None:
        super().__init__()
        if patch != PATCH:
            raise ValueError(f"patch {patch}: this decoder doubles three times; expected {PATCH}")
        self.patch = patch
        self._known: tuple[object, torch.Tensor] | None = None
        self.encoder = nn.Conv2d(in_channels, latent_channels, 2 * patch, stride=patch, padding=patch // 2, padding_mode="replicate")
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, 2 * width, 3, padding=1),
            ResidualBlock(2 * width),
            ResidualBlock(2 * width),
            doubling(2 * width, width),
            ResidualBlock(width),
            ResidualBlock(width),
            doubling(width, width // 2),
            ResidualBlock(width // 2),
            doubling(width // 2, in_channels),
        )

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """[B, 3, H, W] in -1..1 -> `.latent_dist` of [B, latent_channels, H / 8, W / 8]."""
        height, width = x.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"image of {height} x {width} pixels: both sides must be multiples of {self.patch}; resize or pad it")
        posterior = PointDistribution(self.encoder(x))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)  # type: ignore[return-value]  # diffusers' convention

    def precondition(self, difference: torch.Tensor) -> torch.Tensor:
        """What to differentiate with so that a difference of latents becomes the difference of images that it stands for.

        The encoder's transpose alone would weigh each channel by the square of its scale. With kernels E this is
        (E E^T)^-1 d, so that E^T of it is the least change of pixels that changes the latents by d (the pseudo-inverse;
        the 2 % of a kernel's energy that lie in the neighbours' patches are passed over).

        difference  [B, latent_channels, h, w].
        """
        return torch.einsum("ij,bjhw->bihw", self._inverse(difference.dtype), difference)

    def _inverse(self, dtype: torch.dtype) -> torch.Tensor:
        """(E E^T)^-1, made anew only where the kernels changed or moved: a GPU's host waits for it."""
        weight = self.encoder.weight
        of = (id(weight), weight._version, weight.device, weight.dtype, dtype)
        if self._known is None or self._known[0] != of:
            kernels = weight.detach().flatten(1).float()
            self._known = of, torch.linalg.inv(kernels @ kernels.T).to(dtype)
        return self._known[1]

    def decode(self, z: torch.Tensor, return_dict: bool = True, **_: object) -> DecoderOutput:
        """[B, latent_channels, h, w] -> `.sample` [B, 3, 8 h, 8 w], about -1..1."""
        image = self.decoder(z)
        return DecoderOutput(sample=image) if return_dict else (image,)  # type: ignore[return-value]  # diffusers' convention
