"""A prior from a folder in diffusers' format: UNet, text encoder, tokenizer, autoencoder and scheduler; safetensors only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.model_folder import PARTS, ModelFolder, check_folder, check_words, libraries
from engine.diffusion.prior import Conditions, ViewAngles, fit_square
from engine.diffusion.prompt_encoder import PromptEncoder
from engine.diffusion.schedule import NoiseSchedule, Prediction, as_prediction


class DiffusersPrior:
    """A latent diffusion model of the Stable Diffusion 1.x / 2.x class. See `from_folder`."""

    def __init__(self, parts: Mapping[str, Any], name: str, known: Mapping[str, list[str]] | None = None) -> None:
        """parts: `model_folder.PARTS` by folder, on the device that computes; known: see `model_folder.read_known`."""
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        from engine.diffusion.patch_autoencoder import PatchAutoencoder

        unet, vae, text_encoder = (parts[part].eval().requires_grad_(False) for part in ("unet", "vae", "text_encoder"))
        self.unet, self.vae, self.text = unet, vae, PromptEncoder(parts["tokenizer"], text_encoder, known)
        self.name = name
        scheduler = parts["scheduler"]
        self.schedule = NoiseSchedule(scheduler.alphas_cumprod.float().to(self.device))
        self.prediction: Prediction = as_prediction(scheduler.config.prediction_type)
        self.kinds = self.text.kinds
        self.image_size = int(unet.config.sample_size) * downscaling(vae)
        self._linear = vae if isinstance(vae, PatchAutoencoder) else None
        self._has_posterior = not isinstance(vae, AutoencoderTiny)
        self._factor, self._shift = float(vae.config["scaling_factor"]), float(vae.config.get("shift_factor") or 0.0)

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, dtype: torch.dtype | None = None, name: str | None = None) -> DiffusersPrior:
        """Reads a local folder, never the network. `dtype` None: the faster one of this device, see `fast_dtype`.

        ModelError names the part that is missing, broken or not allowed, and the fix.
        """
        model = check_folder(folder)
        parts = read_parts(model, device, dtype)
        with libraries(folder, "model"):
            return cls(parts, name or str(folder), model.known)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the denoising network computes in."""
        return next(self.unet.parameters()).dtype

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> scaled latents, differentiable: a posterior sample with a generator, else its mode."""
        pixels = (fit_square(images, self.image_size) * 2 - 1).to(self.vae.dtype)
        answer = self.vae.encode(pixels)
        if self._has_posterior:
            latents = answer.latent_dist.mode() if generator is None else answer.latent_dist.sample(generator)
        else:
            latents = answer.latents
        return (latents - self._shift) * self._factor

    def precondition(self, difference: Tensor) -> Tensor:
        """A difference of latents, made ready to reach pixels as a difference of images; as it is where the encoder is not linear."""
        return difference if self._linear is None else self._linear.precondition(difference)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> images [B, 3, image_size, image_size] in 0..1."""
        pixels = self.vae.decode((latents / self._factor + self._shift).to(self.vae.dtype)).sample
        return ((pixels.to(latents.dtype) + 1) / 2).clamp(0, 1)

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """Text states [N, L, C], computed once a prompt. Notes tell which words were cut and which are unknown to the model."""
        del cameras
        return self.text.embed(prompts)

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """eps for latents x_t [B, C, h, w], t int64 [B] and B conditions; one forward pass."""
        return self.denoise(x_t, t, conditions)

    def denoise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """As `predict_noise`, with gradient to whatever in the UNet is trained (VSD's adapter)."""
        output = self.forward(x_t.to(self.dtype), t, conditions.data.to(self.dtype), conditions)
        return self.schedule.to_epsilon(output.to(x_t.dtype), x_t, t, self.prediction)

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor, conditions: Conditions) -> Tensor:
        """What the UNet answers, in its own prediction and type, to latents and text states [B, L, C] of that type."""
        del conditions
        return self.unet(x_t, t, encoder_hidden_states=states).sample


def read_parts(model: ModelFolder, device: torch.device, dtype: torch.dtype | None) -> dict[str, Any]:
    """The parts of a checked folder, by folder, on the device. ModelError for what cannot be read."""
    quiet()
    types = {"unet": dtype or fast_dtype(device), "vae": torch.float32, "text_encoder": torch.float32}
    parts = {part.folder: model.load(part, **({"torch_dtype": types[part.folder]} if part.weights else {})) for part in PARTS}
    check_words(model.path, parts)
    with libraries(model.path, "model"):
        return {part: loaded.to(device) if part in types else loaded for part, loaded in parts.items()}


def fast_dtype(device: torch.device) -> torch.dtype:
    """float16 on CUDA; on a CPU bfloat16 where the processor multiplies in it (measured: 0.5-0.75 x float32's time), else float32."""
    if device.type == "cuda":
        return torch.float16
    knows = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if device.type == "cpu" and knows is not None and knows() else torch.float32


def quiet() -> None:
    """No progress bars or advice from the libraries: the engine reports in its own words."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def downscaling(vae: Any) -> int:
    """Pixels of an image for each latent, along a side."""
    config = vae.config
    if "patch" in config:
        return int(config.patch)
    blocks = config.get("block_out_channels") or config.get("encoder_block_out_channels")
    return 2 ** (len(blocks) - 1)
