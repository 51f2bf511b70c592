"""Reads the surface back from a picture of it: which pixels are covered, and with which normals.

So it can be measured whether a generated picture shows the surface that its control asked for, where colours alone cannot tell: a white
subject before a white ground has an outline all the same. It learns from the buffers of pairs (`scripts.prior.data.draw_pairs`),
repainted pictures with the control of the surface that they show, and its own score is taken on subjects that are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.render.control import MASK
from scripts.prior.data.buffers import unpack_control
from scripts.prior.data.pairs import is_held_out
from scripts.prior.surface.dataset import IMAGE_SIZE, PLAIN, PLAIN_VARIATION, resized

CHANNELS = (16, 24, 48)
STEPS, BATCH, RATE = 1200, 24, 3e-3
COVERED = 0.5
WHOLLY = 0.95
"""Covered share of a pixel from which on its normal counts: at silhouettes it is blended with nothing."""


@dataclass(frozen=True)
class Agreement:
    """Of a picture with a control, for N pictures: outline, intersection over union [N]; normals, mean angle between those read and
    those asked for where both cover the pixel, degrees [N] (NaN where nothing does)."""

    outline: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class RepaintedPictures:
    """N repainted pictures over black, uint8 [N, 3, S, S], with the packed controls of what they show, uint8 [N, 4, S, S]."""

    shaded: Tensor
    control: Tensor

    @classmethod
    def read(cls, folders: Sequence[Path], *, held_out: bool) -> RepaintedPictures:
        """Of these folders' buffers: of subjects that are held out, or of all others."""
        shaded, controls = [], []
        for path in sorted(path for folder in folders for path in folder.glob("*.buffers.npz")):
            if is_held_out(path.name.split(".")[0]) != held_out:
                continue
            with np.load(path) as stored:
                painted = torch.from_numpy(stored["shaded"])
                coarse, true = (torch.from_numpy(stored[name])[:, None, : MASK + 1] for name in ("coarse", "true"))
            half = painted.shape[1] // 2
            asked = torch.cat([coarse.expand(-1, half, -1, -1, -1), true.expand(-1, painted.shape[1] - half, -1, -1, -1)], dim=1)
            shaded += [resized(one.float(), IMAGE_SIZE).byte() for one in painted.flatten(0, 1)]
            controls += [resized(one.float(), IMAGE_SIZE).byte() for one in asked.flatten(0, 1)]
        return cls(torch.stack(shaded), torch.stack(controls))

    def drawn(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """These pictures before plain grounds, float32 [B, 3, S, S] in 0..1, and what they show [B, 4, S, S] as `geometry_control`."""
        control = unpack_control(self.control[rows])
        which = torch.randint(len(PLAIN), (len(rows),), generator=generator)
        ground = torch.tensor([colour for _, colour in PLAIN])[which] + PLAIN_VARIATION * (
            2 * torch.rand(len(rows), 1, generator=generator) - 1
        )
        pictures = self.shaded[rows].float() / 255 + ground.clamp(0, 1)[:, :, None, None] * (1 - control[:, MASK:])
        return pictures.clamp(0, 1), control


class NormalRegressor(nn.Module):
    """Pictures float32 [B, 3, S, S] in 0..1 -> unit normals in eye axes [B, 3, S, S] and covered shares [B, 1, S, S] in 0..1; S a
    multiple of 4. A small U-Net (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = CHANNELS
        self.fine, self.middle, self.coarse = _two(3, fine), _two(fine, middle), _two(middle, coarse)
        self.middle_up, self.fine_up = _two(coarse + middle, middle), _two(middle + fine, fine)
        self.leave = nn.Conv2d(fine, 4, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(2 * pictures - 1)
        middle = self.middle(functional.avg_pool2d(fine, 2))
        coarse = self.coarse(functional.avg_pool2d(middle, 2))
        middle = self.middle_up(torch.cat([functional.interpolate(coarse, scale_factor=2.0), middle], dim=1))
        read = self.leave(self.fine_up(torch.cat([functional.interpolate(middle, scale_factor=2.0), fine], dim=1)))
        return functional.normalize(read[:, :3], dim=1), read[:, 3:].sigmoid()

    @torch.no_grad()
    def agreement(self, pictures: Tensor, control: Tensor) -> Agreement:
        """How far pictures [N, 3, S, S] in 0..1 show controls [N, 4 or more, S, S]."""
        normals, mask = self.eval()(pictures)
        seen, asked = mask[:, 0] > COVERED, control[:, MASK] > COVERED
        outline = (seen & asked).sum((1, 2)) / (seen | asked).sum((1, 2)).clamp(min=1)
        both = seen & (control[:, MASK] > WHOLLY)
        cosine = (normals * functional.normalize(control[:, :3], dim=1)).sum(1).clamp(-1, 1)
        degrees = torch.rad2deg(cosine.acos())
        angle = (degrees * both).sum((1, 2)) / both.sum((1, 2))
        return Agreement(outline.numpy(), angle.numpy())


def _two(inner: int, outer: int) -> nn.Sequential:
    """Two convolutions with normalization."""
    layers: list[nn.Module] = []
    for channels in (inner, outer):
        layers += [nn.Conv2d(channels, outer, 3, padding=1), nn.GroupNorm(outer // 8, outer), nn.SiLU()]
    return nn.Sequential(*layers)


def taught(pictures: RepaintedPictures, *, steps: int = STEPS, batch: int = BATCH, seed: int = 0) -> NormalRegressor:
    """A regressor that has learnt from these pictures: angles where pixels are wholly covered, and covered shares everywhere."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    regressor = NormalRegressor().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(regressor.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 2))
    with torch.enable_grad():
        for _ in range(steps):
            shown, control = pictures.drawn(torch.randint(len(pictures.shaded), (batch,), generator=generator), generator)
            normals, mask = regressor(shown)
            wholly = control[:, MASK] > WHOLLY
            apart = 1 - (normals * functional.normalize(control[:, :3], dim=1)).sum(1)
            loss = (apart * wholly).sum() / wholly.sum().clamp(min=1)
            loss = loss + functional.binary_cross_entropy(mask, control[:, MASK:].clamp(0, 1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return regressor.eval()


def own_score(regressor: NormalRegressor, held_out: RepaintedPictures, seed: int = 0) -> Agreement:
    """Of pictures that it has not learnt from with what they truly show."""
    generator = torch.Generator().manual_seed(seed)
    return regressor.agreement(*held_out.drawn(torch.arange(len(held_out.shaded)), generator))
