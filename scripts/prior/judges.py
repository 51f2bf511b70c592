"""What the bench of the prior measures beside `scripts.metrics`: ImageNet's classes, colours of subject and border, pairs by one word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from scripts.metrics import contrast, saturation, sharpness

IMAGENET_CLASSES: dict[str, tuple[int, ...]] = {
    "daisy": (985,),
    "mushroom": (947, 991, 992, 993, 994, 995, 996, 997),
    "apple": (948, 957),
    "mug": (504, 968, 967, 849),
    "teapot": (849, 503, 725, 899),
    "chair": (423, 559, 765, 857),
}
"""Kinds that ImageNet names, with the classes that count as right."""


@dataclass(frozen=True)
class Pairs:
    """Of pairs of pictures that differ by one word of the prompt, how many differ as the word says.

    right, count  pairs.
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
    """Of measures [N] without and with a word; `sign` is the direction that the word asks for."""
    return Pairs(int(np.sum(sign * (after - before) > 0)), len(after))


def imagenet_share(classes: np.ndarray, kinds: list[str]) -> float:
    """Of pictures of kinds that ImageNet names, how many the classifier puts in the right class."""
    pairs = [(int(c), kind) for c, kind in zip(classes, kinds, strict=True) if kind in IMAGENET_CLASSES]
    return float(np.mean([c in IMAGENET_CLASSES[kind] for c, kind in pairs])) if pairs else float("nan")


def subject_colours(images: np.ndarray) -> np.ndarray:
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
    return np.array(rows, np.float64)


def border_colours(images: np.ndarray) -> np.ndarray:
    """Mean, deviation and products of the colours along the lower and upper border, float64 [N, 18]."""
    scaled = images.astype(np.float64) / 255
    rows = []
    for band in (scaled[:, -10:].reshape(len(images), -1, 3), scaled[:, :10].reshape(len(images), -1, 3)):
        mean = band.mean(1)
        chroma = mean / (mean.sum(1, keepdims=True) + 0.05)
        rows += [mean, chroma, band.std(1)]
    return np.concatenate(rows, 1)


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
