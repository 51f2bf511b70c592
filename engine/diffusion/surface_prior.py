"""A prior that paints a surface which it sees: a small network of this project, on pixels, from a folder in diffusers' layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.diffusers_prior import fast_dtype, quiet
from engine.diffusion.model_folder import check_folder, check_words, libraries, read_json
from engine.diffusion.prior import Conditions, PixelLatents, ViewAngles
from engine.diffusion.prompt_encoder import PromptEncoder
from engine.diffusion.schedule import NoiseSchedule, checked_schedule
from engine.errors import ModelError

UNET_CLASS = "SurfaceUNet"


def paints_surfaces(folder: Path) -> bool:
    """Whether the folder's model_index.json names a `SurfaceUNet`."""
    entry = read_json(folder, "model_index.json").get("unet")
    return isinstance(entry, list) and entry[-1:] == [UNET_CLASS]


class SurfacePrior(PixelLatents):
    """A `ControlledPrior` around a `SurfaceUNet`; latents are pixels in -1..1, [B, 3, S, S]. See `from_folder`."""

    def __init__(self, unet: Any, text: PromptEncoder, schedule: NoiseSchedule, name: str) -> None:
        self.unet = unet.eval().requires_grad_(False)
        self.text = text
        self.name = name
        self.kinds = text.kinds
        self.schedule = schedule
        self.image_size = int(unet.config.sample_size)
        self.control_channels = int(unet.config.control_channels)
        self.control_pictures = 0

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, dtype: torch.dtype | None = None, name: str | None = None) -> SurfacePrior:
        """Reads a folder that scripts.prior.surface.export wrote. `dtype` None: the faster one of this device.

        ModelError names the file that is missing or broken, and the fix.
        """
        model = check_folder(folder)
        quiet()
        types = {"unet": dtype or fast_dtype(device), "text_encoder": torch.float32}
        parts = {part.folder: model.load(part, **({"torch_dtype": types[part.folder]} if part.weights else {})) for part in model.parts}
        check_words(folder, parts)
        with libraries(folder, "model"):
            unet = parts["unet"].to(device, memory_format=torch.channels_last)
            schedule = checked_schedule(parts["scheduler"].alphas_cumprod.float(), device)
            text = PromptEncoder({"tokenizer": parts["tokenizer"], "text_encoder": parts["text_encoder"].to(device)}, model.known)
        return cls(unet, text, schedule, name or str(folder))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next(self.unet.parameters()).dtype  # the library's own property walks through all of them

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """Text states as data. Notes tell which words were cut and which are unknown to the model."""
        del cameras
        return self.text.embed(prompts)

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """eps for x_t [B, 3, S, S], t int64 [B] and B conditions under control; one forward pass. ModelError without a fitting control."""
        control = conditions.control
        expected = (len(x_t), self.control_channels, *x_t.shape[2:])
        if control is None or control.shape != expected:
            got = "none" if control is None else f"one of shape {tuple(control.shape)}"
            raise ModelError(
                "model_control",
                f"The model '{self.name}' paints a surface that it is shown: expected a control of shape {expected}, got {got}.",
                "Use it for refine and texture. Pictures without a surface are made by load_prior('embedded') without surface=True.",
            )
        kind = self.dtype
        clean = self.unet(x_t.to(kind), t, conditions.data.to(kind), control.to(kind)).to(x_t.dtype)
        return self.schedule.to_epsilon(clean, x_t, t, "sample")
