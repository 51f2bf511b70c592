"""Rendered pictures and their degraded copies, prepared once and kept in memory.

The source is a folder with `captions.jsonl` and either `images.zip` or the pictures
themselves. Every picture enters as `copies` clean variants (the first one whole, the others
slightly cropped) and as many degraded ones; all are uint8 [3, size, size].
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scripts.prior.data.degradations import draw_degradation
from scripts.prior.data.records import Record

HELD_OUT_SHARE = 0.08
SMALLEST_CROP = 0.86
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Split:
    """The pictures of one part of the data.

    pictures      uint8 [N, 3, size, size], sRGB.
    record_index  int64 [N], which of `records` each picture shows.
    descriptors   what the caption adds for each picture; empty for a clean one.
    records       the rendered pictures behind them.
    """

    pictures: torch.Tensor
    record_index: torch.Tensor
    descriptors: list[tuple[str, ...]]
    records: list[Record]

    def __len__(self) -> int:
        return len(self.pictures)


def read_records(folder: Path, kinds: tuple[str, ...] = ()) -> list[Record]:
    """The records of a folder, of the given kinds (all without any), in the file's order."""
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [Record(**json.loads(line)) for line in lines if line.strip()]
    unknown = set(kinds) - {record.kind for record in records}
    if unknown:
        raise ValueError(f"no picture of kinds {sorted(unknown)} in {folder}; check --kinds")
    return [record for record in records if not kinds or record.kind in kinds]


def is_held_out(record: Record, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a picture is kept for judging: by a hash of its file name, so for good."""
    digest = hashlib.sha256(record.file.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share


def read_pictures(folder: Path, records: list[Record]) -> Iterator[Image.Image]:
    """The records' pictures as RGB, from images.zip where there is one."""
    archive_path = folder / "images.zip"
    if not archive_path.exists():
        for record in records:
            yield Image.open(folder / record.file).convert("RGB")
        return
    with zipfile.ZipFile(archive_path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        for record in records:
            data = archive.read(names[record.file])
            yield Image.open(io.BytesIO(data)).convert("RGB")


def resize(image: Image.Image, size: int) -> Image.Image:
    """To size x size pixels."""
    return image.resize((size, size), Image.Resampling.LANCZOS)


def random_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square of 86 to 100 % of the side, from anywhere inside."""
    side = int(image.width * rng.uniform(SMALLEST_CROP, 1.0))
    left, top = rng.integers(0, image.width - side + 1, 2).tolist()
    return image.crop((left, top, left + side, top + side))


def _as_array(image: Image.Image) -> np.ndarray:
    """uint8 [3, H, W]."""
    return np.asarray(image, np.uint8).transpose(2, 0, 1)


def build_splits(folder: Path, records: list[Record], size: int, copies: int, seed: int) -> tuple[Split, Split]:
    """Read, crop, scale and degrade; the same seed gives the same pixels.

    Returns the clean and the degraded split, `copies` pictures for each record in both.
    """
    clean: list[np.ndarray] = []
    degraded: list[np.ndarray] = []
    descriptors: list[tuple[str, ...]] = []
    for number, image in enumerate(read_pictures(folder, records)):
        rng = np.random.default_rng([seed, number])
        for copy in range(copies):
            view = resize(image if copy == 0 else random_crop(image, rng), size)
            clean.append(_as_array(view))
            picture, words = draw_degradation(view, rng)
            degraded.append(_as_array(picture))
            descriptors.append(words)
    index = torch.arange(len(records)).repeat_interleave(copies)
    nothing: list[tuple[str, ...]] = [()] * len(clean)
    return (
        Split(torch.from_numpy(np.stack(clean)), index, nothing, records),
        Split(torch.from_numpy(np.stack(degraded)), index, descriptors, records),
    )


def load_splits(folder: Path, records: list[Record], size: int, copies: int, seed: int, cache: Path) -> tuple[Split, Split]:
    """build_splits, kept in a file of `cache` that is named after all its inputs."""
    names = ",".join(record.file for record in records)
    key = hashlib.sha256(f"{FORMAT_VERSION}|{names}|{size}|{copies}|{seed}".encode()).hexdigest()
    path = cache / f"pictures-{key[:16]}.pt"
    if path.exists():
        stored = torch.load(path, weights_only=True)
        index = stored["record_index"]
        words = [tuple(text.split("|")) if text else () for text in stored["descriptors"]]
        return (
            Split(stored["clean"], index, [()] * len(index), records),
            Split(stored["degraded"], index, words, records),
        )
    clean, degraded = build_splits(folder, records, size, copies, seed)
    cache.mkdir(parents=True, exist_ok=True)
    content = {
        "clean": clean.pictures,
        "degraded": degraded.pictures,
        "record_index": clean.record_index,
        "descriptors": ["|".join(words) for words in degraded.descriptors],
    }
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)
    return clean, degraded


def data_hash(folder: Path, records: list[Record]) -> str:
    """SHA-256 over the captions and picture bytes that the records name."""
    digest = hashlib.sha256()
    archive_path = folder / "images.zip"
    archive = zipfile.ZipFile(archive_path) if archive_path.exists() else None
    names = {Path(name).name: name for name in archive.namelist()} if archive else {}
    for record in records:
        digest.update(json.dumps(record.__dict__, sort_keys=True).encode())
        if archive:
            digest.update(archive.read(names[record.file]))
        else:
            digest.update((folder / record.file).read_bytes())
    return digest.hexdigest()
