"""The regressor reads surfaces back from pictures: of balls, what is covered and which way it faces, and it sees what is out of place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.render.control import MASK
from scripts.prior.data.buffers import pack_control
from scripts.prior.normal_regressor import NormalRegressor, RepaintedPictures, own_score, taught


def balls(count: int, seed: int) -> RepaintedPictures:
    """Shaded balls of any colour, place and size, with their controls."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(1, -1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    centre, radius = torch.rand(count, 2, 1, 1, generator=rng) - 0.5, 0.25 + 0.25 * torch.rand(count, 1, 1, generator=rng)
    across, up = (x - centre[:, 0]) / radius, (y - centre[:, 1]) / radius
    inside = across**2 + up**2 < 1
    normals = torch.stack([across, up, (1 - across**2 - up**2).clamp(min=0).sqrt()], dim=1) * inside[:, None]
    light = torch.nn.functional.normalize(torch.tensor([0.3, 0.4, 0.9]), dim=0)
    shade = (normals * light[:, None, None]).sum(1, keepdim=True).clamp(min=0) * 0.6 + 0.4 * inside[:, None]
    pictures = shade * (0.3 + 0.7 * torch.rand(count, 3, 1, 1, generator=rng))
    control = torch.from_numpy(pack_control(torch.cat([normals, inside[:, None].float()], dim=1)))
    return RepaintedPictures((pictures * 255).byte(), control)


@pytest.fixture(scope="module")
def regressor() -> NormalRegressor:
    torch.set_num_threads(1)
    return taught(balls(200, 0), steps=120, batch=6)


def test_it_reads_balls_that_it_has_not_seen(regressor):
    shown = own_score(regressor, balls(20, 1))
    assert shown.outline.mean() > 0.82
    assert np.nanmean(shown.normals) < 18  # a blank answer towards the viewer is about 40 off


def test_what_is_asked_for_elsewhere_agrees_less(regressor):
    pictures, control = balls(20, 1).drawn(torch.arange(20), torch.Generator().manual_seed(0))
    right, aside = regressor.agreement(pictures, control), regressor.agreement(pictures, control.roll(8, dims=-1))
    assert aside.outline.mean() < right.outline.mean() - 0.15
    assert np.nanmean(aside.normals) > np.nanmean(right.normals) + 10


def test_a_picture_of_nothing_agrees_with_nothing(regressor):
    shown = regressor.agreement(torch.full((1, 3, 64, 64), 0.8), balls(1, 2).control[:, : MASK + 1].float() / 127)
    assert shown.outline[0] < 0.1


def test_pictures_are_set_before_grounds_where_nothing_is_covered():
    made = balls(3, 4)
    pictures, control = made.drawn(torch.arange(3), torch.Generator().manual_seed(0))
    inside = control[:, MASK] == 1
    assert torch.allclose(pictures.permute(0, 2, 3, 1)[inside], made.shaded.permute(0, 2, 3, 1)[inside] / 255)
    assert all(len(picture[:, ~covered].unique(dim=1).T) == 1 for picture, covered in zip(pictures, inside, strict=True))
