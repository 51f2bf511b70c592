"""Variational score distillation's own model: a low-rank adapter on the prior's UNet that follows the images being made.

Wang et al. 2023 (ProlificDreamer): at each step eps_lora is subtracted instead of the sampled noise, then the adapter takes
one step of ordinary denoising training on the same images. Here the forward pass of the prediction is the one that is
trained on, at the same t and n: one pass is saved, and the training loss is as unbiased as with fresh ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.diffusion.prior import AdaptablePrior, Conditions, Prior
from engine.diffusion.schedule import MIN_LEVEL, NoiseSchedule, Prediction
from engine.errors import InputError, ModelError

ADAPTER = "particles"
ATTENTION_PARTS = ("to_q", "to_k", "to_v", "to_out.0")
MAX_SNR = 5.0
"""Cap of the signal-to-noise weight of the training loss (Hang et al. 2023)."""


@dataclass(frozen=True)
class LoraSettings:
    """rank of the adapter; Adam's rate (1e-4 in the paper, 1e-3 suits short runs); share of steps without camera."""

    rank: int = 4
    learning_rate: float = 1e-4
    camera_drop: float = 0.1

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.learning_rate < 10 or not 0 <= self.camera_drop <= 1:
            raise InputError(
                "bad_setting",
                f"An adapter of rank {self.rank}, learning rate {self.learning_rate} and camera_drop {self.camera_drop}; expected "
                "at least 1, above 0 and below 10, and a share of 0 to 1.",
                "Leave them out for the usual ones.",
            )


class LoraParticles:
    """`ParticleScore` by an adapter on the prior's UNet; attached when made, removed by `close`.

    cameras    [B, n] numbers that describe each item's camera (in 3D), set before a step; they become one more text token
    """

    def __init__(self, prior: Prior, settings: LoraSettings, generator: torch.Generator, camera_size: int = 0) -> None:
        if not isinstance(prior, AdaptablePrior) or not attention_layers(prior.unet):
            raise ModelError(
                "vsd_prior",
                f"The prior '{prior.name}' has no attention layers for VSD's adapter.",
                "Choose a diffusion model with cross-attention, or another method such as calibrated.",
            )
        from peft import LoraConfig

        self.prior = prior
        self.settings = settings
        self.generator = generator
        self.cameras: Tensor | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            prior.unet.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=list(ATTENTION_PARTS)), ADAPTER)
            self.camera_token = nn.Linear(camera_size, int(prior.unet.config.cross_attention_dim)) if camera_size else None
        if self.camera_token is not None:
            nn.init.zeros_(self.camera_token.weight)
            nn.init.zeros_(self.camera_token.bias)
            self.camera_token.to(prior.device)
        self._adapter = {name: value for name, value in prior.unet.named_parameters() if value.requires_grad}
        for value in self._adapter.values():
            value.data = value.data.float()
        trained = [*self._adapter.values(), *(self.camera_token.parameters() if self.camera_token else ())]
        self.optimizer = torch.optim.Adam(trained, lr=settings.learning_rate)
        self._pending: tuple[Tensor, Tensor, NoiseSchedule] | None = None
        prior.unet.disable_adapters()

    def predict(self, latents: Tensor, x_t: Tensor, t: Tensor, conditions: Conditions, schedule: NoiseSchedule) -> Tensor:
        """eps_lora at x_t, detached; the graph is kept for `learn`."""
        del latents
        seen = replace(conditions, data=self._with_camera(conditions.data))
        self.prior.unet.enable_adapters()
        try:
            with mixed_precision(x_t.device, self.prior.unet.dtype):
                estimate = self.prior.denoise(x_t, t, seen)
        finally:
            self.prior.unet.disable_adapters()
        self._pending = (estimate, t, schedule)
        return estimate.detach()

    def learn(self, noise: Tensor) -> float:
        """One Adam step of |eps_lora - n|^2, in the units that the prior was trained in; returns the loss."""
        if self._pending is None:
            raise RuntimeError("learn() follows predict()")
        estimate, t, schedule = self._pending
        self._pending = None
        weight = training_weight(schedule, t, estimate, self.prior.prediction)
        loss = (weight * (estimate - noise).square()).mean()
        for value in self._adapter.values():
            value.requires_grad_(True)  # disable_adapters() froze them, and backward() skips what is frozen
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Adapter, camera token and optimizer, for a checkpoint."""
        camera = self.camera_token.state_dict() if self.camera_token else {}
        adapter = {name: value.detach().clone() for name, value in self._adapter.items()}
        return {"adapter": adapter, "camera": camera, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint of the same settings and prior."""
        if state["adapter"].keys() != self._adapter.keys():
            raise ModelError(
                "vsd_state", "The checkpoint of VSD's adapter belongs to another prior or rank.", "Start without the checkpoint."
            )
        for name, value in state["adapter"].items():
            self._adapter[name].data.copy_(value)
        if self.camera_token is not None:
            self.camera_token.load_state_dict(state["camera"])
        self.optimizer.load_state_dict(state["optimizer"])

    def close(self) -> None:
        """The prior as it was before."""
        self.prior.unet.unload_lora()

    def _with_camera(self, states: Tensor) -> Tensor:
        if self.camera_token is None or self.cameras is None:
            return states
        token = self.camera_token(self.cameras.to(states))
        kept = torch.rand(len(token), 1, generator=self.generator) >= self.settings.camera_drop
        return torch.cat([states, (token * kept.to(token)).unsqueeze(1)], dim=1)


@contextmanager
def mixed_precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """The adapter's float32 weights multiplied in the UNet's dtype. On a CPU attention goes by plain matrix products: the
    fused kernel's backward pass takes a quarter of the whole step there (measured), at 256 tokens for nothing."""
    kernels = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32), sdpa_kernel(kernels):
        yield


def attention_layers(unet: Any) -> list[str]:
    """Names of the modules that an adapter can sit on."""
    return [name for name, module in unet.named_modules() if isinstance(module, nn.Linear) and name.endswith(ATTENTION_PARTS)]


def training_weight(schedule: NoiseSchedule, t: Tensor, like: Tensor, prediction: Prediction) -> Tensor:
    """Weight of |eps - n|^2 that makes it the prior's own loss: 1 for eps, 1 / alpha^2 for v, (sigma / alpha)^2 min(SNR, 5) for x_0,
    ((alpha + sigma) / alpha)^2 for a straight path's velocity."""
    alpha, sigma = schedule.levels(t, like)
    if prediction == "epsilon":
        return torch.ones_like(alpha)
    inverse = 1 / alpha.clamp(min=MIN_LEVEL) ** 2
    if prediction == "v_prediction":
        return inverse
    if prediction == "flow":
        return (alpha + sigma) ** 2 * inverse
    return sigma**2 * inverse * (alpha**2 / sigma.clamp(min=MIN_LEVEL) ** 2).clamp(max=MAX_SNR)
