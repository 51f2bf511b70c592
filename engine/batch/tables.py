"""The job file as it is written: TOML with a [defaults] table and [[job]] tables, and the line on which each thing stands."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.batch.prompts import text_of
from engine.errors import InputError
from engine.fields import table
from engine.formats import UP_AXES
from engine.job_fields import Hyperparameters, JobSettings

KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "input": ((str, list), "a path, a glob or a URL, or a list of them; relative to the job file"),
    "prompts": (str, 'a .csv with the columns file and prompt, or a .toml of NAME = "prompt"'),
    "name": (str, "of the result's folder; may hold {stem}, {type}, {folder}, {seed} and {variation}"),
    "seeds": (list, "a list of seeds: each makes an item"),
    "variations": (list, "a list of tables of settings: each makes an item; `name` names it"),
    "outputs": (list, "what is written beside the .glb"),
    "up": (str, f"the axis that points up in the file: {', '.join(UP_AXES)}"),
}
"""What a table may hold besides the settings of a job: its type and what it says."""


@dataclass(frozen=True)
class Place:
    """A table of the job file, for messages: which one, and where it and its keys stand."""

    path: Path
    line: int
    lines: Mapping[str, int]

    def at(self, key: str = "") -> str:
        """FILE:LINE of a key, else of the table."""
        return f"{self.path}:{self.line_of(key)}"

    def line_of(self, key: str = "") -> int:
        """The line of a key, else of the table."""
        return self.lines.get(key, self.line)


@dataclass(frozen=True)
class Table:
    """One [[job]] with the defaults under it, and where each of its keys stands."""

    values: Mapping[str, Any]
    place: Place


def read_tables(path: Path) -> list[Table]:
    """The jobs of a file. InputError where it is no TOML, has none, or holds tables that are not known."""
    text = text_of(path)
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        stated = re.search(r"line (\d+)", str(error))
        line = stated[1] if stated else len(text.splitlines())
        raise InputError("batch_file", f"{path}:{line}: {error}.", "Correct that line; texts stand in quotes.") from error
    unknown = [name for name in held if name not in ("defaults", "job")]
    first_lines = _lines(text)
    if unknown:
        line = _line_of_key(text, unknown[0])
        raise InputError("batch_file", f"{path}:{line}: unknown '{unknown[0]}' outside of [defaults] and [[job]].",
                         "Move it into [defaults], or write [[job]] above it.")  # fmt: skip
    defaults, jobs = held.get("defaults", {}), held.get("job", [])
    if not isinstance(defaults, dict) or not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise InputError(
            "batch_file", f"{path}:1: 'defaults' must be a table and 'job' tables.", "Write [defaults] once and [[job]] for each job."
        )
    if not jobs:
        raise InputError("batch_file", f"{path}:1: it names no job.", 'Write [[job]] and under it input = "FILE or GLOB".')
    above = first_lines.get("defaults", [(1, {})])[0]
    found = []
    for place, job in enumerate(jobs):
        line, lines = first_lines["job"][place] if place < len(first_lines.get("job", [])) else (1, {})
        found.append(Table({**defaults, **job}, Place(path, line, {**above[1], **lines})))
    return found


def unknown_key(values: Mapping[str, Any], allowed: Mapping[str, Any] = KEYS) -> tuple[str, str] | None:
    """The first key that is neither of these nor a setting of a job, and the fix; None where there is none."""
    known = {*allowed, *table(JobSettings), *table(Hyperparameters)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1)
            return key, f"Did you mean '{near[0]}'?" if near else "Remove it; `sketchbridge refine --help` lists the settings."
    return None


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JobSettings.from_dict takes: numbers of the preset stand in a job file like any other setting."""
    own = {name: value for name, value in values.items() if name in table(JobSettings)}
    numbers = {name: value for name, value in values.items() if name in table(Hyperparameters) and name not in own}
    return {**own, "overrides": {**dict(own.get("overrides", {})), **numbers}} if numbers else own


def _lines(text: str) -> dict[str, list[tuple[int, dict[str, int]]]]:
    """Kind of table -> line of each of its headers, and the lines of the keys under it."""
    found: dict[str, list[tuple[int, dict[str, int]]]] = {"": [(1, {})]}
    kind = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([\w.\"'-]+)\s*\]", line)
        if header and header[1].split(".")[0] in ("defaults", "job"):
            kind = header[1].split(".")[0]
            if "." not in header[1]:
                found.setdefault(kind, []).append((number, {}))
            elif (inner := header[1].split(".")[1]) and found.get(kind):
                found[kind][-1][1].setdefault(inner, number)
        elif (key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[=.]", line)) and found.get(kind):
            found[kind][-1][1].setdefault(key[1], number)
    return found


def _line_of_key(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[*\s*[\"']?{re.escape(key)}\b", line):
            return number
    return 1
