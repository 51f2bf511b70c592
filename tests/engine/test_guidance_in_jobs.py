"""Every method that says it serves jobs takes steps of one, with a real renderer and an exact prior; noise that belongs to the surface."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from engine.camera import orbit
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.distillation import Distillation, PromptPair
from engine.guidance.methods import methods_for
from engine.job import texture_subject
from engine.job_fields import PRESETS
from engine.render.base import select_rasterizer
from tests.engine.shapes import box

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(scope="module")
def board() -> EmpiricalPrior:
    pictures = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    views = ("front", "side", "back") * 2
    return EmpiricalPrior(pictures, [ImageLabel(f"a red ball, {view} view", view) for view in views], spread=0.3)


def distillation_of(board: EmpiricalPrior, method: str, seed: int = 0) -> Distillation:
    numbers = dataclasses.replace(
        PRESETS["draft"], colour_grid=16, views=4, stage1_steps=0, stage2_steps=3, stage2_method=method, geometry_every=1
    )
    subject = texture_subject(box((0.5, 0.4, 0.6)), numbers, CPU)
    generator = torch.Generator().manual_seed(seed)
    return Distillation(subject, board, select_rasterizer(CPU), numbers, PromptPair("a red ball", None, method), 0.0, generator)


def colours(distillation: Distillation) -> Tensor:
    points = torch.rand(64, 3, generator=torch.Generator().manual_seed(9)) - 0.5
    return distillation.subject.colour(points).detach()


@pytest.mark.parametrize("method", methods_for("job"))
def test_every_method_of_jobs_takes_steps_and_repeats(board, method):
    ends = []
    for _ in range(2):
        distillation = distillation_of(board, method)
        before = colours(distillation)
        while not distillation.finished:
            assert torch.isfinite(torch.tensor(list(distillation.step().figures.values()))).all()
        ends.append(colours(distillation))
        assert not torch.allclose(before, ends[-1], atol=1e-4)
    assert torch.equal(*ends)


def test_noise_of_the_surface_is_the_job_s_own_and_shared_by_views(board):
    """Two equal cameras see the same noise, another seed sees another; the image's rows are the right way up."""
    first, second = distillation_of(board, "cfd"), distillation_of(board, "cfd", seed=1)
    cameras = orbit([0.0, 0.0, 180.0], [20.0, 20.0, 20.0], 3.0, 40.0)
    noises = []
    for distillation in (first, second):
        distillation.step()
        noises.append(distillation.noise_of_the_surface(cameras, torch.zeros(3, 4, 8, 8)))
    seen = noises[0]
    assert seen.shape == (3, 4, 8, 8) and torch.equal(seen[0, :, 3:5, 3:5], seen[1, :, 3:5, 3:5])
    assert not torch.allclose(seen[0, :, 3:5, 3:5], seen[2, :, 3:5, 3:5]) and not torch.allclose(seen, noises[1])
    assert float(seen.std()) == pytest.approx(1.0, abs=0.15)
