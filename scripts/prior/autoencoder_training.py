"""Training the patch autoencoder: seconds for its basis, minutes for its decoder.

First encoder and decoder learn together from the principal components of the patches on. Then the
latents are turned to their own principal axes and scaled, the encoder is frozen, and the decoder
goes on alone on latents with noise, so that what the diffusion model gets slightly wrong decodes
to something clean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from engine.diffusion.patch_autoencoder import PatchAutoencoder

LEARNING_RATE = 2e-3
GRADIENT_WEIGHT = 0.5
WHITENING = 0.5
"""Latent channels keep their standard deviation to the power of 1 - this: 0 is pixel energy, 1 white."""
LATENT_SPREAD = 0.7
"""Root mean square of the latents' channels after scaling."""
LARGEST_NOISE = 0.25
"""Standard deviation of the noise on latents from which the decoder learns, in units of the latents."""


def random_batch(pictures: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """uint8 [N, 3, H, W] -> float32 [count, 3, H, W] in -1..1, half of them mirrored."""
    rows = torch.randint(len(pictures), (count,), generator=generator)
    batch = pictures[rows].float() / 127.5 - 1
    mirrored = torch.rand(count, generator=generator) < 0.5
    batch[mirrored] = batch[mirrored].flip(-1)
    return batch


@torch.no_grad()
def start_from_components(model: PatchAutoencoder, pictures: torch.Tensor) -> None:
    """The encoder takes the leading principal components of patches without overlap."""
    patch = model.patch
    images = pictures[:: max(1, len(pictures) // 2000)].float() / 127.5 - 1
    columns = functional.unfold(images, patch, stride=patch).transpose(1, 2).reshape(-1, 3 * patch**2)
    axes = torch.linalg.eigh(columns.T @ columns / len(columns)).eigenvectors.flip(1)
    kernels = axes[:, : model.config.latent_channels].T.reshape(-1, 3, patch, patch)
    model.encoder.weight.zero_()
    inner = slice(patch // 2, patch // 2 + patch)
    model.encoder.weight[:, :, inner, inner] = kernels
    model.encoder.bias.zero_()


@torch.no_grad()
def normalize_latents(model: PatchAutoencoder, pictures: torch.Tensor) -> None:
    """Centres the latents, turns them to principal axes, scales them; the decoder takes the inverse in."""
    images = pictures[:: max(1, len(pictures) // 2000)].float() / 127.5 - 1
    latents = model.encode(images.to(model.device)).latent_dist.mode().transpose(0, 1).flatten(1)
    mean = latents.mean(1)
    covariance = torch.cov(latents)
    variances, axes = (part.flip(-1) for part in torch.linalg.eigh(covariance))
    deviations = variances.clamp_min(1e-8).sqrt()
    kept = deviations ** (1 - WHITENING)
    kept = kept * (LATENT_SPREAD / kept.square().mean().sqrt())
    forward = (kept / deviations)[:, None] * axes.T
    backward = torch.linalg.inv(forward)
    model.encoder.weight.copy_(torch.einsum("ij,jkhw->ikhw", forward, model.encoder.weight))
    model.encoder.bias.copy_(forward @ (model.encoder.bias - mean))
    first = model.decoder[0]
    shift = torch.einsum("ojhw,j->o", first.weight, mean)  # borders differ a little; training mends it
    first.weight.copy_(torch.einsum("ojhw,ji->oihw", first.weight, backward))
    first.bias.add_(shift)


def reconstruction_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Absolute error of pixels and of their differences along both sides; a scalar."""
    error = decoded - images
    slopes = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + GRADIENT_WEIGHT * slopes


def train(
    model: PatchAutoencoder,
    pictures: torch.Tensor,
    *,
    steps: int,
    seed: int,
    report: Callable[[str], None] = print,
) -> float:
    """Both phases, in place: a third of the steps together, the others the decoder alone.

    pictures  uint8 [N, 3, H, W].

    Returns decibels of the reconstruction of up to 1000 of the pictures.
    """
    model.to(memory_format=torch.channels_last)
    start_from_components(model, pictures)
    together = steps // 3
    fit(model, pictures, steps=together, noise=0.0, seed=seed, report=report)
    normalize_latents(model, pictures)
    return train_decoder(model, pictures, steps=steps - together, seed=seed + 1, report=report)


def train_decoder(
    model: PatchAutoencoder,
    pictures: torch.Tensor,
    *,
    steps: int,
    seed: int,
    report: Callable[[str], None] = print,
) -> float:
    """The decoder alone, in place: possible at any time, as the denoiser never sees it.

    Takes and returns what `train` does.
    """
    model.encoder.requires_grad_(False)
    fit(model, pictures, steps=steps, noise=LARGEST_NOISE, seed=seed, report=report)
    return reconstruction_psnr(model, pictures[:: max(1, len(pictures) // 1000)])


def fit(
    model: PatchAutoencoder,
    pictures: torch.Tensor,
    *,
    steps: int,
    noise: float,
    seed: int,
    batch: int = 32,
    report: Callable[[str], None] = print,
) -> None:
    """AdamW on the reconstruction loss, where the model is; the rate falls to nothing.

    pictures  uint8 [N, 3, H, W].
    noise     greatest standard deviation of the noise on the latents, 0 for none.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, (0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 100, 2 * (1 - step / steps))
        images = random_batch(pictures, batch, generator).to(model.device)
        latents = model.encode(images).latent_dist.mode()
        if noise:
            amount = noise * torch.rand((batch, 1, 1, 1), generator=generator)
            latents = latents + (amount * torch.randn(latents.shape, generator=generator)).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            decoded = model.decode(latents).sample
        loss = reconstruction_loss(decoded.float(), images)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0:
            report(f"autoencoder step {step + 1}/{steps} loss {float(loss.detach()):.4f}")


@torch.no_grad()
def reconstruction_psnr(model: PatchAutoencoder, pictures: torch.Tensor) -> float:
    """Decibels over all pictures, uint8 [N, 3, H, W]; the range is that of the pixels."""
    images = pictures.float() / 127.5 - 1
    parts = (model.encode(part.to(model.device)).latent_dist.mode() for part in images.split(64))
    decoded = torch.cat([model.decode(part).sample.cpu() for part in parts])
    return float(10 * torch.log10(4 / (decoded.clamp(-1, 1) - images).square().mean()))
