"""Image-based light for a physically based surface: small skies of our own, and the split-sum approximation (Karis 2013).

A sky is a picture of 16 x 32 in linear light: a few soft lamps over a gradient. A surface reflects

    albedo (1 - metallic) E(n) / pi  +  L(r, roughness) (F0 A(n.v, roughness) + B(n.v, roughness)),
    F0 = 0.04 (1 - metallic) + albedo metallic

with the irradiance E, the sky L blurred by the GGX lobe of the roughness around the mirrored direction r, and the table (A, B) of the
lobe's share that is reflected (Walter et al. 2007; Schlick 1994). Every view is lit as brightly:
a matt white surface that faces it is white.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras

HEIGHT, WIDTH = 16, 32
"""Pixels of a sky; row 0 is overhead, column 0 is azimuth 0, rows and columns evenly in angle."""
SKIES = 8
LEVELS = (0.1, 0.3, 0.5, 0.75, 1.0)
"""Roughness of the blurred skies."""
TABLE = 24
"""Entries of the reflected share along n.v and along roughness."""
SAMPLES = 192
DIELECTRIC = 0.04
"""Share that a surface which is no metal reflects when it is looked at straight."""
SPREAD_DEG = 60.0
"""Azimuth by which a sky's brightest side may stand off the camera's, as the matt light does: the pictures that priors know are lit from
before the subject, and the dark side of others would be painted brighter."""
LEAST_IRRADIANCE = 0.35
"""Of the sky's mean, so that a view that faces its dark side is not lit beyond measure."""


@dataclass(frozen=True)
class EnvironmentLight:
    """The sky over each of B views.

    blurred     float32 [len(LEVELS) + 1, 3, HEIGHT, WIDTH]: the sky at LEVELS, then its irradiance / pi
    turn        [B] radians by which the sky is turned about the vertical
    brightness  [B] what its light is multiplied by
    """

    blurred: Tensor
    turn: Tensor
    brightness: Tensor

    def shade(self, albedo: Tensor, normal: Tensor, towards: Tensor, view: Tensor, material: Tensor) -> Tensor:
        """Linear light [N, 3] that N places send to the eye.

        albedo    [N, 3] linear; normal, towards [N, 3] unit vectors, the latter to the eye; view int64 [N]
        material  [N or 1, 2] roughness and metallic, 0..1
        """
        roughness, metallic = material[:, :1].expand(len(albedo), 1), material[:, 1:]
        facing = (normal * towards).sum(dim=1, keepdim=True).clamp(1e-3, 1.0)
        mirrored = 2 * facing * normal - towards
        f0 = DIELECTRIC * (1 - metallic) + albedo * metallic
        share = functional.grid_sample(
            _reflected_share().to(albedo), (torch.cat([facing, roughness], dim=1) * 2 - 1).view(1, 1, -1, 2), align_corners=True
        )
        scale, offset = share.view(2, -1, 1)
        specular = self._sky(mirrored, view, self._level(roughness)) * (f0 * scale + offset)
        matt = self._sky(normal, view, albedo.new_full((len(albedo), 1), float(len(LEVELS))))
        return (albedo * (1 - metallic) * matt + specular) * self.brightness.to(albedo)[view, None]

    def _level(self, roughness: Tensor) -> Tensor:
        """[N, 1] the place of a roughness among LEVELS, with fractions."""
        levels = torch.tensor(LEVELS, dtype=roughness.dtype, device=roughness.device)
        above = torch.searchsorted(levels, roughness.detach().contiguous()).clamp(1, len(LEVELS) - 1)
        low, high = levels[above - 1], levels[above]
        return (above - 1) + ((roughness - low) / (high - low)).clamp(0, 1)

    def _sky(self, direction: Tensor, view: Tensor, level: Tensor) -> Tensor:
        """[N, 3] what the sky shows in world directions [N, 3], trilinear in direction and level [N, 1]."""
        azimuth = torch.atan2(direction[:, 1], direction[:, 0]) + self.turn.to(direction)[view]
        column = torch.remainder(azimuth / (2 * math.pi), 1.0) * WIDTH
        row = torch.acos(direction[:, 2].clamp(-1 + 1e-6, 1 - 1e-6)) / math.pi * HEIGHT
        sky = self.blurred.to(direction).permute(1, 0, 2, 3)
        volume = torch.cat([sky[..., -1:], sky, sky[..., :1]], dim=-1)[None]  # [1, 3, L, H, W + 2]: it closes around
        place = torch.stack([(column + 1) / (WIDTH + 2) * 2 - 1, row / HEIGHT * 2 - 1], dim=1)
        depth = (level + 0.5) / len(self.blurred) * 2 - 1
        where = torch.cat([place, depth], dim=1).view(1, 1, 1, -1, 3)
        return functional.grid_sample(volume, where, padding_mode="border", align_corners=False).view(3, -1).T


