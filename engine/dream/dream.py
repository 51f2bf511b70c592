"""One dream, step by step: look at the cloud, ask the prior, descend. The paper's two stages on a volume (arXiv 2406.09417, Table 2).

Nothing here reports, measures time or writes files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from engine.camera import Cameras
from engine.diffusion.prior import Prior, referred
from engine.distillation import DROPPED_AT_MOST, PromptPair
from engine.dream.cloud import REACH, Cloud, Ground, entropy, lattice
from engine.dream.rays import Seen, look, occupied
from engine.dream_fields import DreamNumbers
from engine.errors import JobError
from engine.guidance.served import refuse_unserved
from engine.guidance.step import ConditionPair, GuidanceSettings, distill
from engine.guidance.two_stage import TwoStage
from engine.view_batch import ViewBatch

OCCUPIED_EVERY = 16
"""Steps between looks at where the cloud is."""

UNLIT_EVERY = 4
"""Of the steps that are lit, one in so many shows the bare colours after all, so that light is not painted into them."""

GROUND_RATE = 0.02

THICK = 4.0
"""Density (per engine unit) from which on a place counts as part of something."""
LEAST_VOLUME = 0.002
"""Share of the ball below which a dream counts as empty."""
RIM, MOST_RIM = (0.8, 0.95), 0.5
"""Where (radii, engine units) a dream that fills its ball is thick, and from which share of that on it counts as solid."""

ViewSampler = Callable[[torch.Generator], ViewBatch]


@dataclass(frozen=True)
class DreamStep:
    """A step that was taken: the stage, 1 or 2, `done` of its `total` steps; rgb [B, 3, S, S] as the prior saw it."""

    stage: int
    done: int
    total: int
    rgb: Tensor
    figures: dict[str, float]


class Dream:
    """Two-stage score distillation of a cloud under a prior. `step` until `finished`.

    numbers       of the dream; method is that of stage 2
    sample_views  draws the views of a step
    generator     a CPU generator; with it, every step is determined
    ModelError for a method that the prior cannot serve.
    """

    def __init__(
        self,
        prior: Prior,
        prompts: PromptPair,
        numbers: DreamNumbers,
        sample_views: ViewSampler,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.prior, self.prompts, self.numbers = prior, prompts, numbers
        self.generator = generator
        self.cloud = Cloud(numbers.dream_grid, generator).to(device)
        self.ground = Ground().to(device)
        groups = [*self.cloud.parameter_groups(numbers.dream_rate), {"params": list(self.ground.parameters()), "lr": GROUND_RATE}]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self.taken = 0
        self._dropped = 0
        self._sample_views = sample_views
        self._plan = plan(numbers, prompts.method)
        refuse_unserved(prior, self._plan)
        self._somewhere = occupied(self.cloud)

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.taken >= self._plan.steps

    def step(self) -> DreamStep:
        """Look, ask the prior, descend."""
        numbers = self.numbers
        stage, guidance = self._plan.at(self.taken)
        views = self._sample_views(self.generator)
        if self.taken % OCCUPIED_EVERY == 0:
            self._somewhere = occupied(self.cloud)
        lit = self.taken >= numbers.dream_shaded * self._plan.steps and self.taken % UNLIT_EVERY != 0
        seen = self.look(views.cameras, views.background, views if lit else None)
        loss, figures = distill(self.prior, seen.rgb, self.conditions(views), guidance, self.generator)
        self._descend(loss + self.regularization(seen))
        self.taken += 1
        first = self._plan.switch
        done = (self.taken, first) if stage == 1 else (self.taken - first, self._plan.steps - first)
        return DreamStep(stage, *done, seen.rgb.detach(), {**figures, "opacity": float(seen.opacity.detach().mean())})

    def _descend(self, loss: Tensor) -> None:
        """One step of Adam; none where the loss or its gradients are not finite, and JobError after DROPPED_AT_MOST of those in a row."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if bool(torch.isfinite(loss.detach() + torch.nn.utils.get_total_norm(gradients))):
            self.optimizer.step()
            self._dropped = 0
            return
        self._dropped += 1
        if self._dropped == DROPPED_AT_MOST:
            raise JobError(
                "not_finite",
                f"{DROPPED_AT_MOST} steps in a row gave numbers that are not finite: so answers the model '{self.prior.name}'.",
                "Choose another model, or compute on the CPU.",
            )

    def look(self, cameras: Cameras, plain: Tensor, lit: ViewBatch | None) -> Seen:
        """The cloud as a step sees it; `lit` by the light of a batch, or bare."""
        light = None if lit is None else lit.light
        size, samples = self.numbers.dream_size, self.numbers.dream_samples
        return look(self.cloud, self.ground, cameras, plain, size, samples, light, self._somewhere, self.generator)

    def conditions(self, views: ViewBatch) -> ConditionPair:
        """What the prior is told of the views: the prompt and its source with the words of each."""
        target = referred(self.prior, self.prior.embed([self.prompts.target_for(words) for words in views.words], views.cameras))
        return ConditionPair(target, self.prior.embed([self.prompts.source_for(words) for words in views.words], views.cameras))

    def regularization(self, seen: Seen) -> Tensor:
        """Against normals that face away (Verbin et al. 2022, eq. 11), cloud that need not be, and pixels half covered; scaled to the
        prior's pixels, as the guidance's loss is a sum over them."""
        numbers, count = self.numbers, len(seen.opacity)
        scale = (self.prior.image_size / numbers.dream_size) ** 2 / count
        thin = (seen.opacity.square() + 0.01).sqrt().sum()
        rising = numbers.dream_decision * self.taken / self._plan.steps
        total = numbers.dream_orientation * seen.turned_away.sum() + numbers.dream_opacity * thin + rising * entropy(seen.opacity).sum()
        return scale * total

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain data."""
        return {
            "step": self.taken,
            "cloud": self.cloud.state_dict(),
            "ground": self.ground.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "somewhere": self._somewhere,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from where a dream of the same settings was."""
        self.cloud.load_state_dict(state["cloud"])
        self.ground.load_state_dict(state["ground"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self._somewhere = state["somewhere"].to(self._somewhere.device)
        self.taken = int(state["step"])


def plan(numbers: DreamNumbers, method: str) -> TwoStage:
    """The guidance by step: a difference of images ("x0"), as in jobs, so that the weights of the other losses keep their meaning."""
    low, high = numbers.dream_t_low, numbers.dream_t_high
    first = GuidanceSettings("sds", numbers.dream_guidance, t_low=low, t_high=high, weighting="x0")
    second = GuidanceSettings(method, numbers.dream_weight2, t_low=low, t_high=high, weighting="x0")
    return TwoStage(numbers.dream_steps + numbers.dream_steps2, numbers.dream_steps, first, second, numbers.dream_t_end)


@torch.no_grad()
def fault(cloud: Cloud) -> Literal["empty", "solid"] | None:
    """What is wrong with a cloud that shows nothing: next to nothing of it is thick, or it fills all of its ball; None where neither is."""
    radius = lattice(cloud.resolution).norm(dim=-1)
    thick = (cloud.density() > THICK).cpu()
    if float(thick[radius < REACH].float().mean()) < LEAST_VOLUME:
        return "empty"
    rim = (radius > RIM[0]) & (radius < RIM[1])
    return "solid" if float(thick[rim].float().mean()) > MOST_RIM else None
