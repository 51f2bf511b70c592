"""What each optimization step looks at: cameras, light, background, and the words that describe them to the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.camera import Cameras, orbit, sample_orbit, view_words
from engine.job_fields import Hyperparameters
from engine.render.environment import sample_environment
from engine.render.shading import Lighting, sample_light
from engine.views import BACKGROUNDS, VIEWS


@dataclass(frozen=True)
class ViewBatch:
    """One batch of B views.

    cameras      B cameras on an orbit
    light        one light a view; None shows the albedo
    background   sRGB [B, 3]
    words        B suffixes such as ', on a white background, front view'
    """

    cameras: Cameras
    light: Lighting | None
    background: Tensor
    words: list[str]


def sample_view_batch(
    numbers: Hyperparameters, generator: torch.Generator, device: torch.device, further: Cameras | None = None
) -> ViewBatch:
    """Draw `numbers.views` views: azimuths stratified over the circle, elevation, distance, light and background at random.

    further  cameras that take the places of the last views

    The whole batch shares one background, so that a step needs few distinct prompts. `generator` is a CPU generator: the same
    seed gives the same views on every device.
    """
    cameras = sample_cameras(numbers, generator)
    if further is not None:
        cameras = Cameras.cat([cameras.select(range(numbers.views - len(further))), further])
    seen = view_words(cameras)  # while they are the host's
    cameras = cameras.to(device)
    light = sample_lighting(numbers, generator, cameras)
    background = BACKGROUNDS[int(torch.randint(len(BACKGROUNDS), (1,), generator=generator))]
    words = [f", {background.words}, {view}" for view in seen]
    colour = torch.tensor(background.colour, device=device).expand(numbers.views, 3)
    return ViewBatch(cameras, light, colour, words)


def every_words() -> list[str]:
    """All words that a batch's views may be described by."""
    return [f", {background.words}, {view} view" for background in BACKGROUNDS for view in VIEWS]


def sample_lighting(numbers: Hyperparameters, generator: torch.Generator, cameras: Cameras) -> Lighting:
    """A light for each camera, from before what it sees."""
    return (sample_environment if numbers.shading == "pbr" else sample_light)(generator, cameras)


def sample_cameras(numbers: Hyperparameters, generator: torch.Generator) -> Cameras:
    """`numbers.views` cameras at random within their ranges.

    "antipodal": half of them, each followed by its opposite, which looks from the other side, as high as the first is low and as
    near as it is far (antithetic views: what a pair disagrees about is seen in one step; MV-SDI, see docs/guidance.md). One camera
    of an odd number stays alone.
    """
    distance, elevation = (numbers.distance_low, numbers.distance_high), (numbers.elevation_low, numbers.elevation_high)
    pairs = numbers.view_sampling == "antipodal"
    count = (numbers.views + 1) // 2 if pairs else numbers.views
    cameras = sample_orbit(generator, count, distance=distance, fov=(numbers.fov, numbers.fov), elevation=elevation)
    if not pairs:
        return cameras
    first = torch.stack([cameras.azimuth, cameras.elevation, cameras.eye.norm(dim=1)])
    other = torch.stack([first[0] + 180.0, sum(elevation) - first[1], sum(distance) - first[2]])
    azimuth, height, radius = torch.stack([first, other], dim=2).flatten(1)[:, : numbers.views]
    return orbit(azimuth, height, radius, numbers.fov)
