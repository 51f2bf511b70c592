"""THE loop: a sketch and a prompt in, a refined and textured mesh out. Reads from top to bottom.

check -> load model -> sdf -> fit -> stage 1 (SDS) -> stage 2 (calibrated) -> export; a texture job leaves out sdf and fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoint import Checkpoint, cached_path, fingerprint
from engine.config import Hyperparameters, JobSettings
from engine.conventions import SceneNormalization
from engine.diffusion.prior import Conditions, Prior, load_prior
from engine.diffusion.prompts import check_prompt, source_prompt, target_prompt
from engine.errors import JobError
from engine.export import finish, finish_texture
from engine.fit import fit_to_sketch
from engine.guidance.step import GuidanceSettings, distill
from engine.guidance.two_stage import TwoStage
from engine.isosurface.dmtet import TetGrid
from engine.mesh import Mesh
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.shading import render_views
from engine.reporting import Reporter, StageTimer
from engine.results import JobResult, versions
from engine.sketch.check import check_sketch
from engine.sketch.deviation import deviation
from engine.sketch.sdf import sketch_sdf
from engine.subject import RefineSubject, Subject, TextureSubject, colour_weight
from engine.surface import Surface
from engine.texture.field import ColourField, surface_samples
from engine.view_batch import ViewBatch, sample_view_batch

STREAM_SECONDS = 1.5
"""Previews and meshes are sent no more often than this."""

PLANNED = {"check": 1.0, "load model": 6.0, "sdf": 5.0, "export": 15.0}
"""Typical seconds of the stages without a step count; the others' follow from their steps."""


@dataclass
class Work:
    """Everything the optimization holds on to."""

    settings: JobSettings
    numbers: Hyperparameters
    reporter: Reporter
    timer: StageTimer
    device: torch.device
    rasterizer: Rasterizer
    prior: Prior
    normalization: SceneNormalization
    generator: torch.Generator
    checkpoint: Checkpoint
    streamed: float = 0.0
    seen: tuple[Tensor, Tensor] | None = None  # the surface as the last step saw it


def run_job(sketch: Mesh, settings: JobSettings, reporter: Reporter, checkpoint: Path | None = None) -> JobResult:
    """Run one job to its end.

    sketch      world space; in texture mode its vertices, faces and uvs come back as they are
    checkpoint  file for the state of the job; if it holds this very job's state, the job goes on from there. It stays when the
                job is done, so that nothing is lost where the result cannot be delivered: the caller removes it
    Raises InputError, ModelError and JobError with a fix, and Cancelled within one step of the reporter's wish.
    """
    timer = StageTimer(reporter, _plan(settings, settings.resolve()))
    timer.start("check")
    mesh, mended = check_sketch(sketch)
    for note in mended:
        reporter.note(note)
    timer.start("load model")
    work = open_work(mesh, settings, reporter, timer, Checkpoint(checkpoint, fingerprint(sketch, settings)))
    local = mesh.with_vertices(work.normalization.to_engine(mesh.vertices))
    _note_prompts(work)

    subject = fixed_subject(local, work) if settings.mode == "texture" else fitted_subject(local, work)
    _distill(subject, work)
    timer.start("export")
    result = _export(subject, sketch, local, work)
    timer.close()
    result.report.update(_report(work, mended))
    return result


def run_kept_job(sketch: Mesh, settings: JobSettings, reporter: Reporter) -> JobResult:
    """`run_job` with its checkpoint in the user's cache: after a crash of either side the same job goes on where it was."""
    return run_job(sketch, settings, reporter, cached_path(sketch, settings))


