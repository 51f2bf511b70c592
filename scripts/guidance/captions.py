"""Captions that no training picture has, and the real renders to compare with."""

from __future__ import annotations

import random
import zipfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from engine.errors import InputError
from scripts.prior.data.captions import compose
from scripts.prior.data.records import Record
from scripts.prior.dataset import is_held_out, read_pictures, read_records, resize


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
    Fewer if the data has no more such combinations.
    """
    trained = {(r.caption, r.background, r.view) for r in records if not is_held_out(r)}
    fresh = [
        (r.caption, r.background, r.view, r.kind) for r in records if is_held_out(r) and (r.caption, r.background, r.view) not in trained
    ]
    rng = random.Random(seed)
    backgrounds, views = sorted({r.background for r in records}), sorted({r.view for r in records})
    chosen = dict.fromkeys(fresh)
    waiting: list[list[tuple[str, str, str, str]]] = []
    for kind in sorted({r.kind for r in records}):
        subjects = sorted({r.caption for r in records if r.kind == kind})
        unseen = [(s, b, v, kind) for s, b, v in product(subjects, backgrounds, views) if (s, b, v) not in trained]
        rng.shuffle(unseen)
        waiting.append([entry for entry in unseen if entry not in chosen])
    while len(chosen) < count and any(waiting):
        chosen |= dict.fromkeys(entries.pop() for entries in waiting if entries)
    order = list(chosen)
    rng.shuffle(order)
    return [Item(compose(subject, background=background, view=view), kind) for subject, background, view, kind in order[:count]]


def read_reals(folder: Path, records: list[Record], size: int, held_out: bool, limit: int | None = None) -> Reals:
    """The held-out renders, or the training ones, at size x size."""
    wanted = [record for record in records if is_held_out(record) == held_out]
    if limit is not None:
        random.Random(0).shuffle(wanted)
        wanted = wanted[:limit]
    try:
        pictures = np.stack([np.asarray(resize(image, size), np.uint8) for image in read_pictures(folder, wanted)])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            "corrupt_file",
            f"The {'held-out' if held_out else 'training'} pictures in '{folder}' cannot be read ({type(error).__name__}: {error}).",
            "Make the data again: every file that captions.jsonl names belongs beside it or into images.zip.",
        ) from error
    return Reals(pictures, tuple(record.kind for record in wanted))


def records_of(folder: Path, kinds: tuple[str, ...]) -> list[Record]:
    """All records of these kinds; InputError where the data cannot be read or has none of them."""
    try:
        records = read_records(folder, kinds)
        if not records:
            raise ValueError("it has no picture")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "corrupt_file",
            f"'{folder / 'captions.jsonl'}' cannot be used ({type(error).__name__}: {error}).",
            "Make the data again; each line is an object with file, caption, background, view and kind, of the model's own kinds.",
        ) from error
    return records
