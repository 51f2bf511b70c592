"""Whether a prior can serve the methods of a run at all: asked before its first step."""

from __future__ import annotations

from engine.diffusion.prior import Prior
from engine.errors import ModelError
from engine.guidance.step import GuidanceSettings
from engine.guidance.two_stage import TwoStage


def refuse_unserved(prior: Prior, plan: TwoStage) -> None:
    """ModelError where the prior lacks what a stage of the plan asks of it: velocities of a flow, or an unconditional distribution.

    (VSD's adapter asks for its attention layers itself, `vsd.LoraParticles`.)
    """
    stages = [plan.first] * (plan.switch > 0) + [plan.second] * (plan.switch < plan.steps)
    for settings in stages:
        if settings.entry.flow and getattr(prior, "prediction", "") != "flow":
            raise ModelError(
                "model_method",
                f"The method '{settings.method}' needs a flow-matching model, which '{prior.name}' is not.",
                "Choose a model of the class Stable Diffusion 3, or another method such as sds.",
            )
        if asks_unconditionally(settings):
            prior.embed([""])  # which says what is missing


def asks_unconditionally(settings: GuidanceSettings) -> bool:
    """Whether a step asks for an estimate without a prompt."""
    way = settings.entry.inversion
    on_the_way = way is not None and (way.under == "uncond" or way.scale != 1.0)
    return on_the_way or "uncond" in settings.roles
