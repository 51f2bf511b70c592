"""THE loop: a sketch and a prompt in, a refined and textured mesh out. Reads from top to bottom.

check -> load model -> sdf -> fit -> stage 1 (SDS) -> stage 2 (calibrated) -> export; a texture job leaves out sdf and fit.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from engine.back_off import BackOff
from engine.bridge import SurfaceBridge, phases
from engine.checkpoint import Checkpoint, cached_path, fingerprint, is_finite
from engine.compiling import CompiledSteps, Steps
from engine.conventions import SceneNormalization
from engine.device import select_device
from engine.diffusion.load import ModelChoice, load_prior
from engine.diffusion.prior import Prior, remarks_on
from engine.diffusion.prompts import DESCRIPTORS
from engine.distillation import Distillation, PromptPair, Step, schedule
from engine.errors import JobError
from engine.export import finish
from engine.formats.map_files import DTYPES
from engine.guidance.methods import method_named
from engine.guidance.regions import PartPrompts
from engine.guidance.served import refuse_unserved
from engine.isosurface.kaolin import refuse_without_kaolin
from engine.job_fields import Hyperparameters, JobSettings
from engine.large_models import embed_ahead, for_its_model
from engine.mesh import Mesh
from engine.plan import images_of, planned_seconds
from engine.render.base import select_rasterizer
from engine.reporting import OnStep, Reporter, StageTimer
from engine.results import ImageSet, JobResult, versions
from engine.room import room_for
from engine.sketch.check import check_sketch
from engine.sketch.deviation import NOTHING_MOVED, Deviation, deviation
from engine.sketch.soundness import Soundness
from engine.sketch_surface import crisp_colours, drawn_as, fitted_subject, sketch_surface
from engine.stages import Stage
from engine.subject import RefineSubject, Subject, TextureSubject
from engine.surface import Surface
from engine.texture.artist import ArtistColours, colours_kept, painted_points
from engine.texture.delight import delit
from engine.texture.field import ColourField
from engine.texture.finish import finish_texture, parts_of, planned_sets, told
from engine.texture.job_views import TextureViews
from engine.texture.maps import KINDS, MapWishes
from engine.texture.masks import Feather, MaskedColours, requested
from engine.texture.material_words import MaterialsOfParts
from engine.texture.remesh import refuse_without_pymeshlab
from engine.texture.start import with_start
from engine.texture.watcher import Watcher
from engine.texture_sets import TextureSet, prompts_of_parts
from engine.variations import Run, run_variations

STREAM_SECONDS = 1.5
"""Previews and meshes are sent no more often than this."""


def run_job(
    sketch: Mesh, settings: JobSettings, reporter: Reporter, checkpoint: Path | None = None, load: Callable[..., Prior] = load_prior
) -> JobResult:
    """Run one job to its end.

    sketch      world space; in texture mode its vertices, faces and uvs come back as they are
    checkpoint  file for the state of the job; if it holds this very job's state, the job goes on from there. It stays when the
                job is done, so that nothing is lost where the result cannot be delivered, until `JobResult.delivered` is called
    load        in place of `load_prior`, for a caller that keeps the model from job to job
    Raises InputError, ModelError and JobError with a fix, and Cancelled within one step of the reporter's wish.
    """
    settings = for_its_model(settings)
    sketch, load = prepared(sketch, settings), loading_once(load)

    def run(sketch: Mesh, own: JobSettings, listener: Reporter, index: int) -> JobResult:
        path = checkpoint if checkpoint is None or index == 0 else checkpoint.with_name(f"{checkpoint.stem}-{index + 1}{checkpoint.suffix}")
        return _run(sketch, own, listener, path, fingerprint(sketch, own), load)

    return _each(sketch, settings, reporter, run)


def run_kept_job(sketch: Mesh, settings: JobSettings, reporter: Reporter) -> JobResult:
    """`run_job` with its checkpoint in the user's cache: after a crash of either side the same job goes on where it was."""
    settings = for_its_model(settings)
    sketch, load = prepared(sketch, settings), loading_once(load_prior)

    def run(sketch: Mesh, own: JobSettings, listener: Reporter, index: int) -> JobResult:
        del index
        job = fingerprint(sketch, own)
        return _run(sketch, own, listener, cached_path(job), job, load)

    return _each(sketch, settings, reporter, run)


