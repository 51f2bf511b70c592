"""What the guidance needs of a diffusion model, and how one is found by name.

Every prior answers with a noise estimate, whatever its network predicts; all conditions of a step go in one batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from engine.diffusion.schedule import NoiseSchedule
from engine.errors import ModelError

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Conditions:
    """What a prior is told about each item of a batch.

    prompts  N texts, for messages
    data     [N, ...], what the prior made of them (text states, subset weights, an index): opaque to everyone else
    notes    what the user should know about the prompts, such as words that were cut; empty if all went in
    """

    prompts: tuple[str, ...]
    data: Tensor
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, index: Sequence[int]) -> Conditions:
        """The conditions at these places, in this order."""
        rows = torch.as_tensor(list(index), device=self.data.device)
        return replace(self, prompts=tuple(self.prompts[i] for i in index), data=self.data[rows])

    def expand(self, count: int) -> Conditions:
        """One condition repeated `count` times; `count` conditions as they are."""
        if len(self) == count:
            return self
        if len(self) != 1:
            raise ValueError(f"{len(self)} conditions for a batch of {count}; give one for all or one for each")
        return self.select([0] * count)

    @staticmethod
    def cat(parts: Sequence[Conditions]) -> Conditions:
        """All parts one after another."""
        notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        return Conditions(tuple(p for part in parts for p in part.prompts), torch.cat([part.data for part in parts]), notes)


class ViewAngles(Protocol):
    """The part of a camera batch that a prior may look at: degrees, [B] each (engine.camera.Cameras has them)."""

    @property
    def azimuth(self) -> Tensor: ...
    @property
    def elevation(self) -> Tensor: ...


@runtime_checkable
class Prior(Protocol):
    """A text-to-image diffusion model, or anything with the same score.

    name        for reports
    image_size  side in pixels of the images that it knows
    schedule    its noise levels
    """

    name: str
    image_size: int
    schedule: NoiseSchedule

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T]."""
        ...

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1, any size -> latents, differentiable. The generator serves a posterior with spread."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> images [B, 3, image_size, image_size] in 0..1."""
        ...

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """Conditions for the prompts, cached; "" is unconditional. Cameras help priors whose images carry angles.

        ModelError if "" is asked for and the prior has no unconditional distribution.
        """
        ...

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """eps(x_t; y, t) for x_t [B, ...], integer t [B] and B conditions; without gradient, in x_t's dtype."""
        ...


def fit_square(images: Tensor, size: int) -> Tensor:
    """Images [B, 3, H, W] resized to size x size, differentiable: an average over whole blocks where that is exact."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    if height == width and height % size == 0:
        return functional.avg_pool2d(images, height // size)
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def load_prior(name: str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, image_size: int | None = None) -> Prior:
    """A prior by name, on `device`.

    name        "embedded"; a folder in diffusers' format; a folder of images (the exact empirical prior, with captions.jsonl
                beside the images if there is one); or a hub id such as "owner/model"
    dtype       of the networks; None = bfloat16 where this processor is faster with it, else float32 (float16 on CUDA)
    image_size  of an empirical prior only; None = 64

    Raises ModelError for whatever is missing, with the fix.
    """
    device = torch.device(device)
    if name == "embedded":
        return _load_folder(EMBEDDED_FOLDER, device, dtype, image_size, "embedded")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _load_folder(folder, device, dtype, image_size, name)
    if folder.exists():
        raise ModelError(
            "model",
            f"The model '{name}' is a file; expected a folder.",
            "Give the folder that holds model_index.json, or a folder of images.",
        )
    if not HUB_ID.fullmatch(name):
        raise ModelError("model", f"There is no model folder '{name}'.", "Check the path, or use the model 'embedded'.")
    from engine.diffusion.diffusers_prior import download

    return _load_folder(download(name), device, dtype, image_size, name)


def _load_folder(folder: Path, device: torch.device, dtype: torch.dtype | None, image_size: int | None, name: str) -> Prior:
    if (folder / "model_index.json").is_file():
        from engine.diffusion.diffusers_prior import DiffusersPrior

        return DiffusersPrior.from_folder(folder, device, dtype, name)
    if folder.is_dir() and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()):
        from engine.diffusion.empirical import EmpiricalPrior

        return EmpiricalPrior.from_folder(folder, image_size or 64, device)
    raise ModelError(
        "model",
        f"The model folder '{folder}' has no model_index.json and no images.",
        "Give a folder in diffusers' format (with model_index.json), or a folder with .png, .jpg or .webp images.",
    )
