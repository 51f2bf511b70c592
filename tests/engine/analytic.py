"""A prior whose score is known in closed form: Gaussian mixtures, for exact oracles of every guidance method.

Noised to level t, a mixture with means mu_k and standard deviations s_k has means alpha mu_k and variances
D_k^2 = alpha^2 s_k^2 + sigma^2, so eps = -sigma grad log p_t = sigma sum_k r_k (x - alpha mu_k) / D_k^2 with the
responsibilities r_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, ViewAngles
from engine.diffusion.schedule import NoiseSchedule
from engine.errors import ModelError


@dataclass(frozen=True)
class GaussianMixture:
    """Isotropic mixture: weights [K] summing to 1, means [K, d], deviations [K]."""

    weights: Tensor
    means: Tensor
    deviations: Tensor

    @classmethod
    def single(cls, mean: Sequence[float], deviation: float, dtype: torch.dtype = torch.float64) -> GaussianMixture:
        """One Gaussian."""
        return cls(torch.ones(1, dtype=dtype), torch.tensor([list(mean)], dtype=dtype), torch.tensor([deviation], dtype=dtype))

    def noise_estimate(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """eps for x_t [B, d] at levels alpha, sigma [B, 1]."""
        variance = (alpha * self.deviations) ** 2 + sigma**2  # [B, K]
        offset = x_t[:, None] - alpha[:, :, None] * self.means  # [B, K, d]
        score = self.weights.log() - offset.square().sum(-1) / (2 * variance) - x_t.shape[1] / 2 * variance.log()
        share = torch.softmax(score, dim=1) / variance
        return sigma * (share[..., None] * offset).sum(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, d] points of the clean mixture."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[which] + self.deviations[which, None] * noise


class MixturePrior:
    """A `Prior` over points [B, d]: each prompt names a mixture; latents are the points themselves."""

    def __init__(self, mixtures: Mapping[str, GaussianMixture], schedule: NoiseSchedule) -> None:
        self.name = "Gaussian mixtures"
        self.image_size = 1
        self.schedule = schedule
        self.kinds: tuple[str, ...] = ()
        self.calls = 0
        self.asked = 0
        self._names = list(mixtures)
        self._mixtures = dict(mixtures)

    @property
    def device(self) -> torch.device:
        """Where the mixtures are."""
        return self.schedule.alphas_cumprod.device

    @property
    def dtype(self) -> torch.dtype:
        """The noise levels'."""
        return self.schedule.alphas_cumprod.dtype

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The points themselves."""
        del generator
        return images

    def precondition(self, difference: Tensor) -> Tensor:
        """The difference itself."""
        return difference

    def decode(self, latents: Tensor) -> Tensor:
        """The points themselves."""
        return latents

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """The index of each prompt's mixture."""
        del cameras
        for prompt in prompts:
            if prompt not in self._mixtures:
                what = "no unconditional distribution" if not prompt else f"no mixture '{prompt}'"
                raise ModelError(
                    "prior_prompt",
                    f"This analytic prior has {what}; it has {self._names}.",
                    "Add the mixture, or use another method or prompt.",
                )
        return Conditions(tuple(prompts), torch.tensor([self._names.index(prompt) for prompt in prompts]))

    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The exact eps of each item's mixture. `calls` counts how often the prior was asked, `asked` for how many items."""
        self.calls += 1
        self.asked += len(x_t)
        alpha, sigma = self.schedule.levels(t, x_t)
        result = torch.empty_like(x_t)
        for index in conditions.data.unique().tolist():
            rows = conditions.data == index
            result[rows] = self._mixtures[self._names[index]].noise_estimate(x_t[rows], alpha[rows], sigma[rows])
        return result


class GaussianParticles:
    """A particle score for VSD that is exact for Gaussian particles: their own mean and spread, refitted at each step."""

    def predict(self, latents: Tensor, x_t: Tensor, t: Tensor, conditions: Conditions, schedule: NoiseSchedule) -> Tensor:
        """eps of the Gaussian with the batch's mean [d] and its mean standard deviation, at x_t."""
        del conditions
        alpha, sigma = schedule.levels(t, x_t)
        mixture = GaussianMixture(torch.ones(1, dtype=x_t.dtype), latents.mean(0, keepdim=True), latents.std(0).mean().reshape(1))
        return mixture.noise_estimate(x_t, alpha, sigma)

    def learn(self, noise: Tensor) -> float:
        """Nothing to learn: the fit is exact."""
        del noise
        return 0.0


def scaled_linear_schedule(
    steps: int = 1000, start: float = 0.00085, end: float = 0.012, dtype: torch.dtype = torch.float64
) -> NoiseSchedule:
    """Stable Diffusion's schedule: betas linear in their square root from `start` to `end`."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return NoiseSchedule(torch.cumprod(1 - betas, dim=0).to(dtype))