def open_work(mesh: Mesh, settings: JobSettings, reporter: Reporter, timer: StageTimer, checkpoint: Checkpoint) -> Work:
    """Device, back ends, prior and random generator of a job."""
    device = select_device(settings.device)
    return Work(
        settings=settings,
        numbers=settings.resolve(),
        reporter=reporter,
        timer=timer,
        device=device,
        rasterizer=select_rasterizer(device),
        prior=load_prior(settings.model, device),
        normalization=SceneNormalization.of_bounds(mesh.vertices),
        generator=torch.Generator().manual_seed(settings.seed),
        checkpoint=checkpoint,
    )


def select_device(name: str) -> torch.device:
    """ "auto" takes CUDA where there is one. JobError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "no_cuda",
            "The device 'cuda' was asked for, and torch finds no CUDA device.",
            "Choose device 'auto' or 'cpu', or install a CUDA build of torch and a driver.",
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _plan(settings: JobSettings, numbers: Hyperparameters) -> dict[str, float]:
    """Expected seconds of each stage on two CPU cores; only their proportions matter."""
    steps = {"fit": 0.1 * numbers.fit_steps, "stage 1": 0.15 * numbers.stage1_steps, "stage 2": 0.15 * numbers.stage2_steps}
    plan = {**PLANNED, **steps}
    return {stage: share for stage, share in plan.items() if settings.mode == "refine" or stage not in ("sdf", "fit")}


def _note_prompts(work: Work) -> None:
    """Tell the user at once what the model will not understand of the prompt."""
    prompt = check_prompt(work.settings.prompt)
    longest = [target_prompt(prompt, "on a white background, overhead view"), _source(work, "on a white background, overhead view")]
    for note in work.prior.embed(longest).notes:
        work.reporter.note(note)


def fixed_subject(local: Mesh, work: Work) -> Subject:
    """Texture mode: the mesh as it is, its own colours as the start."""
    colour = ColourField(work.numbers.colour_grid).to(work.device)
    colour.initialize(*_colour_samples(local))
    return TextureSubject(local, colour, work.device)


def fitted_subject(local: Mesh, work: Work) -> Subject:
    """Refine mode: the signed distance of the sketch on the grid, then surface and colours fitted to renders of the sketch."""
    numbers = work.numbers
    work.timer.start("sdf")
    grid = TetGrid.make(numbers.grid, work.device)
    points = grid.points.cpu().numpy()
    thickness = max(numbers.thickness, grid.spacing)  # a thinner sheet would be torn where the grid cannot hold it
    values = sketch_sdf(local, points, thickness=thickness, closing=numbers.closing, cancelled=work.reporter.cancelled)
    surface = Surface.from_sdf(grid, torch.from_numpy(values).to(work.device))
    colour = ColourField(numbers.colour_grid).to(work.device)
    work.timer.start("fit")
    fit_to_sketch(surface, colour, local, work.rasterizer, numbers.fit_steps, work.generator, on_step=work.timer.step)
    return RefineSubject(surface, colour, work.settings.adherence, keep_colours=local.colours is not None)


def _colour_samples(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Places all over the surface and their colours, neutral grey where the mesh has none."""
    places, colours = surface_samples(mesh)
    return places, np.full_like(places, 0.6) if colours is None else colours


def _distill(subject: Subject, work: Work) -> None:
    """Both stages. Each step: views, render, one guidance step, regularize, descend; stream and save now and then."""
    plan = two_stage(work.numbers)
    if plan is None:
        return
    optimizer = make_optimizer(subject, work.numbers)
    first = _restore(subject, optimizer, work)
    stage = 0
    for step in range(first, plan.steps):
        now, guidance = plan.at(step)
        if now != stage:
            stage = now
            work.timer.start(f"stage {stage}")
        vertices, faces, rgb, figures = take_step(subject, optimizer, guidance, work, step)
        _stream(vertices, faces, rgb, subject, work)
        _keep(step + 1, subject, optimizer, work)
        done, total = (step + 1, plan.switch) if stage == 1 else (step + 1 - plan.switch, plan.steps - plan.switch)
        work.timer.step(done, total, figures)


