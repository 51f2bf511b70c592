"""The setting that compiles a model: the steps ask the compiled network, nothing else does, and what fails leaves the job as it was."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_model import make_tiny_model

from engine import compiling, doctor
from engine.compiling import CompiledSteps
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.diffusion.load import load_prior
from engine.diffusion.prior import Conditions, PixelLatents
from engine.diffusion.schedule import NoiseSchedule
from engine.distillation import Distillation, PromptPair
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.render.base import select_rasterizer
from engine.reporting import QuietReporter
from engine.subject import TextureSubject
from engine.texture.field import ColourField
from tests.engine.shapes import box

NUMBERS = dataclasses.replace(PRESETS["draft"], colour_grid=8, views=2, stage1_steps=3, stage2_steps=2, compiled="yes")


class Counting:
    """A backend of torch.compile that runs what it is given and counts; `calls` of the largest graph, that of the network."""

    def __init__(self) -> None:
        self.graphs, self.calls = 0, 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*arguments):
            self.calls += 1
            return graph(*arguments)

        return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_prior(str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")), "cpu", torch.float32)


class OneLayer(PixelLatents):
    """A prior whose network is one convolution: torch takes seconds for a whole one."""

    name, image_size, kinds, dtype, device = "one layer", 16, (), torch.float32, torch.device("cpu")

    def __init__(self) -> None:
        self.schedule = NoiseSchedule(torch.linspace(0.999, 0.01, 100))
        self.unet = torch.nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)

    def embed(self, prompts, cameras=None):
        return Conditions(tuple(prompts), torch.zeros(len(prompts), 1))

    @torch.no_grad()
    def predict_noise(self, x_t, t, conditions):
        return self.unet(x_t)


@pytest.fixture()
def backend(monkeypatch):
    torch._dynamo.reset()
    counting = Counting()
    monkeypatch.setattr(compiling, "BACKEND", counting)
    yield counting
    torch._dynamo.reset()


def job_of(prior) -> Distillation:
    subject = TextureSubject(box((0.5, 0.4, 0.6)), ColourField(8), torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    return Distillation(subject, prior, select_rasterizer("cpu"), NUMBERS, PromptPair("a cup"), 0.5, generator)


def test_every_step_of_both_stages_asks_the_compiled_network_and_gets_the_same(model, backend):
    job, plain, notes = job_of(model), job_of(model), []
    steps, network = CompiledSteps(job, job, notes.append), model.unet
    calls = []
    while not job.finished:
        before = backend.calls
        found, expected = steps.step(), plain.step()
        calls.append(backend.calls - before)
        torch.testing.assert_close(found.rgb, expected.rgb, atol=1e-4, rtol=0)
        assert model.unet is network
    assert len(calls) == 5 and all(calls), calls
    assert len(notes) == 2 and "first step" in notes[0] and " s." in notes[1]


def test_another_shape_than_the_compiled_one_is_not_compiled(backend):
    job = job_of(OneLayer())
    steps = CompiledSteps(job, job, lambda told: None)
    steps.step()
    graphs, calls = backend.graphs, backend.calls
    job.hyperparameters = dataclasses.replace(job.hyperparameters, views=1)  # as a job that backs off
    steps.step()
    assert (backend.graphs, backend.calls) == (graphs, calls) and job.taken == 2


def test_what_cannot_be_compiled_is_told_and_the_job_goes_on(monkeypatch):
    def no_compiler(graph, inputs):
        raise OSError("no C++ compiler was found")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", no_compiler)
    reporter = QuietReporter()
    overrides = {"colour_grid": 8, "views": 2, "stage1_steps": 2, "stage2_steps": 0, "texture_size": 32, "compiled": "yes"}
    settings = JobSettings("a cup", "texture", device="cpu", maps="albedo", overrides=overrides)
    run_job(box((0.5, 0.4, 0.6)), settings, reporter, load=lambda *what, **more: OneLayer())
    assert any("could not compile" in note and "no C++ compiler" in note for note in reporter.notes), reporter.notes
    torch._dynamo.reset()


def test_other_errors_pass(backend, monkeypatch):
    job = job_of(OneLayer())
    steps = CompiledSteps(job, job, lambda told: None)
    steps.step()
    monkeypatch.setattr(Distillation, "step", lambda self: (_ for _ in ()).throw(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        steps.step()


def test_the_doctor_says_whether_there_is_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert compiling.compiler_for(torch.device("cpu")) is None
    assert doctor._torch().state == "works" and "no compiler that --set compiled=yes" in doctor._torch().detail
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if name == "clang++" else None)
    assert "with clang++" in doctor._torch().detail


def test_a_prior_without_a_network_is_left_alone(backend):
    pictures, notes = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)), []
    prior = EmpiricalPrior(pictures, [ImageLabel("a cup")] * 3)
    job = job_of(prior)
    CompiledSteps(job, job, notes.append).step()
    assert job.taken == 1 and "no network" in notes[0]
