"""The pairs in memory, and batches drawn from them: a picture, the control that its surface gives, and a caption."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from engine.views import BACKGROUNDS
from scripts.prior.data.buffers import NO_PART, SIZE, unpack_control
from scripts.prior.data.degradations import draw_degradation
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.pairs import Pair, is_held_out, read_pairs
from scripts.prior.surface.attention import SpokenParts
from scripts.prior.surface.wording import Description, Said, draw_words
from scripts.prior.training import TextFeatures, TrainingSettings

IMAGE_SIZE = 64
MASK = 3
"""Channel of a control."""

SPOKEN_EVERY = 4
"""Pixels: how far apart the places are of which is told which words speak of them."""

RENDERED_SHARE = 0.35
"""How often Cycles' picture is drawn; else one of the repainted ones."""

COARSE_SHARE = 0.4
"""How often the control of Cycles' picture is the coarse surface; a repainted picture has the control of its own surface."""

PLAIN_SHARE = 0.6
"""How often Cycles' background gives way to a plain one."""

WHOLE_SHARE = 0.65
CLOSEST = 64
"""Side of the smallest crop, in pixels of the stored pictures."""
CLOSE_UP_BELOW = 88

PLAIN = (*((entry.words, entry.colour) for entry in BACKGROUNDS), ("on a black background", (0.05, 0.05, 0.05)))
PLAIN_VARIATION = 0.06

RENDERED_BACKGROUNDS = (
    "on a grass field", "on a wooden table", "on sand", "on a stone floor", "on a white background", "on a grey background",
    "on a black background", "on a blue background", "on a green background", "on a beige background", "on a pink background",
)  # fmt: skip
"""Of scripts.prior.data.studio, which needs Blender."""


@dataclass(frozen=True)
class View:
    """One camera's pictures of a subject, all `SIZE` pixels: rendered uint8 [3, S, S]; coarse and true uint8 [5, S, S], packed
    controls; shaded uint8 [K, 3, S, S], the first half of the coarse surface; owner uint8 [2, S, S], the parts seen in the coarse and in
    the true one; said, K + 1 descriptions, the last of `rendered`; parts, K + 1 lists of the parts' names and looks."""

    pair: Pair
    rendered: Tensor
    coarse: Tensor
    true: Tensor
    shaded: Tensor
    owner: Tensor
    parts: tuple[list[tuple[str, str]], ...]
    said: tuple[Description, ...]


@dataclass(frozen=True)
class Sample:
    """One training picture: picture float32 [3, S, S] and control float32 [5, S, S] in -1..1, its caption, and which words of that speak
    of each place, bool [S / 4, S / 4, L]."""

    picture: Tensor
    control: Tensor
    caption: str
    spoken: Tensor


@dataclass(frozen=True)
class Told:
    """What a batch's pictures are made from: text states float32 [B, L, D], controls [B, 5, S, S]; and which words speak of each place,
    bool [B, S / 4, S / 4, L]; the captions themselves, for a teacher. `shares` takes what the network's places attend to."""

    states: Tensor
    control: Tensor
    spoken: Tensor
    captions: Sequence[str] = ()
    shares: list[Tensor] = field(default_factory=list)


def load_views(
    folders: list[Path], known: Collection[str] = (), *, kinds: Collection[str] = tuple(KINDS), held_out: bool = False
) -> list[View]:
    """The views of these kinds whose buffers are there, of subjects not in `known`; those for judging, or all others."""
    views = []
    for folder in folders:
        for name, group in groupby(read_pairs(folder), key=lambda pair: pair.subject):
            path = folder / f"{name}.buffers.npz"
            if name in known or is_held_out(name) != held_out or not path.exists():
                continue
            pairs = list(group)
            if pairs[0].kind in kinds:
                views += _views(path, pairs, folder)
    return views


