"""What a step looks at: views within their ranges, in pairs that face each other where that is asked."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from engine.job_fields import PRESETS
from engine.view_batch import sample_view_batch

CPU = torch.device("cpu")
DRAFT = PRESETS["draft"]


def cameras(views: int, sampling: str, seed: int = 0):
    numbers = dataclasses.replace(DRAFT, views=views, view_sampling=sampling)
    batch = sample_view_batch(numbers, torch.Generator().manual_seed(seed), CPU)
    assert len(batch.words) == len(batch.background) == len(batch.cameras) == views
    return batch.cameras


@pytest.mark.parametrize("sampling", ["stratified", "antipodal"])
@pytest.mark.parametrize("views", [1, 2, 4, 5])
def test_views_lie_within_their_ranges(sampling, views):
    for seed in range(20):
        found = cameras(views, sampling, seed)
        assert bool(((found.elevation >= DRAFT.elevation_low - 1e-3) & (found.elevation <= DRAFT.elevation_high + 1e-3)).all())
        distance = found.eye.norm(dim=1)
        assert bool(((distance >= DRAFT.distance_low - 1e-4) & (distance <= DRAFT.distance_high + 1e-4)).all())


def test_antipodal_views_face_each_other():
    found = cameras(6, "antipodal")
    turned = (found.azimuth[1::2] - found.azimuth[::2]) % 360
    assert torch.allclose(turned, torch.full((3,), 180.0), atol=1e-3)
    assert torch.allclose(
        found.elevation[1::2] + found.elevation[::2], torch.full((3,), DRAFT.elevation_low + DRAFT.elevation_high), atol=1e-3
    )
    distance = found.eye.norm(dim=1)
    assert torch.allclose(distance[1::2] + distance[::2], torch.full((3,), DRAFT.distance_low + DRAFT.distance_high), atol=1e-3)


def test_the_same_seed_gives_the_same_views_and_another_others():
    assert torch.equal(cameras(4, "antipodal", 3).eye, cameras(4, "antipodal", 3).eye)
    assert not torch.allclose(cameras(4, "antipodal", 3).eye, cameras(4, "antipodal", 4).eye)
