"""Whole jobs with the real parts, small: refine, texture, resume, cancel, and what is refused before any work starts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import engine.job as job
from engine.errors import Cancelled, InputError, JobError, ModelError
from engine.formats.meshio import load_mesh
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from engine.stages import Stage
from engine.subject import max_offset

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = {"grid": 24, "colour_grid": 16, "views": 2, "supersample": 1, "fit_steps": 3, "stage1_steps": 4, "stage2_steps": 3,
         "geometry_every": 2, "finish_steps": 2, "finish_views": 3, "faces": 1500, "texture_size": 64}  # fmt: skip
STAGES = [stage.value for stage in Stage if stage is not Stage.DREAM]  # that one is of text to 3D
SETTINGS = JobSettings(prompt="a red mushroom", seed=3, overrides=SMALL)


class Recorder(QuietReporter):
    """Remembers what it is told; asks to cancel once `stop` is true of (stage, step)."""

    def __init__(self, stop: Callable[[str, int], bool] | None = None) -> None:
        super().__init__()
        self.stages: list[str] = []
        self.steps: list[tuple[str, int, int]] = []
        self.previews: list[np.ndarray] = []
        self.meshes: list[Mesh] = []
        self._stop = stop
        self._wants_end = False

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        if stage not in self.stages:
            self.stages.append(stage)
        self.steps.append((stage, step, total))
        assert 0 <= step <= total and (seconds_left is None or seconds_left >= 0)
        if self._stop is not None and self._stop(stage, step):
            self._wants_end = True

    def preview(self, image: np.ndarray) -> None:
        self.previews.append(image)

    def mesh(self, mesh: Mesh) -> None:
        self.meshes.append(mesh)

    def cancelled(self) -> bool:
        return self._wants_end


@pytest.fixture(scope="module")
def sketch() -> Mesh:
    return load_mesh(EXAMPLES / "mushroom.glb")


@pytest.fixture(scope="module")
def refined(sketch: Mesh) -> tuple[job.JobResult, Recorder]:
    reporter = Recorder()
    return job.run_job(sketch, SETTINGS, reporter), reporter


@pytest.mark.slow
def test_a_refined_sketch_is_a_textured_mesh_where_the_sketch_was(sketch: Mesh, refined: tuple[job.JobResult, Recorder]) -> None:
    result, reporter = refined
    mesh = result.mesh
    assert mesh.uvs is not None and mesh.uvs.shape == (len(mesh.faces), 3, 2)
    assert len(mesh.faces) > 100
    assert len(mesh.faces) <= 1.05 * SMALL["faces"] or any("over the budget" in note for note in reporter.notes)
    assert result.maps["albedo"].shape == (64, 64, 3) and result.maps["albedo"].dtype == np.uint8
    low, high = sketch.vertices.min(0), sketch.vertices.max(0)
    slack = 0.15 * sketch.diagonal
    assert (mesh.vertices.min(0) > low - slack).all() and (mesh.vertices.max(0) < high + slack).all()
    assert 0 < result.report["deviation_mean_percent"] < 5
    json.dumps(result.report)


@pytest.mark.slow
def test_progress_runs_through_all_stages_and_the_surface_is_streamed(refined: tuple[job.JobResult, Recorder]) -> None:
    _, reporter = refined
    assert reporter.stages == STAGES
    assert reporter.previews and reporter.previews[0].dtype == np.uint8 and reporter.previews[0].ndim == 3
    assert reporter.meshes and reporter.meshes[0].colours is not None


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(sketch: Mesh, refined: tuple[job.JobResult, Recorder]) -> None:
    again = job.run_job(sketch, SETTINGS, QuietReporter())
    assert np.array_equal(again.mesh.vertices, refined[0].mesh.vertices)
    assert np.array_equal(again.maps["albedo"], refined[0].maps["albedo"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["fit", "stage 1", "stage 2", "finish"])
def test_a_resumed_job_gives_the_result_of_an_unbroken_one(
    stage: str, sketch: Mesh, refined: tuple[job.JobResult, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.checkpoint.INTERVAL_SECONDS", 0.0)
    file = tmp_path / "mushroom.checkpoint"
    last = 60 if stage == "finish" else 2  # of hundredths, so among the close-ups
    with pytest.raises(Cancelled):
        job.run_job(sketch, SETTINGS, Recorder(stop=lambda now, step: now == stage and step >= last), checkpoint=file)
    assert file.is_file()
    reporter = Recorder()
    resumed = job.run_job(sketch, SETTINGS, reporter, checkpoint=file)
    assert any("Resumed" in note for note in reporter.notes)
    assert np.array_equal(resumed.mesh.vertices, refined[0].mesh.vertices)
    assert np.array_equal(resumed.maps["albedo"], refined[0].maps["albedo"])
    delivered_late = job.run_job(sketch, SETTINGS, QuietReporter(), checkpoint=file)
    assert np.array_equal(delivered_late.maps["albedo"], refined[0].maps["albedo"])


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_does_not_end_the_job(sketch: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.checkpoint.INTERVAL_SECONDS", 0.0)
    reporter = Recorder()
    result = job.run_job(sketch, SETTINGS, reporter, checkpoint=tmp_path / "missing" / "a.checkpoint")
    assert len(result.mesh.faces) > 100
    assert sum("goes on without" in note for note in reporter.notes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_cancel_is_noticed_in_every_stage(stage: str, sketch: Mesh) -> None:
    with pytest.raises(Cancelled):
        job.run_job(sketch, SETTINGS, Recorder(stop=lambda now, step: now == stage))


@pytest.mark.slow
def test_texturing_leaves_vertices_faces_and_uvs_byte_identical(sketch: Mesh) -> None:
    generator = np.random.default_rng(0)
    uvs = generator.random((len(sketch.faces), 3, 2)).astype(np.float32)
    given = dataclasses.replace(sketch, uvs=uvs)
    before = [array.tobytes() for array in (given.vertices, given.faces, uvs)]
    reporter = Recorder()
    result = job.run_job(given, dataclasses.replace(SETTINGS, mode="texture"), reporter)
    assert result.mesh.uvs is not None
    assert [array.tobytes() for array in (result.mesh.vertices, result.mesh.faces, result.mesh.uvs)] == before
    assert "sdf" not in reporter.stages and "fit" not in reporter.stages
    assert result.report["deviation_mean_percent"] < 1e-3


@pytest.mark.slow
def test_texturing_without_uvs_unwraps_and_keeps_the_rest(sketch: Mesh) -> None:
    result = job.run_job(sketch, dataclasses.replace(SETTINGS, mode="texture"), QuietReporter())
    assert np.array_equal(result.mesh.vertices, sketch.vertices) and np.array_equal(result.mesh.faces, sketch.faces)
    assert result.mesh.uvs is not None and np.ptp(result.mesh.uvs) > 0.5


@pytest.mark.slow
def test_the_surface_stays_within_reach_of_the_sketch_whatever_the_guidance_does(sketch: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SETTINGS, adherence=0.9, overrides={**SMALL, "sdf_lr": 0.5})
    subjects = []
    keep = job.fitted_subject
    monkeypatch.setattr(job, "fitted_subject", lambda *arguments: subjects.append(keep(*arguments)) or subjects[-1])
    with contextlib.suppress(JobError):  # at this absurd rate nothing may be left; the bound holds all the same
        job.run_job(sketch, settings, QuietReporter())
    (subject,) = subjects
    assert float((subject.surface.sdf - subject.fitted).detach().abs().max()) <= max_offset(0.9) + 1e-6


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.full((3, 3), np.nan), [[0, 1, 2]]),
        (np.full((3, 3), np.inf), [[0, 1, 2]]),
        (np.zeros((3, 3)), [[0, 1, 2]]),
        (np.eye(3) * 1e9, [[0, 1, 2]]),
        (np.eye(3) * 1e-9, [[0, 1, 2]]),
    ],
    ids=["empty", "nan", "infinite", "no area", "1e9", "1e-9"],
)
def test_a_mesh_that_cannot_be_used_is_refused_before_the_model_loads(
    vertices: np.ndarray, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_prior", lambda *arguments: pytest.fail("the model was loaded"))
    mesh = Mesh(np.asarray(vertices, dtype=np.float32), np.asarray(faces, dtype=np.int32).reshape(-1, 3))
    with pytest.raises(InputError) as caught:
        job.run_job(mesh, SETTINGS, QuietReporter())
    assert caught.value.fix


@pytest.mark.slow
def test_a_single_triangle_becomes_a_solid() -> None:
    triangle = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))
    result = job.run_job(triangle, SETTINGS, QuietReporter())
    assert len(result.mesh.faces) > 20


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        job.run_job(Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32)), JobSettings(prompt=" "), QuietReporter())


def test_a_method_that_does_not_serve_jobs_is_refused_before_anything_heavy_is_loaded(sketch: Mesh) -> None:
    reporter = Recorder(stop=lambda stage, step: True)
    for name in ("magic", "dds"):
        with pytest.raises(InputError, match=name):
            job.run_job(sketch, dataclasses.replace(SETTINGS, overrides={**SMALL, "stage2_method": name}), reporter)


def test_a_missing_model_folder_is_named(sketch: Mesh, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        job.run_job(sketch, dataclasses.replace(SETTINGS, model=str(tmp_path / "nowhere")), QuietReporter())


def test_a_prompt_longer_than_the_text_model_takes_says_what_was_cut(sketch: Mesh) -> None:
    reporter = Recorder(stop=lambda stage, step: stage == "sdf")
    with pytest.raises(Cancelled):
        job.run_job(sketch, dataclasses.replace(SETTINGS, prompt="a red mushroom " + "with very many white dots " * 40), reporter)
    assert any("cut" in note and "dots" in note for note in reporter.notes), reporter.notes


def test_cuda_is_refused_where_there_is_none(sketch: Mesh) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(JobError, match="The device 'cuda' was asked for"):
        job.run_job(sketch, dataclasses.replace(SETTINGS, device="cuda"), QuietReporter())
