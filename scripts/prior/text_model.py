"""Teaching the text model what the captions say, before any picture is seen.

Trained along with the pictures, a small text model learns nothing for tens of thousands of
samples, as the picture loss hardly depends on it. So it first learns alone, within a minute,
to tell from its features the kind, the modifiers, the background, the view and the descriptors that
a caption names. After that it stays as it is.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from engine.views import VIEWS
from scripts.prior.data.captions import draw_caption, modifiers_of
from scripts.prior.data.degradations import ALL_DESCRIPTORS, DEGRADATIONS, DOMAINS
from scripts.prior.data.records import Record
from scripts.prior.networks import TEXT_WIDTH, tokenize

FILLER_SHARE = 0.3
CLEAN_SHARE = 0.4
FULL_LIST_SHARE = 0.2
EMPTY_SHARE = 0.05

NAMED = (*DEGRADATIONS, *DOMAINS)


@dataclass(frozen=True)
class AttributeNames:
    """What captions can say; "" stands for nothing said."""

    kinds: tuple[str, ...]
    modifiers: tuple[str, ...]
    backgrounds: tuple[str, ...]
    views: tuple[str, ...] = ("", *VIEWS)
    descriptors: tuple[str, ...] = NAMED


@dataclass(frozen=True)
class AttributeTargets:
    """Attributes of a batch of captions.

    kind, background, view  int64 [B], indices into AttributeNames.
    modifiers               float32 [B, M], 0 or 1.
    descriptors             float32 [B, F], 0 or 1.
    """

    kind: torch.Tensor
    background: torch.Tensor
    view: torch.Tensor
    modifiers: torch.Tensor
    descriptors: torch.Tensor


def attribute_names(records: list[Record]) -> AttributeNames:
    """The attributes that occur in the records."""
    return AttributeNames(
        kinds=("", *sorted({record.kind for record in records})),
        modifiers=tuple(sorted({word for r in records for word in modifiers_of(r)})),
        backgrounds=("", *sorted({record.background for record in records})),
    )


class AttributeHeads(nn.Module):
    """Linear read-outs of text features [B, 192]; used for pretraining only."""

    def __init__(self, names: AttributeNames, width: int = TEXT_WIDTH) -> None:
        super().__init__()
        self.kind = nn.Linear(width, len(names.kinds))
        self.background = nn.Linear(width, len(names.backgrounds))
        self.view = nn.Linear(width, len(names.views))
        self.modifiers = nn.Linear(width, len(names.modifiers))
        self.descriptors = nn.Linear(width, len(names.descriptors))

    def loss(self, features: torch.Tensor, targets: AttributeTargets) -> torch.Tensor:
        """Sum of the five cross entropies, a scalar."""
        either_or = (
            functional.cross_entropy(self.kind(features), targets.kind)
            + functional.cross_entropy(self.background(features), targets.background)
            + functional.cross_entropy(self.view(features), targets.view)
        )
        binary = functional.binary_cross_entropy_with_logits
        several = binary(self.modifiers(features), targets.modifiers) + binary(self.descriptors(features), targets.descriptors)
        return either_or + 4 * several


def _filler(rng: np.random.Generator) -> str:
    """A word without meaning, so that unknown words are learnt to be passed over."""
    return "".join(rng.choice(list(string.ascii_lowercase), int(rng.integers(2, 9))))


def _with_fillers(caption: str, rng: np.random.Generator) -> str:
    """Put one or two meaningless words into some captions."""
    if rng.random() >= FILLER_SHARE:
        return caption
    words = caption.split()
    for _ in range(int(rng.integers(1, 3))):
        words.insert(int(rng.integers(0, len(words) + 1)), _filler(rng))
    return " ".join(words)


def draw_descriptors(rng: np.random.Generator) -> tuple[str, ...]:
    """The descriptors of a made-up caption."""
    choice = rng.random()
    if choice < CLEAN_SHARE:
        return ()
    if choice < CLEAN_SHARE + FULL_LIST_SHARE:
        return ALL_DESCRIPTORS
    return tuple(rng.choice(NAMED, int(rng.integers(1, 4)), replace=False).tolist())


def draw_batch(records: list[Record], names: AttributeNames, count: int, rng: np.random.Generator) -> tuple[list[str], AttributeTargets]:
    """Random captions and what they say."""
    captions: list[str] = []
    rows = np.zeros((count, 3), np.int64)
    modifiers = np.zeros((count, len(names.modifiers)), np.float32)
    told = np.zeros((count, len(names.descriptors)), np.float32)
    for row in range(count):
        if rng.random() < EMPTY_SHARE:
            captions.append("")
            continue
        record = records[int(rng.integers(len(records)))]
        descriptors = draw_descriptors(rng)
        caption, tells_background, tells_view = draw_caption(record, descriptors, rng)
        captions.append(_with_fillers(caption, rng))
        rows[row, 0] = names.kinds.index(record.kind)
        rows[row, 1] = names.backgrounds.index(record.background) if tells_background else 0
        rows[row, 2] = names.views.index(record.view) if tells_view else 0
        for word in modifiers_of(record):
            modifiers[row, names.modifiers.index(word)] = 1
        for word in descriptors:
            told[row, names.descriptors.index(word)] = 1
    kind, background, view = torch.from_numpy(rows).unbind(1)
    return captions, AttributeTargets(kind, background, view, torch.from_numpy(modifiers), torch.from_numpy(told))


def text_features(model: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Token ids [B, L] -> what the picture network is given, [B, L, 192]."""
    return model(input_ids=ids).last_hidden_state


def pretrain(
    model: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    records: list[Record],
    *,
    steps: int,
    seed: int,
    batch: int = 128,
    report: Callable[[str], None] = print,
) -> float:
    """Train the text model in place on captions alone.

    Returns the share of fresh captions whose kind, background and view are all read off right.
    """
    rng = np.random.default_rng(seed)
    names = attribute_names(records)
    heads = AttributeHeads(names)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=max(steps, 2))
    for step in range(1, steps + 1):
        captions, targets = draw_batch(records, names, batch, rng)
        hidden = text_features(model, tokenize(tokenizer, captions))
        loss = heads.loss(hidden.mean(1), targets) + heads.loss(hidden[:, -1], targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            report(f"text step {step}/{steps} loss {loss.item():.3f}")
    return _accuracy(model, tokenizer, heads, draw_batch(records, names, 256, rng))


@torch.no_grad()
def _accuracy(
    model: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    heads: AttributeHeads,
    batch: tuple[list[str], AttributeTargets],
) -> float:
    """Share of captions with kind, background and view all right."""
    captions, targets = batch
    features = text_features(model, tokenize(tokenizer, captions)).mean(1)
    right = heads.kind(features).argmax(1) == targets.kind
    right &= heads.background(features).argmax(1) == targets.background
    right &= heads.view(features).argmax(1) == targets.view
    return right.float().mean().item()
