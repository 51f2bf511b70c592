"""Two ways to move: stage 1 can begin with the surface's normals, and stage 2 has its own share of the geometry's rates."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.distillation import Distillation, PromptPair
from engine.job_fields import PRESETS
from engine.render.base import select_rasterizer
from engine.sketch_surface import fitted_subject, sketch_surface
from engine.view_batch import ViewBatch
from tests.engine.test_loop_oracle import CPU, GREY, SIZE, SKETCH, pool


def distillation_with(**numbers: float | str) -> Distillation:
    """A few steps on a coarse ball under a prior of random pictures."""
    seen = pool(4, seed=1)
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    angles = zip(seen.azimuth.tolist(), seen.elevation.tolist(), strict=True)
    prior = EmpiricalPrior(images, [ImageLabel("a ball", None, *pair) for pair in angles], nearest=1)
    chosen = dataclasses.replace(PRESETS["draft"], grid=16, colour_grid=8, closing=0.0, fit_steps=0, stage1_steps=4, stage2_steps=2,
                                 views=4, stage2_method="sds", geometry_every=1, sdf_lr=3e-3, **numbers)  # fmt: skip
    rasterizer, generator = select_rasterizer(CPU), torch.Generator().manual_seed(0)
    subject = fitted_subject(sketch_surface(SKETCH, chosen, CPU), SKETCH, chosen, 0.3, rasterizer, generator)
    batch = ViewBatch(seen, None, torch.full((4, 3), GREY), [""] * 4)
    return Distillation(subject, prior, rasterizer, chosen, PromptPair("a ball"), 0.3, generator, sample_views=lambda *_: batch)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_stage_2_moves_the_surface_by_its_own_share(share: float) -> None:
    """The step of Adam's first moments is the rate's: none at 0, and at 0.5 half of what it is at 1."""
    own, full = distillation_with(stage2_geometry=share), distillation_with(stage2_geometry=1.0)
    for distillation in (own, full):
        for _ in range(4):
            distillation.step()
    before = own.subject.surface.sdf.detach().clone()  # type: ignore[attr-defined]
    assert torch.equal(before, full.subject.surface.sdf.detach())  # type: ignore[attr-defined]
    for distillation in (own, full):
        distillation.step()
    moved, at_full = (one.subject.surface.sdf.detach() - before for one in (own, full))  # type: ignore[attr-defined]
    assert at_full.abs().max() > 1e-4
    assert torch.allclose(moved, share * at_full, atol=2e-6)


def test_at_first_the_normals_are_seen_and_the_colours_stay() -> None:
    distillation = distillation_with(normals_first=0.5)
    colours = [parameter.detach().clone() for parameter in distillation.subject.colour.parameters()]
    surface = distillation.subject.surface.sdf.detach().clone()  # type: ignore[attr-defined]
    for done in range(2):
        assert distillation.sees_normals
        step = distillation.step()
        middle = step.rgb[0, :, SIZE // 2, SIZE // 2] * 2 - 1
        assert middle.norm() == pytest.approx(1, abs=0.1), "a unit normal as a colour"
        assert step.rgb[0, :, 0, 0].tolist() == pytest.approx([GREY] * 3, abs=1e-3), f"the background is kept at step {done}"
    assert not distillation.sees_normals
    for before, after in zip(colours, distillation.subject.colour.parameters(), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(surface, distillation.subject.surface.sdf)  # type: ignore[attr-defined]
    distillation.step()
    assert any(not torch.equal(before, after) for before, after in zip(colours, distillation.subject.colour.parameters(), strict=True))
