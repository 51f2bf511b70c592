"""Scores of the rows: the measures of `scripts.metrics` against held-out renders, and those of a CLIP model of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.errors import ModelError
from scripts.guidance.intervals import Figure, Interval, bootstrap, mean_of, weighted_fid, weighted_kid
from scripts.metrics import FeatureNetwork, RidgeProbe, prepared, saturation, sharpness

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
    def similarities(self, rows: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Cosines [N] between features [N, d] and their captions: their mean is the CLIP score."""
        tokens = self.tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        pooled = self.model.text_model(**tokens).pooler_output
        texts = torch.nn.functional.normalize(self.model.text_projection(pooled), dim=-1).double().numpy()
        return (rows * texts).sum(1)


@dataclass(frozen=True)
class Score:
    """One row of the table: figures with their intervals, over the images.

    kernel_of  KID as a function of how often each image counts, for differences from another row
    """

    count: int
    frechet: Interval
    kernel: Interval
    kinds: Interval
    saturation: Interval
    sharpness: Interval
    kernel_of: Figure
    clip_frechet: Interval | None = None
    clip_score: Interval | None = None

    def above(self, base: Score) -> Interval:
        """KID minus that of a row of the same captions, drawn in pairs."""
        return bootstrap(self.count, lambda weights: self.kernel_of(weights) - base.kernel_of(weights))


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
        rows, count = self.network.features(pictures), len(pictures)
        clip_frechet = clip_score = None
        if self.clip is not None and self.clip_reference is not None:
            seen = self.clip.features(pictures)
            clip_frechet = bootstrap(count, weighted_fid(seen, self.clip_reference), centred=True)
            clip_score = mean_of(self.clip.similarities(seen, captions)) if captions else None
        kernel_of = weighted_kid(rows, self.reference)
        right = np.array([guess == kind for guess, kind in zip(self.probe.predict(rows), kinds, strict=True)], dtype=float)
        return Score(
            count,
            bootstrap(count, weighted_fid(rows, self.reference), centred=True),
            bootstrap(count, kernel_of),
            mean_of(right),
            mean_of(saturation(pictures)),
            mean_of(sharpness(pictures)),
            kernel_of,
            clip_frechet,
            clip_score,
        )
