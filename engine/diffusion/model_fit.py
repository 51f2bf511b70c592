"""Whether the parts of a model folder belong together and ask for nothing that this engine does not give, by their configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.diffusion.model_parts import AGAIN, CLASSES
from engine.diffusion.prior import CONTROL_CHANNELS
from engine.diffusion.schedule import as_prediction
from engine.errors import ModelError

Configs = Mapping[str, Mapping[str, Any]]
DISTILLED = {"turbo", "lcm", "lightning", "hyper", "schnell", "hypersd"}
"""Words in the names of models that draw in a few steps."""
FEW_STEPS = ("LCMScheduler", "TCDScheduler")
"""Schedulers made for such."""

EXPORT = f"{AGAIN[:-1]}, with this version's scripts.prior.surface.export."

Wanted = tuple[str, object, tuple[object, ...]]
"""A number of the denoiser's, what it is, what it may be."""


def check_fit(folder: Path, configs: Configs, classes: Mapping[str, str]) -> None:
    """ModelError for parts that do not belong together, or a denoiser that needs inputs which this engine does not give."""
    if classes.get("unet") == "SurfaceUNet":
        return _check_surface(folder, configs)
    if "transformer" in configs:
        _refuse_unwanted(folder, _flow_wants(configs))
    else:
        as_prediction(str(configs["scheduler"].get("prediction_type", "epsilon")))
        _refuse_unwanted(folder, _unet_wants(configs))
    if sample_size(configs) is None:
        raise ModelError("model_config", f"The denoiser of the model in '{folder}' does not say its sample_size.", AGAIN)
    return None


def sample_size(configs: Configs) -> int | None:
    """Latents along a side of the pictures that a denoiser learnt from; None where nobody says it.

    A list is read as its sides' least; where the denoiser is silent the autoencoder's own size says it.
    """
    told = (configs.get("transformer") or configs["unet"]).get("sample_size")
    if isinstance(told, list) and told:
        told = min(told)
    if isinstance(told, int):
        return told
    vae = configs["vae"]
    pixels, blocks = vae.get("sample_size"), vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    return pixels // 2 ** (len(blocks) - 1) if isinstance(pixels, int) and isinstance(blocks, list) else None


def encodes_in_half(configs: Configs) -> bool:
    """Whether the autoencoder may compute in float16: of the classes' own pipelines XL's alone heeds force_upcast, which the library writes
    into every folder that it saves."""
    return not ("text_encoder_2" in configs and "unet" in configs and configs["vae"].get("force_upcast", True))


def remarks(folder: Path, configs: Configs, classes: Mapping[str, str]) -> tuple[str, ...]:
    """What the user should know of a model that can be used."""
    network = configs.get("transformer") or configs["unet"]
    words = set(re.split(r"[^a-z0-9]+", folder.name.lower()))
    if words & DISTILLED or classes.get("scheduler") in FEW_STEPS or network.get("time_cond_proj_dim") is not None:
        return (
            f"The model '{folder.name}' looks like one that was distilled to draw in a few steps (Turbo, LCM, Lightning). Its answers "
            "are no score at most noise levels, and results under it are poor: its undistilled base model is the better teacher.",
        )
    return ()


def _unet_wants(configs: Configs) -> list[Wanted]:
    unet, text = configs["unet"], configs["text_encoder"]
    channels, width = configs["vae"].get("latent_channels", 4), text.get("hidden_size", 512)
    wanted: list[Wanted] = [
        ("in_channels", unet.get("in_channels", 4), (channels, channels + 1)),  # one more is depth, as Stable Diffusion 2 has it
        ("out_channels", unet.get("out_channels", 4), (channels,)),
        ("class_embed_type", unet.get("class_embed_type"), (None,)),
        ("num_class_embeds", unet.get("num_class_embeds"), (None,)),
        ("encoder_hid_dim_type", unet.get("encoder_hid_dim_type"), (None,)),
    ]
    added = unet.get("addition_embed_type")
    attention = ("cross_attention_dim", unet.get("cross_attention_dim", 1280))
    if "text_encoder_2" not in configs:
        return [*wanted, (*attention, (width,)), ("addition_embed_type", added, (None, "text"))]
    second = configs["text_encoder_2"]
    pooled = second.get("projection_dim", 512) + 6 * (unet.get("addition_time_embed_dim") or 0)
    return [
        *wanted,
        (*attention, (width + second.get("hidden_size", 512),)),
        ("addition_embed_type", added, ("text_time",)),
        ("projection_class_embeddings_input_dim", unet.get("projection_class_embeddings_input_dim"), (pooled,)),
    ]


