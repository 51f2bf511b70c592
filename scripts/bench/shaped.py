"""Models of random weights in the shape of large ones: for time and memory, which do not ask what a model knows."""

from __future__ import annotations

from typing import Any

import torch

from engine.diffusion.diffusers_prior import DiffusersPrior, fast_dtype, forget_decoder, placed, quiet
from engine.diffusion.load import EMBEDDED_FOLDER

_CROSS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
_UNET = {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, **_CROSS}
_KL = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 4,
       "up_block_types": ("UpDecoderBlock2D",) * 4, "latent_channels": 4, "scaling_factor": 0.18215}  # fmt: skip

SHAPES: dict[str, dict[str, Any]] = {
    "sd15": {**_UNET, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd21": {**_UNET, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "tiny": {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "cross_attention_dim": 16, "attention_head_dim": 2,
             "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
             "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")},
}  # fmt: skip
"""UNets as their own configurations have them; tiny is for trying the benches themselves."""


def shaped_prior(shape: str, device: torch.device, size: int | None = None, dtype: torch.dtype | None = None) -> DiffusersPrior:
    """A prior of random weights of a name of `SHAPES`, which asks for pictures of `size` pixels (None: its own), without a decoder.

    Its text encoder is small: a step does not run it.
    """
    import diffusers
    import transformers

    models: Any = diffusers
    texts: Any = transformers
    quiet()
    config, kind = SHAPES[shape], dtype or fast_dtype(device)
    kl = {**_KL, **({"block_out_channels": (4, 8, 8, 8), "norm_num_groups": 4} if shape == "tiny" else {})}
    torch.manual_seed(0)
    tokenizer = texts.CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer", local_files_only=True)
    width = config["cross_attention_dim"]
    text = texts.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    latents = (size or 8 * config["sample_size"]) // 8
    with torch.device(device):
        unet = models.UNet2DConditionModel(**config).to(kind)
    unet = placed(unet, "unet", device)
    with torch.device(device):
        vae = models.AutoencoderKL(**kl)
    forget_decoder(vae)
    parts = {
        "unet": unet,
        "vae": vae.to(kind if kind == torch.float16 else torch.float32),
        "text_encoder": texts.CLIPTextModel(text).to(device),
        "tokenizer": tokenizer,
        "scheduler": models.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    }
    return DiffusersPrior(parts, f"random weights of {shape}'s shape", latents=latents)
