"""A Stable Diffusion folder of 60,000 random weights, made offline in a second: for tests of loading, never of quality."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENS = 16


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-level tokenizer without merges: each letter is a token, so that short prompts reach the limit."""
    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)


def make_tiny_model(folder: Path, prediction: str = "epsilon", attention: bool = True, depth: bool = False) -> Path:
    """Writes the folder: 16x16 images, a KL autoencoder down to 8x8 latents of 4 channels; depth: one more input, as SD 2 depth has."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(folder / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        **ends,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    down, up = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D") if attention else ("DownBlock2D", "UpBlock2D")
    UNet2DConditionModel(
        sample_size=8,
        in_channels=5 if depth else 4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", down),
        up_block_types=(up, "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn" if attention else "UNetMidBlock2D",
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    ).save_pretrained(folder / "vae")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction).save_pretrained(
        folder / "scheduler"
    )
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_tiny_control(folder: Path, model: Path, pixels: int = 2) -> Path:
    """Writes a ControlNet of random weights for a tiny model, which makes one place of `pixels` x `pixels`."""
    torch.manual_seed(1)
    widths = tuple(8 * 2**level for level in range(pixels.bit_length()))
    net = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(model / "unet"), conditioning_embedding_out_channels=widths)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # a new one answers zeros
    net.save_pretrained(folder)
    return folder
