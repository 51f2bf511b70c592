"""Text to 3D: a prompt in, a textured mesh out. A cloud is dreamt under the prior for pictures, its surface drawn, and refined by the
project's own job under the prior that sees surfaces (coarse to fine, after Lin et al. 2023, Magic3D).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.camera import fixed_ring, sample_orbit
from engine.checkpoint import Checkpoint, cached_path, fingerprint
from engine.device import select_device
from engine.diffusion.load import ModelChoice, load_prior
from engine.diffusion.prior import ControlledPrior, Prior, remarks_on
from engine.diffusion.prompts import DESCRIPTORS
from engine.distillation import PromptPair, schedule
from engine.dream.cloud import Cloud, Ground
from engine.dream.dream import Dream, ViewSampler, fault
from engine.dream.rays import look
from engine.dream.shape import mesh_of, rough_mesh
from engine.dream_fields import JOB_OPTIONS, OVERHEAD, REFINEMENT, VIEWS, DreamNumbers
from engine.errors import JobError, ModelError
from engine.guidance.served import refuse_unserved
from engine.isosurface.dmtet import TetGrid
from engine.job import chosen_model, run_job
from engine.job_fields import Hyperparameters, JobSettings
from engine.large_models import embed_ahead, for_its_model
from engine.memory import refuse_large_dream, weights_bytes
from engine.mesh import Mesh
from engine.pictures import to_bytes
from engine.plan import planned_seconds
from engine.render.base import select_rasterizer
from engine.reporting import Reporter, StageTimer
from engine.results import JobResult
from engine.room import free_on, model_folder, room_for
from engine.stages import Stage
from engine.view_batch import ViewBatch, sample_view_batch

NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
"""What a dream starts from."""

PREVIEW_SECONDS = 1.5
FAULT_EVERY = 25
"""Steps between looks at whether the cloud went empty or solid."""
ROUGH_GRID = 32
"""Cells along each axis of the grid that shows the surface of a cloud while it is dreamt."""
REFINED_FACES = 20_000
"""About how many faces the surface of a cloud has, for the plan of its refinement."""
SHEET_SIZE, SHEET_SAMPLES = 96, 128


@dataclass(frozen=True)
class Dreamt:
    """A result, and what it was refined from: the cloud's surface (engine space), and the cloud [V, 3, S, S] from all sides."""

    result: JobResult
    mesh: Mesh
    views: Tensor


def run_dream(
    settings: JobSettings,
    reporter: Reporter,
    checkpoint: Path | None = None,
    load: Callable[..., Prior] = load_prior,
    sample_views: ViewSampler | None = None,
) -> Dreamt:
    """Dream what the prompt says and refine it.

    settings    prompt, source, descriptors, seed, model, LoRAs, device and the numbers of the dream; what else JOB_OPTIONS names is of
                the refinement
    checkpoint  file for the state of the dream; the refinement's is beside it
    sample_views  in place of `engine.view_batch.sample_view_batch`
    Raises InputError, ModelError and JobError with a fix, and Cancelled within one step of the reporter's wish.
    """
    numbers = settings.resolve_dream()
    refuse_refinement(settings)
    timer = StageTimer(reporter, planned(settings, numbers))
    with Checkpoint(checkpoint, f"{fingerprint(NOTHING, settings)} {numbers}", reporter.note) as kept:
        mesh, views, told = _surface_of_a_dream(settings, numbers, timer, kept, reporter, load, sample_views)
        result = run_job(mesh, refinement_of(settings), reporter, refinement_checkpoint(checkpoint), load)
    seconds = {**timer.seconds, **result.report["stage_seconds"]}
    result.report.update({"mode": settings.mode, "dream": {**told, **dataclasses.asdict(numbers)}, "stage_seconds": seconds})
    delivered = result.delivered

    def both() -> None:
        delivered()
        kept.remove()

    return Dreamt(dataclasses.replace(result, delivered=both), mesh, views)


