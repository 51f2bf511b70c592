"""The finishing stage: views that agree on the surface, a bridge that they cross together, colours that follow and stay bounded."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from engine.bridge import PHASES, ZOOM, SurfaceBridge, phases, planned_steps
from engine.camera import orbit
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.distillation import Distillation, PromptPair
from engine.errors import Cancelled
from engine.guidance.regions import PartPrompts
from engine.job import texture_subject
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.fusing import fuse_views, see_surface
from tests.engine.shapes import box, merge, moved

CPU = torch.device("cpu")
SIDE = 16
CUBE = box((0.5, 0.5, 0.5))


def tensors(mesh: Mesh) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)


def job_of(colour: tuple[float, float, float], adherence: float = 0.5, painted: bool = False, **numbers) -> Distillation:
    """A grey cube, or a blue one that an artist painted, under an exact prior of pictures of one colour."""
    pictures = torch.tensor(colour).view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE)
    board = EmpiricalPrior(pictures, [ImageLabel("a ball")] * 2, spread=0.3)
    settings = {"colour_grid": 16, "views": 2, "stage1_steps": 0, "stage2_steps": 0, "finish_steps": 4, "finish_views": 3, **numbers}
    hyperparameters = dataclasses.replace(PRESETS["draft"], **settings)
    blue = torch.tensor([0.2, 0.2, 0.8]).expand(len(CUBE.vertices), 3).numpy()
    mesh = dataclasses.replace(CUBE, colours=blue) if painted else CUBE
    subject = texture_subject(mesh, hyperparameters, CPU)
    generator = torch.Generator().manual_seed(0)
    return Distillation(subject, board, select_rasterizer(CPU), hyperparameters, PromptPair("a ball"), adherence, generator)


def colours(job: Distillation) -> Tensor:
    """In the middles of the cube's sides."""
    return job.subject.colour(torch.tensor([[0.0, -0.5, 0.0], [0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])).detach()


def test_places_that_two_views_see_become_one_colour_and_hidden_ones_stay():
    """One view is all red, its neighbour all blue, the third, from behind, all green: the two agree, and not with the third."""
    cameras = orbit([-20.0, 20.0, 180.0], 0.0, 3.0, 40.0)
    seen = see_surface(select_rasterizer(CPU), *tensors(CUBE), cameras, 48)
    fused = fuse_views(torch.eye(3)[[0, 2, 1]].view(3, 3, 1, 1).expand(3, 3, 48, 48), seen)
    front = (seen.points[..., 1] < -0.49) & (seen.points[..., 0].abs() < 0.15) & seen.covered
    of_first, of_second = fused[0][:, front[0]].mean(1), fused[1][:, front[1]].mean(1)
    assert torch.allclose(of_first, of_second, atol=0.05) and of_first[0] > 0.3 and of_first[2] > 0.3 and of_first[1] < 0.02
    back = (seen.points[..., 1] > 0.49) & seen.covered
    assert torch.allclose(fused[2][:, back[2]], torch.tensor([[0.0], [1.0], [0.0]]).expand(3, int(back[2].sum())), atol=1e-5)
    assert torch.equal(fused[0][:, ~seen.covered[0]], torch.eye(3)[0][:, None].expand(3, int((~seen.covered[0]).sum())))


def test_what_another_part_hides_from_a_view_does_not_take_its_colour():
    """A plate in front of the cube: the view that sees the plate says nothing of the cube's front behind it."""
    plate = moved(box((0.6, 0.02, 0.6)), 0.0, -1.0, 0.0)
    cameras = orbit([0.0, 60.0], 0.0, 3.2, 40.0)
    seen = see_surface(select_rasterizer(CPU), *tensors(merge(CUBE, plate)), cameras, 64)
    fused = fuse_views(torch.eye(3)[:2].view(2, 3, 1, 1).expand(2, 3, 64, 64), seen)
    on_cube = seen.covered[1] & (seen.points[1][..., 1] > -0.9) & (seen.points[1][..., 0] < 0.45)
    assert on_cube.sum() > 3 and torch.allclose(fused[1][1, on_cube], torch.ones(int(on_cube.sum())))


def test_close_ups_look_nearer_at_places_of_the_surface():
    job = job_of((0.9, 0.1, 0.1))
    bridge = SurfaceBridge(job, 0)
    whole, near = bridge.cameras(0), bridge.cameras(1)
    assert (len(whole), len(near)) == (3, 6)
    assert torch.allclose(near.projection[:, 0, 0], whole.projection[0, 0, 0] * ZOOM)
    seen = see_surface(job.rasterizer, *tensors(CUBE), near, SIDE)
    assert seen.covered.flatten(1).float().mean(1).min() > 0.2
    assert not torch.equal(near.projection, SurfaceBridge(job, 1).cameras(1).projection)


@pytest.mark.parametrize("phase", range(len(PHASES)))
def test_the_bridge_takes_a_grey_surface_to_the_prompt_and_tells_every_step(phase):
    job, told = job_of((0.9, 0.15, 0.1), finish_noise=0.9, colour_lr=0.1), []
    before = colours(job)
    bridge = SurfaceBridge(job, 0)
    views = bridge.run(phase, lambda done, total, figures=None: told.append((done, total)))
    assert told == [(step, planned_steps(job.hyperparameters, phase)) for step in range(1, len(told) + 1)]
    assert len(told) == planned_steps(job.hyperparameters, phase) and len(views) == (6 if phase else 3)
    after = colours(job)
    moved_by = (after - before).mean(0)
    assert moved_by[0] > 0.05 and moved_by[1] < -0.1 and moved_by[2] < -0.1
    again = job_of((0.9, 0.15, 0.1), finish_noise=0.9, colour_lr=0.1)
    SurfaceBridge(again, 0).run(phase)
    assert torch.equal(colours(again), after)


def test_what_the_artist_painted_stays_the_artist_s():
    """At adherence 1 the blue stays; at 0.5 it lies between; at 0 it goes where the prompt takes it."""
    ends = {}
    for adherence in (1.0, 0.5, 0.0):
        job = job_of((0.9, 0.15, 0.1), adherence, painted=True, finish_noise=0.9, colour_lr=0.1)
        SurfaceBridge(job, 0).run(0)
        ends[adherence] = colours(job)[:, 2].mean()
    assert abs(ends[1.0] - 0.8) < 0.03 and ends[0.0] < ends[0.5] - 0.05 < ends[1.0] - 0.1


def test_a_job_has_the_phases_that_it_asks_for():
    assert phases(job_of((0.9, 0.1, 0.1)).hyperparameters) == PHASES
    assert phases(job_of((0.9, 0.1, 0.1), finish_close_ups=0).hyperparameters) == PHASES[:1]
    assert phases(job_of((0.9, 0.1, 0.1), finish_steps=0).hyperparameters) == ()


def test_the_user_can_end_it_at_every_step():
    job = job_of((0.9, 0.15, 0.1))

    def stop(done: int, total: int, figures=None) -> None:
        if done == 3:
            raise Cancelled

    before = colours(job)
    with pytest.raises(Cancelled):
        SurfaceBridge(job, 0).run(0, stop)
    assert torch.equal(colours(job), before)


def test_parts_with_prompts_of_their_own_go_where_those_take_them():
    """The cube's front is asked to be green, the rest red."""
    pictures = torch.tensor([[0.9, 0.15, 0.1], [0.1, 0.8, 0.15]]).view(2, 3, 1, 1).expand(2, 3, SIDE, SIDE)
    board = EmpiricalPrior(pictures, [ImageLabel("red ball"), ImageLabel("green block")], spread=0.3)
    plain = job_of((0.9, 0.15, 0.1), finish_noise=0.9, colour_lr=0.1, finish_scale=1.0)
    front = (torch.from_numpy(CUBE.vertices)[torch.from_numpy(CUBE.faces).long()][..., 1] < -0.49).all(1)
    parts = PartPrompts(("green block",), front.long())
    generator = torch.Generator().manual_seed(0)
    job = Distillation(
        plain.subject, board, plain.rasterizer, plain.hyperparameters, PromptPair("red ball"), 0.5, generator, parts=parts
    )  # fmt: skip
    SurfaceBridge(job, 0).run(0)
    middles = job.subject.colour(torch.tensor([[0.0, -0.5, 0.0], [0.0, 0.5, 0.0]])).detach()
    assert middles[0, 1] > middles[0, 0] and middles[1, 0] > middles[1, 1]
