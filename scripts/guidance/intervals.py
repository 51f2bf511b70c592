"""Figures with the interval of their bootstrap, and distances of features as functions of how often each image counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

REDRAWS = 1000
MIDDLE = (2.5, 97.5)
"""Percentiles of the draws that an interval reaches from and to."""

Figure = Callable[[np.ndarray], float]
"""Of images, given how often each counts, float [count]."""


@dataclass(frozen=True)
class Interval:
    """A figure and the middle 95 % of its bootstrap."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 0, factor: float = 1.0) -> str:
        """ "12 (9 .. 15)"."""
        return f"{factor * self.value:.{digits}f} ({factor * self.low:.{digits}f} .. {factor * self.high:.{digits}f})"


def bootstrap(count: int, figure: Figure, seed: int = 0, centred: bool = False) -> Interval:
    """A figure of `count` images with its interval over REDRAWS draws with replacement; equal counts have equal draws, so that a difference
    of two figures of the same captions is drawn in pairs.

    centred  the draws are moved so that their mean is the figure: for one that is biased by images drawn twice, as FID is
    """
    rng = np.random.default_rng(seed)
    draws = np.array([figure(np.bincount(rng.integers(0, count, count), minlength=count).astype(float)) for _ in range(REDRAWS)])
    value = figure(np.ones(count))
    low, high = np.nanpercentile(draws + (value - draws.mean() if centred else 0.0), MIDDLE)
    return Interval(value, float(low), float(high))


def mean_of(values: np.ndarray) -> Interval:
    """The mean of values [N] with its interval."""
    return bootstrap(len(values), lambda weights: float(weights @ values / weights.sum()))


def weighted_kid(made: np.ndarray, real: np.ndarray) -> Figure:
    """KID (Binkowski et al. 2018) of features made [N, d] against real [M, d], as a function of the weights of the made ones.

    An image drawn twice is not compared with itself, so that the estimate stays unbiased under the bootstrap.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within, across, reference = kernel(made, made), kernel(made, real).mean(1), kernel(real, real)
    count = len(real)
    constant = (reference.sum() - np.trace(reference)) / (count * (count - 1))
    np.fill_diagonal(within, 0.0)

    def figure(weights: np.ndarray) -> float:
        pairs = weights.sum() ** 2 - np.square(weights).sum()
        if pairs == 0:  # the same image again and again, which happens where there are very few
            return float("nan")
        return float(weights @ within @ weights / pairs + constant - 2 * (weights @ across) / weights.sum())

    return figure


def weighted_fid(made: np.ndarray, real: np.ndarray) -> Figure:
    """FID (Heusel et al. 2017) of features made [N, d] against real [M, d], as a function of the weights of the made ones.

    tr (C_a C_b)^1/2 is the sum of the singular values of A B^T, where A^T A and B^T B are the covariances: N x M numbers, not d x d.
    """
    rest = real - real.mean(0)
    spread = np.square(rest).sum() / (len(real) - 1)

    def figure(weights: np.ndarray) -> float:
        count = weights.sum()
        mean = weights @ made / count
        apart = (made - mean) * np.sqrt(weights / (count - 1))[:, None]
        overlap = np.linalg.svd(apart @ rest.T, compute_uv=False).sum() / np.sqrt(len(real) - 1)
        return float(np.square(mean - real.mean(0)).sum() + np.square(apart).sum() + spread - 2 * overlap)

    return figure
