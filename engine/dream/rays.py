"""Volume rendering of a `Cloud`: all rays of all views at once, only where there is something.

A ray's colour is sum_i w_i c_i + (1 - sum_i w_i) ground with w_i = T_i (1 - exp(-density_i d_i)), T_i = exp(-sum_{j<i} density_j d_j)
(Mildenhall et al. 2020, eq. 3). Light adds up in linear space and is sRGB-encoded once at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras
from engine.dream.cloud import REACH, Cloud, Ground, sample
from engine.render.images import linear_to_srgb, srgb_to_linear
from engine.render.shading import MATT, Lighting

LEAST = 0.05
"""Density (per engine unit) below which a place counts as empty: such a place stops a thousandth of the light of a sample's length."""


@dataclass(frozen=True)
class Seen:
    """What B views show.

    rgb          [B, 3, S, S] sRGB 0..1
    opacity      [B, 1, S, S] 0..1
    turned_away  [B], sum over pixels of the weights of samples whose normal points away from the eye, times cos^2 (Verbin et al. 2022,
                 eq. 11)
    """

    rgb: Tensor
    opacity: Tensor
    turned_away: Tensor


def directions(cameras: Cameras, size: int, jitter: Tensor | None = None) -> Tensor:
    """Unit directions [B, S * S, 3] of the rays through the pixels, row 0 at the top; jitter [B, S, S, 2] in 0..1 moves them within
    their pixels, None takes the middles."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    place = torch.stack([column, row], dim=-1).to(cameras.view) + (0.5 if jitter is None else jitter)
    across, down = (2 * place / size - 1).expand(len(cameras), size, size, 2).unbind(-1)
    scale = cameras.projection[:, 0, 0].view(-1, 1, 1), cameras.projection[:, 1, 1].view(-1, 1, 1)
    in_eye = torch.stack([across / scale[0], -down / scale[1], -torch.ones_like(across)], dim=-1)
    return functional.normalize(torch.einsum("bhwi,bij->bhwj", in_eye, cameras.view[:, :3, :3]), dim=-1).flatten(1, 2)


def occupied(cloud: Cloud) -> Tensor:
    """bool [R, R, R]: whether there may be something in the cells around each vertex."""
    return functional.max_pool3d(cloud.density()[None, None], 3, stride=1, padding=1)[0, 0] > LEAST


def look(
    cloud: Cloud,
    ground: Ground,
    cameras: Cameras,
    plain: Tensor,
    size: int,
    samples: int,
    light: Lighting | None = None,
    somewhere: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Seen:
    """The cloud from B cameras, differentiably.

    plain      sRGB [B, 3], the grounds without their tints
    samples    of a ray through the middle of the ball
    light      None shows the albedo
    somewhere  `occupied`; places outside of it are passed over
    generator  moves rays within pixels and samples along rays; None takes the middles
    """
    count = len(cameras)
    jitter = None if generator is None else torch.rand(count, size, size, 2, generator=generator).to(cameras.device)
    towards = directions(cameras, size, jitter)
    distances, length = _along(cameras.eye, towards, samples, generator)
    points = cameras.eye[:, None, None] + distances[..., None] * towards[:, :, None]
    kept = _kept(points, length, somewhere)
    where = kept.flatten().nonzero().squeeze(1)
    found = sample(cloud.volume(), points.view(-1, 3).index_select(0, where))
    ray = where // samples
    density = found.new_zeros(kept.numel()).index_copy(0, where, found[:, 0]).view(kept.shape)
    thick = density * length[..., None]
    after = thick.cumsum(-1)
    weight = (torch.exp(-(after - thick)) * (1 - torch.exp(-thick))).view(-1).index_select(0, where)
    facing = towards.view(-1, 3).index_select(0, ray)
    normal = found[:, 4:]
    colour = srgb_to_linear(found[:, 1:4].sigmoid())
    if light is not None:
        colour = light.shade(colour, normal, -facing, ray // (size * size), MATT)
    away = (normal * facing).sum(1).clamp(min=0).square()
    sums = torch.cat([weight[:, None] * colour, weight[:, None], (weight.detach() * away)[:, None]], dim=1)
    total = sums.new_zeros(count * size * size, 5).index_add(0, ray, sums).view(count, size * size, 5)
    opacity = total[..., 3:4]
    linear = total[..., :3] + (1 - opacity) * srgb_to_linear(ground(plain, cameras.eye, towards))
    image = torch.cat([linear_to_srgb(linear.clamp(0, 1)), opacity], dim=-1).transpose(1, 2).view(count, 4, size, size)
    return Seen(image[:, :3], image[:, 3:], total[..., 4].sum(1))


def _along(eye: Tensor, towards: Tensor, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Distances [B, P, N] of samples along rays through the ball; the length [B, P] that each stands for, 0 where a ray passes it by."""
    middle = -(eye[:, None] * towards).sum(-1)
    nearest = eye.square().sum(-1, keepdim=True) - middle.square()
    half = (REACH**2 - nearest).clamp(min=0).sqrt()
    step = torch.full_like(half, 2 * REACH / samples)
    shift = torch.full_like(half, 0.5) if generator is None else torch.rand(half.shape, generator=generator).to(half.device)
    offsets = (torch.arange(samples, device=half.device) + shift[..., None]) * step[..., None] - REACH
    distances = middle[..., None] + offsets
    return distances, step.where(half > 0, 0.0)


def _kept(points: Tensor, length: Tensor, somewhere: Tensor | None) -> Tensor:
    """bool [B, P, N]: samples within the ball, where there may be something."""
    kept = (points.square().sum(-1) < REACH**2) & (length > 0)[..., None]
    if somewhere is not None:
        last = somewhere.shape[0] - 1
        place = ((points.clamp(-1, 1) + 1) / 2 * last).round().long()
        kept &= somewhere[place[..., 2], place[..., 1], place[..., 0]]
    return kept