def run_kept_dream(settings: JobSettings, reporter: Reporter) -> JobResult:
    """`run_dream` with its checkpoints in the user's cache: after a crash of either side the same dream goes on where it was."""
    return run_dream(settings, reporter, cached_path(fingerprint(NOTHING, settings))).result


def refuse_refinement(settings: JobSettings) -> None:
    """Tells before anything is loaded what a dream's refinement cannot do, and what of both does not fit into the memory."""
    refinement, device = for_its_model(refinement_of(settings)), select_device(settings.device)
    chosen_model(refinement)
    room_for(refinement, REFINED_FACES, device, 1)
    whose = "the GPU" if device.type == "cuda" else "the machine"
    refuse_large_dream(settings.resolve_dream(), weights_bytes(model_folder(settings.model)), free_on(device), whose)


def refinement_of(settings: JobSettings) -> JobSettings:
    """The job that refines the dream's surface."""
    own = {name: getattr(settings, name) for name in JOB_OPTIONS}
    own["overrides"] = {**REFINEMENT, **settings.overrides}
    return JobSettings(**own, adherence=settings.resolve_dream().dream_adherence)


def _surface_of_a_dream(
    settings: JobSettings,
    numbers: DreamNumbers,
    timer: StageTimer,
    kept: Checkpoint,
    reporter: Reporter,
    load: Callable[..., Prior],
    sample_views: ViewSampler | None,
) -> tuple[Mesh, Tensor, dict[str, Any]]:
    """The mesh (engine space) of what was dreamt, the cloud from all sides, and what the report tells of it."""
    timer.start(Stage.LOAD)
    device = select_device(settings.device)
    if settings.control:  # has no surface to look at yet, and its refinement has: whether it fits the model is told now
        chosen_model(refinement_of(settings)).load(device, surface=True, load=load)
    prior = ModelChoice.named(settings.model, lora=settings.lora, reference=settings.reference).load(device, load=load)
    refuse_control(prior)
    seen_from = {name: value for name, value in VIEWS.items() if name not in settings.overrides}
    hyper = dataclasses.replace(settings.resolve(), views=numbers.dream_views, **seen_from)
    if (stages := schedule(hyper)) is not None:
        refuse_unserved(prior, stages)
    prompts = PromptPair(settings.prompt, settings.source, hyper.stage2_method, settings.descriptors or DESCRIPTORS)
    for note in (*remarks_on(prior), *prompts.notes(prior)):
        reporter.note(note)
    embed_ahead(prior, prompts)
    sampler = sample_views or (lambda generator: views_of_a_step(hyper, numbers.dream_overhead, generator, device))

    def begin(attempt: int) -> Dream:
        return Dream(prior, prompts, numbers, sampler, torch.Generator().manual_seed(settings.seed + attempt), device)

    rasterizer = select_rasterizer(device)
    timer.start(Stage.DREAM)
    dream, attempt = dreamt(begin, numbers.dream_attempts, settings.seed, timer, kept, reporter)
    mesh, agreement = mesh_of(dream.cloud, dream.ground, rasterizer)
    timer.close()
    views = from_all_sides(dream.cloud, dream.ground)
    return mesh, views, {"seed": settings.seed + attempt, "outline_agreement": round(agreement, 3)}


def views_of_a_step(hyper: Hyperparameters, overhead: int, generator: torch.Generator, device: torch.device) -> ViewBatch:
    """`hyper.views` views, the last `overhead` of which look down from OVERHEAD, spread over the circle as the others are."""
    if not overhead:
        return sample_view_batch(hyper, generator, device)
    distance, fov = (hyper.distance_low, hyper.distance_high), (hyper.fov, hyper.fov)
    return sample_view_batch(hyper, generator, device, sample_orbit(generator, overhead, distance, fov, OVERHEAD))


def planned(settings: JobSettings, numbers: DreamNumbers) -> dict[Stage, float | dict[str, float]]:
    """What each stage takes on two quiet cores, those of the refinement included; only their proportions matter."""
    rays = numbers.dream_views * numbers.dream_size**2 * numbers.dream_samples
    step = 0.012 * numbers.dream_views + rays / 6e6 + numbers.dream_grid**3 / 8e6
    faces = np.zeros((REFINED_FACES, 3), np.int32)
    later = planned_seconds("refine", settings.resolve(), Mesh(NOTHING.vertices, faces))
    later.pop(Stage.LOAD)
    return {Stage.LOAD: 4.0, Stage.DREAM: 3.0 + step * (numbers.dream_steps + numbers.dream_steps2), **later}


