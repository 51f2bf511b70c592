"""Where an item's prompt comes from: the job, a table of prompts by file name (CSV or TOML), or the file's own name."""

from __future__ import annotations

import csv
import io
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from engine.batch.item import place_name
from engine.errors import InputError
from engine.formats.beside import decoded, read_regular

LARGEST_FILE = 64 << 20
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
COLUMNS = ("file", "prompt")
PROMPT_PARTS = ("name",)
"""{name} stands in a prompt for the words of the file's name."""


def read_prompts(path: Path) -> dict[str, str]:
    """File name, with or without its type -> prompt, from a .csv with the columns `file` and `prompt`, or a .toml of NAME = "prompt".

    InputError naming the line of what cannot be used.
    """
    text = text_of(path)
    found = _from_csv(path, text) if path.suffix.lower() == ".csv" else _from_toml(path, text)
    return {_composed(name): prompt for name, prompt in found.items()}


def text_of(path: Path) -> str:
    """A file that a user wrote, as text. InputError where it cannot be read or is of an encoding that would lose letters."""
    text = decoded(read_regular(path, LARGEST_FILE))
    if (place := text.find(REPLACEMENT)) >= 0:
        line = text.count("\n", 0, place) + 1
        raise InputError("batch_file", f"{path}:{line}: a letter there is not UTF-8.", "Save the file as UTF-8.")
    return text


def _from_csv(path: Path, text: str) -> dict[str, str]:
    head = text.partition("\n")[0]
    separator = next((sign for sign in ";\t" if sign in head and "," not in head), ",")  # as spreadsheets of some countries write it
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns = [name.strip() for name in rows.fieldnames or []]
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise InputError("batch_file", f"{path}:1: the column '{missing[0]}' is missing; found are {', '.join(columns) or 'none'}.",
                         f"The first line must name the columns: {','.join(COLUMNS)}.")  # fmt: skip
    rows.fieldnames = columns
    found: dict[str, str] = {}
    for row in rows:
        name, prompt = ((row[column] or "").strip() for column in COLUMNS)
        if not name or not prompt:
            raise InputError(
                "batch_file", f"{path}:{rows.line_num}: the {'prompt' if name else 'file'} is empty.", "Fill it in, or remove the line."
            )
        if name in found:
            raise InputError("batch_file", f"{path}:{rows.line_num}: '{name}' stands there twice.", "Remove one of the lines.")
        found[name] = prompt
    return found


def _from_toml(path: Path, text: str) -> dict[str, str]:
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError("batch_file", f"The prompts file '{path}' cannot be read: {error}.", 'Write lines NAME = "prompt".') from error
    wrong = [name for name, prompt in held.items() if not isinstance(prompt, str)]
    if wrong:
        raise InputError("batch_file", f"The prompts file '{path}' holds '{wrong[0]}', which is no text.", 'Write lines NAME = "prompt".')
    return held


def prompt_for(source: str, prompts: Mapping[str, str], default: str) -> str:
    """The prompt by file name, by name without type, or the one for all, with its {name} filled in."""
    name = place_name(source)
    found = prompts.get(_composed(name.name), prompts.get(_composed(name.stem), default))
    return found.replace("{name}", words_of_name(name.stem))


def _composed(name: str) -> str:
    """Letters with marks as one sign each: some systems write them as two in the names of files."""
    return unicodedata.normalize("NFC", name)


def words_of_name(stem: str) -> str:
    """`red_tulip-flower.v02` -> `red tulip flower`: the words of a file's name, without numbers of versions."""
    words = re.split(r"[\s_.\-]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem))
    kept = [word for word in words if word and not re.fullmatch(r"[vV]?\d+", word)]
    return " ".join(kept or words).lower()
