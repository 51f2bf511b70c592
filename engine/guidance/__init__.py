"""Score distillation for any pipeline: the package's public surface.

Semantic versioning: `VERSION` is this surface's own. What `__all__` names keeps its meaning within a major version; a minor one adds
names, methods and optional arguments. Everything else of the engine, the modules behind these names included, may change at any time.
`docs/use_as_library.md` has an example of each use. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.diffusion.load import load_prior
    from engine.diffusion.prior import Conditions, ControlledPrior, Prior
    from engine.diffusion.prompts import source_prompt, target_prompt
    from engine.diffusion.schedule import NoiseSchedule
    from engine.guidance.guide import Guide
    from engine.guidance.methods import METHODS, Estimates, Method, method_named, methods_for
    from engine.guidance.pf_ode import BridgeSettings, GuidedPrompt, bridge_direction, sample
    from engine.guidance.step import ConditionPair, GuidanceSettings, distill, distill_latents
    from engine.guidance.two_stage import TwoStage
    from engine.guidance.vsd import LoraParticles, LoraSettings

VERSION = "1.1.0"

_HOMES = {
    "engine.diffusion.load": ("load_prior",),
    "engine.diffusion.prior": ("Conditions", "ControlledPrior", "Prior"),
    "engine.diffusion.prompts": ("source_prompt", "target_prompt"),
    "engine.diffusion.schedule": ("NoiseSchedule",),
    "engine.guidance.guide": ("Guide",),
    "engine.guidance.methods": ("METHODS", "Estimates", "Method", "method_named", "methods_for"),
    "engine.guidance.pf_ode": ("BridgeSettings", "GuidedPrompt", "bridge_direction", "sample"),
    "engine.guidance.step": ("ConditionPair", "GuidanceSettings", "distill", "distill_latents"),
    "engine.guidance.two_stage": ("TwoStage",),
    "engine.guidance.vsd": ("LoraParticles", "LoraSettings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METHODS",
    "VERSION",
    "BridgeSettings",
    "ConditionPair",
    "Conditions",
    "ControlledPrior",
    "Estimates",
    "GuidanceSettings",
    "Guide",
    "GuidedPrompt",
    "LoraParticles",
    "LoraSettings",
    "Method",
    "NoiseSchedule",
    "Prior",
    "TwoStage",
    "bridge_direction",
    "distill",
    "distill_latents",
    "load_prior",
    "method_named",
    "methods_for",
    "sample",
    "source_prompt",
    "target_prompt",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
