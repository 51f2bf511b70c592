"""ControlNet folders beside a Stable Diffusion folder: how a user names them, how they are checked and read, and what they are shown.

Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models": a copy of the denoiser's lower half looks at a
picture of the surface; what it finds is added to the denoiser's own activations. A T2I-Adapter (Mou et al. 2023) takes a ControlNet's
place: a small network of its own that looks at the picture alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.model_folder import ModelFolder, check_config, check_files, check_weights, class_name, read_json
from engine.diffusion.model_parts import Part
from engine.errors import InputError, ModelError
from engine.user_path import user_path

SEPARATOR = ";"
"""Between several controls in one text."""

_NUMBERS = re.compile(r"^(?P<folder>.+?)(?P<numbers>(?::[^:/\\]*){0,3})$")
_FIX = "Write [depth=|normal=]FOLDER[:strength[:start:end]], such as control_depth:0.8 or normal=FOLDER:1:0:0.6."

ADAPTER = "T2IAdapter"

FARTHEST = 0.2
"""Of a depth picture: the surface's farthest place, where its nearest is 1 and nothing is 0."""


@dataclass(frozen=True)
class ControlEntry:
    """A ControlNet as a user asks for it.

    folder      in diffusers' layout: config.json and diffusion_pytorch_model.safetensors
    kind        what it is shown, a name of `PICTURES`
    strength    what its answer is multiplied by, 0..2
    start, end  the part of the way from noise (0) to picture (1) on which it counts
    """

    folder: Path
    kind: str
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0


def control_entries(text: str | None) -> tuple[ControlEntry, ...]:
    """Every ControlNet that a setting names, none for None; InputError for one that cannot be read or does not say what it is shown."""
    return tuple(control_entry(entry.strip()) for entry in (text or "").split(SEPARATOR) if entry.strip())


def control_entry(text: str) -> ControlEntry:
    """One of them: [depth=|normal=]FOLDER[:strength[:start:end]]."""
    told, separator, rest = text.partition("=")
    kind = told.strip().lower() if separator and told.strip().lower() in PICTURES else ""
    folder, numbers = split_numbers(rest if kind else text)
    strength, start, end = _checked(text, numbers)
    if not folder.is_dir():
        raise InputError("missing_file", f"There is no folder '{folder}' of a control.", "Check the path given with --control.")
    named = [name for name in PICTURES if name in folder.resolve().name.lower()]
    if not kind and len(named) != 1:
        raise InputError(
            "bad_setting",
            f"The name of the control '{folder}' does not say whether it is shown {' or '.join(PICTURES)}.",
            f"Say it: {' or '.join(f'{name}={folder}' for name in PICTURES)}.",
        )
    return ControlEntry(folder, kind or named[0], strength, start, end)


def split_numbers(text: str) -> tuple[Path, list[str]]:
    """FOLDER:a:b:c -> the folder and up to three texts; a colon after a drive's letter belongs to the folder."""
    drive = text[:2] if re.match(r"[A-Za-z]:[/\\]", text) else ""
    found = _NUMBERS.match(text[len(drive) :])
    if found is None:
        raise InputError("bad_setting", f"'{text}' names no control.", _FIX)
    return user_path(drive + found["folder"]), found["numbers"].split(":")[1:]


def _checked(text: str, given: Sequence[str]) -> tuple[float, float, float]:
    try:
        numbers = [float(number) for number in given]
    except ValueError:
        numbers = []
    whole = [*numbers, *(1.0, 0.0, 1.0)[len(numbers) :]]
    if len(numbers) != len(given) or len(numbers) == 2 or not (0 <= whole[0] <= 2 and 0 <= whole[1] < whole[2] <= 1):
        raise InputError(
            "bad_setting",
            f"The control '{text}' needs a strength from 0 to 2 and a start below an end, both from 0 to 1.",
            _FIX,
        )
    return whole[0], whole[1], whole[2]


@dataclass(frozen=True)
class ControlNet:
    """A ControlNet that is ready: as it was asked for, and the network; adapter: it is a T2I-Adapter."""

    entry: ControlEntry
    network: Any
    adapter: bool = False

    def weights(self, t: Tensor, steps: int, share: float) -> Tensor:
        """What its answers at timesteps t int64 [B] of `steps` are multiplied by, float32 [B]; `share` of its strength."""
        way = 1 - t.float() / max(steps - 1, 1)
        return self.entry.strength * share * ((way >= self.entry.start) & (way <= self.entry.end)).float()


def read_control_net(entry: ControlEntry, base: ModelFolder, device: torch.device, dtype: torch.dtype) -> ControlNet:
    """The network, on the device. ModelError for what cannot be read or used beside the model."""
    folder, part = check_control_net(entry, base)
    network = folder.load(part, torch_dtype=dtype).eval().requires_grad_(False)
    return ControlNet(entry, network.to(device), folder.classes[part.folder] == ADAPTER)


def check_control_net(entry: ControlEntry, base: ModelFolder) -> tuple[ModelFolder, Part]:
    """What the folder says of itself, checked against the model beside it before any weight is read. ModelError with the fix."""
    path = entry.folder.resolve()
    part = Part(path.name, "config.json", dict.fromkeys(("ControlNetModel", ADAPTER), "diffusers"), "diffusion_pytorch_model")
    check_files(path.parent, part)
    config = read_json(path.parent, f"{part.folder}/{part.config}")
    name = class_name(path.parent, part, {}, config)
    check_config(path.parent, part.folder, config, bounds="unet")
    (check_adapter if name == ADAPTER else check_base)(entry, config, base)
    check_weights(path.parent, part)
    return ModelFolder(path.parent, {part.folder: name}, {part.folder: config}, {}), part


