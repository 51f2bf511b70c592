"""Materials as plain functions of places on the surface: the generator's patterns and a simple light, without Blender.

A view's buffers (normals, places, parts) are rendered once; then any paint and light costs milliseconds, so that every geometry is
seen in many colours and its captions tell its parts apart. What Cycles adds (shadows, bounces) the rendered pictures teach.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from scripts.prior.data.workbench import Material, Part

LOOP_LIGHT_SHARE = 0.5
"""How often the light is the optimization's own: Lambert over ambient, nothing else."""


def value_noise(points: np.ndarray, seed: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise at points [N, 3], one feature per unit length in the coarsest octave: float64 [N], about 0..1."""
    total, weight = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        scaled = points * 2.0**octave
        cell = np.floor(scaled).astype(np.int64)
        near = scaled - cell
        near = near * near * (3 - 2 * near)
        value = np.zeros(len(points))
        for corner in np.ndindex(2, 2, 2):
            share = np.where(np.array(corner), near, 1 - near).prod(axis=1)
            value += share * _hash(cell + np.array(corner), seed + octave)
        total += value * 0.5**octave
        weight += 0.5**octave
    return total / weight


def _hash(cell: np.ndarray, seed: int) -> np.ndarray:
    """A number in 0..1 for each integer cell [N, 3]."""
    mixed = (cell[:, 0] * 73856093) ^ (cell[:, 1] * 19349663) ^ (cell[:, 2] * 83492791) ^ (seed * 2654435761)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65535.0


def pattern(material: Material, points: np.ndarray, seed: int) -> np.ndarray:
    """How much of the second colour there is at points [N, 3]: float64 [N] in 0..1, as the generator's node trees have it."""
    scale = material.scale
    if material.pattern == "stripes":
        factor = 0.5 + 0.5 * np.sin(2 * np.pi * points[:, 2] * scale / 2 + 0.3 * value_noise(points * scale, seed))
    elif material.pattern == "spots":
        factor = _spots(points * scale, seed)
    elif material.pattern == "bricks":
        factor = _bricks(points * scale, seed)
    elif material.pattern == "wood":
        grain = points * np.array([1.0, 1.0, 0.25]) * scale * 4
        factor = value_noise(grain + 2 * value_noise(points * scale, seed)[:, None], seed, 4)
    else:
        factor = value_noise(points * scale, seed, 4)
    return np.clip((factor - 0.35) / 0.3, 0, 1)


def _spots(points: np.ndarray, seed: int) -> np.ndarray:
    """High next to one jittered centre in each unit cell."""
    cell = np.floor(points).astype(np.int64)
    centre = np.stack([_hash(cell, seed + axis) for axis in range(3)], axis=1) * 0.5 + 0.25
    return 0.85 - np.linalg.norm(points - cell - centre, axis=1)


def _bricks(points: np.ndarray, seed: int) -> np.ndarray:
    """Courses on upright faces: one tone a brick, dark joints."""
    row = np.floor(points[:, 2] / 0.25)
    along = (points[:, 0] + points[:, 1]) / 0.5 + 0.5 * (row % 2)
    tone = 0.3 + 0.3 * _hash(np.stack([np.floor(along), row, row], axis=1).astype(np.int64), seed)
    joint = (along % 1.0 < 0.08) | ((points[:, 2] / 0.25) % 1.0 < 0.16)
    return np.where(joint, 0.0, tone)


def albedo(parts: list[Part], owner: np.ndarray, points: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear RGB [N, 3], roughness [N] and metallic [N] at points [N, 3] of the parts numbered by owner [N]."""
    colour, roughness, metallic = np.zeros((len(points), 3)), np.full(len(points), 0.5), np.zeros(len(points))
    for number in np.unique(owner):
        here, look = owner == number, parts[number].material
        colour[here], roughness[here], metallic[here] = look.colour, look.roughness, look.metallic
        if look.second is not None:
            share = pattern(look, points[here], seed)[:, None]
            colour[here] = (1 - share) * np.array(look.colour) + share * np.array(look.second)
        if look.glow:
            colour[here] = np.minimum(1.0, colour[here] * (1 + look.glow))
    return colour, roughness, metallic


def shaded(parts: list[Part], owner: np.ndarray, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture of a view's buffers under a random light, black where nothing is: float32 [H, W, 3] linear, 0..1.

    owner    int [H, W], the part that each pixel shows; negative for none
    points   float [H, W, 3], places in the subject's own units
    normals  float [H, W, 3], unit, eye axes (x right, y up, z to the camera)
    """
    seen = owner >= 0
    normal = normals[seen]
    colour, roughness, metallic = albedo(parts, owner[seen], points[seen], int(rng.integers(2**31)))
    light = _towards_light(rng)
    lambert = np.clip(normal @ light, 0, None)[:, None]
    picture = np.zeros((*owner.shape, 3), np.float32)
    if rng.random() < LOOP_LIGHT_SHARE:
        ambient = rng.uniform(0.4, 0.9)
        picture[seen] = colour * (ambient + (1 - ambient) * lambert)
        return picture
    half = light + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    power = 2 / np.clip(roughness, 0.15, 1) ** 2
    gloss = (np.clip(normal @ half, 0, 1) ** power * (1 - roughness))[:, None]
    fresnel = ((1 - np.clip(normal[:, 2], 0, 1)) ** 4 * (1 - roughness))[:, None]
    sky = (0.65 + 0.35 * normal[:, 1:2]) * rng.uniform(0.35, 0.7) * _occlusion(seen, points)[seen][:, None]
    tint = np.where(metallic[:, None] > 0.5, colour, 1.0)
    strength = rng.uniform(0.5, 0.9)
    lit = colour * (sky + strength * lambert) * (1 - 0.4 * metallic[:, None])
    picture[seen] = lit + tint * (0.5 * strength * gloss + 0.25 * fresnel + 0.5 * metallic[:, None] * sky * (0.5 + 0.5 * normal[:, 1:2]))
    return np.clip(picture, 0, 1)


def _towards_light(rng: np.random.Generator) -> np.ndarray:
    """A unit vector within about 60 degrees of the camera, rather above than below; eye axes."""
    towards = rng.normal(size=3) * np.array([0.8, 0.5, 0.2]) + np.array([0, 0.4, 1.0])
    return towards / np.linalg.norm(towards)


def _occlusion(seen: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Darker close to the ground, [H, W]."""
    height = points[..., 2]
    low, high = height[seen].min(), height[seen].max()
    return np.where(seen, 0.55 + 0.45 * np.clip(gaussian_filter((height - low) / max(high - low, 1e-6), 1.0) * 4, 0, 1), 1.0)
