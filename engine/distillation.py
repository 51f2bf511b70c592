"""What a job optimizes and how one step of it is taken: look at the subject, ask the prior, descend.

Nothing here reports, measures time or writes files: `engine.job`, the step benchmark and the loop's oracle drive the same class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.camera import Cameras
from engine.diffusion.prior import ControlledPrior, Prior, referred
from engine.diffusion.prompts import DESCRIPTORS, check_prompt, target_prompt
from engine.errors import JobError
from engine.guidance.methods import METHODS, source_text, view_weight
from engine.guidance.regions import PartPrompts
from engine.guidance.step import ConditionPair, GuidanceSettings, Region, distill
from engine.guidance.surface_noise import surface_noise
from engine.guidance.two_stage import TwoStage
from engine.job_fields import Hyperparameters
from engine.render.base import Rasterizer
from engine.render.control import MASK, SURFACE_CHANNELS, control_of
from engine.render.shading import RenderedViews, render_views
from engine.subject import Subject, colour_weight
from engine.view_batch import ViewBatch, sample_view_batch

DROPPED_AT_MOST = 5
"""Steps in a row whose numbers are not finite: then the job ends."""

USUAL_SIZE = 64
"""Pixels along a side of the prior for which the regularizers' weights were chosen."""

LEAST_CONTROL = 0.25
"""Share of a ControlNet's strength at the first step of a surface that may move."""

LONGEST_WORDS = "on a white background, overhead view"
"""The longest words that `engine.view_batch` adds to a prompt: one that fits together with these fits with all others."""

SAMPLES_A_LATENT = 8
"""Places of the surface along a side of a latent pixel, for noise that belongs to the surface."""
MOST_SAMPLES = 256
"""Of those along a side of a picture: latents that are pixels get fewer each."""

ViewSampler = Callable[[Hyperparameters, torch.Generator, int], ViewBatch]
"""(numbers, generator, steps that were taken) -> what the next step looks at."""


@dataclass(frozen=True)
class PromptPair:
    """What the subject should become, and what it looks like now.

    prompt       y_tgt without the words of a view
    source       y_src likewise; None builds it from the prompt as the method of stage 2 wants it
    method       the method of stage 2
    descriptors  of a poor render, for a y_src that is built with them
    """

    prompt: str
    source: str | None = None
    method: str = "calibrated"
    descriptors: str = DESCRIPTORS

    def target_for(self, words: str) -> str:
        """y_tgt of a view that is described by these words."""
        return target_prompt(self.prompt, words)

    def source_for(self, words: str = "") -> str:
        """y_src of a view that is described by these words."""
        return source_text(self.method, self.prompt, words, self.source, self.descriptors)

    def notes(self, prior: Prior) -> tuple[str, ...]:
        """What the prior will not understand of either prompt. InputError for one that cannot be used."""
        checked = replace(self, prompt=check_prompt(self.prompt))
        return prior.embed([checked.target_for(LONGEST_WORDS), checked.source_for(LONGEST_WORDS)]).notes


@dataclass(frozen=True)
class Step:
    """A step that was taken.

    dropped        whether its numbers were not finite, so that nothing was changed by it
    stage          1 or 2; `done` of its `total` steps are taken
    vertices, faces, rgb  [V, 3], int32 [F, 3] in engine space and [B, 3, S, S] sRGB 0..1 as the step saw them
    figures        see `engine.guidance.step.distill`
    unseen         views that see nothing of the surface, as far as a control shows it
    """

    stage: int
    done: int
    total: int
    vertices: Tensor
    faces: Tensor
    rgb: Tensor
    figures: dict[str, float]
    dropped: bool = False
    unseen: int = 0


