"""What the guidance needs of a diffusion model; `engine.diffusion.load` finds one by name.

Every prior answers with a noise estimate, whatever its network predicts; all conditions of a step go in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from engine.diffusion.schedule import NoiseSchedule, Prediction

CONTROL_CHANNELS = 5
"""Of a control: the normal's x, y and z in eye axes, the mask, and nearness; see `engine.render.control`."""


@dataclass(frozen=True)
class Conditions:
    """What a prior is told about each item of a batch.

    prompts  N texts, for messages
    data     [N, ...], what the prior made of them (text states, subset weights, an index): opaque to everyone else
    notes    what the user should know about the prompts, such as words that were cut; empty if all went in
    control  [N, C, S, S], how the surface of each item looks, for a `ControlledPrior` (`engine.render.control`); others pass it over
    strength  0..1, how much of the control counts, for priors that weigh it (`engine.diffusion.control_nets`)
    """

    prompts: tuple[str, ...]
    data: Tensor
    notes: tuple[str, ...] = ()
    control: Tensor | None = None
    strength: float = 1.0

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, index: Sequence[int]) -> Conditions:
        """The conditions at these places, in this order."""
        rows = torch.as_tensor(list(index), device=self.data.device)
        control = None if self.control is None else self.control[rows]
        return replace(self, prompts=tuple(self.prompts[i] for i in index), data=self.data[rows], control=control)

    def under(self, control: Tensor | None, strength: float = 1.0) -> Conditions:
        """The same of items that look so, [N, C, S, S]; None for none. One condition goes to all of them."""
        return replace(self if control is None else self.expand(len(control)), control=control, strength=strength)

    def beside(self, other: Conditions) -> Conditions:
        """The same of the items of another, under their control: the estimates of a step look at one surface."""
        return self.expand(len(other)).under(other.control, other.strength)

    def expand(self, count: int) -> Conditions:
        """One condition repeated `count` times; `count` conditions as they are."""
        if len(self) == count:
            return self
        if len(self) != 1:
            raise ValueError(f"{len(self)} conditions for a batch of {count}; give one for all or one for each")
        return self.select([0] * count)

    @staticmethod
    def cat(parts: Sequence[Conditions]) -> Conditions:
        """All parts one after another; each with a control, or none."""
        notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        controls = [part.control for part in parts if part.control is not None]
        if controls and len(controls) < len(parts):
            raise ValueError(f"{len(controls)} of {len(parts)} conditions with a control; expected all or none")
        strengths = {part.strength for part in parts}
        if len(strengths) > 1:
            raise ValueError(f"conditions with controls of strengths {sorted(strengths)}; expected one strength")
        control = torch.cat(controls) if controls else None
        prompts = tuple(p for part in parts for p in part.prompts)
        return Conditions(prompts, torch.cat([part.data for part in parts]), notes, control, strengths.pop())


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
    kinds       the kinds of subject that a narrow model knows; () = no such list
    """

    name: str
    image_size: int
    schedule: NoiseSchedule
    kinds: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Where it computes: images and latents given to it have to be there."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in, for messages."""
        ...

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1, any size -> latents, differentiable. The generator serves a posterior with spread."""
        ...

    def precondition(self, difference: Tensor) -> Tensor:
        """A difference of latents [B, ...] -> what to send back through `encode` so that pixels move by the difference of images.

        (E E^T)^-1 d where the encoder is a linear map E; divided by the measured gain (`engine.diffusion.gain`) for every other.
        """
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


@runtime_checkable
class AdaptablePrior(Prior, Protocol):
    """A prior whose network can carry a low-rank adapter (variational score distillation).

    unet        the network, a module with diffusers' `add_adapter`, `enable_adapters`, `disable_adapters` and `unload_lora`
    prediction  what the network answers with
    """

    unet: Any
    prediction: Prediction

    def denoise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """As `predict_noise`, with gradient to whatever in the network is trained."""
        ...


@runtime_checkable
class ControlledPrior(Prior, Protocol):
    """A prior that looks at the surface which it paints: its conditions must carry a control of its image size.

    control_channels  of that control, drawn by the renderer
    control_pictures  how many pictures it can be given instead, as [N, 3 K, S, S] in 0..1; 0 = it must be a rendered surface
    """

    control_channels: int
    control_pictures: int


def remarks_on(prior: Prior) -> tuple[str, ...]:
    """What the user should know of the model itself, whatever it is asked."""
    return getattr(prior, "remarks", ())


def referred(prior: Prior, conditions: Conditions) -> Conditions:
    """What is wanted of a prior, under the reference pictures that it was given (`engine.diffusion.references`), if any."""
    own = getattr(prior, "referred", None)
    return conditions if own is None else own(conditions)


def fit_square(images: Tensor, size: int) -> Tensor:
    """Images [B, 3, H, W] resized to size x size, differentiable: an average over whole blocks where that is exact."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    if height == width and height % size == 0:
        return functional.avg_pool2d(images, height // size)
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


class PixelLatents:
    """The part of a prior whose latents are the pixels themselves, S a side."""

    image_size: int

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> [B, 3, S, S] in -1..1, differentiable."""
        del generator
        return fit_square(images, self.image_size) * 2 - 1

    def precondition(self, difference: Tensor) -> Tensor:
        """The difference itself: latents are pixels."""
        return difference

    def decode(self, latents: Tensor) -> Tensor:
        """[B, 3, S, S] in -1..1 -> images in 0..1."""
        return ((latents + 1) / 2).clamp(0, 1)
