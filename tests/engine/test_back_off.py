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
from engine.job import fitted_subject, run_job, sketch_surface
from engine.job_fields import PRESETS, JobSettings
from engine.render.base import select_rasterizer
from engine.reporting import QuietReporter
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


@pytest.mark.slow
def test_wherever_memory_runs_out_the_step_taken_again_is_the_same(prior):
    """At a dozen places of the first step (where Adam's moments are made) and of the second; bit for bit."""
    warmed = job_of(prior)
    warmed.step(), warmed.step()  # prompts are embedded once
    unbroken = job_of(prior)
    start = {name: value.clone() for name, value in unbroken.state_dict()["subject"].items()}
    sites = Scarce(set())
    with sites:
        unbroken.step(), unbroken.step()
    expected = state_of(unbroken)
    assert sites.count > 300
    assert any(not torch.equal(start[name], expected[name]) for name in start)
    last = sites.count // 2  # about where Adam makes its moments
    for refused in (*range(3, sites.count, sites.count // 12), *range(last - 12, last + 4)):
        broken = job_of(prior)
        told = 0
        with Scarce({refused}):
            while broken.taken < 2:
                try:
                    broken.step()
                except torch.OutOfMemoryError:
                    told += 1
        found = state_of(broken)
        assert told == 1 and all(torch.equal(found[name], expected[name]) for name in expected), refused


def test_measures_come_in_the_order_of_what_they_cost(prior, monkeypatch):
    numbers = dataclasses.replace(NUMBERS, views=4, supersample=2)
    job, notes = job_of(prior, numbers), []
    monkeypatch.setattr(Distillation, "step", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError(FULL)))
    with pytest.raises(JobError) as caught:
        BackOff(job, notes.append).step()
    assert caught.value.code == "out_of_memory"
    kinds = ["4 items", "1 item at", "encoder", "supersampling", "2 views", "1 view:"]
    assert len(notes) == len(kinds) and all(kind in note for kind, note in zip(kinds, notes, strict=True)), notes
    assert all("GPU's memory is used up" in note and "goes on from step 0" in note for note in notes)
    assert prior.at_once == 1 and prior.vae.is_gradient_checkpointing
    assert (job.hyperparameters.views, job.hyperparameters.supersample) == (1, 1)


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
