"""How often a step would wait for a GPU: every number and every size that the host asks of a tensor is a wait there."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
from tiny_model import make_tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from engine.diffusion.load import load_prior
from engine.distillation import Distillation, PromptPair
from engine.job_fields import PRESETS
from engine.render.base import select_rasterizer
from engine.sketch_surface import fitted_subject, sketch_surface
from tests.engine.shapes import box

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "bincount")
"""Operations whose answer the host needs before it goes on; a mask as an index is a nonzero."""


class Waits(TorchDispatchMode):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        self.found[name] += name in WAITING
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize(("moving", "most"), [(True, 13), (False, 7)])
def test_a_step_waits_no_more_than_it_did(tmp_path, moving, most):
    numbers = dataclasses.replace(PRESETS["draft"], grid=12, colour_grid=8, views=2, stage1_steps=4, stage2_steps=0, geometry_every=2)
    mesh, rasterizer, generator = box((0.5, 0.4, 0.6)), select_rasterizer("cpu"), torch.Generator().manual_seed(1)
    surface = sketch_surface(mesh, numbers, torch.device("cpu"))
    subject = fitted_subject(surface, mesh, dataclasses.replace(numbers, fit_steps=0), 0.5, rasterizer, generator)
    prior = load_prior(str(make_tiny_model(tmp_path / "model")), "cpu", torch.float32)
    job = Distillation(subject, prior, rasterizer, numbers, PromptPair("a cup"), 0.5, generator)
    for _ in range(2 if moving else 1):
        job.step()
    assert job.moves == moving
    waits = Waits()
    with waits:
        job.step()
    assert 0 < sum(waits.found.values()) <= most, waits.found
