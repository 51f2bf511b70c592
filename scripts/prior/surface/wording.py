"""What is said about a picture of a subject with parts: descriptions, their captions, and the text model that reads them.

The text model learns first and alone (`pretrain`), from captions with made-up colours, to tell which part has which look: the
picture network then finds "the roof is red" in its pooled features and needs to learn only where roofs are.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from scripts.prior.data.captions import BACKGROUND_SHARE, PREFIX_SHARES, PREFIXES, VIEW_SHARE, VIEWS, compose, shorten, vocabulary, words_of
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.part_words import METALS, PAINTS, WOODEN, named_looks, repaint, with_parts
from scripts.prior.data.records import Record
from scripts.prior.data.workbench import Workbench
from scripts.prior.networks import tokenize
from scripts.prior.text_model import AttributeHeads, AttributeNames, AttributeTargets, attribute_names, draw_descriptors, text_features

LOOKS = ("", *PAINTS, WOODEN, *METALS)
"""What can be said of a part's look; "" is nothing."""

EXTRA_SHARE = 0.15
"""How often a part is told that looks as anybody would guess."""

MOST_EXTRA = 3
EMPTY_SHARE = 0.05
RECOLOURED_SHARE = 0.5
PART_WEIGHT = 0.5
CLOSE_UP = "close up"
REPORT_EVERY = 100


@dataclass(frozen=True)
class Description:
    """A subject in words: kind, caption ("a white house"), looks of the named parts, and which of them must be told."""

    kind: str
    caption: str
    looks: dict[str, str]
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """A caption, and what it tells: the looks by part, whether the background, whether the view."""

    caption: str
    looks: dict[str, str]
    background: bool
    view: bool


def draw_words(
    description: Description, background: str, view: str, close: bool, descriptors: tuple[str, ...], rng: np.random.Generator
) -> Said:
    """A caption with random optional parts; the descriptors, and the parts that must be told, are always in it."""
    extra = [name for name in description.looks if name not in description.told and rng.random() < EXTRA_SHARE][:MOST_EXTRA]
    told = [*description.told, *extra]
    rng.shuffle(told)
    subject = with_parts(shorten(description.caption, rng), description.looks, told)
    prefix = PREFIXES[int(rng.choice(len(PREFIXES), p=PREFIX_SHARES))]
    tells_background, tells_view = bool(rng.random() < BACKGROUND_SHARE), bool(rng.random() < VIEW_SHARE)
    descriptors = (CLOSE_UP, *descriptors) if close else descriptors
    caption = compose(subject, prefix, background if tells_background else "", view if tells_view else "", descriptors)
    return Said(caption, {name: description.looks[name] for name in told if name in description.looks}, tells_background, tells_view)


def all_words(records: list[Record], descriptions: list[Description]) -> list[str]:
    """Every word that a caption can use, sorted."""
    said = {"with", "and", *words_of(CLOSE_UP), *vocabulary(records)}
    for look in LOOKS:
        said.update(words_of(look))
    for description in descriptions:
        said.update(words_of(description.caption))
        for name in description.looks:
            said.update(words_of(name))
    return sorted(said)


def made_up(kinds: tuple[str, ...], count: int, seed: int) -> list[Description]:
    """Descriptions of `count` subjects of each kind, half of them repainted: what captions can say, whatever pictures there are."""
    found = []
    for kind in kinds:
        for number in range(count):
            rng = random.Random(f"description {kind} {seed} {number}")
            bench = Workbench(rng)
            caption = KINDS[kind](bench).caption
            parts, told = bench.parts, []
            if number % 2:
                parts, caption, told = repaint(parts, caption, rng)
            found.append(Description(kind, caption, named_looks(parts, caption), tuple(told)))
    return found


def as_records(descriptions: list[Description], backgrounds: list[str]) -> list[Record]:
    """Records of the descriptions before these backgrounds in turn, for what the attribute names and the vocabulary are read from."""
    return [
        Record("", one.caption, backgrounds[number % len(backgrounds)], VIEWS[number % len(VIEWS)], one.kind)
        for number, one in enumerate(descriptions)
    ]


