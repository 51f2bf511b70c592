"""A prior by name: the one that ships, a folder in diffusers' format, a folder of images, or a model on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.device import named_device
from engine.diffusion.control_nets import ControlEntry, control_entries
from engine.diffusion.hub import download
from engine.diffusion.lora import LoraEntry, lora_entries
from engine.diffusion.prior import Prior
from engine.diffusion.references import ReferenceEntry, reference_entries
from engine.diffusion.single_file import refused
from engine.errors import ModelError
from engine.pictures import pictures_in
from engine.user_path import user_path

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
SURFACE_FOLDER = EMBEDDED_FOLDER / "surface"
"""The embedded network that paints surfaces; the one in the folder above makes pictures."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_prior(
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    image_size: int | None = None,
    *,
    surface: bool = False,
    controls: Sequence[ControlEntry] = (),
    loras: Sequence[LoraEntry] = (),
    references: Sequence[ReferenceEntry] = (),
) -> Prior:
    """A prior by name, on `device`.

    name        "embedded"; a folder in diffusers' format, or of a network that paints surfaces (`SurfacePrior`); a folder of images
                (the exact empirical prior, with captions.jsonl beside the images if there is one); or a hub id such as "owner/model"
    dtype       of the networks; None = bfloat16 where this processor is faster with it, else float32 (float16 on CUDA)
    image_size  of an empirical prior only; None = 64
    surface     whether a surface will be shown to it, as jobs do: "embedded" is then the network that paints surfaces, else the one
                that makes pictures
    controls    ControlNets beside a Stable Diffusion folder
    loras       of a Stable Diffusion folder's class, merged into its weights
    references  pictures that what it paints should look like, through IP-Adapters of its class

    Raises ModelError for whatever is missing, with the fix.
    """
    if image_size is not None and not 4 <= image_size <= 1024:
        raise ModelError("model_config", f"image_size is {image_size}; expected 4 to 1024 pixels.", "Leave it out for 64.")
    device, beside = named_device(device), Beside(tuple(controls), tuple(loras), tuple(references))
    if name == EMBEDDED:
        return _load_folder(SURFACE_FOLDER if surface else EMBEDDED_FOLDER, device, dtype, image_size, name, beside)
    folder = user_path(name)
    if folder.is_dir():
        return _load_folder(folder, device, dtype, image_size, name, beside)
    if folder.exists():
        raise refused(folder)
    if not HUB_ID.fullmatch(name):
        raise ModelError("model_missing", f"There is no model folder '{name}'.", "Check the path, or use the model 'embedded'.")
    return _load_folder(download(name, half=device.type == "cuda"), device, dtype, image_size, name, beside)


@dataclass(frozen=True)
class Beside:
    """What is put beside a model, see `load_prior`."""

    controls: tuple[ControlEntry, ...] = ()
    loras: tuple[LoraEntry, ...] = ()
    references: tuple[ReferenceEntry, ...] = ()


@dataclass(frozen=True)
class ModelChoice:
    """A model with what is put beside it, as the settings of every command name them. See `load_prior`."""

    model: str
    controls: tuple[ControlEntry, ...] = ()
    loras: tuple[LoraEntry, ...] = ()
    references: tuple[ReferenceEntry, ...] = ()

    @classmethod
    def named(cls, model: str, control: str | None = None, lora: str | None = None, reference: str | None = None) -> ModelChoice:
        """By the settings `model`, `control`, `lora` and `reference`; InputError for one that cannot be read."""
        return cls(model, control_entries(control), lora_entries(lora), reference_entries(reference))

    def load(self, device: torch.device, *, surface: bool = False, load: Callable[..., Prior] = load_prior) -> Prior:
        """The prior, by `load_prior` or a function called like it."""
        beside = {"surface": surface, "controls": self.controls, "loras": self.loras, "references": self.references}
        return load(self.model, device, **{name: value for name, value in beside.items() if value})


def _load_folder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    image_size: int | None,
    name: str,
    beside: Beside,
) -> Prior:
    if (folder / "model_index.json").is_file():
        from engine.diffusion.controlled_prior import ControlledDiffusersPrior, takes_depth
        from engine.diffusion.diffusers_prior import DiffusersPrior
        from engine.diffusion.surface_prior import SurfacePrior, paints_surfaces

        surfaces = paints_surfaces(folder)
        if not surfaces and (beside.controls or takes_depth(folder)):
            return ControlledDiffusersPrior.from_folder(folder, device, dtype, name, beside.loras, beside.references, beside.controls)
        if not surfaces:
            return DiffusersPrior.from_folder(folder, device, dtype, name, beside.loras, beside.references)
        if beside == Beside():
            return SurfacePrior.from_folder(folder, device, dtype, name)
    if beside.loras:
        raise ModelError(
            "model_lora",
            f"The model '{name}' takes no LoRA such as '{beside.loras[0].file}'.",
            "Leave --lora out, or choose a folder of a Stable Diffusion model with --model.",
        )
    if beside.references:
        raise ModelError(
            "model_reference",
            f"The model '{name}' takes no reference picture such as '{beside.references[0].picture}'.",
            "Leave --reference out, or choose a folder of a Stable Diffusion 1.x, 2.x or XL model with --model.",
        )
    if beside.controls:
        raise ModelError(
            "model_control",
            f"The model '{name}' takes no ControlNet such as '{beside.controls[0].folder}'.",
            "Leave --control out, or choose a folder of a Stable Diffusion 1.x or 2.x model with --model.",
        )
    if folder.is_dir() and pictures_in(folder):
        from engine.diffusion.empirical import EmpiricalPrior

        return EmpiricalPrior.from_folder(folder, image_size or 64, device)
    raise ModelError(
        "model_missing",
        f"The model folder '{folder}' has no model_index.json and no images.",
        "Give a folder in diffusers' format (with model_index.json), or a folder with .png, .jpg or .webp images.",
    )
