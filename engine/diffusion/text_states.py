"""What the text models of each class of model make of prompts, as one tensor a prompt.

Where a denoiser wants pooled features beside the tokens' states, they are the first row, padded with zeros: `unpacked` parts the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LONGEST_T5 = 256
"""Tokens that Stable Diffusion 3's third text model reads."""

States = Callable[[Sequence[str]], Tensor]
"""N prompts -> [N, L, C]."""


def states_of(parts: Mapping[str, Any], zero_empty: bool = False) -> States:
    """For a model's parts by folder. zero_empty: "" is zeros, as Stable Diffusion XL's index may say."""
    if "transformer" in parts:
        return lambda prompts: _flow_states(parts, prompts)
    if "text_encoder_2" in parts:
        return lambda prompts: _xl_states(parts, prompts, zero_empty)
    return lambda prompts: _asked(parts, "", prompts)[0]


def unpacked(data: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """[N, 1 + L, C] -> pooled features [N, width] and states [N, L, C]."""
    return data[:, 0, :width], data[:, 1:]


def _packed(pooled: Tensor, states: Tensor) -> Tensor:
    row = functional.pad(pooled, (0, states.shape[2] - pooled.shape[1]))
    return torch.cat([row[:, None].to(states), states], dim=1)


def _xl_states(parts: Mapping[str, Any], prompts: Sequence[str], zero_empty: bool) -> Tensor:
    """The states before the last layer of both text models beside each other, and the second's pooled features."""
    first, second = (_asked(parts, number, prompts, output_hidden_states=True) for number in ("", "_2"))
    packed = _packed(second[0], torch.cat([first.hidden_states[-2], second.hidden_states[-2].to(first.hidden_states[-2])], dim=-1))
    return torch.stack([row * 0 if zero_empty and not prompt else row for prompt, row in zip(prompts, packed, strict=True)])


def _flow_states(parts: Mapping[str, Any], prompts: Sequence[str]) -> Tensor:
    """Both CLIP models' states beside each other, padded, then the third model's (zeros without one); both CLIPs' pooled features."""
    answers = [_asked(parts, number, prompts, output_hidden_states=True) for number in ("", "_2")]
    clip = torch.cat([answer.hidden_states[-2] for answer in answers], dim=-1)
    width = int(parts["transformer"].config.joint_attention_dim)
    clip = functional.pad(clip, (0, width - clip.shape[2]))
    if "text_encoder_3" in parts:
        third = _asked(parts, "_3", prompts, length=LONGEST_T5)[0].to(clip)
    else:
        third = clip.new_zeros(len(clip), LONGEST_T5, width)
    return _packed(torch.cat([answer[0] for answer in answers], dim=-1), torch.cat([clip, third], dim=1))


def _asked(parts: Mapping[str, Any], number: str, prompts: Sequence[str], length: int | None = None, **options: Any) -> Any:
    tokenizer, encoder = parts[f"tokenizer{number}"], parts[f"text_encoder{number}"]
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=length or longest(tokenizer, encoder), return_tensors="pt"
    )
    return encoder(tokens.input_ids.to(next(encoder.parameters()).device), **options)


def longest(tokenizer: Any, encoder: Any) -> int:
    """How many tokens of a prompt a text model reads, start and end included."""
    return min(int(tokenizer.model_max_length), int(getattr(encoder.config, "max_position_embeddings", 77)))