def make_optimizer(subject: Subject, numbers: Hyperparameters) -> torch.optim.Optimizer:
    """Adam over the subject's groups; its state is kept across the switch of the stages."""
    return torch.optim.Adam(subject.parameter_groups(numbers), betas=(0.9, 0.99), fused=True)


def take_step(
    subject: Subject, optimizer: torch.optim.Optimizer, guidance: GuidanceSettings, work: Work, step: int
) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
    """One step: look, render, ask the prior, descend. Returns vertices, faces and images as they were seen, and figures.

    The surface is extracted and moved at every `geometry_every`-th step; between them the colours are learnt on it as it was
    seen last, which costs neither extraction nor silhouette gradients.
    """
    view_batch = sample_view_batch(work.numbers, work.generator, work.device)
    moving = step % work.numbers.geometry_every == 0
    if moving or work.seen is None:
        work.seen = subject.geometry()
    vertices, faces = work.seen
    probe = RecordedColours(subject)
    rgb = render(probe, vertices, faces, view_batch, work)
    loss, figures = distill(work.prior, rgb, *_conditions(view_batch, work), guidance, work.generator, step=step)
    pixels = work.numbers.supersample**2 * work.numbers.views
    loss = loss + colour_weight(work.settings.adherence) * probe.colour_loss() / pixels
    if moving:
        loss = loss + subject.regularization(work.numbers)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if moving:
        subject.project()
        work.seen = vertices.detach(), faces
    return vertices, faces, rgb, figures


def two_stage(numbers: Hyperparameters) -> TwoStage | None:
    """The schedule of a job, None where it has no steps.

    The gradient is weighted so that it is a difference of images ("x0"): then it is bounded at every noise level, and the
    weights of the regularizers keep their meaning.
    """
    steps = numbers.stage1_steps + numbers.stage2_steps
    if steps == 0:
        return None
    times: dict[str, Any] = {"t_low": numbers.t_low, "t_high": numbers.t_high, "weighting": "x0"}
    first = GuidanceSettings("sds", guidance_scale=numbers.guidance_scale, **times)
    second = GuidanceSettings(numbers.stage2_method, guidance_scale=numbers.stage2_weight, weight=numbers.stage2_weight, **times)  # type: ignore[arg-type]
    return TwoStage(steps, numbers.stage1_steps, first, second, numbers.t_high_end)


class RecordedColours:
    """The subject's colours as the renderer asks for them, remembering where and what, so that they can be held to the artist's."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._points: Tensor | None = None
        self._colours: Tensor | None = None

    def __call__(self, points: Tensor) -> Tensor:
        self._points, self._colours = points.detach(), self._subject.colour(points.detach())
        return self._colours

    def colour_loss(self) -> Tensor | float:
        """Half the squared departure from the artist's colours, summed over pixels, in the guidance's units (-1..1); 0 without any."""
        original = None if self._points is None else self._subject.original_colour(self._points)
        if original is None or self._colours is None:
            return 0.0
        return 0.5 * (2 * (self._colours - original)).square().sum()


def render(colour: Callable[[Tensor], Tensor], vertices: Tensor, faces: Tensor, view_batch: ViewBatch, work: Work) -> Tensor:
    """The surface as the views see it: sRGB images [B, 3, S, S] in 0..1 over their backgrounds, at the prior's size."""
    views = render_views(
        work.rasterizer,
        vertices,
        faces,
        view_batch.cameras,
        work.prior.image_size,
        colour,
        view_batch.light,
        view_batch.background,
        supersample=work.numbers.supersample,
        want=("rgb",),
    )
    assert views.rgb is not None
    return views.rgb


def _conditions(view_batch: ViewBatch, work: Work) -> tuple[Conditions, Conditions]:
    """Target and source conditions, one a view."""
    target = [target_prompt(work.settings.prompt, words) for words in view_batch.words]
    source = [_source(work, words) for words in view_batch.words]
    return work.prior.embed(target, view_batch.cameras), work.prior.embed(source, view_batch.cameras)


