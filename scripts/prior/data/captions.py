"""Captions of the training pictures: their parts, their wording, their vocabulary.

A caption reads `a photo of a red tulip flower, on a grass field, front view` and may go on
with descriptors of degradations (`, blurry, noisy`). Prefix, background and view may be absent.
"""

from __future__ import annotations

import re

import numpy as np

from engine.views import VIEWS
from scripts.prior.data.degradations import DEGRADATIONS, DOMAINS
from scripts.prior.data.records import Record

PREFIXES = ("a photo of", "a high quality photo of", "")
PREFIX_SHARES = (0.5, 0.25, 0.25)
BACKGROUND_SHARE = 0.6
VIEW_SHARE = 0.5
SHORT_NAME_SHARE = 0.3
OPTIONAL_WORDS = ("flower", "coffee")
"""Words that an artist may leave out: "a red tulip", "a blue mug"."""

_WORD = re.compile(r"[a-z]+|,")
_ARTICLES = ("a", "an", "the", "of", "with", "and")


def words_of(text: str) -> list[str]:
    """Lower-case words and commas of a caption."""
    return _WORD.findall(text.lower())


def modifiers_of(record: Record) -> tuple[str, ...]:
    """The words that tell one picture of a kind from another: "red", or "pine", or "silver"."""
    noun = {record.kind, *OPTIONAL_WORDS, *_ARTICLES}
    return tuple(word for word in words_of(record.caption) if word not in noun)


def shorten(caption: str, rng: np.random.Generator) -> str:
    """Leave out the optional words in some captions."""
    if rng.random() >= SHORT_NAME_SHARE:
        return caption
    return " ".join(word for word in caption.split() if word not in OPTIONAL_WORDS)


def compose(
    subject: str,
    prefix: str = "a photo of",
    background: str = "",
    view: str = "",
    descriptors: tuple[str, ...] = (),
) -> str:
    """Join the parts of a caption; empty parts leave no trace."""
    parts = [f"{prefix} {subject}".strip()]
    if background:
        parts.append(background)
    if view:
        parts.append(f"{view} view")
    return ", ".join([*parts, *descriptors])


def draw_caption(record: Record, descriptors: tuple[str, ...], rng: np.random.Generator) -> tuple[str, bool, bool]:
    """A caption with random optional parts.

    Returns the caption, and whether it tells the background, and the view.
    """
    prefix = PREFIXES[int(rng.choice(len(PREFIXES), p=PREFIX_SHARES))]
    tells_background = bool(rng.random() < BACKGROUND_SHARE)
    tells_view = bool(rng.random() < VIEW_SHARE)
    caption = compose(
        shorten(record.caption, rng),
        prefix,
        record.background if tells_background else "",
        record.view if tells_view else "",
        descriptors,
    )
    return caption, tells_background, tells_view


def vocabulary(records: list[Record]) -> list[str]:
    """Every word that a caption of these records can use, sorted."""
    words = {"a", "an", "photo", "of", "high", "quality", "view", *VIEWS}
    for record in records:
        words.update(words_of(record.caption), words_of(record.background))
    for name in (*DEGRADATIONS, *DOMAINS):
        words.update(words_of(name))
    words.discard(",")
    return sorted(words)
