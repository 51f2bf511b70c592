"""The parts that a model folder in diffusers' format may have, by the class of the model; tables, and which of them a folder follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError

AGAIN = "Download or export the whole folder again."

CLASSES = "Stable Diffusion 1.x, 2.x (depth too), XL or 3"
"""Of the models that can be used."""


@dataclass(frozen=True)
class Part:
    """One component of a model.

    folder   its place in the folder
    config   the file that describes it
    classes  class names that may be used -> the module that each is taken from; the folder's own words for modules are not used
    weights  stem of its weight files, None = it has none
    """

    folder: str
    config: str
    classes: Mapping[str, str]
    weights: str | None = None


SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler", "LCMScheduler", "TCDScheduler",
)  # fmt: skip
"""Those with a table of noise levels, `alphas_cumprod`. Nothing else of a scheduler is used."""

_WEIGHTS = "diffusion_pytorch_model"
_UNET = Part("unet", "config.json", {"UNet2DConditionModel": "diffusers"}, _WEIGHTS)
_VAE = Part(
    "vae",
    "config.json",
    {"AutoencoderKL": "diffusers", "AutoencoderTiny": "diffusers", "PatchAutoencoder": "engine.diffusion.patch_autoencoder"},
    _WEIGHTS,
)
_SCHEDULER = Part("scheduler", "scheduler_config.json", dict.fromkeys(SCHEDULERS, "diffusers"))


def _text(number: str, kind: str, tokenizer: str = "CLIP") -> tuple[Part, Part]:
    words = dict.fromkeys((f"{tokenizer}Tokenizer", f"{tokenizer}TokenizerFast"), "transformers")
    encoder = Part(f"text_encoder{number}", "config.json", {kind: "transformers"}, "model")
    return encoder, Part(f"tokenizer{number}", "tokenizer_config.json", words)


PARTS = (_UNET, _VAE, *_text("", "CLIPTextModel"), _SCHEDULER)
"""Of the Stable Diffusion 1.x and 2.x classes."""

XL_PARTS = (_UNET, _VAE, *_text("", "CLIPTextModel"), *_text("_2", "CLIPTextModelWithProjection"), _SCHEDULER)
"""Of Stable Diffusion XL."""

FLOW_PARTS = (
    Part("transformer", "config.json", {"SD3Transformer2DModel": "diffusers"}, _WEIGHTS),
    _VAE,
    *_text("", "CLIPTextModelWithProjection"),
    *_text("_2", "CLIPTextModelWithProjection"),
    Part("scheduler", "scheduler_config.json", {"FlowMatchEulerDiscreteScheduler": "diffusers"}),
)
"""Of Stable Diffusion 3, whose third text encoder may be left out."""

THIRD_TEXT = _text("_3", "T5EncoderModel", "T5")

SURFACE_PARTS = (
    Part("unet", "config.json", {"SurfaceUNet": "engine.diffusion.surface_unet"}, _WEIGHTS),
    *(part for part in PARTS if part.folder not in ("unet", "vae")),
)
"""Of a network of this project that paints surfaces, on pixels (`engine.diffusion.surface_prior`)."""

WORD_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Where a tokenizer's words are: either will do; without them the library makes one that knows no word."""

BOUNDS: dict[str, dict[str, tuple[int, int]]] = {
    "unet": {"sample_size": (4, 512), "in_channels": (1, 64), "out_channels": (1, 64), "cross_attention_dim": (1, 16_384),
             "layers_per_block": (1, 32), "block_out_channels": (1, 16_384), "num_res_blocks": (1, 32), "downscale_factor": (1, 64),
             "patch": (1, 64), "control_channels": (1, 64),
             "channels": (1, 16_384), "text_width": (1, 16_384), "embedding": (1, 16_384), "heads": (1, 256), "head_channels": (1, 1024),
             "transformer_layers_per_block": (1, 64), "addition_time_embed_dim": (1, 4096),
             "projection_class_embeddings_input_dim": (1, 65_536)},
    "transformer": {"sample_size": (4, 512), "in_channels": (1, 64), "out_channels": (1, 64), "num_layers": (1, 128), "patch_size": (1, 16),
                    "attention_head_dim": (1, 1024), "num_attention_heads": (1, 256), "joint_attention_dim": (1, 16_384),
                    "caption_projection_dim": (1, 16_384), "pooled_projection_dim": (1, 16_384), "pos_embed_max_size": (1, 1024)},
    "vae": {"latent_channels": (1, 64), "block_out_channels": (1, 16_384), "encoder_block_out_channels": (1, 16_384), "width": (1, 4096),
            "patch": (1, 64)},
    "text_encoder": {"hidden_size": (1, 16_384), "intermediate_size": (1, 65_536), "num_hidden_layers": (1, 128),
                     "vocab_size": (1, 2_000_000), "max_position_embeddings": (3, 100_000), "projection_dim": (1, 16_384),
                     "d_model": (1, 16_384), "d_ff": (1, 131_072), "num_layers": (1, 128)},
    "tokenizer": {"model_max_length": (3, 10**31)},
    "scheduler": {"num_train_timesteps": (2, 100_000)},
}  # fmt: skip
"""Whole numbers (or lists of them) that decide how much memory is taken, checked where a configuration has them."""


def parts_for(folder: Path, index: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts of the class that a folder's model_index.json speaks of. ModelError for one that cannot be used."""
    pipeline = str(index.get("_class_name", ""))
    if "prior" in index or "transformer" in index:
        kind = _class_in(index, "transformer")
        if kind not in FLOW_PARTS[0].classes:
            raise ModelError(
                "model_class",
                f"The model in '{folder}' is a {pipeline or 'model'} with a '{kind or 'prior'}', which this engine cannot ask.",
                f"Choose a model of the classes {CLASSES}.",
            )
        return (*FLOW_PARTS[:-1], *(THIRD_TEXT if _class_in(index, "text_encoder_3") else ()), FLOW_PARTS[-1])
    if _class_in(index, "unet") == "SurfaceUNet":
        return SURFACE_PARTS
    if _class_in(index, "text_encoder_2") and not _class_in(index, "text_encoder"):
        raise ModelError(
            "model_class", f"The model in '{folder}' is a refiner: it has the second text encoder alone.", "Choose its base model."
        )
    return XL_PARTS if _class_in(index, "text_encoder_2") else PARTS


def _class_in(index: Mapping[str, Any], part: str) -> str | None:
    entry = index.get(part)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str) else None


def words_of(tokenizer: Path) -> bool:
    """Whether a tokenizer's folder holds its words."""
    return any(all((tokenizer / name).exists() for name in names) for names in WORD_FILES)
