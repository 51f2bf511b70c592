"""LoRA files beside a diffusers folder: how a user names them, how they are checked, and their merging into a model's weights.

Hu et al. 2021: each layer's weights change by strength * alpha / r * up @ down. Merged once, a step costs what it cost before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion.control_nets import SEPARATOR, split_numbers
from engine.diffusion.model_folder import check_length, libraries, refuse_not_finite
from engine.errors import InputError, ModelError

LARGEST = 2.0
DOWN = ("lora_down.weight", "_lora.down.weight", "lora.down.weight", "lora_A.weight", "lora_A.default.weight")
UP = ("lora_up.weight", "_lora.up.weight", "lora.up.weight", "lora_B.weight", "lora_B.default.weight")
ALPHA = ("alpha", "lora_alpha")
PREFIXES = {
    "lora_unet_": ("unet", "transformer"), "lora_transformer_": ("transformer",), "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",), "lora_te2_": ("text_encoder_2",), "lora_te3_": ("text_encoder_3",), "unet.": ("unet",),
    "transformer.": ("transformer",), "text_encoder.": ("text_encoder",), "text_encoder_2.": ("text_encoder_2",),
    "text_encoder_3.": ("text_encoder_3",), "base_model.model.": ("unet", "transformer"), "": ("unet", "transformer"),
}  # fmt: skip
"""Beginnings of keys -> the parts that the rest names a layer of; the first that fits."""
BASE = "Use it with a model of the class that it was made for, such as a Stable Diffusion 1.5 LoRA with Stable Diffusion 1.5."


@dataclass(frozen=True)
class LoraEntry:
    """A LoRA as a user asks for it: a safetensors file, and what its change is multiplied by."""

    file: Path
    strength: float = 1.0


def lora_entries(text: str | None) -> tuple[LoraEntry, ...]:
    """Every LoRA that a setting names, FILE[:strength] with ';' between; InputError for one that cannot be read."""
    return tuple(_entry(entry.strip()) for entry in (text or "").split(SEPARATOR) if entry.strip())


def _entry(text: str) -> LoraEntry:
    file, numbers = split_numbers(text)
    try:
        strength = float(numbers[0]) if numbers else 1.0
    except ValueError:
        strength = float("nan")
    if len(numbers) > 1 or not -LARGEST <= strength <= LARGEST:
        raise InputError(
            "bad_setting", f"The LoRA '{text}' needs a strength from -2 to 2.", "Write FILE[:strength], such as style.safetensors:0.8."
        )
    if not file.is_file() or file.suffix != ".safetensors":
        what = "is no .safetensors file; others can run code and are not read" if file.exists() else "is not there"
        raise InputError("missing_file", f"The LoRA '{file}' {what}.", "Check the path given with --lora.")
    return LoraEntry(file, strength)


def merge_loras(part: Any, folder: str, parts: Sequence[str], loras: Sequence[LoraEntry]) -> Any:
    """A part of a model with what the LoRAs change of it. ModelError for one that is for another model, or that cannot be read.

    parts  the names of all of the model's parts
    """
    for entry in loras if isinstance(part, nn.Module) else ():
        tensors = _read(entry.file)
        if folder in ("unet", "transformer"):
            tensors = _renamed(tensors, part)
        layers = _layers(part)
        foreign = []
        for key, group in _grouped(tensors).items():
            found = [
                (name, key.removeprefix(begin))
                for begin, names in PREFIXES.items()
                if key.startswith(begin)
                for name in names
                if name in parts
            ]
            owner, name = found[0] if found else ("", key)
            if owner != folder:
                foreign += [] if owner else [key]
                continue
            layer = layers.get(_flat(name))
            if layer is None or "down" not in group or "up" not in group:
                foreign.append(key)
            else:
                _merge(entry, key, layer, group)
        if foreign:
            raise ModelError(
                "model_lora",
                f"The LoRA '{entry.file.name}' names {len(foreign)} layers that the model's {folder} does not have, such as {foreign[0]}.",
                BASE,
            )
    return part


def _merge(entry: LoraEntry, key: str, layer: nn.Module, group: Mapping[str, Tensor]) -> None:
    weight: Any = layer.weight
    down, up = group["down"].float(), group["up"].float()
    rank = down.shape[0]
    fits = (
        up.dim() == down.dim() and up.flatten(1).shape == (weight.shape[0], rank) and down.flatten(1).shape[1] == weight.flatten(1).shape[1]
    )
    if not fits:
        raise ModelError(
            "model_lora",
            f"The LoRA '{entry.file.name}' is of another width: {key} has {tuple(up.shape)} and {tuple(down.shape)}, the model's layer "
            f"{tuple(weight.shape)}.",
            BASE,
        )
    scale = entry.strength * float(group["alpha"].float() if "alpha" in group else rank) / rank
    with torch.no_grad():
        weight += (scale * up.flatten(1) @ down.flatten(1)).view(weight.shape).to(weight)


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with libraries(file.parent, file.name):
        check_length(file)
        tensors = load_file(file)
    refuse_not_finite(tensors, f"The LoRA '{file.name}'")
    return tensors


def _renamed(tensors: dict[str, Tensor], denoiser: Any) -> dict[str, Tensor]:
    """Names of Stable Diffusion XL's first code turned into diffusers' own."""
    if not any("input_blocks" in key or "output_blocks" in key for key in tensors):
        return tensors
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    with libraries(Path("."), "LoRA"):
        return _maybe_map_sgm_blocks_to_diffusers(dict(tensors), denoiser.config)


def _grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Layer's key -> its "down", "up" and "alpha"."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        for role, endings in (("down", DOWN), ("up", UP), ("alpha", ALPHA)):
            ending = next((ending for ending in endings if key.endswith(ending)), None)
            if ending is not None:
                groups.setdefault(key.removesuffix(ending).rstrip("."), {})[role] = tensor
                break
        else:
            groups.setdefault(key, {})
    return groups


def _layers(part: nn.Module) -> dict[str, nn.Module]:
    """Linear and convolutional layers by their names without dots; a text model's with its outermost name and without."""
    found = {}
    for name, layer in part.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for told in _names(name):
                found[_flat(told)] = layer
    return found


def _names(name: str) -> Iterator[str]:
    yield name
    yield name.removeprefix("text_model.")
    yield f"text_model.{name}"


def _flat(name: str) -> str:
    return name.replace(".processor.", ".").replace(".", "_").removesuffix("_lora")
