"""Captions that no training picture has, and the real renders to compare with."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.prior.captions import compose
from scripts.prior.dataset import is_held_out, read_pictures, read_records, resize
from scripts.prior.records import Record


@dataclass(frozen=True)
class Item:
    """One caption and the kind of thing that it asks for."""

    caption: str
    kind: str


@dataclass(frozen=True)
class Reals:
    """Real renders: uint8 [N, S, S, 3] and their kinds."""

    pictures: np.ndarray
    kinds: tuple[str, ...]


def bench_captions(records: list[Record], count: int, seed: int = 0) -> list[Item]:
    """`count` captions of subject, background and view whose combination is in no training record.

    First those of held-out records, then new combinations of known parts, balanced over the kinds; the same for equal data.
    """
    trained = {(r.caption, r.background, r.view) for r in records if not is_held_out(r)}
    fresh = [
        (r.caption, r.background, r.view, r.kind) for r in records if is_held_out(r) and (r.caption, r.background, r.view) not in trained
    ]
    rng = random.Random(seed)
    subjects = {kind: sorted({r.caption for r in records if r.kind == kind}) for kind in sorted({r.kind for r in records})}
    backgrounds = sorted({r.background for r in records})
    views = sorted({r.view for r in records})
    chosen = dict.fromkeys(fresh)
    kinds = list(subjects)
    while len(chosen) < count:
        kind = kinds[len(chosen) % len(kinds)]
        candidate = (rng.choice(subjects[kind]), rng.choice(backgrounds), rng.choice(views), kind)
        if candidate[:3] not in trained:
            chosen[candidate] = None
    order = list(chosen)
    rng.shuffle(order)
    return [Item(compose(subject, background=background, view=view), kind) for subject, background, view, kind in order[:count]]


def read_reals(folder: Path, records: list[Record], size: int, held_out: bool, limit: int | None = None) -> Reals:
    """The held-out renders, or the training ones, at size x size."""
    wanted = [record for record in records if is_held_out(record) == held_out]
    if limit is not None:
        random.Random(0).shuffle(wanted)
        wanted = wanted[:limit]
    pictures = np.stack([np.asarray(resize(image, size), np.uint8) for image in read_pictures(folder, wanted)])
    return Reals(pictures, tuple(record.kind for record in wanted))


def records_of(folder: Path, kinds: tuple[str, ...]) -> list[Record]:
    """All records of these kinds."""
    return read_records(folder, kinds)