def sample_environment(generator: torch.Generator, cameras: Cameras) -> EnvironmentLight:
    """One of our skies for all views, turned about the vertical for each so that it lights what the view sees; as bright as makes matt
    white before the view white."""
    index = int(torch.randint(SKIES, (1,), generator=generator))
    blurred = _skies()[index]
    eye = cameras.eye.cpu()
    before = torch.atan2(eye[:, 1], eye[:, 0]) + math.radians(SPREAD_DEG) * (2 * torch.rand(len(cameras), generator=generator) - 1)
    turn = brightest_azimuth(blurred) - before
    light = EnvironmentLight(blurred, turn, torch.ones(len(cameras)))
    matt = _matt_brightness(light, cameras)
    least = LEAST_IRRADIANCE * blurred[-1].mean()
    device = cameras.device
    return EnvironmentLight(blurred.to(device), turn.to(device), (1 / matt.clamp(min=least)).to(device))


def brightest_azimuth(blurred: Tensor) -> float:
    """Radians: from where most of a sky's light comes, of those that `EnvironmentLight` holds."""
    ring = blurred[-1].mean(dim=(0, 1))  # irradiance by azimuth
    angle = (torch.arange(WIDTH) + 0.5) / WIDTH * 2 * math.pi
    return math.atan2(float((ring * angle.sin()).sum()), float((ring * angle.cos()).sum()))


def _matt_brightness(light: EnvironmentLight, cameras: Cameras) -> Tensor:
    """[B] the mean light of matt white that faces each camera, straight or turned away by 45 degrees to the left, right, top and bottom."""
    axes = cameras.view[:, :3, :3].cpu()  # right, up and backward
    turned = [axes[:, 2]] + [axes[:, 2] + sign * axes[:, side] for side in (0, 1) for sign in (1, -1)]
    normals = functional.normalize(torch.stack(turned, dim=1), dim=2)
    views = torch.arange(len(cameras)).repeat_interleave(len(turned))
    light_of = light._sky(normals.flatten(0, 1), views, torch.full((len(views), 1), float(len(LEVELS))))
    return light_of.view(len(cameras), len(turned), 3).mean(dim=(1, 2))


@functools.cache
def _skies() -> Tensor:
    """[SKIES, len(LEVELS) + 1, 3, HEIGHT, WIDTH] every sky, blurred."""
    directions, solid = sky_directions()
    skies = np.stack([_painted(np.random.default_rng(number), directions) for number in range(SKIES)])
    levels = [np.einsum("od,sdc->soc", _lobe(directions, solid, roughness), skies) for roughness in LEVELS]
    cosine = (directions @ directions.T).clip(0) * solid / np.pi
    levels.append(np.einsum("od,sdc->soc", cosine, skies))
    stack = np.stack(levels, axis=1).reshape(SKIES, len(LEVELS) + 1, HEIGHT, WIDTH, 3)
    return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 1, 4, 2, 3), dtype=np.float32))


