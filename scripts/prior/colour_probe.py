"""Tells which colour word a subject has from the pixels of its surface, for the kinds of things where that can be told.

It learns from the buffers of pairs (`scripts.prior.data.draw_pairs`): repainted pictures with their masks and captions. "A red bed" is
red on its blanket alone, and no probe of colours knows that; so kinds that it cannot read well itself are left out, by folds of
the subjects that it learns from, and its score is taken on subjects that are held out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.bench.blockouts import lab
from scripts.metrics import RidgeProbe
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.pairs import is_held_out
from scripts.prior.data.palette import COLOURS

FOLDS = 4
READABLE = 0.93
"""Share of a kind's pictures that must be read right, out of fold."""
FEWEST_PIXELS = 60
HUES, LIGHTNESSES, CHROMAS = 16, 4, 3
NEUTRAL = 8.0
"""Chroma below which a hue means nothing."""


@dataclass(frozen=True)
class Examples:
    """N pictures: features float [N, D], colour words, kinds and subjects."""

    features: np.ndarray
    words: np.ndarray
    kinds: np.ndarray
    subjects: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Examples:
        return Examples(self.features[rows], self.words[rows], self.kinds[rows], self.subjects[rows])


def colour_word(caption: str) -> str:
    """The one colour word of a caption; empty where there is none, or where there are several."""
    found = [word for word in caption.replace(",", " ").split() if word in COLOURS]
    return found[0] if len(found) == 1 else ""


def colour_features(pixels: np.ndarray) -> np.ndarray:
    """Of pixels sRGB [N, 3] in 0..1: a soft histogram over hue, lightness and chroma, and three percentiles of CIELAB."""
    values = lab(pixels)
    chroma, hue = np.hypot(values[:, 1], values[:, 2]), np.arctan2(values[:, 2], values[:, 1])
    place = hue / (2 * np.pi) * HUES % HUES
    hue_bin, hue_rest = np.divmod(place, 1)
    light_bin, light_rest = np.divmod(np.clip(values[:, 0] / 100 * (LIGHTNESSES + 1) - 0.5, 0, LIGHTNESSES - 1e-3), 1)
    chroma_bin = np.clip(chroma / 80 * CHROMAS, 0, CHROMAS - 1e-3).astype(int) + 1
    neutral = chroma < NEUTRAL
    histogram = np.zeros((HUES, LIGHTNESSES + 1, CHROMAS + 1))
    for more_light, light_share in ((0, 1 - light_rest), (1, light_rest)):
        level = light_bin.astype(int) + more_light
        np.add.at(histogram, (np.zeros(neutral.sum(), int), level[neutral], 0), light_share[neutral])
        for more_hue, hue_share in ((0, 1 - hue_rest), (1, hue_rest)):
            where = ((hue_bin.astype(int) + more_hue) % HUES, level, chroma_bin)
            np.add.at(histogram, where, hue_share * light_share * ~neutral)
    spread = [np.percentile(values, share, axis=0) / 50 for share in (50, 80, 20)]
    return np.concatenate([np.sqrt(histogram.ravel() / len(pixels)), *spread])


def read_examples(folders: Sequence[Path]) -> Examples:
    """Every repainted picture of these folders of pairs that has one colour word, at half its size."""
    rows: list[tuple[np.ndarray, str, str, str]] = []
    for path in sorted(path for folder in folders for path in folder.glob("*.buffers.npz")):
        name = path.name.split(".")[0]
        kind = list(KINDS)[int(name.split("_")[1]) % len(KINDS)]
        with np.load(path) as stored:
            words, shaded = json.loads(str(stored["words"])), stored["shaded"][..., ::2, ::2]
            masks = {which: stored[which][:, 3, ::2, ::2] > 248 for which in ("coarse", "true")}
        views, paints = shaded.shape[:2]
        for view, paint in np.ndindex(views, paints):
            word, mask = colour_word(words[view * paints + paint]["caption"]), masks["coarse" if paint < paints // 2 else "true"][view]
            if word and mask.sum() >= FEWEST_PIXELS:
                rows.append((colour_features(shaded[view, paint].transpose(1, 2, 0)[mask] / 255), word, kind, name))
    features, words, kinds, subjects = (np.array(column) for column in zip(*rows, strict=True))
    return Examples(features, words, kinds, subjects)


class ColourProbe:
    """Taught on the examples' subjects that are not held out.

    kinds  those that it reads well
    score  share of held-out pictures of these kinds that it reads right, and how many there are
    """

    def __init__(self, examples: Examples, seed: int = 0) -> None:
        held = np.array([is_held_out(subject) for subject in examples.subjects])
        taught, judged = examples[~held], examples[held]
        right = _out_of_fold(taught, seed)
        self.kinds = tuple(kind for kind in sorted(set(taught.kinds.tolist())) if right[taught.kinds == kind].mean() >= READABLE)
        self._probe = RidgeProbe(taught.features, taught.words.tolist())
        judged = judged[np.isin(judged.kinds, self.kinds)]
        found = np.array(self._probe.predict(judged.features)) == judged.words
        self.score = (float(found.mean()) if len(found) else float("nan"), len(found))

    def tells(self, pixels: np.ndarray) -> str:
        """The colour word of a surface's pixels, sRGB [N, 3] in 0..1."""
        return self._probe.predict(colour_features(pixels)[None])[0]


def _out_of_fold(examples: Examples, seed: int) -> np.ndarray:
    """bool [N]: whether a probe that knows nothing of an example's subject reads it right."""
    subjects = np.random.default_rng(seed).permutation(sorted(set(examples.subjects.tolist())))
    fold = {subject: place % FOLDS for place, subject in enumerate(subjects.tolist())}
    folds = np.array([fold[subject] for subject in examples.subjects.tolist()])
    right = np.zeros(len(folds), bool)
    for number in range(FOLDS):
        here = folds == number
        probe = RidgeProbe(examples.features[~here], examples.words[~here].tolist())
        right[here] = np.array(probe.predict(examples.features[here])) == examples.words[here]
    return right
