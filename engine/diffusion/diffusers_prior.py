"""A prior from a folder in diffusers' format: denoiser, text encoders, tokenizers, autoencoder and scheduler; safetensors only."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.encoding import encode_views, half_safe
from engine.diffusion.gain import encoder_gain
from engine.diffusion.lora import LoraEntry, merge_loras
from engine.diffusion.model_fit import encodes_in_half, remarks, sample_size
from engine.diffusion.model_folder import ModelFolder, check_folder, check_words, libraries
from engine.diffusion.prior import Conditions, ViewAngles, fit_square
from engine.diffusion.prompt_encoder import PromptEncoder
from engine.diffusion.references import ReferenceEntry, SeenPictures, check_references, look_at_references
from engine.diffusion.schedule import NoiseSchedule, Prediction, as_prediction, checked_schedule, straight_schedule
from engine.diffusion.text_states import unpacked

TEXT_ROOM = 0.8
"""Share of a GPU's free memory that a text encoder may take."""


class DiffusersPrior:
    """A latent diffusion model of the classes Stable Diffusion 1.x, 2.x, XL or 3. See `from_folder`.

    own_size  pixels along a side of the pictures that it was taught; image_size: of those that it is asked for
    at_once  how many items the denoiser looks at in one call, 0 = all; fewer take less memory and give the same
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        name: str,
        known: Mapping[str, list[str]] | None = None,
        latents: int | None = None,
        again: Callable[[str], Any] | None = None,
        zero_empty: bool = False,
        remarks: tuple[str, ...] = (),
        seen: SeenPictures | None = None,
    ) -> None:
        """parts: `model_parts.PARTS` by folder, on the device that computes; known: see `model_folder.read_known`; latents: along a side;
        again: reads a part by its folder once more, so that text encoders and decoder need not be held; zero_empty: see `states_of`;
        remarks: see `engine.diffusion.prior.remarks_on`; seen: reference pictures to which the denoiser listens."""
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        from engine.diffusion.patch_autoencoder import PatchAutoencoder

        denoiser = parts["transformer"] if "transformer" in parts else parts["unet"]
        self.unet, self.vae = (part.eval().requires_grad_(False) for part in (denoiser, parts["vae"]))
        texts = {part: loaded for part, loaded in parts.items() if part.startswith(("text_encoder", "tokenizer", "transformer"))}
        encoders = [part for part in texts if part.startswith("text_encoder")]
        reload = (lambda: {part: again(part) for part in encoders}) if again else None
        self.text = PromptEncoder(texts, known, reload, zero_empty, self.device)
        self.name, self.remarks, self.seen = name, remarks, seen
        self.prediction: Prediction
        self.schedule, self.prediction = levels_of(parts["scheduler"], self.device)
        self.kinds = self.text.kinds
        self.image_size = self.own_size = int(latents or self.unet.config.sample_size) * downscaling(self.vae)
        self.at_once = 0
        self._linear = self.vae if isinstance(self.vae, PatchAutoencoder) else None
        self._has_posterior = not isinstance(self.vae, AutoencoderTiny)
        config = self.vae.config
        self._factor, self._shift = float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)
        self._channels = int(config.get("latent_channels", 4))
        self._again = again
        if again is not None:
            forget_decoder(self.vae)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype | None = None,
        name: str | None = None,
        loras: Sequence[LoraEntry] = (),
        references: Sequence[ReferenceEntry] = (),
    ) -> DiffusersPrior:
        """Reads a local folder, never the network. `dtype` None: the faster one of this device, see `fast_dtype`.

        ModelError names the part that is missing, broken or not allowed, and the fix.
        """
        model = check_folder(folder)
        check_references(references, model)
        parts = read_parts(model, device, dtype, loras)
        seen = look_at_references(parts.get("unet"), references)
        with libraries(folder, "model"):
            return cls(parts, name or str(folder), seen=seen, **described(model, device, dtype, loras))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the denoising network computes in."""
        return next(self.unet.parameters()).dtype

    def look_at(self, pixels: int) -> None:
        """From now on pictures of so many pixels along a side, a multiple of 64 or its own."""
        if pixels != self.image_size:
            self.image_size = pixels
            self.__dict__.pop("gain", None)

    def compute_twice(self, twice: bool) -> None:
        """Whether the encoder keeps little for its backward pass and computes twice, where it can."""
        if getattr(self.vae, "_supports_gradient_checkpointing", False):
            (self.vae.enable_gradient_checkpointing if twice else self.vae.disable_gradient_checkpointing)()

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> scaled latents, differentiable: a posterior sample with a generator, else its mode.

        One view at a time, where the encoder is large: see `engine.diffusion.encoding`.
        """
        pixels = fit_square(images, self.image_size) * 2 - 1
        if self._linear is not None:
            return (self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mode() - self._shift) * self._factor
        noise = None
        if generator is not None and self._has_posterior:
            side = self.image_size // downscaling(self.vae)
            noise = torch.randn(len(pixels), self._channels, side, side, generator=generator, device=generator.device).to(pixels.device)
        latents = encode_views(self._latents_of, pixels, noise)
        return (latents - self._shift) * self._factor

    def _latents_of(self, pixels: Tensor, noise: Tensor | None) -> Tensor:
        """Unscaled latents [B, C, h, w] of pixels in -1..1, at this noise of the posterior; None: its mode."""
        kind = next(self.vae.parameters()).dtype
        if not self._has_posterior:
            return half_safe(lambda given: self.vae.encode(given).latents, pixels, kind)
        moments = half_safe(lambda given: self.vae.encode(given).latent_dist.parameters, pixels, kind)
        mean, logvar = moments.chunk(2, dim=1)
        return mean if noise is None else mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise.to(mean)

    def precondition(self, difference: Tensor) -> Tensor:
        """A difference of latents, made ready to reach pixels as a difference of images; by its measured gain where the encoder is not
        linear."""
        return difference / self.gain if self._linear is None else self._linear.precondition(difference)

    @functools.cached_property
    def gain(self) -> float:
        """Of the encoder, measured once: see `engine.diffusion.gain`."""
        side = self.image_size // downscaling(self.vae)
        return encoder_gain(lambda pixels: self._latents_of(pixels, None) * self._factor, self.image_size, side, self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> images [B, 3, image_size, image_size] in 0..1."""
        if self._again is not None:
            recall_decoder(self.vae, self._again)
        pixels = self.vae.decode((latents / self._factor + self._shift).to(self.vae.dtype)).sample
        return ((pixels.to(latents.dtype) + 1) / 2).clamp(0, 1)

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """Text states [N, L, C], computed once a prompt. Notes tell which words were cut and which are unknown to the model.

        Where there are reference pictures, tokens of none follow: see `referred`."""
        del cameras
        found = self.text.embed(prompts)
        return found if self.seen is None else replace(found, data=self.seen.beside(found.data))

    def referred(self, conditions: Conditions) -> Conditions:
        """The same conditions under the reference pictures, if there are any: what is wanted should look like them."""
        return conditions if self.seen is None else replace(conditions, data=self.seen.show(conditions.data))

    def rest_text(self) -> None:
        """Give the text encoders' memory back until a prompt is asked that was not asked before."""
        self.text.rest()

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """eps for latents x_t [B, C, h, w], t int64 [B] and B conditions; one forward pass, or as many as `at_once` asks for."""
        size = self.at_once or len(x_t)
        if size >= len(x_t):
            return self.denoise(x_t, t, conditions)
        parts = [list(range(start, min(start + size, len(x_t)))) for start in range(0, len(x_t), size)]
        return torch.cat([self.denoise(x_t[part], t[part], conditions.select(part)) for part in parts])

    def denoise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """As `predict_noise`, with gradient to whatever in the denoiser is trained (VSD's adapter)."""
        given, time = x_t, t
        if self.prediction == "flow":
            given, time = self.schedule.on_the_straight_path(x_t, t)
            time = time * len(self.schedule)
        output = self.forward(given.to(self.dtype), time, conditions.data.to(self.dtype), conditions)
        return self.schedule.to_epsilon(output.to(x_t.dtype), x_t, t, self.prediction)

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor, conditions: Conditions) -> Tensor:
        """What the denoiser answers, in its own prediction and type, to latents and text states [B, L, C] of that type."""
        del conditions
        return self.unet(x_t, timestep=t, **self.shown(states)).sample

    def shown(self, data: Tensor) -> dict[str, Any]:
        """A condition's data of B items as the denoiser takes them: `told`, and the reference pictures."""
        told: dict[str, Any] = self.told(data)
        if self.seen is None:
            return told
        return {**told, "added_cond_kwargs": {**told.get("added_cond_kwargs", {}), "image_embeds": self.seen.apart(data)[1]}}

    def told(self, states: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        """Text states of B items as the denoiser and a ControlNet take them, with all else that their class is told but pictures."""
        if self.seen is not None:
            states = self.seen.apart(states)[0]
        config = self.unet.config
        if "pooled_projection_dim" in config:
            pooled, states = unpacked(states, int(config.pooled_projection_dim))
            return {"encoder_hidden_states": states, "pooled_projections": pooled}
        if config.get("addition_embed_type") != "text_time":
            return {"encoder_hidden_states": states}
        pooled, states = unpacked(states, int(config.projection_class_embeddings_input_dim) - 6 * int(config.addition_time_embed_dim))
        size = float(self.image_size)  # the picture's own, no corner cut off, and the same again
        times = torch.tensor([size, size, 0.0, 0.0, size, size], device=states.device, dtype=states.dtype).expand(len(states), 6)
        return {"encoder_hidden_states": states, "added_cond_kwargs": {"text_embeds": pooled, "time_ids": times}}


def levels_of(scheduler: Any, device: torch.device) -> tuple[NoiseSchedule, Prediction]:
    """A scheduler's noise levels, on the device, and what its model answers with."""
    if hasattr(scheduler, "alphas_cumprod"):
        return checked_schedule(scheduler.alphas_cumprod.float(), device), as_prediction(scheduler.config.prediction_type)
    levels = straight_schedule(int(scheduler.config.num_train_timesteps), float(scheduler.config.shift))
    return NoiseSchedule(levels.alphas_cumprod.to(device)), "flow"


def read_parts(model: ModelFolder, device: torch.device, dtype: torch.dtype | None, loras: Sequence[LoraEntry] = ()) -> dict[str, Any]:
    """The parts of a checked folder, by folder, on the device, with LoRAs merged. ModelError for what cannot be read."""
    quiet()
    parts = {part.folder: _read(model, part.folder, device, dtype, loras) for part in model.parts}
    check_words(model.path, parts)
    with libraries(model.path, "model"):
        for part in model.parts:
            if part.weights:
                if part.folder == "vae" and reads_again(model):
                    forget_decoder(parts["vae"])
                parts[part.folder] = placed(parts[part.folder], part.folder, device)
    return parts


def placed(part: Any, folder: str, device: torch.device) -> Any:
    """A network on its device; a text encoder that does not fit beside what is there already stays with the CPU, in a type that it has."""
    if device.type == "cuda" and folder.startswith("text_encoder"):
        size = sum(parameter.numel() * parameter.element_size() for parameter in part.parameters())
        if size > TEXT_ROOM * torch.cuda.mem_get_info(device)[0]:
            return part.to(torch.bfloat16) if part.dtype == torch.float16 else part
    if folder == "unet" and part.dtype != torch.float32:
        return part.to(device, memory_format=torch.channels_last)  # measured: 15 % less on a CPU in bfloat16, nothing in float32
    return part.to(device)


def _read(model: ModelFolder, folder: str, device: torch.device, dtype: torch.dtype | None, loras: Sequence[LoraEntry] = ()) -> Any:
    (part,) = (part for part in model.parts if part.folder == folder)
    fast = dtype or fast_dtype(device)
    if folder == "vae":
        kind = torch.float16 if fast == torch.float16 and encodes_in_half(model.configs) else torch.float32
    else:
        kind = torch.float32 if folder in ("text_encoder", "text_encoder_2") else fast
    loaded = model.load(part, **({"torch_dtype": kind} if part.weights else {}))
    return loaded if folder == "vae" else merge_loras(loaded, folder, [part.folder for part in model.parts], loras)


def described(model: ModelFolder, device: torch.device, dtype: torch.dtype | None, loras: Sequence[LoraEntry] = ()) -> dict[str, Any]:
    """What a prior is told of a folder beside its parts."""

    def again(folder: str) -> Any:
        return placed(_read(model, folder, device, dtype, loras), folder, device)

    return {
        "known": model.known,
        "latents": sample_size(model.configs),
        "again": again if reads_again(model) else None,
        "remarks": remarks(model.path, model.configs, model.classes),
        "zero_empty": bool(model.index.get("force_zeros_for_empty_prompt")),
    }


def reads_again(model: ModelFolder) -> bool:
    """Whether the folder's decoder and text encoders are worth forgetting: not those of a small autoencoder."""
    return model.classes["vae"] == "AutoencoderKL"


def forget_decoder(vae: Any) -> None:
    """A KL autoencoder without its decoder, which no step of a job needs."""
    vae.decoder = vae.post_quant_conv = None


def recall_decoder(vae: Any, again: Callable[[str], Any]) -> None:
    """The decoder read anew, where it was forgotten."""
    if vae.decoder is None:
        whole = again("vae")
        vae.decoder, vae.post_quant_conv = (part if part is None else part.eval().requires_grad_(False)
                                            for part in (whole.decoder, whole.post_quant_conv))  # fmt: skip


@functools.cache
def fast_dtype(device: torch.device) -> torch.dtype:
    """float16 on CUDA, but float32 on cards that are slow (before compute capability 7) or answer NaN in it (the GTX 16 series); on a CPU
    bfloat16 where the processor multiplies in it (measured: 0.5-0.75 x float32's time), else float32."""
    if device.type == "cuda":
        slow = torch.cuda.get_device_capability(device) < (7, 0) or "GTX 16" in torch.cuda.get_device_name(device)
        return torch.float32 if slow else torch.float16
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