def check_adapter(entry: ControlEntry, config: Mapping[str, Any], base: ModelFolder) -> None:
    """ModelError for a T2I-Adapter of another width or class than the model's, or one that is shown pictures of another size or kind."""
    refuse_without_unet(entry, base)
    unet = base.configs["unet"]
    large = (unet.get("down_block_types") or [""])[0] == "DownBlock2D"  # as XL's, whose first block gives what it found at half the size
    kind = config.get("adapter_type", "full_adapter")
    blocks = base.configs["vae"].get("block_out_channels") or (0,)
    widths = [320, 640, 1280, 1280]
    wanted = (
        ("channels", config.get("channels", widths), unet.get("block_out_channels", widths)),
        ("adapter_type", kind, "full_adapter_xl" if large else kind if kind in ("full_adapter", "light_adapter") else "full_adapter"),
        ("downscale_factor", config.get("downscale_factor", 8), 2 ** (len(blocks) - 1) * (2 if large else 1)),
        ("in_channels", config.get("in_channels", 3), 3),
    )
    for name, found, expected in wanted:
        if found != expected:
            raise ModelError(
                "model_control",
                f"The adapter '{entry.folder}' is of another model: its {name} is {found!r}; beside the model in '{base.path}' it "
                f"must be {expected!r}.",
                "Choose a depth or normal adapter of the model's own class, such as one for Stable Diffusion 1.5 beside that.",
            )


def refuse_without_unet(entry: ControlEntry, base: ModelFolder) -> None:
    """ModelError for a model whose denoiser takes no control."""
    if "unet" not in base.configs:
        raise ModelError(
            "model_control",
            f"The model in '{base.path}' takes no ControlNet such as '{entry.folder}'.",
            "Leave --control out, or choose a Stable Diffusion 1.x, 2.x or XL model.",
        )


def check_base(entry: ControlEntry, config: Mapping[str, Any], base: ModelFolder) -> None:
    """ModelError for a ControlNet of another base model, or one that is shown pictures of another size or kind."""
    refuse_without_unet(entry, base)
    unet, vae = base.configs["unet"], base.configs["vae"]
    defaults = {"cross_attention_dim": 1280, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2}
    wanted = [(name, config.get(name, value), unet.get(name, value)) for name, value in defaults.items()]
    wanted += [
        ("in_channels", config.get("in_channels", 4), vae.get("latent_channels", 4)),
        ("addition_embed_type", config.get("addition_embed_type"), unet.get("addition_embed_type")),
    ]
    for name, found, expected in wanted:
        if found != expected:
            raise ModelError(
                "model_control",
                f"The control '{entry.folder}' is of another base model: its {name} is {found!r}, that of the model in '{base.path}' "
                f"{expected!r}.",
                "Choose a control of the model's own class, such as a Stable Diffusion 1.5 control beside Stable Diffusion 1.5.",
            )
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or (0,)
    pixels, channels = vae.get("patch") or 2 ** (len(blocks) - 1), config.get("conditioning_channels", 3)
    side = 2 ** (len(config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)) - 1)
    if (side, channels) != (pixels, 3):
        raise ModelError(
            "model_control",
            f"The control '{entry.folder}' is shown pictures of another size: a latent is {side} x {side} of its pixels with {channels} "
            f"channels, of the model's {pixels} x {pixels} with 3.",
            "Choose a control that was made for this model.",
        )


def depth_picture(control: Tensor) -> Tensor:
    """A control as the renderer draws it [B, 5, S, S] -> how near each place is, [B, 1, S, S]: 1 nearest, FARTHEST, 0 for nothing.

    The look of MiDaS's inverse depth, which such networks learnt from; a view that sees nothing is 0 all over.
    """
    mask, nearness = control[:, 3:4], control[:, 4:5]
    inside = mask > 0.5
    depth = nearness / mask.clamp(min=1e-6)
    low = depth.masked_fill(~inside, torch.inf).amin((1, 2, 3), keepdim=True)
    high = depth.masked_fill(~inside, -torch.inf).amax((1, 2, 3), keepdim=True)
    seen = torch.isfinite(low) & torch.isfinite(high)
    share = torch.where(seen, (depth - low) / (high - low).clamp(min=1e-6), 0.0).clamp(0, 1)
    return torch.where(seen, (FARTHEST + (1 - FARTHEST) * share) * mask, 0.0)


def normal_picture(control: Tensor) -> Tensor:
    """A control as the renderer draws it [B, 5, S, S] -> its normals in the colours that such networks learnt from, [B, 3, S, S] in 0..1.

    ScanNet's: red points left, green up, blue towards the camera. What is not covered looks at the camera.
    """
    normal, mask = control[:, :3], control[:, 3:4]
    towards = torch.tensor([0.0, 0.0, 1.0], device=control.device).view(1, 3, 1, 1)
    normal = normal * torch.tensor([-1.0, 1.0, 1.0], device=control.device).view(1, 3, 1, 1)
    return ((normal + (1 - mask) * towards + 1) / 2).clamp(0, 1)


PICTURES: dict[str, Callable[[Tensor], Tensor]] = {
    "depth": lambda control: depth_picture(control).expand(-1, 3, -1, -1),
    "normal": normal_picture,
}
"""What a ControlNet can be shown of a rendered surface, [B, 3, S, S] in 0..1."""