def refuse_control(prior: Prior) -> None:
    """ModelError for a prior that wants to be shown a surface: a dream has none yet."""
    if isinstance(prior, ControlledPrior):
        raise ModelError(
            "model_control",
            f"The model '{prior.name}' paints a surface that it is shown; a dream begins without one.",
            "Use it for refine and texture; for a dream choose 'embedded' or a model that makes pictures.",
        )


def refinement_checkpoint(path: Path | None) -> Path | None:
    """Where the refinement of the dream with that checkpoint keeps its own."""
    return None if path is None else path.with_name(f"{path.stem}-refine{path.suffix}")


def dreamt(
    begin: Callable[[int], Dream], attempts: int, seed: int, timer: StageTimer, kept: Checkpoint, reporter: Reporter
) -> tuple[Dream, int]:
    """A whole dream, and which attempt it is. JobError where each of them went empty or solid."""
    dream, first = _resumed(begin, kept, reporter)
    found = None
    for attempt in range(first, attempts):
        found = _to_the_end(dream, attempt, timer, kept, reporter)
        if found is None:
            return dream, attempt
        again = f" It starts again with the seed {seed + attempt + 1}." if attempt + 1 < attempts else ""
        reporter.note(f"The dream of seed {seed + attempt} went {found} by step {dream.taken}.{again}")
        if again:
            dream = begin(attempt + 1)
    raise JobError(
        "empty_dream",
        f"The dream went {found} with {attempts} seeds from {seed} on: nothing took shape.",
        "Use words that the model knows, lower dream_opacity for an empty one, raise it for a solid one, or take another seed.",
    )


def _resumed(begin: Callable[[int], Dream], kept: Checkpoint, reporter: Reporter) -> tuple[Dream, int]:
    """The dream that the checkpoint holds, or a new one; and which attempt it is."""
    saved = kept.load()
    if saved is None:
        return begin(0), 0
    attempt = int(saved["attempt"])
    dream = begin(attempt)
    dream.load_state_dict(saved["dream"])
    reporter.note(f"Resumed after step {dream.taken} of the dream.")
    return dream, attempt


def _to_the_end(dream: Dream, attempt: int, timer: StageTimer, kept: Checkpoint, reporter: Reporter) -> str | None:
    """Takes all steps, unless the cloud goes empty or solid before: then that word."""
    total, shown = dream.numbers.dream_steps + dream.numbers.dream_steps2, 0.0
    grid = TetGrid.make(ROUGH_GRID, dream.cloud.blob.device)

    def state() -> dict[str, Any]:
        return {"attempt": attempt, "dream": dream.state_dict()}

    while not dream.finished:
        step = dream.step()
        if (dream.taken % FAULT_EVERY == 0 or dream.finished) and (found := fault(dream.cloud)):
            return found
        if time.monotonic() - shown > PREVIEW_SECONDS:
            shown = time.monotonic()
            reporter.preview(to_bytes(torch.cat(list(step.rgb[:4]), dim=2)))
            if (surface := rough_mesh(dream.cloud, grid)) is not None:
                reporter.mesh(surface)
        kept.offer(state())
        timer.step(dream.taken, total, step.figures)
    kept.save(state())
    return None


@torch.no_grad()
def from_all_sides(cloud: Cloud, ground: Ground, count: int = 6) -> Tensor:
    """The cloud [count, 3, S, S] over white, unlit."""
    cameras = fixed_ring(count, elevation=18.0, distance=3.2).to(cloud.blob.device)
    white = torch.ones(count, 3, device=cloud.blob.device)
    return look(cloud, ground, cameras, white, SHEET_SIZE, SHEET_SAMPLES).rgb.cpu()
