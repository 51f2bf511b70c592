"""A small denoiser of pictures that sees the surface: it is told the noisy picture, the noise level, the words and the control.

Works on pixels, rearranged into patches (Shi et al. 2016's sub-pixel layout), and predicts the clean picture. The words come twice:
pooled, with the time, as scale and shift of every block (Perez et al. 2018), and one by one through attention at the lower levels and,
on the way up, at every patch.
"""

from __future__ import annotations

import math

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

TIME_FREQUENCIES = 64
GROUP = 16
"""Channels of one normalization group."""


class SurfaceUNet(ModelMixin, ConfigMixin):
    """x_t [B, 3, S, S], t int64 [B], text states [B, L, text_width] and control [B, C, S, S] -> clean pictures [B, 3, S, S] in -1..1.

    sample_size       side of the pictures that it was taught, pixels; any multiple of 4 patches works
    patch             side of a patch, pixels
    control_channels  of `engine.render.control`; a control of zeros is none
    channels          at one, two and four patches
    head_channels     of the two thin convolutions at full resolution that sharpen silhouettes
    fine_words        whether every patch attends to the words too
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        patch: int = 4,
        control_channels: int = 5,
        channels: tuple[int, int, int] = (64, 160, 256),
        text_width: int = 192,
        embedding: int = 256,
        heads: int = 4,
        head_channels: int = 16,
        fine_words: bool = False,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        seen = 3 + control_channels
        self.time = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.pooled = nn.Linear(text_width, embedding)
        self.enter = nn.Conv2d(seen * patch**2, fine, 1)
        self.down = nn.ModuleList([_Block(fine, fine, embedding), _Block(fine, fine, embedding)])
        self.to_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle_down = nn.ModuleList([_Block(middle, middle, embedding), _Block(middle, middle, embedding)])
        self.words_down = _Words(middle, text_width, heads)
        self.to_coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.bottom = nn.ModuleList([_Block(coarse, coarse, embedding), _Block(coarse, coarse, embedding)])
        self.words_bottom = _Words(coarse, text_width, heads)
        self.itself = _Words(coarse, coarse, heads)
        self.from_coarse = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle_up = nn.ModuleList([_Block(2 * middle, middle, embedding), _Block(middle, middle, embedding)])
        self.words_up = _Words(middle, text_width, heads)
        self.from_middle = nn.Conv2d(middle, 4 * fine, 3, padding=1)
        self.up = nn.ModuleList([_Block(2 * fine, fine, embedding), _Block(fine, fine, embedding)])
        self.words_fine = _Words(fine, text_width, heads) if fine_words else None
        self.leave = nn.Sequential(_norm(fine), nn.SiLU(), nn.Conv2d(fine, 3 * patch**2, 3, padding=1))
        last = _silent(nn.Conv2d(head_channels, 3, 3, padding=1))
        self.head = nn.Sequential(nn.Conv2d(3 + seen, head_channels, 3, padding=1), nn.SiLU(), last)
        self._patch = patch

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor, control: Tensor, shares: list[Tensor] | None = None) -> Tensor:
        """The clean picture, in x_t's dtype. `shares` takes what each place attends to: [B, heads, places, L] at the middle level on the
        way down and up, and at every patch."""
        patch = self._patch
        seen = torch.cat([x_t, control], dim=1).contiguous(memory_format=torch.channels_last)
        given = functional.silu(self.time(_frequencies(t).to(x_t.dtype)) + self.pooled(states.mean(dim=1)))
        x = self.enter(functional.pixel_unshuffle(seen, patch).contiguous(memory_format=torch.channels_last))
        fine = x = _through(self.down, x, given)
        x = self.words_down(_through(self.middle_down, self.to_middle(x), given), states, shares)
        middle = x
        x = self.bottom[0](self.to_coarse(x), given)
        x = self.words_bottom(self.itself(x, x.flatten(2).transpose(1, 2)), states)
        x = self.bottom[1](x, given)
        x = functional.pixel_shuffle(self.from_coarse(x), 2)
        x = self.words_up(_through(self.middle_up, torch.cat([x, middle], dim=1), given), states, shares)
        x = functional.pixel_shuffle(self.from_middle(x), 2)
        x = self.up[0](torch.cat([x, fine], dim=1), given)
        if self.words_fine is not None:
            x = self.words_fine(x, states, shares)
        x = self.up[1](x, given)
        rough = functional.pixel_shuffle(self.leave(x), patch)
        return rough + self.head(torch.cat([rough, seen], dim=1))


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with nothing in it: what it is added to begins unchanged."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class _Block(nn.Module):
    """Two convolutions with scale and shift by what is given (time and text), around a shortcut."""

    def __init__(self, inner: int, outer: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1))
        self.given = nn.Linear(embedding, 2 * outer)
        self.norm = _norm(outer)
        self.second = nn.Sequential(nn.SiLU(), _silent(nn.Conv2d(outer, outer, 3, padding=1)))
        self.shortcut = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        scale, shift = self.given(given)[:, :, None, None].chunk(2, dim=1)
        return self.shortcut(x) + self.second(torch.addcmul(shift, self.norm(self.first(x)), 1 + scale))


class _Words(nn.Module):
    """Attention of each place [B, C, h, w] to what is told [B, L, D], around a shortcut; plain products, quick for few places."""

    def __init__(self, channels: int, told: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(told, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, told: Tensor, shares: list[Tensor] | None = None) -> Tensor:
        batch, channels, height, width = x.shape
        query = self.query(self.norm(x).flatten(2).transpose(1, 2)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(told).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        share = (query @ key.transpose(2, 3) / math.sqrt(channels // self.heads)).softmax(dim=-1)
        if shares is not None:
            shares.append(share)
        answer = self.out((share @ value).transpose(1, 2).flatten(2))
        return x + answer.transpose(1, 2).reshape(batch, channels, height, width)


def _through(blocks: nn.ModuleList, x: Tensor, given: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, given)
    return x


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP, channels)


def _frequencies(t: Tensor) -> Tensor:
    """Sines and cosines of the timestep, float32 [B, 2 * TIME_FREQUENCIES] (Vaswani et al. 2017)."""
    rate = torch.exp(-math.log(10_000.0) * torch.arange(TIME_FREQUENCIES, device=t.device) / TIME_FREQUENCIES)
    angle = t.float()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