def _views(path: Path, pairs: list[Pair], folder: Path) -> list[View]:
    stored = np.load(path)
    words = json.loads(str(stored["words"]))
    coarse, true, shaded = (torch.from_numpy(stored[name]) for name in ("coarse", "true", "shaded"))
    owner = torch.from_numpy(stored["owner"]) if "owner" in stored else torch.full((len(coarse), 2, SIZE, SIZE), NO_PART, dtype=torch.uint8)
    paints = shaded.shape[1]
    views = []
    for number, pair in enumerate(pairs[: len(coarse)]):
        image = Image.open(folder / pair.file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
        rendered = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        told = words[number * paints : (number + 1) * paints]
        parts = [[(name, look) for name, look in one.get("parts", ())] for one in told]
        said = [Description(pair.kind, **_as_words(one)) for one in told]
        said.append(Description(pair.kind, pair.caption, pair.looks, tuple(pair.told)))
        views.append(View(pair, rendered, coarse[number], true[number], shaded[number], owner[number], (*parts, []), tuple(said)))
    return views


def _as_words(stored: dict) -> dict:
    return {"caption": stored["caption"], "looks": stored["looks"], "told": tuple(stored["told"])}


def resized(image: Tensor, size: int) -> Tensor:
    """[C, H, W] -> [C, size, size], averaging."""
    if image.shape[-1] == size:
        return image
    if image.shape[-1] == 2 * size:
        return functional.avg_pool2d(image, 2)
    return functional.interpolate(image[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def draw_sample(view: View, settings: TrainingSettings, spoken_parts: SpokenParts, rng: np.random.Generator) -> Sample:
    """A crop of one of the view's pictures, before its own or a plain background, whole or degraded, at times mirrored."""
    paint = int(rng.integers(len(view.shaded))) if rng.random() >= RENDERED_SHARE else len(view.shaded)
    rendered = paint == len(view.shaded)
    of_coarse = rng.random() < COARSE_SHARE if rendered else paint < len(view.shaded) // 2
    top, left, side = _window(view, rng)
    window = (slice(None), slice(top, top + side), slice(left, left + side))
    control = resized(unpack_control((view.coarse if of_coarse else view.true)[window]), IMAGE_SIZE)
    picture = resized((view.rendered if rendered else view.shaded[paint])[window].float() / 255, IMAGE_SIZE)
    background = view.pair.background
    if not rendered or rng.random() < PLAIN_SHARE:
        mask = resized(unpack_control(view.true[window]), IMAGE_SIZE)[MASK:4] if rendered else control[MASK:4]
        background, picture = _before_plain(picture, mask, rendered, rng)
    descriptors: tuple[str, ...] = ()
    if rng.random() >= settings.clean_share:
        worse, descriptors = draw_degradation(Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()), rng)
        picture = torch.from_numpy(np.array(worse)).permute(2, 0, 1).float() / 255
    said = Said("", {}, False, False)
    if rng.random() >= settings.caption_dropout:
        said = draw_words(view.said[paint], background, view.pair.view, side < CLOSE_UP_BELOW, descriptors, rng)
    spoken = spoken_parts(said.caption, view.pair.kind, said.looks, view.parts[paint])
    spoken = _at_places(spoken, resized_owner(view.owner[0 if of_coarse else 1][window[1:]], IMAGE_SIZE // SPOKEN_EVERY))
    if rng.random() < 0.5:
        picture, control, spoken = picture.flip(-1), mirrored(control), spoken.flip(1)
    return Sample(picture * 2 - 1, control, said.caption, spoken)


def resized_owner(owner: Tensor, size: int) -> Tensor:
    """[H, H] -> [size, size], what is in the middle of each place."""
    at = ((torch.arange(size) + 0.5) * owner.shape[0] / size).long()
    return owner[at][:, at]


def _at_places(spoken: Tensor, owner: Tensor) -> Tensor:
    """Words of parts bool [P, L], and the part of every place uint8 [s, s] -> words of places bool [s, s, L]."""
    nothing = torch.zeros((1, spoken.shape[1]), dtype=torch.bool)
    return torch.cat([spoken, nothing])[owner.long().clamp(max=len(spoken))]


def mirrored(control: Tensor) -> Tensor:
    """The control of the mirror image: the normal's x changes its sign too."""
    flipped = control.flip(-1).clone()
    flipped[0] = -flipped[0]
    return flipped


def _window(view: View, rng: np.random.Generator) -> tuple[int, int, int]:
    """Top, left and side of a crop: the whole, or a square about a place of the surface."""
    if rng.random() < WHOLE_SHARE:
        return 0, 0, SIZE
    side = int(rng.integers(CLOSEST, SIZE))
    covered = (view.true[MASK] > 192).nonzero()
    row, column = covered[int(rng.integers(len(covered)))].tolist() if len(covered) else (SIZE // 2, SIZE // 2)
    return int(np.clip(row - side // 2, 0, SIZE - side)), int(np.clip(column - side // 2, 0, SIZE - side)), side


def _before_plain(picture: Tensor, mask: Tensor, rendered: bool, rng: np.random.Generator) -> tuple[str, Tensor]:
    """The words of a plain background, and the picture before it. Repainted pictures are black outside, so already multiplied."""
    words, colour = PLAIN[int(rng.integers(len(PLAIN)))]
    behind = torch.tensor(colour)[:, None, None] + float(rng.uniform(-PLAIN_VARIATION, PLAIN_VARIATION))
    return words, ((picture * mask if rendered else picture) + behind.clamp(0, 1) * (1 - mask)).clamp(0, 1)


class SurfaceSource:
    """Draws batches for `scripts.prior.training.Worker`: pictures, and what the network is told of them.

    views  grows while training goes on (`load_views` again); read anew for every batch
    """

    def __init__(self, views: list[View], texts: TextFeatures, settings: TrainingSettings, stream: tuple[int, ...] = (0,)) -> None:
        self.views = views
        self.texts = texts
        self.settings = settings
        self.rng = np.random.default_rng([settings.seed, *stream])
        self._spoken_parts = SpokenParts(texts.tokenizer)

    def draw(self) -> tuple[Tensor, Told]:
        """Pictures float32 [B, 3, S, S], and what is told of them."""
        views, batch = self.views, self.settings.batch
        drawn = [draw_sample(views[int(self.rng.integers(len(views)))], self.settings, self._spoken_parts, self.rng) for _ in range(batch)]
        pictures, controls, spoken = (torch.stack([getattr(one, key) for one in drawn]) for key in ("picture", "control", "spoken"))
        device, captions = self.settings.device, [one.caption for one in drawn]
        return pictures.to(device), Told(self.texts(captions), controls.to(device), spoken.to(device), captions)
