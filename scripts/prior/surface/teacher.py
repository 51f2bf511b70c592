"""A network that knows some kinds well teaches them to one that learns many.

A picture is one draw of what its words could mean; what a trained network predicts is their mean already, so that what it knows is
learnt from far fewer samples, and is not forgotten over what is new (Li and Hoiem 2016, arXiv 1606.09282).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from engine.diffusion.model_folder import read_known
from engine.diffusion.surface_unet import SurfaceUNet
from engine.vocabulary import unknown_words
from scripts.prior.surface.dataset import Told
from scripts.prior.training import TextFeatures

TEACHER_SHARE = 0.7
"""Of what a picture that the teacher knows is learnt towards; the rest is the picture itself."""


class Teacher:
    """An exported prior that sees the surface, asked where it knows every word of the caption."""

    def __init__(self, unet: SurfaceUNet, texts: TextFeatures, words: frozenset[str], dtype: torch.dtype = torch.float32) -> None:
        self.unet = unet.to(texts.device, dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.texts = texts
        self.words = words

    @classmethod
    def from_folder(cls, folder: Path, device: str, bf16: bool) -> Teacher:
        """The prior that `scripts.prior.surface.export` wrote."""
        unet = SurfaceUNet.from_pretrained(folder / "unet", local_files_only=True, torch_dtype=torch.float32)
        text = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        texts = TextFeatures(text, tokenizer, device, bf16=bf16)
        return cls(unet, texts, frozenset(read_known(folder)["words"]), torch.bfloat16 if bf16 else torch.float32)

    def knows(self, caption: str) -> bool:
        """Whether it can teach what the caption says; of none it says nothing."""
        return bool(caption) and not unknown_words(caption, self.words)

    @torch.no_grad()
    def mixed(self, pictures: Tensor, noised: Tensor, timesteps: Tensor, told: Told) -> Tensor:
        """Clean pictures float32 [B, 3, S, S], those that it knows drawn `TEACHER_SHARE` of the way to what it makes of `noised`."""
        known = [row for row, caption in enumerate(told.captions) if self.knows(caption)]
        if not known:
            return pictures
        dtype = next(self.unet.parameters()).dtype
        states = self.texts([told.captions[row] for row in known]).to(dtype)
        taught = self.unet(noised[known].to(dtype), timesteps[known], states, told.control[known].to(dtype)).float()
        mixed = pictures.clone()
        mixed[known] = torch.lerp(pictures[known], taught, TEACHER_SHARE)
        return mixed
