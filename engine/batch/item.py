"""One thing to make: a sketch with its settings, and how it ended. Plain data, which crosses processes and machines as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

DONE, FAILED, HELD = "done", "failed", "held"
"""States of an outcome; HELD: another run works on this very item now."""

FORMAT = 1
"""Of the record that stands beside a result."""


RECORD, FAILURE, CLAIM = "done.json", "failed.json", "item"
"""Beside a result: that it is whole; why there is none; the lock of whoever makes it."""
INDEX, GALLERY = "index.html", "gallery"
"""The first page of the gallery, and the folder of the others."""
OWN_STEMS = {Path(name).stem for name in (RECORD, FAILURE)}


def is_url(text: str) -> bool:
    """Whether a place is named by a URL and not by a path."""
    return "://" in text


def place_name(source: str) -> PurePosixPath:
    """The last part of a path or URL, as a path: it has a stem and a suffix."""
    return PurePosixPath(source.rsplit("/", 1)[-1] if is_url(source) else Path(source).name)


@dataclass(frozen=True)
class Problem:
    """Why an item cannot be made, or was not: a code of engine.errors, what happened, and the fix."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class Item:
    """One sketch, one set of settings, one folder of results.

    number    its place in the plan, from 1
    name      of its folder below the output, different for every two items
    source    absolute path or URL of the sketch
    settings  what JobSettings.from_dict takes
    up        the axis that points up in the file; None for the format's own
    outputs   names of engine.batch.outputs.OUTPUTS
    line      of the job file
    problem   known before any work: the item is told, counted as failed and left alone
    """

    number: int
    name: str
    source: str
    settings: Mapping[str, Any]
    up: str | None
    outputs: tuple[str, ...]
    line: int
    problem: Problem | None = None

    @property
    def stem(self) -> str:
        """What its files are called: as the sketch, beside the batch's own files of that folder."""
        own = place_name(self.source).stem
        return f"{own}_" if own.casefold() in OWN_STEMS else own

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` takes back and JSON can hold."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings), "outputs": list(self.outputs)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Item:
        """What `to_dict` gave."""
        problem = held.get("problem")
        return cls(**{**held, "outputs": tuple(held["outputs"]), "problem": None if problem is None else Problem(**problem)})

    def fingerprint(self, contents: Mapping[str, str]) -> str:
        """Changes with what decides the result: the files of the input (names and digests), settings, axis and outputs."""
        told = {name: value for name, value in self.settings.items() if value is not None}  # what a later version adds changes nothing
        described = [FORMAT, sorted(contents.items()), told, self.up, sorted(self.outputs), self.stem]
        return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How an item ended. `before` where an earlier run had made it; `record` is what stands beside the result."""

    number: int
    state: str
    seconds: float = 0.0
    before: bool = False
    problem: Problem | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` takes back and JSON can hold."""
        return {**dataclasses.asdict(self), "record": dict(self.record)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Outcome:
        """What `to_dict` gave."""
        problem = held.get("problem")
        return cls(**{**held, "problem": None if problem is None else Problem(**problem)})
