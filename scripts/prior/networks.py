"""The networks of the embedded prior, and its noise schedule, in one place."""

from __future__ import annotations

import threading

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.diffusion.patch_autoencoder import PATCH, PatchAutoencoder
from scripts.prior.tokenizer import MAX_TOKENS

IMAGE_SIZE = 64
LATENT_CHANNELS = 16
TEXT_WIDTH = 192
CHANNELS = (128, 192)
TRAIN_TIMESTEPS = 1000

_tokenizing = threading.Lock()


def make_autoencoder() -> PatchAutoencoder:
    """Pictures [B, 3, 64, 64] <-> latents [B, 16, 8, 8]; untrained."""
    return PatchAutoencoder(latent_channels=LATENT_CHANNELS)


def make_unet(channels: tuple[int, ...] = CHANNELS) -> UNet2DConditionModel:
    """Predicts the clean picture's latents: [B, 16, 8, 8] -> the same.

    The text enters twice: its pooled features are added to the time embedding and scale and
    shift every block (kinds and colours come soon), and the lower levels attend to its words.
    """
    attends = [False] + [True] * (len(channels) - 1)
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // PATCH,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        down_block_types=tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
    )


def make_text_model(tokenizer: CLIPTokenizer, width: int = TEXT_WIDTH, layers: int = 3) -> CLIPTextModel:
    """A small CLIP text model: token ids [B, 64] -> features [B, 64, width]."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_scheduler() -> DDIMScheduler:
    """The cosine schedule of 1000 steps; the network predicts the clean sample."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str], device: torch.device | str = "cpu") -> torch.Tensor:
    """Captions -> token ids, int64 [B, 64], padded and cut. From any thread: a tokenizer itself serves one at a time."""
    with _tokenizing:
        encoded = tokenizer(
            captions,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
    return encoded.input_ids.to(device)


def parameter_count(model: torch.nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
