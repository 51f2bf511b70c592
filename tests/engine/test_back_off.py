"""Memory that runs out in a step: the step is taken again as if nothing had been, with less; all of it told; the cause in the end."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_model import make_tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from engine.back_off import BackOff
from engine.diffusion.load import load_prior
from engine.distillation import Distillation, PromptPair
from engine.errors import JobError
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.render.base import select_rasterizer
from engine.reporting import QuietReporter
from engine.sketch_surface import fitted_subject, sketch_surface
from tests.engine.shapes import box

NUMBERS = dataclasses.replace(PRESETS["draft"], grid=12, colour_grid=8, views=2, fit_steps=0, stage1_steps=6, stage2_steps=2,
                              geometry_every=1)  # fmt: skip
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Scarce(TorchDispatchMode):
    """Refuses memory at the allocations of these numbers, counted from 0."""

    def __init__(self, refused: set[int]) -> None:
        super().__init__()
        self.count, self.refused = 0, refused

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "aten" and not (func._schema.is_mutable or func.is_view):
            self.count += 1
            if self.count - 1 in self.refused:
                raise torch.OutOfMemoryError(FULL)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_prior(str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")), "cpu", torch.float32)


@pytest.fixture()
def prior(model):
    yield model
    model.at_once = 0
    model.vae.disable_gradient_checkpointing()


def job_of(prior, numbers=NUMBERS) -> Distillation:
    mesh, rasterizer, generator = box((0.5, 0.4, 0.6)), select_rasterizer("cpu"), torch.Generator().manual_seed(1)
    surface = sketch_surface(mesh, numbers, torch.device("cpu"))
    subject = fitted_subject(surface, mesh, numbers, 0.5, rasterizer, generator)
    return Distillation(subject, prior, rasterizer, numbers, PromptPair("a cup"), 0.5, generator)


def state_of(job: Distillation) -> dict[str, torch.Tensor]:
    moments = {f"{n}.{k}": v for n, s in job.optimizer.state_dict()["state"].items() for k, v in s.items()}
    return {name: value.clone() for name, value in (*job.subject.state_dict().items(), *moments.items())}


def unbroken(prior) -> tuple[dict[str, torch.Tensor], int]:
    """The state after two steps in which nothing ran out, and how many allocations they have."""
    warmed = job_of(prior)
    warmed.step(), warmed.step()  # prompts are embedded once
    job, sites = job_of(prior), Scarce(set())
    start = {name: value.clone() for name, value in job.state_dict()["subject"].items()}
    with sites:
        job.step(), job.step()
    expected = state_of(job)
    assert sites.count > 300
    assert any(not torch.equal(start[name], expected[name]) for name in start)
    return expected, sites.count


def taken_again(prior, refused: int) -> tuple[dict[str, torch.Tensor], int]:
    """The state after two steps with memory refused at one allocation, and how often a step ended for it."""
    job, told = job_of(prior), 0
    with Scarce({refused}):
        while job.taken < 2:
            try:
                job.step()
            except torch.OutOfMemoryError:
                told += 1
    return state_of(job), told


def a_few_of(count: int) -> list[int]:
    """A dozen places of the two steps, and those about where Adam makes its moments."""
    return [*range(3, count, count // 12), *range(count // 2 - 12, count // 2 + 4)]


@pytest.mark.parametrize("places", [pytest.param(a_few_of, marks=pytest.mark.slow), pytest.param(range, marks=pytest.mark.long)])
def test_wherever_memory_runs_out_the_step_taken_again_is_the_same(prior, places):
    """At every allocation of the first step (where Adam's moments are made) and of the second in the long run; bit for bit."""
    expected, count = unbroken(prior)
    for refused in places(count):
        found, told = taken_again(prior, refused)
        assert told == 1 and all(torch.equal(found[name], expected[name]) for name in expected), refused


def test_measures_come_in_the_order_of_what_they_cost(prior, monkeypatch):
    numbers = dataclasses.replace(NUMBERS, views=4, supersample=2)
    job, notes = job_of(prior, numbers), []
    monkeypatch.setattr(Distillation, "step", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError(FULL)))
    with pytest.raises(JobError) as caught:
        BackOff(job, notes.append).step()
    assert caught.value.code == "out_of_memory"
    kinds = ["4 items", "1 item at", "encoder", "supersampling", "2 views", "1 view:"]  # pictures of 16 pixels become no smaller
    assert len(notes) == len(kinds) and all(kind in note for kind, note in zip(kinds, notes, strict=True)), notes
    assert all("GPU's memory is used up" in note and "goes on from step 0" in note for note in notes)
    assert prior.at_once == 1 and prior.vae.is_gradient_checkpointing
    assert (job.hyperparameters.views, job.hyperparameters.supersample) == (1, 1)


def test_a_large_models_pictures_become_smaller_last(prior, monkeypatch):
    job, notes = job_of(prior, dataclasses.replace(NUMBERS, views=1)), []
    monkeypatch.setattr(prior, "image_size", 512)
    monkeypatch.setattr(prior, "own_size", 512)
    monkeypatch.setattr(Distillation, "step", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError(FULL)))
    with pytest.raises(JobError):
        BackOff(job, notes.append).step()
    assert "pictures of 384 pixels" in notes[-2] and "pictures of 256 pixels" in notes[-1] and prior.image_size == 256


def test_other_errors_pass(prior, monkeypatch):
    def fails(self):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Distillation, "step", fails)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        BackOff(job_of(prior), pytest.fail).step()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refine", "texture"])
def test_a_job_goes_on_with_less_and_says_so(prior, monkeypatch, mode):
    """Four items at once are too many, and so are two views: the job ends with one of each."""
    honest, encode, asked = prior.unet.forward, prior.encode, []

    def small(x, *arguments, **named):
        asked.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError(FULL)
        return honest(x, *arguments, **named)

    def one(images, generator=None):
        if len(images) > 1:
            raise torch.OutOfMemoryError(FULL)
        return encode(images, generator)

    monkeypatch.setattr(prior.unet, "forward", small)
    monkeypatch.setattr(prior, "encode", one)
    reporter = QuietReporter()
    overrides = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 1, "stage1_steps": 2, "stage2_steps": 2, "texture_size": 32}
    settings = JobSettings("a cup", mode, model="tiny", maps="albedo", faces=200, overrides=overrides)
    result = run_job(box((0.5, 0.4, 0.6)), settings, reporter, load=lambda *_, **__: prior)
    told = [note for note in reporter.notes if "used up" in note]
    assert any("1 view:" in note for note in told) and any("items at a time" in note or "1 item at" in note for note in told)
    assert max(asked[-4:]) <= 2 and len(result.mesh.faces)
