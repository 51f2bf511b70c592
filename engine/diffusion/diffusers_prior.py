"""A prior from a folder in diffusers' format: UNet, text encoder, tokenizer, autoencoder and scheduler; safetensors only."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions, ViewAngles, fit_square
from engine.diffusion.prompts import domain_note
from engine.diffusion.schedule import NoiseSchedule, Prediction, as_prediction
from engine.errors import ModelError

REQUIRED = (
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "tokenizer",
    "scheduler/scheduler_config.json",
)
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
"""Component -> stem of its weight files."""

OWN_AUTOENCODERS = {"PatchAutoencoder": "engine.diffusion.patch_autoencoder"}
"""Autoencoders of this project, which diffusers does not know by name."""


class DiffusersPrior:
    """A latent diffusion model of the Stable Diffusion 1.x / 2.x class. See `from_folder`."""

    def __init__(
        self, unet: Any, vae: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, name: str, known: dict[str, list[str]] | None = None
    ) -> None:
        from engine.diffusion.patch_autoencoder import PatchAutoencoder

        self.unet = unet.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.schedule = NoiseSchedule(scheduler.alphas_cumprod.float().to(self.device))
        self.prediction: Prediction = as_prediction(scheduler.config.prediction_type)
        self._known = known or {}
        self.kinds = tuple(self._known.get("kinds", ()))
        self._linear = vae if isinstance(vae, PatchAutoencoder) else None
        self.image_size = int(unet.config.sample_size) * downscaling(vae)
        self._embedded: dict[str, tuple[Tensor, tuple[str, ...]]] = {}

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, dtype: torch.dtype | None = None, name: str | None = None) -> DiffusersPrior:
        """Reads a local folder, never the network. `dtype` None: the faster one of this device, see `fast_dtype`.

        ModelError names the file that is missing or broken, and the fix.
        """
        check_folder(folder)
        import diffusers
        import transformers

        quiet()
        dtype = dtype or fast_dtype(device)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        unet_class = index.get("unet", [None, ""])[1]
        if unet_class != "UNet2DConditionModel":
            raise ModelError(
                "model_class",
                f"The model in '{folder}' has a denoiser of class '{unet_class}'; expected UNet2DConditionModel.",
                "Choose a model of the Stable Diffusion 1.x or 2.x class.",
            )
        try:
            unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **options(folder, "unet"))
            vae = load_autoencoder(folder, index["vae"][1])
            text_class = getattr(transformers, index["text_encoder"][1])
            text = text_class.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32, **options(folder, "text_encoder"))
            tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(folder / "tokenizer", local_files_only=True)
            scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder / "scheduler", local_files_only=True)
        except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError) as error:
            raise ModelError(
                "model_files", f"The model in '{folder}' cannot be loaded: {error}", "Download or export the whole folder again."
            ) from error
        if not hasattr(scheduler, "alphas_cumprod"):
            raise ModelError(
                "model_class",
                f"The scheduler {type(scheduler).__name__} has no noise levels of the usual kind.",
                "Flow-matching models are not supported yet.",
            )
        return cls(unet.to(device), vae.to(device), text.to(device), tokenizer, scheduler, name or str(folder), read_kinds(folder))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> scaled latents, differentiable: a posterior sample with a generator, else its mode."""
        pixels = (fit_square(images, self.image_size) * 2 - 1).to(self.vae.dtype)
        answer = self.vae.encode(pixels)
        if hasattr(answer, "latents"):
            latents = answer.latents
        else:
            latents = answer.latent_dist.mode() if generator is None else answer.latent_dist.sample(generator)
        return (latents - (getattr(self.vae.config, "shift_factor", None) or 0.0)) * self.vae.config.scaling_factor

    def precondition(self, difference: Tensor) -> Tensor:
        """A difference of latents, made ready to reach pixels as a difference of images; as it is where the encoder is not linear."""
        return difference if self._linear is None else self._linear.precondition(difference)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> images [B, 3, image_size, image_size] in 0..1."""
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        pixels = self.vae.decode((latents / self.vae.config.scaling_factor + shift).to(self.vae.dtype)).sample
        return ((pixels.to(latents.dtype) + 1) / 2).clamp(0, 1)

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """Text states [N, L, C], computed once a prompt. Notes tell which words were cut and which are unknown to the model."""
        del cameras
        fresh = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._embedded))
        if fresh:
            for prompt, states in zip(fresh, self._text_states(fresh), strict=True):
                self._embedded[prompt] = (states[None], self._notes(prompt))
        found = [self._embedded[prompt] for prompt in prompts]
        notes = tuple(dict.fromkeys(note for _, said in found for note in said))
        return Conditions(tuple(prompts), torch.cat([states for states, _ in found]), notes)

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """eps for latents x_t [B, C, h, w], t int64 [B] and B conditions; one forward pass."""
        return self.denoise(x_t, t, conditions.data)

    def denoise(self, x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """As `predict_noise` for text states [B, L, C], with gradient to whatever in the UNet is trained (VSD's adapter)."""
        output = self.unet(x_t.to(self.unet.dtype), t, encoder_hidden_states=states.to(self.unet.dtype)).sample
        return self.schedule.to_epsilon(output.to(x_t.dtype), x_t, t, self.prediction)

    @torch.no_grad()
    def _text_states(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=self._max_tokens(), return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(self.device))[0]

    def _max_tokens(self) -> int:
        positions = int(getattr(self.text_encoder.config, "max_position_embeddings", 77))
        return min(int(self.tokenizer.model_max_length), positions)

    def _notes(self, prompt: str) -> tuple[str, ...]:
        notes = []
        lost = cut_words(self.tokenizer, prompt, self._max_tokens())
        if lost:
            notes.append(f'The text model takes {self._max_tokens()} tokens; cut from the prompt: "{lost}".')
        if self._known.get("words") and prompt:
            warning = domain_note(prompt, self._known["words"], self.kinds)
            if warning:
                notes.append(warning)
        return tuple(notes)


def cut_words(tokenizer: Any, prompt: str, limit: int) -> str:
    """The words at the end of the prompt that do not fit into `limit` tokens, two of which mark start and end; "" if all do."""

    def fits(words: list[str]) -> bool:
        return len(tokenizer(" ".join(words), add_special_tokens=False, truncation=False, verbose=False).input_ids) <= limit - 2

    words = prompt.split()
    if fits(words):
        return ""
    low, high = 0, len(words)  # words[:low] fit, words[:high] do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(words[:middle]) else (low, middle)
    return " ".join(words[low:])


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


def check_folder(folder: Path) -> None:
    """ModelError if a file of a diffusers folder is missing, or if its weights are there only as pickles."""
    for name in REQUIRED:
        if not (folder / name).exists():
            raise ModelError(
                "model_file",
                f"The model folder '{folder}' has no {name}.",
                "Download or export the whole folder again, in diffusers' format.",
            )
    for part in WEIGHTS:
        if weights_of(folder, part) is None:
            raise ModelError(
                "model_file",
                f"The model folder '{folder}' has no {WEIGHTS[part]}.safetensors in {part}; "
                "weights in other formats can run code and are not read.",
                "Get the model's safetensors files, or save it with save_pretrained(..., safe_serialization=True).",
            )


def weights_of(folder: Path, part: str) -> str | None:
    """ "" or the variant ("fp16") under which a part's safetensors are stored; None if there are none."""
    names = [path.name for path in (folder / part).iterdir()]
    for variant in ("", "fp16"):
        dotted = f".{variant}" if variant else ""
        stem = WEIGHTS[part]
        if any(name in (f"{stem}{dotted}.safetensors", f"{stem}.safetensors.index{dotted}.json") for name in names):
            return variant
    return None


def options(folder: Path, part: str) -> dict[str, Any]:
    """What from_pretrained needs to read local safetensors and nothing else."""
    variant = weights_of(folder, part)
    return {"use_safetensors": True, "local_files_only": True} | ({"variant": variant} if variant else {})


def load_autoencoder(folder: Path, class_name: str) -> Any:
    """The folder's autoencoder in float32."""
    config = json.loads((folder / "vae/config.json").read_text(encoding="utf-8"))
    class_name = config.get("_class_name", class_name)
    module = importlib.import_module(OWN_AUTOENCODERS.get(class_name, "diffusers"))
    return getattr(module, class_name).from_pretrained(folder / "vae", torch_dtype=torch.float32, **options(folder, "vae"))


def downscaling(vae: Any) -> int:
    """Pixels of an image for each latent, along a side."""
    config = vae.config
    if "patch" in config:
        return int(config.patch)
    blocks = config.get("block_out_channels") or config.get("encoder_block_out_channels")
    return 2 ** (len(blocks) - 1)


def read_kinds(folder: Path) -> dict[str, list[str]]:
    """kinds.json beside model_index.json, if any: {"kinds": [...], "words": [...]}, what a narrow model was trained on."""
    path = folder / "kinds.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {key: [str(word) for word in content[key]] for key in ("kinds", "words") if isinstance(content.get(key), list)}


def download(hub_id: str) -> Path:
    """The local copy of a model on the hub, fetched once; ModelError with the fix if it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["model_index.json", "kinds.json", "tokenizer/*", "scheduler/*", "*/config.json"]
    wanted += [f"{part}/{stem}*{ending}" for part, stem in WEIGHTS.items() for ending in (".safetensors", ".index.json")]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*non_ema*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            "model_download",
            f"The model '{hub_id}' is neither a folder nor on this machine, and could not be downloaded ({type(error).__name__}).",
            "Check the name and the connection, give a folder, or use the model 'embedded'.",
        ) from error
