"""Reference pictures beside a Stable Diffusion folder: how a user names them, how they are checked and read, and what the denoiser gets.

Ye et al. 2023, "IP-Adapter": an image encoder makes a few tokens of a picture, to which every cross-attention of the denoiser listens
beside the words, by weights of its own. The tokens of a black picture stand for none, as in the adapter's own training.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion.control_nets import SEPARATOR, split_numbers
from engine.diffusion.model_folder import (
    ModelFolder,
    check_config,
    check_files,
    check_length,
    check_weights,
    libraries,
    read_json,
    refuse_not_finite,
)
from engine.diffusion.model_parts import Part
from engine.errors import InputError, ModelError
from engine.pictures import read_square
from engine.user_path import user_path

LARGEST = 2.0
ENCODER = Part("image_encoder", "config.json", {"CLIPVisionModelWithProjection": "transformers"}, "model")
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was taught, by colour."""
FIX = "Choose an IP-Adapter of the model's own class, such as ip-adapter_sd15.safetensors beside Stable Diffusion 1.5."


@dataclass(frozen=True)
class ReferenceEntry:
    """A reference picture as a user asks for it.

    adapter   an IP-Adapter's safetensors file; its image encoder lies in the folder `image_encoder` beside it
    picture   an image file
    strength  what the denoiser's attention to it is multiplied by
    """

    adapter: Path
    picture: Path
    strength: float = 1.0


def reference_entries(text: str | None) -> tuple[ReferenceEntry, ...]:
    """Every reference that a setting names, ADAPTER=PICTURE[:strength] with ';' between; InputError for one that cannot be read."""
    return tuple(_entry(entry.strip()) for entry in (text or "").split(SEPARATOR) if entry.strip())


def _entry(text: str) -> ReferenceEntry:
    adapter, separator, rest = text.partition("=")
    picture, numbers = split_numbers(rest) if rest else (Path(), [])
    try:
        strength = float(numbers[0]) if numbers else 1.0
    except ValueError:
        strength = float("nan")
    if not separator or not rest or len(numbers) > 1 or not 0 <= strength <= LARGEST:
        raise InputError(
            "bad_setting",
            f"The reference '{text}' needs an adapter, a picture and a strength from 0 to 2.",
            "Write ADAPTER=PICTURE[:strength], such as ip-adapter_sd15.safetensors=chair.jpg:0.6.",
        )
    file = user_path(adapter.strip())
    for path, suffix, what in ((file, ".safetensors", "adapter"), (picture, "", "picture")):
        if not path.is_file() or (suffix and path.suffix != suffix):
            told = "is no .safetensors file; others can run code and are not read" if path.exists() else "is not there"
            raise InputError("missing_file", f"The {what} '{path}' of a reference {told}.", "Check the paths given with --reference.")
    return ReferenceEntry(file, picture, strength)


def check_references(entries: Sequence[ReferenceEntry], base: ModelFolder) -> None:
    """ModelError for references that the model cannot take, before any weight is read."""
    for entry in entries:
        _check(entry, base)


def _check(entry: ReferenceEntry, base: ModelFolder) -> None:
    """ModelError for an adapter of another model or kind, or without its image encoder."""
    unet, shapes = base.configs.get("unet"), _shapes(entry.adapter)
    if unet is None:
        raise ModelError(
            "model_reference",
            f"The model in '{base.path}' takes no reference picture such as '{entry.picture.name}'.",
            "Leave --reference out, or choose a Stable Diffusion 1.x, 2.x or XL model.",
        )
    listening = {name: shape for name, shape in shapes.items() if name.startswith("ip_adapter.") and name.endswith("to_k_ip.weight")}
    kind = _kind(shapes)
    if not listening or kind is None:
        raise ModelError(
            "model_reference",
            f"'{entry.adapter.name}' is no IP-Adapter with tokens of pictures: expected ip_adapter.*.to_k_ip.weight and "
            f"image_proj.proj.weight or image_proj.latents among its {len(shapes)} tensors.",
            "Choose a plain or a plus adapter; those of faces and of whole pictures are not read.",
        )
    width = unet.get("cross_attention_dim", 1280)
    strange = [(name, shape) for name, shape in listening.items() if len(shape) != 2 or shape[1] != width]
    if strange:
        raise ModelError(
            "model_reference",
            f"The adapter '{entry.adapter.name}' is of another base model: {strange[0][0]} is {strange[0][1]}, the model in '{base.path}' "
            f"attends to words of {width}.",
            FIX,
        )
    config = _encoder_config(entry.adapter.parent)
    wanted, given = (shapes["image_proj.proj.weight"][1], "projection_dim") if kind == "plain" else (
        shapes.get("image_proj.proj_in.weight", [0, 0])[1], "hidden_size")  # fmt: skip
    if config.get(given) != wanted:
        raise ModelError(
            "model_reference",
            f"The adapter '{entry.adapter.name}' is of another image encoder: it takes {wanted} numbers, the {given} of the one beside "
            f"it is {config.get(given)!r}.",
            "Put the image encoder that belongs to the adapter into the folder image_encoder beside it.",
        )


