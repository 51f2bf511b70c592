"""A Stable Diffusion folder of 60,000 random weights, made offline in a second: for tests of loading, never of quality."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    SD3Transformer2DModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

TOKENS = 16


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-level tokenizer without merges: each letter is a token, so that short prompts reach the limit."""
    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)


CLASSES = ("sd15", "sd21-v", "zero-snr", "sd2-depth", "lcm", "sdxl", "sd3", "sd3-t5")


def make_tiny_class(folder: Path, kind: str) -> Path:
    """Writes a tiny folder of one of `CLASSES`."""
    if kind == "sdxl":
        return make_tiny_xl(folder)
    if kind.startswith("sd3"):
        return make_tiny_flow(folder, third=kind.endswith("t5"))
    make_tiny_model(folder, "epsilon" if kind in ("sd15", "sd2-depth", "lcm") else "v_prediction", depth=kind == "sd2-depth")
    if kind == "zero-snr":
        make_scheduler(folder, "v_prediction", rescale_betas_zero_snr=True)
    if kind == "lcm":
        LCMScheduler().save_pretrained(folder / "scheduler")
        write_index(folder, scheduler=["diffusers", "LCMScheduler"])
    return folder


def make_tiny_model(folder: Path, prediction: str = "epsilon", attention: bool = True, depth: bool = False) -> Path:
    """Writes the folder: 16x16 images, a KL autoencoder down to 8x8 latents of 4 channels; depth: one more input, as SD 2 depth has."""
    torch.manual_seed(0)
    make_text(folder, "", CLIPTextModel)
    make_unet(folder, attention, in_channels=5 if depth else 4, cross_attention_dim=8)
    make_autoencoder(folder)
    make_scheduler(folder, prediction)
    write_index(folder)
    return folder


def make_tiny_xl(folder: Path) -> Path:
    """As Stable Diffusion XL: two text encoders beside each other, pooled features of the second and the picture's size."""
    torch.manual_seed(0)
    make_text(folder, "", CLIPTextModel, layers=2)
    make_text(folder, "_2", CLIPTextModelWithProjection, layers=2)
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 8 + 6 * 4}
    make_unet(folder, True, in_channels=4, cross_attention_dim=16, use_linear_projection=True, **added)
    make_autoencoder(folder)
    make_scheduler(folder, "epsilon")
    second = {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer_2": ["transformers", "CLIPTokenizer"]}
    write_index(folder, _class_name="StableDiffusionXLPipeline", force_zeros_for_empty_prompt=True, **second)
    return folder


def make_tiny_flow(folder: Path, third: bool = False) -> Path:
    """As Stable Diffusion 3: a transformer that answers velocities of straight paths; third: with T5 beside both CLIPs."""
    torch.manual_seed(0)
    for number in ("", "_2"):
        make_text(folder, number, CLIPTextModelWithProjection, layers=2)
    SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=24, caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=8,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    make_autoencoder(folder, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    kinds = {f"text_encoder{number}": ["transformers", "CLIPTextModelWithProjection"] for number in ("", "_2")}
    kinds |= {"tokenizer_2": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
    kinds |= {"transformer": ["diffusers", "SD3Transformer2DModel"], "unet": None}
    if third:
        words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -3.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz")]
        T5Tokenizer(vocab=words, extra_ids=0).save_pretrained(folder / "tokenizer_3")
        sizes = {"d_model": 24, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        T5EncoderModel(T5Config(vocab_size=len(words), **sizes)).save_pretrained(folder / "text_encoder_3")
        kinds |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5TokenizerFast"]}
    write_index(folder, _class_name="StableDiffusion3Pipeline", **kinds)
    return folder


def make_text(folder: Path, number: str, kind: type, layers: int = 1) -> None:
    """A text encoder and its tokenizer."""
    tokenizer = make_tokenizer(folder / f"tokenizer{number}")
    tokenizer.save_pretrained(folder / f"tokenizer{number}")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        projection_dim=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        **ends,
    )
    kind(text).save_pretrained(folder / f"text_encoder{number}")


def make_unet(folder: Path, attention: bool, **more: object) -> None:
    down, up = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D") if attention else ("DownBlock2D", "UpBlock2D")
    UNet2DConditionModel(
        sample_size=8,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", down),
        up_block_types=(up, "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn" if attention else "UNetMidBlock2D",
        attention_head_dim=2,
        norm_num_groups=4,
        **more,
    ).save_pretrained(folder / "unet")


def make_autoencoder(folder: Path, **more: object) -> None:
    AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        **more,
    ).save_pretrained(folder / "vae")


def make_scheduler(folder: Path, prediction: str, **more: object) -> None:
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, **more).save_pretrained(
        folder / "scheduler"
    )


def write_index(folder: Path, **more: object) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        **more,
    }
    (folder / "model_index.json").write_text(json.dumps({name: value for name, value in index.items() if value is not None}))


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


def make_tiny_adapter(folder: Path, **more: object) -> Path:
    """Writes a T2I-Adapter of random weights for a tiny model."""
    torch.manual_seed(2)
    T2IAdapter(
        **{"channels": [8, 16], "num_res_blocks": 1, "downscale_factor": 4, "adapter_type": "full_adapter_xl", **more}
    ).save_pretrained(folder)
    return folder


def make_tiny_reference(folder: Path, model: Path, plus: bool = False, tokens: int = 4) -> Path:
    """Writes an IP-Adapter of random weights for a tiny model's UNet, its image encoder beside it; the adapter's file."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    width = unet.config.cross_attention_dim
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=12, **sizes)).save_pretrained(folder / "image_encoder")
    layers = [layer for name, layer in unet.named_modules() if name.endswith("attn2")]
    tensors = {
        f"ip_adapter.{2 * number + 1}.{part}.weight": torch.randn(layer.to_k.weight.shape)
        for number, layer in enumerate(layers)
        for part in ("to_k_ip", "to_v_ip")
    }
    if plus:
        made = IPAdapterPlusImageProjection(8, width, 8, heads=1, num_queries=tokens).state_dict()
        for name in [name for name in made if name.endswith("attn.to_k.weight")]:
            both = torch.cat([made.pop(name), made.pop(name.replace("to_k", "to_v"))])
            tensors[f"image_proj.{name.replace('attn.to_k', '0.to_kv')}"] = both
        published = {"ln0": "0.norm1", "ln1": "0.norm2", "attn.to_q": "0.to_q", "attn.to_out.0": "0.to_out", "ff.0": "1.0",
                     "ff.1.net.0.proj": "1.1", "ff.1.net.2": "1.3"}  # fmt: skip
        for name, tensor in made.items():
            for own, told in published.items():
                name = re.sub(rf"^(layers\.\d)\.{re.escape(own)}\.", rf"\1.{told}.", name)
            tensors[f"image_proj.{name}"] = tensor
    else:
        made = ImageProjection(12, width, tokens).state_dict()
        tensors |= {f"image_proj.{name.replace('image_embeds', 'proj')}": tensor for name, tensor in made.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "ip-adapter.safetensors")
    return folder / "ip-adapter.safetensors"