def _source(work: Work, words: str) -> str:
    """y_src: the artist's own, or the prompt with the paper's descriptors."""
    given = work.settings.source
    return target_prompt(given, words) if given else source_prompt(work.settings.prompt, words)


def _stream(vertices: Tensor, faces: Tensor, rgb: Tensor, subject: Subject, work: Work) -> None:
    """Send a preview and the surface so far, unless the last ones are fresh."""
    if time.monotonic() - work.streamed < STREAM_SECONDS:
        return
    with torch.no_grad():
        row = torch.cat(list(rgb.detach()[:4]), dim=2).clamp(0, 1)
        work.reporter.preview((row.permute(1, 2, 0) * 255).round().byte().cpu().numpy())
        if len(faces):
            points = vertices.detach()
            work.reporter.mesh(
                Mesh(work.normalization.to_world(points.cpu().numpy()), faces.cpu().numpy(), subject.colour(points).cpu().numpy())
            )
    work.streamed = time.monotonic()


def _keep(step: int, subject: Subject, optimizer: torch.optim.Optimizer, work: Work) -> None:
    """Write a checkpoint when one is due and the next step extracts the surface anew: a resumed job then sees what this one does."""
    last = step == work.numbers.stage1_steps + work.numbers.stage2_steps
    if not last and not (work.checkpoint.due() and step % work.numbers.geometry_every == 0):
        return
    try:
        work.checkpoint.save(
            {"step": step, "subject": subject.state_dict(), "optimizer": optimizer.state_dict(), "generator": work.generator.get_state()}
        )
    except JobError as error:
        work.reporter.note(f"{error.message} The job goes on without one. {error.fix}")
        work.checkpoint.disable()


def _restore(subject: Subject, optimizer: torch.optim.Optimizer, work: Work) -> int:
    """Take this job's checkpoint if there is one. Returns the step to go on from."""
    state = work.checkpoint.load()
    if state is None:
        return 0
    subject.load_state_dict(state["subject"])
    optimizer.load_state_dict(state["optimizer"])
    work.generator.set_state(state["generator"])
    work.reporter.note(f"resumed after step {state['step']}")
    return int(state["step"])


def _export(subject: Subject, sketch: Mesh, local: Mesh, work: Work) -> JobResult:
    """The finished mesh in world space with its texture, and how far it is from the sketch."""
    numbers = work.numbers
    if work.settings.mode == "texture":
        mesh, maps = finish_texture(sketch, subject.colour, work.normalization, numbers.texture_size, work.reporter)
    else:
        with torch.no_grad():
            vertices, faces = subject.geometry()
        if len(faces) == 0:
            raise JobError(
                "empty_surface", "The refined surface is empty: nothing of the sketch was left.", "Raise the adherence or the thickness."
            )
        mesh, maps = finish(
            vertices, faces, subject.colour, work.normalization, numbers.faces, numbers.texture_size, work.reporter, sketch=local
        )
    found = deviation(work.normalization.to_engine(mesh.vertices), mesh.faces, local, np.random.default_rng(work.settings.seed))
    return JobResult(mesh, maps, {"deviation_mean_percent": found.mean_percent, "deviation_p95_percent": found.p95_percent})


def _report(work: Work, mended: list[str]) -> dict[str, Any]:
    settings = work.settings
    return {
        "mode": settings.mode,
        "prompt": settings.prompt,
        "source": settings.source or source_prompt(settings.prompt),
        "model": settings.model,
        "preset": settings.preset,
        "seed": settings.seed,
        "adherence": settings.adherence,
        "overrides": dict(settings.overrides),
        "device": str(work.device),
        "stage_seconds": {stage: round(seconds, 2) for stage, seconds in work.timer.seconds.items()},
        "mended": mended,
        "versions": versions(),
    }