def _each(sketch: Mesh, settings: JobSettings, reporter: Reporter, run: Run) -> JobResult:
    """All variations of a texture; of anything else there is one."""
    if settings.variations == 1 or settings.mode != "texture":
        return run(sketch, dataclasses.replace(settings, variations=1), reporter, 0)
    images = settings.variations * images_of(planned_sets(sketch, settings.texture_sets, settings.uv_layout))
    room_for(settings, len(sketch.faces), select_device(settings.device), images)  # all are held to the end
    return run_variations(sketch, settings, reporter, run)


def loading_once(load: Callable[..., Prior]) -> Callable[..., Prior]:
    """The same, with the first answer for every later question: for runs of one model."""
    held: list[Prior] = []

    def loaded(*what: Any, **more: Any) -> Prior:
        if not held:
            held.append(load(*what, **more))
        return held[0]

    return loaded


def prepared(sketch: Mesh, settings: JobSettings) -> Mesh:
    """The sketch with the look that a texture job starts from, and with what it paints. InputError for what it lacks."""
    if settings.mode != "texture":
        return sketch
    return requested(with_start(sketch.checked(), settings.init_texture), settings.paint, settings.paint_name)


def chosen_model(settings: JobSettings) -> ModelChoice:
    """The model, and what is put beside it. InputError and JobError for what no job can do here, before anything heavy is loaded."""
    numbers = settings.resolve()
    method_named(numbers.stage2_method, "job")
    if settings.mode == "refine":
        refuse_without_kaolin(numbers.isosurface)
        refuse_without_pymeshlab(numbers.triangles)
    return ModelChoice.named(settings.model, settings.control, settings.lora, settings.reference)


def _run(sketch: Mesh, settings: JobSettings, reporter: Reporter, path: Path | None, job: str, load: Callable[..., Prior]) -> JobResult:
    numbers, model = settings.resolve(), chosen_model(settings)
    part_prompts(sketch.checked(), settings)  # an unknown part is told before anything heavy is loaded
    sets = planned_sets(sketch, settings.texture_sets, settings.uv_layout) if settings.mode == "texture" else []
    timer = StageTimer(reporter, planned_seconds(settings.mode, numbers, sketch, sets))
    with Checkpoint(path, job, reporter.note) as checkpoint:
        timer.start(Stage.CHECK)
        mesh, mended = check_sketch(sketch)
        mesh, colours_told = colours_kept(mesh, settings.keep_colours)
        _tell(reporter, [*mended, *colours_told, *told(sketch, sets, settings.uv_layout)])

        timer.start(Stage.LOAD)
        device = select_device(settings.device)
        room = room_for(settings, len(mesh.faces), device, images_of(sets))
        reporter.note(room.told)
        numbers = room.numbers
        rasterizer = select_rasterizer(device, None if settings.rasterizer == "auto" else settings.rasterizer, reporter.note)
        importlib.import_module("torch._dynamo")  # which the first optimizer imports, for seconds in which nobody is asked
        prior = room.settled(model.load(device, surface=True, load=load))
        normalization = SceneNormalization.of_bounds(mesh.vertices)
        local = mesh.mapped(normalization.to_engine)
        local = delit(local, settings.delight) if settings.mode == "texture" else local
        generator = torch.Generator().manual_seed(settings.seed)
        prompts, parts = _prompts_for(prior, settings, numbers, local, reporter)
        views = TextureViews.of(local, numbers, prior.image_size, settings.seed) if settings.mode == "texture" else None
        materials = materials_of(sketch, settings)
        _tell(reporter, [*([] if views is None else views.told()), *([] if settings.maps == "albedo" else materials.told())])

        def distillation_of(subject: Subject) -> Distillation:
            subject.material = torch.from_numpy(materials.of_faces(local.parts.of_face if local.parts is not None else None))
            draw = None if views is None else views.sampler(device)
            return Distillation(subject, prior, rasterizer, numbers, prompts, settings.adherence, generator, device, draw, parts=parts)

        saved = checkpoint.load() or {}
        known = {name: saved[name] for name in ("solid",) if name in saved}
        distillation = _resumed(saved, distillation_of, local, settings, device, reporter)
        if distillation is None and settings.mode == "texture":
            distillation = distillation_of(texture_subject(local, numbers, device, settings.feather))
        elif distillation is None:
            surface = _drawn(local, settings, numbers, device, saved.get("surface"), timer, reporter)
            checkpoint.offer({"surface": surface.state_dict()})
            timer.start(Stage.FIT)
            subject = fitted_subject(surface, local, numbers, settings.adherence, rasterizer, generator, timer.step)
            known = {"solid": dataclasses.astuple(Soundness.of(*(_array(part.detach()) for part in surface.extract())))}
            distillation = distillation_of(subject)
            checkpoint.offer({**known, "distillation": distillation.state_dict()})

        stream = Stream(reporter, normalization, distillation.subject)
        _distil(distillation, timer, stream, checkpoint, known, reporter)
        _finish(distillation, settings.seed, timer, stream, checkpoint, known, int(saved.get("finished", 0)))

        timer.start(Stage.EXPORT)
        watcher = Watcher(timer.part, reporter.note)
        wishes = map_wishes(settings, materials, views, local)
        mesh, images = _exported(distillation.subject, sketch, local, normalization, settings, watcher, sets, wishes)
        figures = {} if views is None else views.figures(mesh, local, numbers)
        solid = (Soundness(*known["solid"]), cast(RefineSubject, distillation.subject).surface) if known else None
        figures |= _beside_the_sketch(normalization.to_engine(mesh.vertices), mesh.faces, local, settings, solid, timer, reporter)
        timer.step(1, 1)
        timer.close()
        return JobResult(mesh, images, {**figures, **_report(settings, prompts, device, timer, mended)}, checkpoint.remove)


