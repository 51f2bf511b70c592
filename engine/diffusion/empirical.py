"""The exact empirical prior: the optimal denoiser of a given set of images, with no network and no training.

For images x_i the posterior mean of the clean image is a softmax over distances (Karras et al. 2022, appendix B.3),

    m(x_t) = sum_i r_i x_i,   r = softmax_i( -|x_t - alpha x_i|^2 / (2 D^2) ),   D^2 = sigma^2 + alpha^2 s^2,

and eps = sigma (x_t - alpha m) / D^2 is the score of the set, each image widened to a Gaussian of deviation s. Distances
and the sum are matrix products. A prompt selects the images whose captions share most of its words; a view word or the
nearest cameras narrow them further.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.diffusion import degradations
from engine.diffusion.prior import Conditions, PixelLatents, ViewAngles
from engine.diffusion.prompts import view_of
from engine.diffusion.schedule import NoiseSchedule, cosine_schedule
from engine.errors import ModelError
from engine.formats.beside import decoded
from engine.pictures import pictures_in, read_square
from engine.views import view_word
from engine.vocabulary import content_words

MAX_IMAGES = 20_000
ACTIVE_SHARE = 1e-9
"""Images with less than this share of the posterior are left out of the second matrix product."""


@dataclass(frozen=True)
class ImageLabel:
    """What is known about an image: a caption, and the view as a word or as a camera's angles in degrees (None = unknown)."""

    caption: str
    view: str | None = None
    azimuth: float | None = None
    elevation: float | None = None


class EmpiricalPrior(PixelLatents):
    """A `Prior` over a set of images; latents are pixels in -1..1, [B, 3, S, S].

    images   [M, 3, S, S] in 0..1
    labels   M labels
    spread   s above, in latent units; 0 is the bare set of points, whose score grows without bound near clean images
    nearest  how many images a camera selects, where the labels carry angles
    """

    def __init__(
        self,
        images: Tensor,
        labels: Sequence[ImageLabel],
        schedule: NoiseSchedule | None = None,
        spread: float = 0.02,
        nearest: int = 2,
        name: str = "images",
    ) -> None:
        if len(labels) != images.shape[0] or not len(labels):
            raise ValueError(f"{len(labels)} labels for {images.shape[0]} images; expected one each, and at least one image")
        self.name = name
        self.image_size = images.shape[-1]
        self.schedule = schedule or NoiseSchedule(cosine_schedule().alphas_cumprod.to(images.device, torch.float32))
        self.kinds: tuple[str, ...] = ()
        self.labels = tuple(labels)
        self.spread = spread
        self.nearest = nearest
        self._centre = images.mean(0, keepdim=True) * 2 - 1
        self._images = images
        self._blocks: dict[tuple[str, ...], Tensor] = {(): self._points(images)}
        self._sets: list[tuple[str, ...]] = [()]
        self._words = [set(content_words(label.caption)) for label in labels]
        self._spread_of_words = Counter(word for words in self._words for word in words)
        self._cache: dict[str, tuple[Tensor, tuple[str, ...]]] = {}

    @classmethod
    def from_folder(cls, folder: Path, image_size: int = 64, device: torch.device | str = "cpu", name: str | None = None) -> EmpiricalPrior:
        """The images in a folder, cut to the central square and resized; captions from captions.jsonl or the file names.

        captions.jsonl: one object a line with "file" and "caption", and any of "kind", "background", "view", "azimuth",
        "elevation". ModelError for a line, InputError for an image that cannot be read.
        """
        paths = pictures_in(folder)
        if not paths:
            raise ModelError("model_missing", f"The folder '{folder}' has no images.", "Put .png, .jpg or .webp files into it.")
        if len(paths) > MAX_IMAGES:
            raise ModelError(
                "model_too_large",
                f"The folder '{folder}' has {len(paths)} images; at most {MAX_IMAGES} fit.",
                "Give a folder with fewer images.",
            )
        known = read_captions(folder / "captions.jsonl")
        labels = [known.get(path.name) or label_from_name(path.stem) for path in paths]
        images = torch.stack([read_square(path, image_size) for path in paths])
        return cls(images.to(device), labels, name=name or folder.name)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._images.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the images."""
        return self._images.dtype

    @property
    def known_words(self) -> set[str]:
        """Words of all captions, in the singular."""
        return set(self._spread_of_words)

    def embed(self, prompts: Sequence[str], cameras: ViewAngles | None = None) -> Conditions:
        """For each prompt the set of images that it selects; with cameras, for each item the nearest of them.

        data is int64 [N, 1 + M]: which set (clean, or degraded by the descriptors in the prompt), then 0 or 1 an image.
        """
        rows, notes = [], []
        for place, prompt in enumerate(prompts):
            if prompt not in self._cache:
                self._cache[prompt] = self._choose(prompt)
            chosen, said = self._cache[prompt]
            notes += said
            if cameras is not None and prompt:
                chosen = self._nearest(chosen, float(cameras.azimuth[place]), float(cameras.elevation[place]))
            degraded = degradations.descriptors_of(prompt)
            rows.append(torch.cat([torch.tensor([self._set(degraded)]), chosen.long()]))
        return Conditions(tuple(prompts), torch.stack(rows), tuple(dict.fromkeys(notes)))

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The exact eps of each item's set of images at x_t [B, 3, S, S], t [B]."""
        alpha, sigma = (level.flatten() for level in self.schedule.levels(t, x_t))
        width = sigma**2 + (alpha * self.spread) ** 2
        offset = (x_t - alpha.view(-1, 1, 1, 1) * self._centre.to(x_t)).flatten(1)
        mean = torch.empty_like(offset)
        for which in conditions.data[:, 0].unique().tolist():
            rows = conditions.data[:, 0] == which
            block = self._blocks[self._sets[which]].to(x_t)
            mean[rows] = posterior_mean(offset[rows], block, conditions.data[rows, 1:].bool().to(x_t.device), alpha[rows], width[rows])
        residual = (offset - alpha[:, None] * mean).view_as(x_t)
        return (sigma / width).view(-1, 1, 1, 1) * residual

    def _points(self, images: Tensor) -> Tensor:
        return (images * 2 - 1 - self._centre).flatten(1)

    def _set(self, degraded: tuple[str, ...]) -> int:
        if degraded not in self._blocks:
            worse = degradations.degrade(self._images, degraded, torch.Generator().manual_seed(0))
            self._blocks[degraded] = self._points(worse)
            self._sets.append(degraded)
        return self._sets.index(degraded)

    def _choose(self, prompt: str) -> tuple[Tensor, tuple[str, ...]]:
        view = view_of(prompt)
        skip = {word for effect in degradations.descriptors_of(prompt) for word in content_words(effect)} | ({view} if view else set())
        words = [word for word in content_words(prompt) if word not in skip]
        rare = {word: math.log(1 + len(self.labels) / self._spread_of_words[word]) for word in words if word in self._spread_of_words}
        score = torch.tensor([sum(rare[word] for word in rare.keys() & known) for known in self._words])
        chosen = score >= score.max() - 1e-6
        seen = torch.tensor([view_of_label(label) == view for label in self.labels])
        if view and (chosen & seen).any():
            chosen = chosen & seen
        if words and not rare:
            return chosen, (f'None of the images is about "{prompt}": all of them are used.',)
        return chosen, ()

    def _nearest(self, chosen: Tensor, azimuth: float, elevation: float) -> Tensor:
        """Of the chosen images those whose cameras are nearest, by the angle between the directions of view."""
        places = [i for i in chosen.nonzero().flatten().tolist() if self.labels[i].azimuth is not None]
        if not places:
            word = view_word(azimuth, elevation)
            seen = torch.tensor([label.view == word for label in self.labels])
            return chosen & seen if (chosen & seen).any() else chosen
        angles = np.array([(self.labels[i].azimuth, self.labels[i].elevation or 0.0) for i in places])
        closeness = directions(angles) @ directions(np.array([[azimuth, elevation]]))[0]
        result = torch.zeros_like(chosen)
        result[[places[i] for i in np.argsort(-closeness, kind="stable")[: self.nearest]]] = True
        return result


