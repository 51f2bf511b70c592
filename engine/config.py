"""What a job is: validated, frozen settings, and the presets that fill in the numbers.

Nothing here loads torch, so that a command line or a host application can check settings at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from engine.errors import InputError
from engine.guidance.methods import methods_for

MODES = ("refine", "texture")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Hyperparameters:
    """Every number of the optimization. A preset is one of these; a job may override single fields by name.

    Lengths are in engine space (conventions.SceneNormalization), rates are Adam's, times are shares of the noise schedule 0..1.
    """

    grid: int  # tetrahedral grid cells along each axis
    colour_grid: int  # finest level of the colour field, cells along each axis
    views: int  # views a step
    supersample: int  # render at this multiple of the prior's image size, then average
    fit_steps: int
    stage1_steps: int
    stage2_steps: int
    guidance_scale: float = 12.0  # classifier-free guidance s of stage 1 (SDS)
    stage2_method: str = "calibrated"  # a method of engine.guidance.methods that serves jobs
    stage2_weight: float = 4.0  # strength of the method of stage 2
    t_low: float = 0.02
    t_high: float = 0.75  # falls to t_high_end over the job (annealed)
    t_high_end: float = 0.5
    geometry_every: int = 1  # the surface moves at every so many steps, the colours at each
    sdf_lr: float = 3e-4
    deform_lr: float = 3e-4
    colour_lr: float = 2e-2
    smoothness: float = 1.0  # weight of the displacement's membrane energy
    elevation_low: float = 0.0  # degrees
    elevation_high: float = 45.0
    distance_low: float = 2.9  # camera distance, engine units
    distance_high: float = 3.5
    fov: float = 40.0  # degrees
    faces: int = 20_000
    texture_size: int = 1024
    thickness: float = 0.025  # half thickness given to open strokes and ribbons
    closing: float = 0.03  # strokes nearer than twice this are joined

    def validated(self) -> Hyperparameters:
        """Itself, or InputError naming the first field out of range."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            whole = isinstance(getattr(PRESETS["draft"], name), int)
            kind = "a whole number" if whole else "a number"
            right_type = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not right_type or not math.isfinite(value) or not low <= value <= high:
                raise InputError(
                    "bad_setting",
                    f"Setting '{name}' must be {kind} from {low:g} to {high:g}, got {value!r}.",
                    "Give a value inside that range or leave the setting out to use the preset's.",
                )
        if self.grid % 2:
            raise InputError("bad_setting", f"Setting 'grid' must be an even number, got {self.grid}.", f"Use {self.grid + 1}.")
        if not self.t_low < min(self.t_high, self.t_high_end):
            raise InputError(
                "bad_setting",
                f"t_low must be below t_high and t_high_end, got {self.t_low:g}, {self.t_high:g} and {self.t_high_end:g}.",
                "Leave them out to use the preset's.",
            )
        if self.stage2_method not in methods_for("job"):
            raise InputError(
                "bad_setting",
                f"Setting 'stage2_method' must be one of {', '.join(methods_for('job'))}, got {self.stage2_method!r}.",
                "Choose one of those.",
            )
        return self


_RANGES: dict[str, tuple[float, float]] = {
    "grid": (8, 256), "colour_grid": (8, 256), "views": (1, 64), "supersample": (1, 4), "fit_steps": (0, 100_000),
    "stage1_steps": (0, 1_000_000), "stage2_steps": (0, 1_000_000), "guidance_scale": (0, 1000), "stage2_weight": (0, 1000),
    "t_low": (0, 1), "t_high": (0, 1), "t_high_end": (0, 1), "geometry_every": (1, 100), "sdf_lr": (0, 1), "deform_lr": (0, 1),
    "colour_lr": (0, 1), "smoothness": (0, 1000), "elevation_low": (-89, 89), "elevation_high": (-89, 89), "distance_low": (1, 20),
    "distance_high": (1, 20), "fov": (5, 120), "faces": (50, 5_000_000), "texture_size": (16, 8192), "thickness": (0.001, 0.3),
    "closing": (0, 0.5),
}  # fmt: skip

