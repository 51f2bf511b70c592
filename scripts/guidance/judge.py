"""Scores of the rows: the measures of `scripts.metrics` against held-out renders, and those of a CLIP model of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.errors import ModelError
from scripts.metrics import FeatureNetwork, RidgeProbe, fid, kid, prepared, saturation, share_right, sharpness

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipJudge:
    """Features and a text-image score by a CLIP model of the user's, from a local folder in transformers' format."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        try:
            self.model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(
                "clip", f"There is no CLIP model in '{folder}' ({error}).", "Give the folder of a CLIPModel with its tokenizer."
            ) from error

    @torch.no_grad()
    def features(self, pictures: np.ndarray, batch: int = 20) -> np.ndarray:
        """uint8 [N, S, S, 3] -> unit vectors, float64 [N, d]."""
        side = self.model.config.vision_config.image_size
        parts = []
        for start in range(0, len(pictures), batch):
            images = prepared(pictures[start : start + batch], side, CLIP_MEAN, CLIP_DEVIATION)
            pooled = self.model.vision_model(images).pooler_output
            parts.append(torch.nn.functional.normalize(self.model.visual_projection(pooled), dim=-1))
        return torch.cat(parts).double().numpy()

    @torch.no_grad()
    def similarity(self, rows: np.ndarray, captions: Sequence[str]) -> float:
        """Mean cosine between features [N, d] and their captions: the CLIP score."""
        tokens = self.tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        pooled = self.model.text_model(**tokens).pooler_output
        texts = torch.nn.functional.normalize(self.model.text_projection(pooled), dim=-1).double().numpy()
        return float((rows * texts).sum(1).mean())


@dataclass(frozen=True)
class Score:
    """One row of the table."""

    count: int
    frechet: float
    kernel: float
    kinds: float
    saturation: float
    sharpness: float
    clip_frechet: float | None = None
    clip_score: float | None = None


class Judge:
    """Scores pictures against held-out renders; the probe learns kinds from training renders."""

    def __init__(self, held_out: np.ndarray, trained: np.ndarray, trained_kinds: tuple[str, ...], clip: Path | None = None) -> None:
        self.network = FeatureNetwork()
        self.reference = self.network.features(held_out)
        self.probe = RidgeProbe(self.network.features(trained), trained_kinds)
        self.clip = ClipJudge(clip) if clip else None
        self.clip_reference = self.clip.features(held_out) if self.clip else None

    def score(self, pictures: np.ndarray, kinds: tuple[str, ...], captions: Sequence[str] = ()) -> Score:
        """Of uint8 [N, S, S, 3] that were asked to show `kinds`; captions serve the CLIP score, if there is a CLIP model."""
        rows = self.network.features(pictures)
        clip_frechet = clip_score = None
        if self.clip is not None and self.clip_reference is not None:
            seen = self.clip.features(pictures)
            clip_frechet = fid(seen, self.clip_reference)
            clip_score = self.clip.similarity(seen, captions) if captions else None
        return Score(
            len(pictures),
            fid(rows, self.reference),
            kid(rows, self.reference),
            share_right(self.probe.predict(rows), kinds),
            float(saturation(pictures).mean()),
            float(sharpness(pictures).mean()),
            clip_frechet,
            clip_score,
        )