def _prompts_for(
    prior: Prior, settings: JobSettings, numbers: Hyperparameters, local: Mesh, reporter: Reporter
) -> tuple[PromptPair, PartPrompts | None]:
    """The prompts of all and of parts, embedded ahead; tells what there is to say of the prior and of them. ModelError for a method that
    the prior cannot serve."""
    if (stages := schedule(numbers)) is not None:
        refuse_unserved(prior, stages)
    prompts = PromptPair(settings.prompt, settings.source, numbers.stage2_method, settings.descriptors or DESCRIPTORS)
    _tell(reporter, (*remarks_on(prior), *prompts.notes(prior)))
    parts = part_prompts(local, settings)
    for told_apart in () if parts is None else parts.prompts:
        _tell(reporter, dataclasses.replace(prompts, prompt=told_apart).notes(prior))
    embed_ahead(prior, prompts, () if parts is None else parts.prompts)
    return prompts, parts


def _drawn(
    local: Mesh, settings: JobSettings, numbers: Hyperparameters, device: torch.device, saved: Any, timer: StageTimer, reporter: Reporter
) -> Surface:
    """The sketch's surface, or the one of a checkpoint; tells how it is drawn."""
    timer.start(Stage.SDF)
    surface = sketch_surface(local, numbers, device, timer.step, saved, settings.adherence)
    _tell(reporter, [*([] if saved is None else ["Resumed after the distance field."]), *drawn_as(surface, numbers)])
    return surface


def _beside_the_sketch(
    vertices: np.ndarray,
    faces: np.ndarray,
    local: Mesh,
    settings: JobSettings,
    solid: tuple[Soundness, Surface] | None,
    timer: StageTimer,
    reporter: Reporter,
) -> dict[str, Any]:
    """How far the result went from the sketch; with what its solid was like, and the surface that it was drawn with, also how sound it is.

    vertices  [V, 3] in engine space
    """
    found = _moved(vertices, faces, local, settings, timer.part("compare"))
    figures: dict[str, Any] = {f"deviation_{name}_percent": getattr(found, f"{name}_percent") for name in ("mean", "p95", "max")}
    if solid is None:
        return figures
    start, surface = solid
    figures |= {"surface": surface.drawn_by, "grid": surface.grid.resolution}
    return {**figures, **_compared(Soundness.of(vertices, faces), start, reporter)}


def _tell(reporter: Reporter, notes: list[str] | tuple[str, ...]) -> None:
    for note in notes:
        reporter.note(note)


