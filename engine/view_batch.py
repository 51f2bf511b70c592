"""What each optimization step looks at: cameras, light, background, and the words that describe them to the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.camera import Cameras, sample_orbit, view_words
from engine.job_fields import Hyperparameters
from engine.render.shading import Light, sample_light
from engine.views import BACKGROUNDS


@dataclass(frozen=True)
class ViewBatch:
    """One batch of B views.

    cameras      B cameras on an orbit
    light        one light a view; None shows the albedo
    background   sRGB [B, 3]
    words        B suffixes such as ', on a white background, front view'
    """

    cameras: Cameras
    light: Light | None
    background: Tensor
    words: list[str]


def sample_view_batch(numbers: Hyperparameters, generator: torch.Generator, device: torch.device) -> ViewBatch:
    """Draw `numbers.views` views: azimuths stratified over the circle, elevation, distance, light and background at random.

    The whole batch shares one background, so that a step needs few distinct prompts. `generator` is a CPU generator: the same
    seed gives the same views on every device.
    """
    cameras = sample_orbit(
        generator,
        numbers.views,
        distance=(numbers.distance_low, numbers.distance_high),
        fov=(numbers.fov, numbers.fov),
        elevation=(numbers.elevation_low, numbers.elevation_high),
    ).to(device)
    light = sample_light(generator, cameras)
    background = BACKGROUNDS[int(torch.randint(len(BACKGROUNDS), (1,), generator=generator))]
    words = [f", {background.words}, {view}" for view in view_words(cameras)]
    colour = torch.tensor(background.colour, device=device).expand(numbers.views, 3)
    return ViewBatch(cameras, light, colour, words)
