"""The loop's oracle: SDS under the exact empirical prior over views of a known object recovers that object from its coarse sketch.

The prior is the true score of a set of renders, one a camera, so a failure here is the loop's and nobody else's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.camera import Cameras, orbit
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.distillation import Distillation, PromptPair
from engine.job_fields import PRESETS, Hyperparameters
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.shading import render_views
from engine.sketch.deviation import deviation
from engine.sketch_surface import fitted_subject, sketch_surface
from engine.view_batch import ViewBatch

SIZE = 48
CPU = torch.device("cpu")
GREY = 0.6


def ellipsoid(axes: tuple[float, float, float], rings: int = 24, segments: int = 36) -> Mesh:
    """A closed ellipsoid with semi-axes `axes`."""
    polar = np.linspace(0, math.pi, rings + 1)[1:-1]
    turn = np.arange(segments) * 2 * math.pi / segments
    ring = np.stack(
        np.broadcast_arrays(np.sin(polar)[:, None] * np.cos(turn), np.sin(polar)[:, None] * np.sin(turn), np.cos(polar)[:, None]), -1
    )
    points = np.concatenate([ring.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]]) * np.asarray(axes)
    north, south = len(points) - 2, len(points) - 1
    faces = []
    for row in range(rings - 2):
        for column in range(segments):
            a, b = row * segments + column, row * segments + (column + 1) % segments
            faces += [(a, a + segments, b + segments), (a, b + segments, b)]
    last = (rings - 2) * segments
    for column in range(segments):
        following = (column + 1) % segments
        faces += [(north, column, following), (south, last + following, last + column)]
    return Mesh(points.astype(np.float32), np.asarray(faces, dtype=np.int32))


def stripes(points: Tensor) -> Tensor:
    """The true albedo: red above, green below, a yellow side."""
    red, green, yellow = (torch.tensor(c) for c in ((0.8, 0.15, 0.1), (0.15, 0.55, 0.2), (0.85, 0.75, 0.2)))
    colour = torch.where(points[:, 2:3] > 0.1, red, green)
    return torch.where(points[:, 0:1] > 0.3, yellow, colour)


TRUTH = ellipsoid((0.62, 0.5, 0.8))
SKETCH = ellipsoid((0.44, 0.66, 0.72))


def pool(count: int, seed: int) -> Cameras:
    """Cameras all round, from below to above."""
    generator = torch.Generator().manual_seed(seed)
    azimuth = (torch.arange(count) + torch.rand(count, generator=generator)) * 360 / count
    return orbit(azimuth, torch.rand(count, generator=generator) * 70 - 15, 3.0, 40.0)


def look(vertices: Tensor, faces: Tensor, colour: Callable[[Tensor], Tensor], cameras: Cameras) -> Tensor:
    """Unlit images [B, 3, SIZE, SIZE] over grey."""
    background = torch.full((len(cameras), 3), GREY)
    return render_views(select_rasterizer("cpu"), vertices, faces, cameras, SIZE, colour, None, background, supersample=2).rgb


def psnr(a: Tensor, b: Tensor) -> float:
    """Decibels for images in 0..1."""
    return -10 * math.log10(float((a - b).square().mean()))


def distance_percent(vertices: Tensor, faces: Tensor) -> float:
    """Mean symmetric distance to the truth in % of its diagonal."""
    return deviation(vertices.detach().numpy(), faces.numpy(), TRUTH, np.random.default_rng(0)).mean_percent


@pytest.mark.slow
def test_the_loop_recovers_a_known_object_from_its_coarse_sketch() -> None:
    seen, unseen = pool(48, seed=1), pool(12, seed=2)
    truth = (torch.from_numpy(TRUTH.vertices), torch.from_numpy(TRUTH.faces))
    with torch.no_grad():
        images, goal = look(*truth, stripes, seen), look(*truth, stripes, unseen)
    angles = zip(seen.azimuth.tolist(), seen.elevation.tolist(), strict=True)
    prior = EmpiricalPrior(images, [ImageLabel("a ball", None, azimuth, elevation) for azimuth, elevation in angles], nearest=1)

    def from_pool(_: Hyperparameters, generator: torch.Generator, step: int) -> ViewBatch:
        del step
        chosen = torch.randperm(len(seen), generator=generator)[:4]
        return ViewBatch(seen.select(chosen), None, torch.full((4, 3), GREY), [""] * 4)

    numbers = dataclasses.replace(PRESETS["draft"], grid=32, colour_grid=32, closing=0.0, fit_steps=10, stage1_steps=250, stage2_steps=0,
                                  geometry_every=4, guidance_scale=1.0, sdf_lr=3e-3, smoothness=0.01)  # fmt: skip
    rasterizer, generator = select_rasterizer(CPU), torch.Generator().manual_seed(0)
    subject = fitted_subject(sketch_surface(SKETCH, numbers, CPU), SKETCH, numbers, 0.3, rasterizer, generator)
    with torch.no_grad():
        before = subject.geometry()
        start = distance_percent(*before), psnr(look(*before, subject.colour, unseen), goal)
    distillation = Distillation(subject, prior, rasterizer, numbers, PromptPair("a ball"), 0.3, generator, sample_views=from_pool)
    while not distillation.finished:
        distillation.step()
    with torch.no_grad():
        after = subject.geometry()
        end = distance_percent(*after), psnr(look(*after, subject.colour, unseen), goal)
    print(f"\noracle: distance {start[0]:.2f} -> {end[0]:.2f} % of the diagonal, PSNR of unseen views {start[1]:.1f} -> {end[1]:.1f} dB")
    assert start[0] > 2.5
    assert end[0] < 2.0
    assert end[1] > start[1] + 4.0