def posterior_mean(offset: Tensor, block: Tensor, allowed: Tensor, alpha: Tensor, width: Tensor) -> Tensor:
    """m [B, P] of the points block [M, P] (centred), for x_t - alpha centre = offset [B, P], allowed [B, M], alpha, width [B].

    The squared length of x_t is the same for all points and is left out, so that no large numbers cancel.
    """
    used = allowed.any(0)
    if int(used.sum()) * 2 < block.shape[0]:
        block, allowed = block[used], allowed[:, used]
    logits = alpha[:, None] * (offset @ block.T) - 0.5 * alpha[:, None] ** 2 * block.square().sum(1)
    share = torch.softmax((logits / width[:, None]).masked_fill(~allowed, -torch.inf), dim=1)
    active = (share > ACTIVE_SHARE).any(0)
    if int(active.sum()) * 2 < block.shape[0]:
        block, share = block[active], share[:, active]
    return share @ block


def directions(angles: np.ndarray) -> np.ndarray:
    """[N, 2] azimuth and elevation in degrees -> unit vectors [N, 3]."""
    azimuth, elevation = np.radians(angles).T
    return np.stack([np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth), np.sin(elevation)], axis=1)


def view_of_label(label: ImageLabel) -> str | None:
    """The label's view word, from its angles where it has none."""
    if label.view or label.azimuth is None:
        return label.view
    return view_word(label.azimuth, label.elevation or 0.0)


def label_from_name(stem: str) -> ImageLabel:
    """ "red_tulip_front_view_03" -> caption "red tulip front view 03" with the view "front"."""
    text = " ".join(stem.replace("_", " ").replace("-", " ").split())
    return ImageLabel(text, view_of(text))


def read_captions(path: Path) -> dict[str, ImageLabel]:
    """File name -> label from a captions.jsonl; empty if there is none. ModelError names a line that cannot be read."""
    if not path.is_file():
        return {}
    labels = {}
    for number, line in enumerate(decoded(path.read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            text = " ".join(str(entry[key]) for key in ("caption", "background", "kind") if entry.get(key)).replace("_", " ")
            view = str(entry["view"]).replace(" view", "") if entry.get("view") else None
            angles = [None if entry.get(key) is None else float(entry[key]) for key in ("azimuth", "elevation")]
            labels[str(entry["file"])] = ImageLabel(text, view, angles[0], angles[1])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                "model_file",
                f"Line {number} of {path} cannot be read ({error}).",
                'Each line must be an object such as {"file": "a.png", "caption": "a red tulip"}.',
            ) from error
    return labels