def texture_subject(local: Mesh, numbers: Hyperparameters, device: torch.device, feather: float = 0.0) -> TextureSubject:
    """Texture mode: the mesh (engine space) as it is, its own colours as the start, neutral grey where it has none; they stay where it is
    not to be painted."""
    colour = ColourField(numbers.colour_grid).to(device)
    colour.initialize(*painted_points(local))
    subject = TextureSubject(local, colour, device)
    if local.mask is not None:
        subject.colour = cast(ColourField, MaskedColours(colour, local, Feather(local, feather)))
    return subject


def part_prompts(local: Mesh, settings: JobSettings) -> PartPrompts | None:
    """The prompts of parts that a texture job is told, for the faces of the mesh that it looks at. InputError for an unknown part."""
    if settings.part_prompts is None or settings.mode != "texture":
        return None
    parts = parts_of(local)
    return PartPrompts.of(prompts_of_parts(settings.part_prompts, parts.pieces), torch.from_numpy(parts.of_face).long())


def map_wishes(settings: JobSettings, materials: MaterialsOfParts, views: TextureViews | None, local: Mesh) -> MapWishes:
    """What the settings ask of the maps, and what is known of the views that looked at the mesh (engine space)."""
    wishes = MapWishes(KINDS[settings.maps], DTYPES[settings.map_format], materials)
    return wishes if views is None else dataclasses.replace(wishes, coverage=views.coverage, keep=views.chosen(local))


def materials_of(sketch: Mesh, settings: JobSettings) -> MaterialsOfParts:
    """What the prompt and the prompts of parts say of how the surface reflects."""
    pieces = parts_of(sketch).pieces
    named = prompts_of_parts(settings.part_prompts, pieces) if settings.part_prompts and settings.mode == "texture" else []
    return MaterialsOfParts.of(settings.prompt, named, [piece.label for piece in pieces])