def _shapes(adapter: Path) -> dict[str, list[int]]:
    """Of an adapter's tensors, by its header alone."""
    with libraries(adapter.parent, adapter.name):
        check_length(adapter)
        with adapter.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _kind(shapes: Mapping[str, Any]) -> str | None:
    """ "plain" (tokens of the picture's pooled features) or "plus" (of all its patches); None for any other."""
    if "image_proj.proj.weight" in shapes:
        return "plain"
    return "plus" if "image_proj.latents" in shapes and "image_proj.proj_in.weight" in shapes else None


def _encoder_config(folder: Path) -> Mapping[str, Any]:
    check_files(folder, ENCODER)
    config = read_json(folder, f"{ENCODER.folder}/{ENCODER.config}")
    if config.get("architectures", ["CLIPVisionModelWithProjection"]) != ["CLIPVisionModelWithProjection"]:
        raise ModelError(
            "model_reference",
            f"The image encoder in '{folder / ENCODER.folder}' is a {config['architectures']}.",
            "Take the CLIPVisionModelWithProjection that belongs to the adapter.",
        )
    check_config(folder, ENCODER.folder, config)
    check_weights(folder, ENCODER)
    return config


@dataclass(frozen=True)
class SeenPictures:
    """Tokens of all references, those of one after those of another: of the pictures, and of none; [1, T, C] both.

    counts  tokens of each reference, T together
    """

    shown: Tensor
    none: Tensor
    counts: tuple[int, ...]

    def beside(self, states: Tensor) -> Tensor:
        """Text states [N, L, C] with the tokens of no picture after them, [N, L + T, C]."""
        return torch.cat([states, self.none.to(states).expand(len(states), -1, -1)], dim=1)

    def show(self, data: Tensor) -> Tensor:
        """The same with those of the pictures in their place."""
        return torch.cat([data[:, : -sum(self.counts)], self.shown.to(data).expand(len(data), -1, -1)], dim=1)

    def apart(self, data: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The text states alone, and each reference's tokens as the denoiser takes them, [N, 1, T_k, C]."""
        states, tokens = data.tensor_split([data.shape[1] - sum(self.counts)], dim=1)
        return states, [part.unsqueeze(1) for part in tokens.split(self.counts, dim=1)]


class _AsGiven(nn.Module):
    """In place of the projection of pictures: they are tokens already."""

    def forward(self, pictures: list[Tensor]) -> list[Tensor]:
        return pictures


@torch.no_grad()
def look_at_references(unet: Any, entries: Sequence[ReferenceEntry]) -> SeenPictures | None:
    """The denoiser listens to the references from now on; their tokens, None for none. Image encoders are read and given back."""
    if not entries:
        return None
    shown, none, adapters = [], [], []
    for entry in entries:
        adapter = _read(entry.adapter)
        encoder = _encoder_of(entry.adapter.parent)
        plus = _kind({f"image_proj.{name}": value for name, value in adapter["image_proj"].items()}) == "plus"
        with libraries(entry.adapter.parent, entry.adapter.name):
            project = unet._convert_ip_adapter_image_proj_to_diffusers(adapter["image_proj"], low_cpu_mem_usage=False).eval().float()
            seen, unseen = _features(encoder, entry.picture, plus)
            shown.append(project(seen))
            none.append(project(unseen))
        adapters.append(adapter)
    with libraries(entries[0].adapter.parent, entries[0].adapter.name):
        kind, device = next(unet.parameters()).dtype, next(unet.parameters()).device
        unet._load_ip_adapter_weights(adapters, low_cpu_mem_usage=False)
        unet.encoder_hid_proj = _AsGiven()
        unet.to(device, kind)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "to_k_ip"):
            processor.scale = [entry.strength for entry in entries]
    return SeenPictures(torch.cat(shown, dim=1).to(device), torch.cat(none, dim=1).to(device), tuple(part.shape[1] for part in shown))


def _read(adapter: Path) -> dict[str, dict[str, Tensor]]:
    from safetensors.torch import load_file

    with libraries(adapter.parent, adapter.name):
        tensors = load_file(adapter)
    refuse_not_finite(tensors, f"The adapter '{adapter.name}'")
    begins = ("image_proj.", "ip_adapter.")
    return {
        begin[:-1]: {name.removeprefix(begin): tensor.float() for name, tensor in tensors.items() if name.startswith(begin)}
        for begin in begins
    }


def _encoder_of(folder: Path) -> Any:
    config = _encoder_config(folder)
    read = ModelFolder(folder, {ENCODER.folder: "CLIPVisionModelWithProjection"}, {ENCODER.folder: config}, {})
    return read.load(ENCODER, torch_dtype=torch.float32).eval()


def _features(encoder: Any, picture: Path, plus: bool) -> tuple[Tensor, Tensor]:
    """What the image encoder finds in a picture, and what stands for none: pooled features [1, D], or of all patches [1, P, D]."""
    mean, spread = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, SPREAD))
    pixels = ((read_square(picture, int(encoder.config.image_size)) - mean) / spread)[None]
    if plus:
        both = (encoder(given, output_hidden_states=True).hidden_states[-2] for given in (pixels, torch.zeros_like(pixels)))
        return next(both), next(both)
    seen = encoder(pixels).image_embeds
    return seen, torch.zeros_like(seen)
