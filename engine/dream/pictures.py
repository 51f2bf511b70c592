"""What a dream is shown by: a turntable of its result, and a sheet with the cloud above."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from engine.contact_sheet import AZIMUTHS, framed, render_views
from engine.conventions import SceneNormalization
from engine.pictures import write_animation, write_image
from engine.results import JobResult

FRAMES, FRAME_SIZE, FRAME_MILLISECONDS = 24, 192, 80
TILE = 256


def views_of(result: JobResult, azimuths: tuple[float, ...], size: int) -> Tensor:
    """The textured result from these azimuths (degrees), [N, 3, size, size] over white."""
    normalization = SceneNormalization.of_bounds(result.mesh.vertices)
    cameras = framed(normalization, azimuths, result.mesh)
    return torch.from_numpy(render_views(result.mesh, result.painted, normalization, cameras, size)).permute(0, 3, 1, 2)


def write_turntable(path: Path, result: JobResult) -> None:
    """A GIF that goes once around the result."""
    azimuths = tuple(360.0 * frame / FRAMES for frame in range(FRAMES))
    write_animation(path, list(views_of(result, azimuths, FRAME_SIZE)), FRAME_SIZE, FRAME_MILLISECONDS, FRAME_MILLISECONDS)


def write_sheet(path: Path, cloud: Tensor, result: JobResult) -> None:
    """A PNG: the cloud [6, 3, S, S] above, the result below, from the same six sides."""
    above = functional.interpolate(cloud, size=(TILE, TILE), mode="bilinear", align_corners=False)
    rows = [torch.cat(list(row), dim=2) for row in (above, views_of(result, AZIMUTHS, TILE))]
    write_image(path, torch.cat(rows, dim=1))