PRESETS: dict[str, Hyperparameters] = {
    "draft": Hyperparameters(grid=80, colour_grid=64, views=4, supersample=1, fit_steps=60, stage1_steps=240, stage2_steps=80,
                     geometry_every=4, sdf_lr=6e-4, deform_lr=6e-4),
    "standard": Hyperparameters(grid=96, colour_grid=128, views=4, supersample=2, fit_steps=150, stage1_steps=1200, stage2_steps=400,
                        texture_size=2048, faces=50_000),
    "high": Hyperparameters(grid=128, colour_grid=256, views=8, supersample=2, fit_steps=400, stage1_steps=6000, stage2_steps=2000,
                    texture_size=2048, faces=200_000),
}  # fmt: skip


@dataclass(frozen=True)
class JobSettings:
    """One job as the user describes it; the same from the panel, the command line and a batch file.

    prompt      what it should become; view and background words are added by the engine
    source      what it looks like now (y_src of the calibrated stage); None builds it from the prompt and the paper's descriptors
    model       "embedded", a hub id, a diffusers folder, or a folder of images (the exact empirical prior)
    adherence   0..1, how closely the refined surface follows the sketch
    closing, thickness, faces, texture_size   override the preset's numbers where not None
    overrides   any other field of Hyperparameters by name
    """

    mode: str = "refine"
    prompt: str = ""
    source: str | None = None
    model: str = "embedded"
    preset: str = "draft"
    seed: int = 0
    adherence: float = 0.5
    closing: float | None = None
    thickness: float | None = None
    faces: int | None = None
    texture_size: int | None = None
    device: str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobSettings:
        """Settings from plain data (a wire message, TOML); an unknown key is an InputError. Validates."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                "unknown_setting",
                f"Unknown setting '{unknown[0]}'; known are {', '.join(sorted(known))}.",
                "Correct or remove it; fields of the preset go under 'overrides'.",
            )
        settings = cls(**values)
        settings.resolve()
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` takes back and JSON can hold."""
        return {**{entry.name: getattr(self, entry.name) for entry in fields(self)}, "overrides": dict(self.overrides)}

    def resolve(self) -> Hyperparameters:
        """The preset's numbers with this job's overrides. InputError for anything out of range."""
        self._check_choices()
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InputError(
                "empty_prompt",
                "The prompt is empty; expected a few words that say what the sketch should become.",
                "Type a prompt such as 'a red tulip flower'.",
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(
                "bad_setting", f"The seed must be a whole number from 0 to 2^63 - 1, got {self.seed!r}.", "Give such a number."
            )
        if not isinstance(self.adherence, int | float) or not 0 <= self.adherence <= 1:
            raise InputError(
                "bad_setting",
                f"Adherence must be from 0 (free) to 1 (close to the sketch), got {self.adherence!r}.",
                "Give a number in that range.",
            )
        named = {name: getattr(self, name) for name in ("closing", "thickness", "faces", "texture_size") if getattr(self, name) is not None}
        changes = {**dict(self.overrides), **named}
        known = {entry.name for entry in fields(Hyperparameters)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise InputError(
                "unknown_setting", f"Unknown override '{unknown[0]}'; known are {', '.join(sorted(known))}.", "Correct or remove it."
            )
        return dataclasses.replace(PRESETS[self.preset], **changes).validated()

    def _check_choices(self) -> None:
        for name, value, allowed in (("mode", self.mode, MODES), ("preset", self.preset, tuple(PRESETS)), ("device", self.device, DEVICES)):
            if value not in allowed:
                raise InputError(
                    "bad_setting", f"Setting '{name}' must be one of {', '.join(allowed)}, got {value!r}.", "Choose one of those."
                )