class PartHeads(nn.Module):
    """Linear read-outs of text features [B, L, width]: of their mean everything of `AttributeHeads` and the look of every part, and of
    the word that names a part its look: the picture network's places attend to words."""

    def __init__(self, names: AttributeNames, parts: tuple[str, ...], tokenizer: CLIPTokenizer, width: int) -> None:
        super().__init__()
        self.rest = AttributeHeads(names, width)
        self.parts = nn.Linear(width, len(parts) * len(LOOKS))
        self.word = nn.Linear(width, len(LOOKS))
        last_tokens = [tokenizer(name, add_special_tokens=False).input_ids[-1] for name in parts]
        self.register_buffer("tokens", torch.tensor(last_tokens))

    def part_logits(self, features: torch.Tensor) -> torch.Tensor:
        """[B, P, len(LOOKS)] of features [B, L, width]."""
        return self.parts(features.mean(1)).unflatten(1, (-1, len(LOOKS)))

    def word_logits(self, features: torch.Tensor, ids: torch.Tensor, looks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, len(LOOKS)] at the words of the N told parts, and their looks int64 [N]; ids int64 [B, L], looks int64 [B, P]."""
        places = ids[:, :, None] == self.tokens  # [B, L, P]
        row, part = ((looks > 0) & places.any(1)).nonzero(as_tuple=True)
        last = ids.shape[1] - 1 - places.flip(1).int().argmax(1)
        return self.word(features[row, last[row, part]]), looks[row, part]

    def loss(self, features: torch.Tensor, ids: torch.Tensor, targets: AttributeTargets, looks: torch.Tensor) -> torch.Tensor:
        """A scalar; looks int64 [B, P] are indices into LOOKS."""
        per_part = functional.cross_entropy(self.part_logits(features).flatten(0, 1), looks.flatten(), reduction="sum")
        at_words = functional.cross_entropy(*self.word_logits(features, ids, looks), reduction="sum")
        return self.rest.loss(features.mean(1), targets) + (PART_WEIGHT * per_part + at_words) / len(features)


def _recoloured(description: Description, rng: np.random.Generator) -> Description:
    """The same subject with random looks of up to four of its parts, all of them told; no picture shows it."""
    names = list(description.looks)
    if not names or rng.random() >= RECOLOURED_SHARE:
        return description
    chosen = rng.choice(names, min(len(names), int(rng.integers(1, 5))), replace=False).tolist()
    looks = {name: LOOKS[int(rng.integers(1, len(LOOKS)))] for name in chosen}
    return replace(description, looks={**description.looks, **looks}, told=tuple(chosen))


def draw_batch(
    descriptions: list[Description], names: AttributeNames, parts: tuple[str, ...], count: int, rng: np.random.Generator
) -> tuple[list[str], AttributeTargets, torch.Tensor]:
    """Random captions, and what they say: attributes, and looks int64 [B, P]."""
    captions: list[str] = []
    rows = np.zeros((count, 3), np.int64)
    modifiers, told = np.zeros((count, len(names.modifiers)), np.float32), np.zeros((count, len(names.descriptors)), np.float32)
    looks = np.zeros((count, len(parts)), np.int64)
    for row in range(count):
        if rng.random() < EMPTY_SHARE:
            captions.append("")
            continue
        one = _recoloured(descriptions[int(rng.integers(len(descriptions)))], rng)
        background, view = int(rng.integers(1, len(names.backgrounds))), int(rng.integers(1, len(names.views)))
        descriptors = draw_descriptors(rng)
        said = draw_words(one, names.backgrounds[background], names.views[view], bool(rng.random() < 0.1), descriptors, rng)
        captions.append(said.caption)
        rows[row] = names.kinds.index(one.kind), background * said.background, view * said.view
        for word in set(words_of(one.caption)) & set(names.modifiers):
            modifiers[row, names.modifiers.index(word)] = 1
        for word in descriptors:
            told[row, names.descriptors.index(word)] = 1
        for name, look in said.looks.items():
            looks[row, parts.index(name)] = LOOKS.index(look)
    kind, background_index, view_index = torch.from_numpy(rows).unbind(1)
    targets = AttributeTargets(kind, background_index, view_index, torch.from_numpy(modifiers), torch.from_numpy(told))
    return captions, targets, torch.from_numpy(looks)


def pretrain(
    model: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    descriptions: list[Description],
    backgrounds: list[str],
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    bf16: bool = False,
    report: Callable[[str], None] = print,
) -> tuple[float, float, float]:
    """Train the text model in place on captions alone.

    Returns the share of fresh captions whose kind, background and view are all read off right, and the share of told parts whose look
    is: from the pooled features, and from the word that names the part.
    """
    rng = np.random.default_rng(seed)
    names = attribute_names(as_records(descriptions, backgrounds))
    parts = tuple(sorted({name for one in descriptions for name in one.looks}))
    heads = PartHeads(names, parts, tokenizer, model.config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=max(steps, 2))
    for step in range(1, steps + 1):
        captions, targets, looks = draw_batch(descriptions, names, parts, batch, rng)
        ids = tokenize(tokenizer, captions)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = text_features(model, ids)
        loss = heads.loss(features.float(), ids, targets, looks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == steps:
            report(f"text step {step}/{steps} loss {loss.item():.3f}")
    return _accuracy(model, tokenizer, heads, draw_batch(descriptions, names, parts, 256, rng))


@torch.no_grad()
def _accuracy(
    model: CLIPTextModel, tokenizer: CLIPTokenizer, heads: PartHeads, drawn: tuple[list[str], AttributeTargets, torch.Tensor]
) -> tuple[float, float, float]:
    captions, targets, looks = drawn
    ids = tokenize(tokenizer, captions)
    features = text_features(model, ids)
    pooled = features.mean(1)
    right = heads.rest.kind(pooled).argmax(1) == targets.kind
    right &= heads.rest.background(pooled).argmax(1) == targets.background
    right &= heads.rest.view(pooled).argmax(1) == targets.view
    told = looks > 0
    parts_right = heads.part_logits(features).argmax(2)[told] == looks[told]
    logits, wanted = heads.word_logits(features, ids, looks)
    shares = (right, parts_right, logits.argmax(1) == wanted)
    whole, pooled, at_words = (float(share.float().mean()) for share in shares)
    return whole, pooled, at_words