class Distillation:
    """Two-stage score distillation of a subject under a prior. `step` until `finished`.

    subject     what is optimized; its parameters change in place
    generator   a CPU generator; with it, every step is determined
    parts       prompts of parts of the surface, whose faces must stay as they are
    sample_views  draws the views of a step by the hyperparameters of that moment; by default `engine.view_batch.sample_view_batch`
    """

    def __init__(
        self,
        subject: Subject,
        prior: Prior,
        rasterizer: Rasterizer,
        hyperparameters: Hyperparameters,
        prompts: PromptPair,
        adherence: float,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        sample_views: ViewSampler | None = None,
        parts: PartPrompts | None = None,
    ) -> None:
        self.subject = subject
        self.prior = prior
        self._shown = isinstance(prior, ControlledPrior)  # once: it reads every attribute, and some walk through the whole network
        self.rasterizer = rasterizer
        self.hyperparameters = hyperparameters
        self.prompts = prompts
        self.generator = generator
        self.steps = hyperparameters.stage1_steps + hyperparameters.stage2_steps
        self.optimizer = torch.optim.Adam(subject.parameter_groups(hyperparameters), betas=(0.9, 0.99), fused=True)
        self._parts = parts
        self.taken = 0
        self._dropped_in_a_row = 0
        self._descended: Step | None = None  # a step of which the projection is to come
        self._schedule = schedule(hyperparameters)
        self.colour_weight = colour_weight(adherence)
        self._sample_views = sample_views or (lambda numbers, drawn, _: sample_view_batch(numbers, drawn, torch.device(device)))
        self._seen: tuple[Tensor, Tensor] | None = None  # the surface as the last step saw it
        self._unseen = 0

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.taken >= self.steps

    @property
    def stage(self) -> int:
        """The stage, 1 or 2, that the next step belongs to."""
        return 1 if self.taken < self.hyperparameters.stage1_steps else 2

    @property
    def moves(self) -> bool:
        """Whether the next step extracts the surface and moves it. Only then is `state_dict` all that the next step depends on."""
        return self.taken % self.hyperparameters.geometry_every == 0

    def step(self) -> Step:
        """Look, render, ask the prior, descend.

        The surface is extracted and moved at every `geometry_every`-th step; between them the colours are learnt on it as it was
        seen last, which costs neither extraction nor silhouette gradients. A step whose loss or gradients are not finite changes
        nothing; JobError after DROPPED_AT_MOST of them in a row. A step that raises something else, such as a lack of memory, has
        changed nothing either, or nothing but what its repetition leaves as it is: it can be taken again.
        """
        if self._schedule is None or self.finished:
            raise ValueError(f"All {self.steps} steps are taken.")
        if self._descended is None:
            drawn, seen = self.generator.get_state(), self._seen
            try:
                self._descended = self._descend(self._schedule)
            except BaseException:
                self.generator.set_state(drawn)
                self._seen = seen
                raise
        step = self._descended
        if self.moves and not step.dropped:
            self.subject.project()
        self._descended = None
        self.taken += 1
        self._count_dropped(not step.dropped)
        return replace(step, done=step.done + 1)

    def _descend(self, schedule: TwoStage) -> Step:
        """All of a step but the projection; the step, `done` before it."""
        stage, guidance = schedule.at(self.taken)
        view_batch = self._sample_views(self.hyperparameters, self.generator, self.taken)
        moves = self.moves
        if moves or self._seen is None:
            self._seen = self.subject.geometry()
        vertices, faces = self._seen
        colours = RecordedColours(self.subject)
        views = self.render(vertices, faces, colours, view_batch)
        loss, figures = self.guide(views, view_batch, guidance)
        pixels = self.hyperparameters.supersample**2 * self.hyperparameters.views
        loss = loss + self.colour_weight * colours.colour_loss() / pixels
        if moves:
            per_area = (
                self.prior.image_size / USUAL_SIZE
            ) ** 2  # a place's guidance is a sum over its pixels, its membrane's energy is not
            loss = loss + per_area * self.subject.regularization(self.hyperparameters)
        finite = self.backward(loss)
        seen = vertices.detach()
        taken = Step(stage, *self._progress(stage), seen, faces, views.rgb.detach(), figures, not finite, self._unseen)
        if finite:
            self._set_rates(stage)
            self._make_moments()
            self.optimizer.step()
        self._seen = seen, faces
        return taken

    def _make_moments(self) -> None:
        """Adam's moments, before its first step would make them one after another: memory that runs out then finds nothing half done."""
        state = self.optimizer.state
        for parameter in (parameter for group in self.optimizer.param_groups for parameter in group["params"]):
            if parameter.grad is not None and not state[parameter]:
                moments = {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in ("exp_avg", "exp_avg_sq")}
                state[parameter] = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device), **moments}

    def _set_rates(self, stage: int) -> None:
        """Stage 2 moves the surface by its own share of the geometry's rates."""
        share = 1.0 if stage == 1 else self.hyperparameters.stage2_geometry
        for group in self.optimizer.param_groups:
            if "moves" in group:
                group["lr"] = group["moves"] * share

    @property
    def two_sided(self) -> bool:
        """Whether faces are lit on the side that is seen: an artist's may look either way, a refined surface looks outwards."""
        return not self.subject.can_move

    @property
    def sees_normals(self) -> bool:
        """Whether the next step shows the prior the surface's normals in place of its colours."""
        return self.taken < self.hyperparameters.normals_first * self.hyperparameters.stage1_steps

    def _count_dropped(self, finite: bool) -> None:
        """JobError once too many steps in a row were dropped: the next ones would be too."""
        self._dropped_in_a_row = 0 if finite else self._dropped_in_a_row + 1
        if self._dropped_in_a_row == DROPPED_AT_MOST:
            raise JobError(
                "not_finite",
                f"{DROPPED_AT_MOST} steps in a row gave numbers that are not finite: the model '{self.prior.name}' answers with NaN or"
                f" infinity in {str(self.prior.dtype).removeprefix('torch.')} on {self.prior.device}.",
                "Choose another model, or compute on the CPU, where it works in float32 or bfloat16.",
            )

    def _progress(self, stage: int) -> tuple[int, int]:
        """Steps of a stage that are taken, and all of them."""
        first = self.hyperparameters.stage1_steps
        return (self.taken, first) if stage == 1 else (self.taken - first, self.steps - first)

    def render(self, vertices: Tensor, faces: Tensor, colour: Callable[[Tensor], Tensor], view_batch: ViewBatch) -> RenderedViews:
        """The surface as the views see it, at the prior's size."""
        want = ["rgb", *(SURFACE_CHANNELS if self._shown else ())]
        if self.sees_normals:
            want += [channel for channel in ("normal", "mask") if channel not in want]
        views = render_views(
            self.rasterizer,
            vertices,
            faces,
            view_batch.cameras,
            self.prior.image_size,
            colour,
            view_batch.light,
            view_batch.background,
            supersample=self.hyperparameters.supersample,
            want=tuple(want),
            two_sided=self.two_sided,
            material=self.subject.material,
        )
        if not self.sees_normals:
            return views
        behind = view_batch.background[:, :, None, None] * (1 - views.mask)
        return RenderedViews({**views.channels, "rgb": (views.normal + views.mask) / 2 + behind})

    def guide(self, views: RenderedViews, view_batch: ViewBatch, guidance: GuidanceSettings) -> tuple[Tensor, dict[str, float]]:
        """The guidance's loss for the views, a scalar, and its figures."""
        noise = None
        if guidance.entry.held or self.hyperparameters.view_noise == "surface":
            noise = functools.partial(self.noise_of_the_surface, view_batch.cameras, step=0 if guidance.entry.held else self.taken)
        return distill(self.prior, views.rgb, self.conditions(views, view_batch), guidance, self.generator, noise=noise)

    @torch.no_grad()
    def noise_of_the_surface(self, cameras: Cameras, latents: Tensor, step: int = 0) -> Tensor:
        """Noise of the latents' shape [B, C, h, h] that all views of a place share, the same for every call with one `step`."""
        assert self._seen is not None
        vertices, faces = self._seen
        side = latents.shape[-1] * max(min(SAMPLES_A_LATENT, MOST_SAMPLES // latents.shape[-1]), 1)
        rast, _ = self.rasterizer.rasterize(cameras.clip(vertices), faces, (side, side))
        points, _ = self.rasterizer.interpolate(vertices, rast, faces)
        # rasterizers begin at the bottom row, images at the top
        seed = self.generator.initial_seed() + step
        noise = surface_noise(points.flip(1), rast.flip(1)[..., 3] > 0, latents.shape[-1], latents.shape[1], seed)
        return noise.to(latents)

    def see(self) -> tuple[Tensor, Tensor]:
        """Vertices and faces as they are now, detached: what `conditions` and `noise_of_the_surface` speak of until the next step."""
        vertices, faces = self.subject.geometry()
        self._seen = vertices.detach(), faces
        return self._seen

    def conditions(self, views: RenderedViews, view_batch: ViewBatch) -> ConditionPair:
        """Target and source conditions, one a view; a prior that looks at the surface sees the same in both."""
        pair = self._conditions(self.prompts, views, view_batch)
        if self._parts is None or self._seen is None:
            return pair
        vertices, faces = self._seen
        shares = self._parts.weights(self.rasterizer, view_batch.cameras, vertices.detach(), faces, self.prior.image_size)
        asked = [self._conditions(replace(self.prompts, prompt=prompt), views, view_batch) for prompt in self._parts.prompts]
        return replace(pair, regions=tuple(Region(shares[:, [k]], one) for k, one in enumerate(asked)))

    def _conditions(self, prompts: PromptPair, views: RenderedViews, view_batch: ViewBatch) -> ConditionPair:
        cameras = view_batch.cameras
        control = control_of(views, cameras) if self._shown else None
        self._unseen = 0 if control is None else int((control[:, MASK].amax((1, 2)) <= 0).sum())
        target = referred(self.prior, self.prior.embed([prompts.target_for(words) for words in view_batch.words], cameras))
        source = self.prior.embed([prompts.source_for(words) for words in view_batch.words], cameras)
        against = view_weight(cameras.azimuth) if METHODS[prompts.method].y_src == "views" else None
        strength = self.control_strength()
        return ConditionPair(target.under(control, strength), source.under(control, strength), against)

    def control_strength(self) -> float:
        """The share of a ControlNet's strength at the next step: it rises over the first of stage 1, where the surface may still move."""
        rise = self.hyperparameters.control_rise * self.hyperparameters.stage1_steps
        if rise == 0 or not self.subject.can_move:
            return 1.0
        return min(LEAST_CONTROL + (1 - LEAST_CONTROL) * self.taken / rise, 1.0)

    def backward(self, loss: Tensor) -> bool:
        """Gradients of the loss in the subject's parameters; whether they and the loss are finite, squared too, as Adam squares them."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        return bool(torch.isfinite(loss.detach() + torch.nn.utils.get_total_norm(gradients)))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, where it `moves` or all are taken: tensors and plain data."""
        return {
            "step": self.taken,
            "subject": self.subject.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from where a distillation of the same job was. ValueError, and nothing changed, where the state is not such a one."""
        self._refuse_strange(state)
        self.subject.load_state_dict(state["subject"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.taken = int(state["step"])
        self._seen = None

    def _refuse_strange(self, state: dict[str, Any]) -> None:
        if set(state) != {"step", "subject", "optimizer", "generator"}:
            raise ValueError(f"a distillation's state has step, subject, optimizer and generator, got {', '.join(map(str, state))}")
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments = [
            (f"{name} of parameter {index}", values[name].shape, parameters[index].shape)
            for index, values in state["optimizer"]["state"].items()
            for name in ("exp_avg", "exp_avg_sq")
        ]
        own = self.subject.state_dict()
        if set(own) != set(state["subject"]):
            raise ValueError(f"the subject's state has {', '.join(sorted(own))}, got {', '.join(sorted(state['subject']))}")
        for what, got, expected in [*moments, *((name, state["subject"][name].shape, own[name].shape) for name in own)]:
            if got != expected:
                raise ValueError(f"{what} has the shape {tuple(got)}, expected {tuple(expected)}")
        if not 0 <= int(state["step"]) <= self.steps:
            raise ValueError(f"step {state['step']} of {self.steps}")


class RecordedColours:
    """The subject's colours as the renderer asks for them, remembering where and what, so that they can be held to the artist's."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._points: Tensor | None = None
        self._colours: Tensor | None = None

    def __call__(self, points: Tensor) -> Tensor:
        colours = self._subject.colour(points.detach())
        self._points, self._colours = points.detach(), colours
        return colours

    def colour_loss(self) -> Tensor | float:
        """Half the squared departure from the artist's colours, summed over pixels, in the guidance's units (-1..1); 0 without any."""
        if self._subject.artist is None or self._points is None or self._colours is None:
            return 0.0
        original, known = self._subject.artist(self._points)
        return 0.5 * ((2 * (self._colours - original)).square() * known).sum()


def schedule(hyperparameters: Hyperparameters) -> TwoStage | None:
    """The stages of a job by step, None where it has no steps.

    The gradient is weighted so that it is a difference of images ("x0"): then it is bounded at every noise level, and the
    weights of the regularizers keep their meaning.
    """
    steps = hyperparameters.stage1_steps + hyperparameters.stage2_steps
    if steps == 0:
        return None
    times: dict[str, Any] = {"t_low": hyperparameters.t_low, "t_high": hyperparameters.t_high, "weighting": "x0"}
    first = GuidanceSettings("sds", hyperparameters.guidance_scale, **times)
    second = GuidanceSettings(hyperparameters.stage2_method, hyperparameters.stage2_weight, **times)
    return TwoStage(steps, hyperparameters.stage1_steps, first, second, hyperparameters.t_high_end)
