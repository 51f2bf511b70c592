"""Guidance for somebody else's loop: images in, a loss out. Of the package's public surface, see docs/use_as_library.md."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.prior import Prior, ViewAngles, referred
from engine.diffusion.prompts import check_prompt, target_prompt
from engine.errors import InputError
from engine.fields import check_value, table
from engine.guidance.methods import METHODS, method_named, source_text, view_weight
from engine.guidance.served import refuse_unserved
from engine.guidance.step import ConditionPair, GuidanceSettings, ParticleScore, Weighting, distill, refuse_pictures
from engine.guidance.two_stage import TwoStage
from engine.job_fields import JobSettings
from engine.views import view_word


class Guide:
    """The paper's schedule, or one method from the first step to the last, for images that a caller renders.

    prior      from `load_prior`, or anything with that interface
    prompt     what the images should show
    source     what they look like now; None builds it as the method wants it
    method     a name of `methods_for("job")`; of those with two stages, stage 1 is SDS
    steps      of the whole run; switch: the share of them that stage 1 has (methods with two stages only)
    scale, first_scale  strength of the method and of stage 1; None = the method's own for a prior of this size
    weighting  w(t), see `GuidanceSettings`
    t_low, t_high, t_high_end  noise levels as shares of the schedule; t_high falls to t_high_end, None = it stays
    seed       of noise and timesteps
    InputError for what cannot work, ModelError for a method that the prior cannot serve.
    """

    def __init__(
        self,
        prior: Prior,
        prompt: str,
        *,
        source: str | None = None,
        method: str = "calibrated",
        steps: int = 1000,
        switch: float = 0.6,
        scale: float | None = None,
        first_scale: float | None = None,
        weighting: Weighting = "sigma2",
        t_low: float = 0.02,
        t_high: float = 0.98,
        t_high_end: float | None = None,
        seed: int = 0,
    ) -> None:
        entry = method_named(method, "job")
        if not hasattr(prior, "predict_noise"):
            raise InputError("bad_setting", f"The prior is a {type(prior).__name__}; expected one of load_prior.", "Give load_prior(NAME).")
        check_value(table(JobSettings)["seed"], seed)
        if not isinstance(switch, Real) or not 0.0 <= switch <= 1.0:
            raise InputError("bad_setting", f"switch is {switch}; expected a share of the steps, 0 to 1.", "Leave it out for 0.6.")
        self.prior, self.prompt, self.source, self.method = prior, check_prompt(prompt), source, method
        self.generator = torch.Generator().manual_seed(seed)
        times: dict[str, Any] = {"t_low": t_low, "t_high": t_high, "weighting": weighting}
        own = GuidanceSettings(method, entry.scale_for(prior.image_size) if scale is None else scale, **times)
        soft = METHODS["sds"].scale_for(prior.image_size) if first_scale is None else first_scale
        at = round(switch * steps) if isinstance(steps, Integral) else 0  # TwoStage refuses any other
        first, until = (GuidanceSettings("sds", soft, **times), at) if entry.stages == 2 else (own, steps)
        self.plan = TwoStage(steps, until, first, own, t_high_end)
        refuse_unserved(prior, self.plan)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the prior does not understand of the prompts: words that were cut, or that it does not know."""
        return self.conditions(1).notes

    def loss(
        self,
        images: Tensor,
        step: int,
        *,
        words: Sequence[str] | None = None,
        cameras: ViewAngles | None = None,
        control: Tensor | None = None,
        particles: ParticleScore | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """(loss, figures) of images [B, 3, H, W] in 0..1, sRGB; the loss is a scalar to add to the caller's own and to call backward on.

        step      counted from 0; those beyond the last count as the last
        words     B texts for what is particular to each image, such as ", on a white background, side view"
        cameras   azimuth and elevation [B] in degrees (0, 0 looks at the front): view words are made of them where no words are given
        control   [B, C, S, S] for a `ControlledPrior`
        figures   "stage", and those of `distill`
        """
        refuse_pictures(self.prior, images)
        if not bool(images.isfinite().all()):
            raise InputError("not_finite", "The images hold numbers that are not finite: so does what they are rendered from.",
                             "Leave out steps whose gradient is not finite, or take a lower learning rate.")  # fmt: skip
        if not isinstance(step, Integral) or step < 0:
            raise InputError("bad_setting", f"The step is {step!r}; expected a whole number from 0.", "Count the steps of your loop.")
        stage, settings = self.plan.at(min(step, self.plan.steps - 1))
        pair = self.conditions(len(images), words, cameras, control)
        loss, figures = distill(self.prior, images, pair, settings, self.generator, particles=particles)
        return loss, {"stage": float(stage), **figures}

    def conditions(
        self,
        count: int,
        words: Sequence[str] | None = None,
        cameras: ViewAngles | None = None,
        control: Tensor | None = None,
    ) -> ConditionPair:
        """What `loss` tells the prior of `count` images."""
        if words is None and cameras is not None:
            refuse_cameras(cameras, count)
            angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
            words = [f"{view_word(azimuth, elevation)} view" for azimuth, elevation in angles]
        told = [""] * count if words is None else [words] if isinstance(words, str) else list(words)
        if len(told) != count or not all(isinstance(text, str) for text in told):
            raise InputError("bad_setting", f"{len(told)} words for {count} images; expected as many texts.", "Give one for each image.")
        target = referred(self.prior, self.prior.embed([target_prompt(self.prompt, text) for text in told], cameras))
        source = self.prior.embed([source_text(self.method, self.prompt, text, self.source) for text in told], cameras)
        against = view_weight(cameras.azimuth) if METHODS[self.method].y_src == "views" and cameras is not None else None
        return ConditionPair(target.under(control), source.under(control), against)


def refuse_cameras(cameras: ViewAngles, count: int) -> None:
    """InputError unless azimuth and elevation are tensors of `count` finite angles."""
    for name in ("azimuth", "elevation"):
        angles = getattr(cameras, name, None)
        if not isinstance(angles, Tensor) or angles.shape != (count,) or not bool(angles.isfinite().all()):
            raise InputError(
                "bad_setting", f"The cameras' {name} must be a tensor of {count} angles in degrees, got {angles!r}.",
                "Give one angle for each image, or leave cameras out.",
            )  # fmt: skip