def sky_directions() -> tuple[np.ndarray, np.ndarray]:
    """(unit vectors float64 [HEIGHT * WIDTH, 3], solid angles [HEIGHT * WIDTH]) of a sky's pixels, row by row."""
    polar = (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    azimuth = (np.arange(WIDTH) + 0.5) / WIDTH * 2 * np.pi
    theta, phi = np.meshgrid(polar, azimuth, indexing="ij")
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1).reshape(-1, 3)
    step = np.cos(np.arange(HEIGHT) / HEIGHT * np.pi) - np.cos((np.arange(HEIGHT) + 1) / HEIGHT * np.pi)
    return directions, np.repeat(step * 2 * np.pi / WIDTH, WIDTH)


def _painted(rng: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """Linear light [D, 3] of a sky: a gradient from ground to zenith, two to four soft lamps, hardly any colour."""
    lift = 0.5 + 0.5 * directions[:, 2:]
    light = rng.uniform(0.4, 0.7) + rng.uniform(0.1, 0.5) * lift * np.ones(3)
    for _ in range(rng.integers(2, 5)):
        turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.95)
        towards = np.array([np.cos(turn) * np.sqrt(1 - height**2), np.sin(turn) * np.sqrt(1 - height**2), height])
        sharpness, strength = rng.uniform(3, 40), rng.uniform(0.6, 2.5)
        tint = 1 + rng.uniform(-0.06, 0.06) * np.array([1.0, 0.0, -1.0])
        light = light + strength * np.exp(sharpness * (directions @ towards - 1))[:, None] * tint
    return light


def _lobe(directions: np.ndarray, solid: np.ndarray, roughness: float) -> np.ndarray:
    """[D, D] weights that blur a sky as GGX of this roughness does where eye, normal and mirrored direction are one; rows sum to 1."""
    alpha = max(roughness, 0.1) ** 2
    cosine = (directions @ directions.T).clip(-1, 1)
    half = np.sqrt((1 + cosine) / 2)
    weight = alpha**2 / (half**2 * (alpha**2 - 1) + 1) ** 2 * cosine.clip(0) * solid
    return weight / weight.sum(axis=1, keepdims=True)


@functools.cache
def _reflected_share() -> Tensor:
    """[1, 2, TABLE, TABLE] (A, B) by roughness (rows) and n.v (columns), both from 0 to 1: the lobe's reflected share is F0 A + B.

    Importance samples of the GGX half vector (Karis 2013): G (v.h) / (n.h n.v), split by Schlick's (1 - v.h)^5.
    """
    index = np.arange(SAMPLES)
    u, turn = (index + 0.5) / SAMPLES, 2 * np.pi * np.mod(index * 0.6180339887498949, 1)
    table = np.zeros((2, TABLE, TABLE))
    for row, roughness in enumerate(np.linspace(0, 1, TABLE)):
        alpha = max(roughness, 0.03) ** 2
        cosine = np.sqrt((1 - u) / (1 + (alpha**2 - 1) * u))
        sine = np.sqrt(1 - cosine**2)
        half = np.stack([sine * np.cos(turn), sine * np.sin(turn), cosine], axis=1)
        for column, facing in enumerate(np.linspace(0, 1, TABLE).clip(1e-2)):
            eye = np.array([np.sqrt(1 - facing**2), 0, facing])
            met = (half @ eye).clip(0)
            light = 2 * met * cosine - facing
            shadow = _smith(facing, alpha) * _smith(light.clip(1e-6), alpha)
            seen = np.where(light > 0, shadow * met / np.maximum(cosine * facing, 1e-6), 0)
            fresnel = (1 - met) ** 5
            table[:, row, column] = ((1 - fresnel) * seen).mean(), (fresnel * seen).mean()
    return torch.from_numpy(table.astype(np.float32))[None]


def _smith(cosine: np.ndarray | float, alpha: float) -> np.ndarray | float:
    """Smith's share of a GGX surface that a direction reaches."""
    return 2 * cosine / (cosine + np.sqrt(alpha**2 + (1 - alpha**2) * np.square(cosine)))
