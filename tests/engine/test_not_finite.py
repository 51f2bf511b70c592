"""NaN and infinity from a prior: the step is left out, a few in a row end the job with the cause, and nothing of it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import engine.job as job
from engine.checkpoint import is_finite
from engine.conventions import SceneNormalization
from engine.diffusion.load import load_prior
from engine.diffusion.prior import Prior
from engine.distillation import DROPPED_AT_MOST
from engine.errors import JobError
from engine.formats.meshio import load_mesh
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from engine.texture.maps import COLOURS_ALONE
from engine.texture.watcher import NOBODY
from scripts.bench.reliability.tiny import box

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = {"grid": 24, "colour_grid": 16, "views": 2, "supersample": 1, "fit_steps": 2, "stage1_steps": 9, "stage2_steps": 0,
         "geometry_every": 4, "faces": 1500, "texture_size": 64}  # fmt: skip
SETTINGS = JobSettings(prompt="a red mushroom", seed=3, overrides=SMALL)


@pytest.fixture(scope="module")
def sketch() -> Mesh:
    return load_mesh(EXAMPLES / "mushroom.glb")


def spoiled(number: float, calls: range) -> Callable[..., Prior]:
    """Loads the embedded prior, whose answers at these calls (from 0) hold `number` throughout."""
    prior = load_prior("embedded", surface=True)
    honest, count = prior.predict_noise, [-1]

    def predict_noise(*arguments) -> torch.Tensor:
        count[0] += 1
        answer = honest(*arguments)
        return torch.full_like(answer, number) if count[0] in calls else answer

    prior.predict_noise = predict_noise  # type: ignore[method-assign]
    return lambda *_, **__: prior


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refine", "texture"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_one_bad_answer_is_left_out_and_said(mode: str, number: float, sketch: Mesh) -> None:
    reporter = QuietReporter()
    result = job.run_job(sketch, dataclasses.replace(SETTINGS, mode=mode), reporter, load=spoiled(number, range(4, 5)))
    assert [note for note in reporter.notes if "left out" in note] == ["Step 5 of stage 1 was left out: the model's answer was not finite."]
    assert np.isfinite(result.mesh.vertices).all() and result.maps["albedo"].std() > 1


@pytest.mark.slow
def test_a_prior_that_only_answers_nan_ends_the_job_with_the_cause(sketch: Mesh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("engine.checkpoint.INTERVAL_SECONDS", 0.0)
    file = tmp_path / "mushroom.checkpoint"
    with pytest.raises(JobError) as caught:
        job.run_job(sketch, SETTINGS, QuietReporter(), file, spoiled(float("nan"), range(2, 100)))
    assert caught.value.code == "not_finite" and "'embedded'" in caught.value.message and "float" in caught.value.message
    assert str(DROPPED_AT_MOST) in caught.value.message and caught.value.fix
    reporter = QuietReporter()  # a healthy prior: the same command goes on, from a state that is sound
    result = job.run_job(sketch, SETTINGS, reporter, file)
    assert any("Resumed after step" in note for note in reporter.notes)
    assert np.isfinite(result.mesh.vertices).all()


@pytest.mark.slow
def test_a_dropped_step_changes_nothing_but_the_count(sketch: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    step = job.Distillation.step

    def watched(self: job.Distillation) -> job.Step:
        before = {name: value.clone() for name, value in self.subject.state_dict().items() if value is not None}
        taken = step(self)
        after = self.subject.state_dict()
        states.append((taken.dropped, all(torch.equal(before[name], after[name]) for name in before), is_finite(self.state_dict())))
        return taken

    monkeypatch.setattr(job.Distillation, "step", watched)
    job.run_job(sketch, dataclasses.replace(SETTINGS, mode="texture"), QuietReporter(), load=spoiled(float("nan"), range(3, 4)))
    assert [dropped for dropped, _, _ in states] == [number == 3 for number in range(9)]
    assert [same for _, same, _ in states] == [number == 3 for number in range(9)]
    assert all(finite for _, _, finite in states)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_not_exported(number: float) -> None:
    """Whatever it came from: a resumed job's last step, a prior's gradient that overflowed."""
    mesh = box(layout=True)
    settings = JobSettings(prompt="a box", mode="texture", overrides={"texture_size": 32})
    subject = job.texture_subject(mesh, settings.resolve(), torch.device("cpu"))
    last = list(subject.colour.parameters())[-1]
    with torch.no_grad():
        last.view(-1)[-1] = number
    with pytest.raises(JobError) as caught:
        job._exported(subject, mesh, mesh, SceneNormalization.of_bounds(mesh.vertices), settings, NOBODY, [], COLOURS_ALONE)
    assert caught.value.code == "not_finite" and caught.value.fix