def _resumed(
    saved: dict[str, Any],
    distillation_of: Callable[[Subject], Distillation],
    local: Mesh,
    settings: JobSettings,
    device: torch.device,
    reporter: Reporter,
) -> Distillation | None:
    """The distillation where a checkpoint of this job left it; None where it holds none, or a strange one, and then a note."""
    if "distillation" not in saved:
        return None
    try:
        distillation = distillation_of(_saved_subject(saved["distillation"]["subject"], local, settings, device))
        distillation.load_state_dict(saved["distillation"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reporter.note(f"The checkpoint does not fit this job ({error}); it starts afresh.")
        return None
    reporter.note(f"Resumed after step {distillation.taken}.")
    return distillation


def _saved_subject(state: dict[str, Tensor], local: Mesh, settings: JobSettings, device: torch.device) -> Subject:
    """A subject that can take this state; its surface has the state's grid already."""
    numbers = settings.resolve()
    if settings.mode == "texture":
        return texture_subject(local, numbers, device, settings.feather)
    colour = ColourField(numbers.colour_grid).to(device)
    own = {name.removeprefix("surface."): part.to(device) for name, part in state.items() if name.startswith("surface.")}
    return RefineSubject(Surface.of_state(own, numbers.isosurface), colour, settings.adherence, ArtistColours.of(colour, local))


def _distil(
    distillation: Distillation, timer: StageTimer, stream: Stream, checkpoint: Checkpoint, known: dict[str, Any], reporter: Reporter
) -> None:
    """Both stages; stream and save now and then: where the next step extracts the surface anew, as a resumed job does."""
    stage, dropped, told = 0, False, False
    steps: Steps = BackOff(distillation, reporter.note)
    if distillation.hyperparameters.compiled == "yes":
        steps = CompiledSteps(steps, distillation, reporter.note)
    while not distillation.finished:
        if distillation.stage != stage:
            stage = distillation.stage
            timer.start(Stage.STAGE1 if stage == 1 else Stage.STAGE2)
        step = steps.step()
        if step.dropped and not dropped:
            reporter.note(f"Step {step.done} of stage {step.stage} was left out: the model's answer was not finite.")
        dropped = step.dropped
        if step.unseen and not told:
            told = True
            reporter.note(
                f"{step.unseen} of {len(step.rgb)} views see nothing of the subject and teach it nothing. Widen the field of view (fov) or "
                "raise the least distance; where the surface has shrunk away, raise the adherence."
            )
        stream.offer(step)
        if distillation.finished:
            checkpoint.save({**known, "distillation": distillation.state_dict()})
        elif distillation.moves:
            checkpoint.offer({**known, "distillation": distillation.state_dict()})
        timer.step(step.done, step.total, step.figures)


def _finish(
    distillation: Distillation, seed: int, timer: StageTimer, stream: Stream, checkpoint: Checkpoint, known: dict[str, Any], done: int
) -> None:
    """The phases of the finishing stage that are still to come; saved after each."""
    names = phases(distillation.hyperparameters)
    if done >= len(names):
        return
    bridge = SurfaceBridge(distillation, seed)
    timer.start(Stage.FINISH)
    for phase in range(done, len(names)):
        views = bridge.run(phase, timer.part(names[phase]))
        checkpoint.save({**known, "distillation": distillation.state_dict(), "finished": phase + 1})
        stream.offer(Step(2, 1, 1, bridge.vertices, bridge.faces, views, {}))


class Stream:
    """Sends a preview and the surface so far, unless the last ones are fresh."""

    def __init__(self, reporter: Reporter, normalization: SceneNormalization, subject: Subject) -> None:
        self._reporter, self._normalization, self._subject = reporter, normalization, subject
        self._sent = 0.0

    @torch.no_grad()
    def offer(self, step: Step) -> None:
        """What the step saw."""
        if time.monotonic() - self._sent < STREAM_SECONDS:
            return
        row = torch.cat(list(step.rgb[:4]), dim=2).clamp(0, 1)
        self._reporter.preview((row.permute(1, 2, 0) * 255).round().byte().cpu().numpy())
        if len(step.faces):
            colours = self._subject.colour(step.vertices).cpu().numpy()
            self._reporter.mesh(Mesh(self._normalization.to_world(_array(step.vertices)), _array(step.faces), colours))
        self._sent = time.monotonic()


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()


def _exported(
    subject: Subject, sketch: Mesh, local: Mesh, normalization: SceneNormalization, settings: JobSettings, watcher: Watcher,
    sets: Sequence[TextureSet], wishes: MapWishes,
) -> tuple[Mesh, tuple[ImageSet, ...]]:  # fmt: skip
    """The finished mesh, in world space, and its images. JobError where there is nothing to finish."""
    numbers = settings.resolve()
    if not is_finite(subject.state_dict()):
        raise JobError("not_finite", "The optimized surface or its colours are not finite.", "Choose another seed, model or device.")
    if settings.mode == "texture":
        return finish_texture(sketch, subject.colour, normalization, numbers.texture_size, watcher, sets, settings.feather, wishes)
    assert isinstance(subject, RefineSubject)
    with torch.no_grad():
        vertices, faces = subject.geometry()
    if len(faces) == 0:
        raise JobError(
            "empty_surface", "The refined surface is empty: nothing of the sketch was left.", "Raise the adherence or the thickness."
        )
    colours = crisp_colours(subject, local, numbers, settings.adherence)
    budget = numbers.faces, numbers.texture_size
    drawn = {"crisp": subject.crisp, "even": numbers.triangles == "even"}
    mesh, maps = finish(vertices, faces, colours, normalization, *budget, watcher, **drawn, sketch=local, wishes=wishes)
    return mesh, (ImageSet.whole(mesh, maps),)


def _moved(vertices: np.ndarray, faces: np.ndarray, local: Mesh, settings: JobSettings, on_step: OnStep) -> Deviation:
    """How far the result (engine space) is from the sketch."""
    if settings.mode == "texture":
        return NOTHING_MOVED
    return deviation(vertices, faces, local, np.random.default_rng(settings.seed), on_step=on_step)


def _compared(end: Soundness, start: Soundness, reporter: Reporter) -> dict[str, Any]:
    """The result beside the solid that it started from: figures for the report; the user is told what is broken."""
    _tell(reporter, end.faults(start))
    return end.against(start)


def _report(settings: JobSettings, prompts: PromptPair, device: torch.device, timer: StageTimer, mended: list[str]) -> dict[str, Any]:
    return {
        **settings.to_dict(),
        "source": prompts.source_for(),
        "device": str(device),
        "stage_seconds": {stage: round(seconds, 2) for stage, seconds in timer.seconds.items()},
        "mended": mended,
        "versions": versions(),
    }
