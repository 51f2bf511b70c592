"""Results on disk: one file for each chunk of a row's captions, so that nothing done is done again."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
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
        return [number for number in wanted if not self._whole(name, row, number)]

    def _whole(self, name: str, row: Row, number: int) -> bool:
        """Whether a chunk is there and can be read; one that cannot is to be made anew."""
        try:
            read_done(self.path(name, row, number), len(self.chunks(row)[number]))
        except InputError:
            return False
        return True

    def load(self, name: str, row: Row) -> Done | None:
        """The leading chunks that are there; None if there is none. InputError for one that is damaged."""
        pictures, seconds = [], 0.0
        for number in range(len(self.chunks(row))):
            path = self.path(name, row, number)
            if not path.is_file():
                break
            done = read_done(path, len(self.chunks(row)[number]))
            pictures.append(done.pictures)
            seconds += done.seconds
        return Done(np.concatenate(pictures), seconds) if pictures else None

    def nothing(self, rows: Iterable[str]) -> InputError:
        """What to tell where none of these rows is there."""
        others = len([path for name in rows for path in self.folder.glob(f"{name}-???-*.npz")])
        told = f"; {others} files there are of other captions, batches, seed, weights or recipes" if others else ""
        return InputError(
            "missing_file",
            f"There is nothing to report in '{self.folder}'{told}.",
            "Use the command run first, with the same --data, --model, --captions, --chunk and --seed.",
        )

    def measured(self, name: str) -> dict[str, Any] | None:
        """What a file of measurements holds; None where there is none. InputError for a damaged one."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or not content:
                raise ValueError("expected an object with measurements")
        except (OSError, ValueError) as error:
            raise InputError("corrupt_file", f"'{path}' cannot be used ({error}).", f"Remove it, or measure again: {path.stem}.") from error
        return content


def read_done(path: Path, count: int) -> Done:
    """What a chunk's file holds, `count` pictures; InputError where it holds anything else."""
    try:
        with np.load(path) as data:
            pictures, seconds = data["pictures"], float(data["seconds"])
        if (
            pictures.dtype != np.uint8
            or pictures.ndim != 4
            or (len(pictures), pictures.shape[3]) != (count, 3)
            or not 0 <= seconds < np.inf
        ):
            raise ValueError(f"expected {count} pictures uint8 [N, S, S, 3], got {pictures.dtype} {list(pictures.shape)} in {seconds} s")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            "corrupt_file", f"The result '{path}' cannot be used ({type(error).__name__}: {error}).", "The command run makes it anew."
        ) from error
    return Done(pictures, seconds)


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
