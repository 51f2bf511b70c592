"""Results on disk: one file for each chunk of a row's captions, so that nothing done is done again."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.formats.files import replacing
from scripts.guidance.captions import Item
from scripts.guidance.rows import Row


@dataclass(frozen=True)
class Done:
    """What a row has made so far: uint8 [N, S, S, 3] for its first N captions, and the seconds that took."""

    pictures: np.ndarray
    seconds: float


class Store:
    """Chunks of rows under a folder; a row whose recipe, captions or model changed starts anew."""

    def __init__(self, folder: Path, items: list[Item], model: str, chunk: int, seed: int) -> None:
        self.folder = folder
        self.items = items
        self.model = model
        self.chunk = chunk
        self.seed = seed

    def chunks(self, row: Row) -> list[list[Item]]:
        """The row's captions in pieces."""
        wanted = self.items[: max(round(row.share * len(self.items)), 1)]
        return [wanted[start : start + self.chunk] for start in range(0, len(wanted), self.chunk)]

    def path(self, name: str, row: Row, number: int) -> Path:
        """Where a chunk is kept; the name holds a digest of all that it depends on."""
        content = [asdict(row.recipe), row.descriptors, [asdict(item) for item in self.chunks(row)[number]], self.model, self.seed]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{name}-{number:03d}-{digest}.npz"

    def save(self, path: Path, pictures: np.ndarray, seconds: float) -> None:
        """Whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            np.savez_compressed(unfinished, pictures=pictures, seconds=seconds)

    def missing(self, name: str, row: Row, first: int = sys.maxsize) -> list[int]:
        """Chunks that are still to be made, of those that begin within the `first` captions."""
        wanted = (number for number in range(len(self.chunks(row))) if number * self.chunk < first)
        return [number for number in wanted if not self.path(name, row, number).is_file()]

    def load(self, name: str, row: Row) -> Done | None:
        """The leading chunks that are there; None if there is none."""
        pictures, seconds = [], 0.0
        for number in range(len(self.chunks(row))):
            path = self.path(name, row, number)
            if not path.is_file():
                break
            with np.load(path) as data:
                pictures.append(data["pictures"])
                seconds += float(data["seconds"])
        return Done(np.concatenate(pictures), seconds) if pictures else None


def digest_of_model(name: str, folder: Path) -> str:
    """A digest of the weights, so that results of older weights are not mixed in; the name itself if it is no local folder. Models of
    their own in folders within it do not count."""
    others = [path.parent for path in folder.glob("*/model_index.json")]
    found = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    files = [path for path in found if not any(path.is_relative_to(other) for other in others)]
    if not files:
        return name
    total = hashlib.sha256()
    for path in files:
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
