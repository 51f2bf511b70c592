"""A Stable Diffusion folder that looks at the surface: through ControlNets beside it, or by a denoiser that takes depth itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.diffusion.control_nets import PICTURES, ControlEntry, ControlNet, check_control_net, depth_picture, read_control_net
from engine.diffusion.diffusers_prior import DiffusersPrior, described, read_parts
from engine.diffusion.lora import LoraEntry
from engine.diffusion.model_folder import check_folder, libraries, read_json
from engine.diffusion.prior import CONTROL_CHANNELS, Conditions
from engine.diffusion.references import ReferenceEntry, check_references, look_at_references
from engine.errors import ModelError


def takes_depth(folder: Path) -> bool:
    """Whether the denoiser has one input channel more than there are latents, as Stable Diffusion 2's depth model does."""
    if not (folder / "unet" / "config.json").is_file():
        return False  # a model without a UNet, or a folder that is refused where it is read
    unet, vae = read_json(folder, "unet/config.json"), read_json(folder, "vae/config.json")
    return unet.get("in_channels", 4) == _latents(vae) + 1


def _latents(vae: Mapping[str, Any]) -> Any:
    channels = vae.get("latent_channels", 4)
    return channels if isinstance(channels, int) else 4


class ControlledDiffusersPrior(DiffusersPrior):
    """A `ControlledPrior`. Its conditions carry what the renderer draws, [B, 5, S, S] (`engine.render.control`), or K pictures in
    0..1, [B, 3 K, S, S].

    nets  ControlNets; of pictures there are as many, or one for all
    """

    def __init__(self, parts: Mapping[str, Any], name: str, nets: Sequence[ControlNet] = (), **more: Any) -> None:
        """As `DiffusersPrior`, with the ControlNets beside it."""
        super().__init__(parts, name, **more)
        self.nets = tuple(nets)
        self.control_channels = CONTROL_CHANNELS
        self.takes_depth = int(self.unet.config["in_channels"]) == int(self.vae.config["latent_channels"]) + 1
        self.control_pictures = len(self.nets) + self.takes_depth

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype | None = None,
        name: str | None = None,
        loras: Sequence[LoraEntry] = (),
        references: Sequence[ReferenceEntry] = (),
        controls: Sequence[ControlEntry] = (),
    ) -> ControlledDiffusersPrior:
        """As `DiffusersPrior.from_folder`, and the ControlNets beside it, all checked before any weight is read."""
        model = check_folder(folder)
        for entry in controls:
            check_control_net(entry, model)
        check_references(references, model)
        parts = read_parts(model, device, dtype, loras)
        seen = look_at_references(parts["unet"], references)
        nets = [read_control_net(entry, model, device, parts["unet"].dtype) for entry in controls]
        with libraries(folder, "model"):
            return cls(parts, name or str(folder), nets, seen=seen, **described(model, device, dtype, loras))

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor, conditions: Conditions) -> Tensor:
        """What the UNet answers under the conditions' control. ModelError without a fitting control."""
        control = self._checked(conditions, len(x_t))
        added = self._added(x_t, t, states, control, conditions.strength)
        if self.takes_depth:
            x_t = torch.cat([x_t, self._depth(control, x_t)], dim=1)
        return self.unet(x_t, timestep=t, **self.shown(states), **added).sample

    def _added(self, x_t: Tensor, t: Tensor, states: Tensor, control: Tensor, strength: float) -> dict[str, Any]:
        """The sum of all ControlNets' answers, as the UNet takes it; nothing where none counts at these timesteps."""
        down: list[Tensor] = []
        middle: Tensor | None = None
        within: list[Tensor] = []
        for number, net in enumerate(self.nets):
            weights = net.weights(t, len(self.schedule), strength).to(x_t).view(-1, 1, 1, 1)
            if not weights.any():
                continue
            picture = self._picture(control, number, net.entry.kind).to(x_t)
            if net.adapter:
                answer = [weights * one for one in net.network(picture)]
                within = [a + b for a, b in zip(within, answer, strict=True)] if within else answer
                continue
            answer, mid = net.network(x_t, t, controlnet_cond=picture, return_dict=False, **self.told(states))
            answer, mid = [weights * one for one in answer], weights * mid
            down = [a + b for a, b in zip(down, answer, strict=True)] if down else answer
            middle = mid if middle is None else middle + mid
        added: dict[str, Any] = {"down_intrablock_additional_residuals": within} if within else {}
        return added if middle is None else {**added, "down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def _picture(self, control: Tensor, number: int, kind: str) -> Tensor:
        """What a ControlNet is shown, [B, 3, S, S] in 0..1."""
        if control.shape[1] == CONTROL_CHANNELS:
            return PICTURES[kind](control)
        given = control.split(3, dim=1)
        return given[number if len(given) > 1 else 0]

    def _depth(self, control: Tensor, x_t: Tensor) -> Tensor:
        """Nearness in -1..1 at the latents' size, [B, 1, h, w], each view over its own range (Stable Diffusion 2's depth model)."""
        rendered = control.shape[1] == CONTROL_CHANNELS
        near = depth_picture(control) if rendered else control[:, -3:].mean(1, keepdim=True)
        near = functional.interpolate(near.float(), size=x_t.shape[-2:], mode="bicubic", align_corners=False)
        low, high = near.amin((1, 2, 3), keepdim=True), near.amax((1, 2, 3), keepdim=True)
        return (2 * (near - low) / (high - low).clamp(min=1e-6) - 1).to(x_t)

    def _checked(self, conditions: Conditions, count: int) -> Tensor:
        control = conditions.control
        allowed = (CONTROL_CHANNELS, 3, 3 * self.control_pictures)
        size = (self.image_size, self.image_size)
        if control is None:
            raise ModelError(
                "model_control",
                f"The model '{self.name}' looks at a control, and there is none.",
                "Refine and texture draw it; for a picture give one with --control PICTURE.",
            )
        if len(control) != count or control.shape[1] not in allowed or control.shape[2:] != size:
            raise ModelError(
                "model_control",
                f"The control has the shape {tuple(control.shape)}; expected by '{self.name}': {count} of {size[0]} x {size[1]} pixels "
                f"with {' or '.join(map(str, sorted(set(allowed))))} channels.",
                "Draw it at the model's own size.",
            )
        return control