def _flow_wants(configs: Configs) -> list[Wanted]:
    network = configs["transformer"]
    first, second = configs["text_encoder"], configs["text_encoder_2"]
    channels, joint = configs["vae"].get("latent_channels", 4), network.get("joint_attention_dim", 4096)
    width = first.get("hidden_size", 512) + second.get("hidden_size", 512)
    pooled = first.get("projection_dim", 512) + second.get("projection_dim", 512)
    wanted: list[Wanted] = [
        ("in_channels", network.get("in_channels", 16), (channels,)),
        ("out_channels", network.get("out_channels") or network.get("in_channels", 16), (channels,)),
        ("pooled_projection_dim", network.get("pooled_projection_dim", 2048), (pooled,)),
        ("joint_attention_dim", max(joint, width), (joint,)),
    ]
    third = configs.get("text_encoder_3")
    return wanted if third is None else [*wanted, ("joint_attention_dim", joint, (third.get("d_model", 512),))]


def _refuse_unwanted(folder: Path, wanted: list[Wanted]) -> None:
    for name, found, allowed in wanted:
        if found not in allowed:
            raise ModelError(
                "model_config",
                f"The denoiser of the model in '{folder}' has {name} = {found!r}; with its text encoder and autoencoder this engine "
                f"expects {' or '.join(map(repr, allowed))}.",
                f"Choose a text-to-image or depth model of the classes {CLASSES} (no inpainting model, refiner or upscaler).",
            )


def _check_surface(folder: Path, configs: Configs) -> None:
    """ModelError for a network that paints surfaces whose text, control or prediction is not what this engine gives and takes."""
    unet, text, scheduler = (configs[name] for name in ("unet", "text_encoder", "scheduler"))
    wanted = (
        ("text_width", unet.get("text_width"), text.get("hidden_size", 512)),
        ("control_channels", unet.get("control_channels"), CONTROL_CHANNELS),
        ("prediction_type", scheduler.get("prediction_type", "epsilon"), "sample"),
    )
    for name, found, expected in wanted:
        if found != expected:
            raise ModelError(
                "model_config",
                f"The model in '{folder}', which paints surfaces, has {name} = {found!r}; this engine expects {expected!r}.",
                EXPORT,
            )
    _check_surface_sides(folder, unet)


def _check_surface_sides(folder: Path, unet: Mapping[str, Any]) -> None:
    """ModelError unless a network's pictures are whole patches at all its levels, and its heads share its channels out evenly."""
    size, patch, heads = (unet.get(name, usual) for name, usual in (("sample_size", 64), ("patch", 4), ("heads", 4)))
    channels = unet.get("channels", [64, 160, 256])
    whole = isinstance(channels, list) and len(channels) == 3 and all(isinstance(value, int) for value in (size, patch, heads))
    if not whole or size % (4 * patch) or any(width % heads for width in channels[0 if unet.get("fine_words") else 1 :]):
        raise ModelError(
            "model_config",
            f"The model in '{folder}' has sample_size = {size!r}, patch = {patch!r}, heads = {heads!r} and channels = "
            f"{channels!r}; expected a sample_size that is a multiple of four patches, and three channels that are multiples of the heads.",
            EXPORT,
        )
