"""A job file -> the items to make. Everything that can be known to be wrong is told here, all of it, before any work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.batch.item import GALLERY, INDEX, Item, place_name
from engine.batch.outputs import OUTPUTS
from engine.batch.prompts import PROMPT_PARTS, prompt_for, read_prompts
from engine.batch.sources import contents_of, digest_of, expand, folder_of_pattern, problem_of
from engine.batch.store import local_path
from engine.batch.tables import KEYS, Table, read_tables, settings_of, unknown_key
from engine.errors import InputError
from engine.formats import UP_AXES
from engine.formats.references import folder_contents
from engine.job_fields import DREAM, MODES, JobSettings

MOST_TOLD = 20
"""Mistakes that are listed; how many more there are is said."""
DEFAULT_OUTPUTS = ("sheet",)
PLAIN_NAME = "{stem}_{type}"
NAME_PARTS = ("stem", "type", "folder", "seed", "variation")
LONGEST_NAME = 255
"""Bytes, of most file systems."""
_BRACES = re.compile(r"\{(\w*)\}")
_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')


@dataclass(frozen=True)
class Mistake:
    """Something wrong with the job file: FILE:LINE, what, and the fix."""

    where: str
    message: str
    fix: str


class Planner:
    """Makes the items of a job file, and gathers its mistakes."""

    def __init__(self, base: Path, out: str, has_blender: bool) -> None:
        self._base, self._out, self._has_blender = base, local_path(out), has_blender
        self.items: list[Item] = []
        self.mistakes: dict[Mistake, None] = {}
        self._names: dict[str, Item] = {}
        self._read: dict[Path, dict[str, str]] = {}

    def add(self, table: Table) -> None:
        """The items of one [[job]]."""
        before = len(self.mistakes)
        self._check_keys(table)
        if len(self.mistakes) > before:
            return
        sources, prompts = list(self._sources(table)), self._prompts(table)
        if len(self.mistakes) > before:
            return
        for source in sources:
            problem = problem_of(source, self._has_blender)
            for variation, seed, settings in self._settings(table, source, prompts):
                name = self._name(table, source, variation, seed)
                outputs = tuple(dict.fromkeys(table.values.get("outputs", DEFAULT_OUTPUTS)))
                up = table.values.get("up")
                item = Item(len(self.items) + 1, name, source, settings, up, outputs, table.place.line_of("input"), problem)
                self._enter(table, item)

    def _check_keys(self, table: Table) -> None:
        values, place = table.values, table.place
        if found := unknown_key(values):
            self._wrong(place.at(found[0]), f"Unknown key '{found[0]}'.", found[1])
        for key, (kind, said) in KEYS.items():
            if key in values and not isinstance(values[key], kind):
                self._wrong(place.at(key), f"'{key}' must be {said}, got {values[key]!r}.", "Correct it.")
        if not values.get("input"):
            self._wrong(place.at(), "The job has no input.", 'Write input = "FILE or GLOB" under [[job]].')
        if values.get("up") not in (None, *UP_AXES):
            self._wrong(place.at("up"), f"'up' must be one of {', '.join(UP_AXES)}, got {values['up']!r}.", "Choose one of those.")
        outputs = values.get("outputs", ())
        for output in outputs if isinstance(outputs, list) else ():
            if output not in OUTPUTS:
                self._wrong(place.at("outputs"), f"Unknown output {output!r}; known are {', '.join(OUTPUTS)}.", "Correct or remove it.")
        if isinstance(outputs, list) and not self._has_blender and (needing := {"blend", "usd"} & {str(one) for one in outputs}):
            self._wrong(
                place.at("outputs"), f"The output '{min(needing)}' is made by Blender, and there is none.", "Name one with --blender."
            )
        self._check_lists(table)

    def _check_lists(self, table: Table) -> None:
        values, place = table.values, table.place
        seeds, variations = values.get("seeds", []), values.get("variations", [])
        if isinstance(seeds, list) and len({repr(seed) for seed in seeds}) < len(seeds):
            self._wrong(place.at("seeds"), "A seed stands there twice.", "Remove one of them.")
        for variation in variations if isinstance(variations, list) else ():
            if not isinstance(variation, dict):
                self._wrong(
                    place.at("variations"), f"A variation must be a table of settings, got {variation!r}.", "Write { adherence = 0.8 }."
                )
            elif found := unknown_key(variation, {"name": ()}):
                self._wrong(place.at("variations"), f"Unknown key '{found[0]}' in a variation.", found[1])
        for key, known in (("name", NAME_PARTS), ("prompt", PROMPT_PARTS)):
            for word in _BRACES.findall(str(values.get(key, ""))):
                if word not in known:
                    told = ", ".join(f"{{{name}}}" for name in known)
                    self._wrong(place.at(key), f"'{key}' holds '{{{word}}}'; known are {told}.", "Correct or remove it.")

    def _sources(self, table: Table) -> Iterator[str]:
        given = table.values["input"]
        for text in [given] if isinstance(given, str) else given:
            try:
                if not isinstance(text, str) or not text.strip():
                    raise InputError("batch_file", f"An input must be a path, a glob or a URL, got {text!r}.", "Correct it.")
                folder = folder_of_pattern(text, self._base)
                if self._out is not None and folder is not None and self._out.resolve().is_relative_to(folder):
                    raise InputError("would_overwrite", f"The output folder '{self._out}' lies inside the input folder '{folder}': "
                                     "results would be taken for sketches.", "Choose another folder with --out.")  # fmt: skip
                yield from expand(text, self._base)
            except InputError as error:
                self._wrong(table.place.at("input"), error.message, error.fix)

    def _prompts(self, table: Table) -> dict[str, str]:
        if "prompts" not in table.values:
            return {}
        path = self._base / table.values["prompts"]
        try:
            if path not in self._read:
                self._read[path] = read_prompts(path)
            return self._read[path]
        except InputError as error:
            self._wrong(table.place.at("prompts"), error.message, error.fix)
            return {}

    def _settings(self, table: Table, source: str, prompts: Mapping[str, str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Name of the variation, seed and settings of each item of a sketch."""
        values = {name: value for name, value in table.values.items() if name not in KEYS}
        for number, variation in enumerate(table.values.get("variations") or [{}], 1):
            given = {**values, **{name: value for name, value in variation.items() if name != "name"}}
            known = {} if "prompt" in variation else prompts
            given["prompt"] = (
                prompt_for(source, known, given.get("prompt", "")) if isinstance(given.get("prompt", ""), str) else given["prompt"]
            )
            given |= {name: self._path(given[name]) for name in ("model", "init_texture") if isinstance(given.get(name), str)}
            if isinstance(given.get("control"), str):
                given["control"] = ";".join(map(self._control, given["control"].split(";")))
            called = str(variation.get("name", number)) if table.values.get("variations") else ""
            for seed in table.values.get("seeds") or [given.get("seed", 0)]:
                try:
                    settings = JobSettings.from_dict(settings_of({**given, "seed": seed}))
                    refuse_dreams(settings)
                except InputError as error:
                    culprit = _culprit(error, given)
                    whose = f"{place_name(source)}: " if culprit == "prompt" else ""  # the rest is wrong for every sketch
                    self._wrong(table.place.at(culprit), whose + error.message, error.fix)
                    return
                yield called, seed, settings.to_dict()

    def _path(self, text: str) -> str:
        """A path beside the job file as an absolute one; whatever is not there stays as it is."""
        return str((self._base / text).resolve()) if text and (self._base / text).exists() else text

    def _control(self, text: str) -> str:
        """[depth=|normal=]FOLDER[:numbers] with its folder as `_path` gives it."""
        kind, sign, rest = text.strip().rpartition("=")
        folder, *numbers = rest.split(":")
        return kind + sign + ":".join([self._path(folder), *numbers])

    def _name(self, table: Table, source: str, variation: str, seed: int) -> str:
        file, folder = place_name(source), source.replace("\\", "/").split("/")[-2]
        parts: dict[str, str] = dict(zip(NAME_PARTS, (file.stem, file.suffix[1:], folder, str(seed), variation), strict=True))
        pattern = table.values.get("name") or PLAIN_NAME
        if variation and "{variation}" not in pattern:
            pattern += "-{variation}"
        if len(table.values.get("seeds", ())) > 1 and "{seed}" not in pattern:
            pattern += "-seed{seed}"
        return _UNSAFE.sub("_", _BRACES.sub(lambda found: parts.get(found[1], found[0]), pattern)).strip(" .")

    def _enter(self, table: Table, item: Item) -> None:
        other = self._names.setdefault(item.name.casefold(), item)
        if not item.name or item.name.casefold() in (GALLERY, INDEX) or len(os.fsencode(item.name)) > LONGEST_NAME:
            self._wrong(table.place.at("name"), f"An item cannot be called '{item.name}'.", "Give it another `name`.")
        elif self._holds_input(item):
            self._wrong(table.place.at("name"), f"The results of '{item.source}' would be written into its own folder.",
                        "Choose another `name`, or another folder with --out.")  # fmt: skip
        elif other is not item:
            self._wrong(table.place.at("name" if "name" in table.values else "input"),
                        f"'{item.source}' and '{other.source}' (line {other.line}) would both be written to '{item.name}'.",
                        'Give one of them another `name`, such as name = "{folder}-{stem}-{seed}".')  # fmt: skip
        else:
            self.items.append(item)

    def _holds_input(self, item: Item) -> bool:
        """Whether the item's folder is the sketch's own: a result is called like its sketch and would take its place."""
        own, place = os.path.dirname(item.source), self._out and self._out / item.name
        return place is not None and os.path.basename(own).casefold() == item.name.casefold() and place.exists() and place.samefile(own)

    def _wrong(self, where: str, message: str, fix: str) -> None:
        self.mistakes[Mistake(where, message, fix)] = None  # each once, in order


def plan(path: Path, out: str, has_blender: bool) -> list[Item]:
    """The items of a job file. InputError with all its mistakes, each with line and fix."""
    planner = Planner(path.absolute().parent, out, has_blender)
    for table in read_tables(path):
        planner.add(table)
    if planner.mistakes:
        raise InputError("batch_file", *_told(list(planner.mistakes)))
    return planner.items


def fingerprint_of(item: Item) -> str:
    """Of an item with what its files hold now. InputError for a URL that cannot be read."""
    contents = contents_of(item.source)
    for folder in (str(item.settings.get("model", "embedded")), *_control_folders(item.settings.get("control") or "")):
        contents |= {f"{folder}/{name}": f"{size} {changed}" for name, size, changed in folder_contents(folder)}
    if (image := item.settings.get("init_texture")) and Path(image).is_file():
        contents[image] = digest_of(image)
    return item.fingerprint(contents)


def _control_folders(text: str) -> list[str]:
    """The folders of the ControlNets that a setting names."""
    return [entry.rpartition("=")[2].split(":")[0] for entry in text.split(";") if entry.strip()]


def refuse_dreams(settings: JobSettings) -> None:
    """InputError for text to 3D: what a batch makes, it makes of sketches."""
    if settings.mode == DREAM:
        modes = ", ".join(mode.value for mode in MODES)
        message = f"Mode of a batch must be one of {modes}, got '{DREAM}'."
        raise InputError("bad_setting", message, "Correct 'mode', or run `sketchbridge dream`.")


def _culprit(error: InputError, given: Mapping[str, Any]) -> str:
    """The setting that an error names in quotes, where it is one of the table's."""
    named = re.findall(r"'(\w+)'", error.fix + error.message)
    return next((name for name in [*named, "prompt"] if name in given), "")


def _told(mistakes: list[Mistake]) -> tuple[str, str]:
    lines = [f"{one.where}: {one.message} {one.fix}" for one in mistakes[:MOST_TOLD]]
    if len(mistakes) > MOST_TOLD:
        lines.append(f"... and {len(mistakes) - MOST_TOLD} more")
    if len(mistakes) == 1:
        return f"{mistakes[0].where}: {mistakes[0].message}", mistakes[0].fix
    return f"The job file has {len(mistakes)} mistakes; nothing was started.\n  " + "\n  ".join(
        lines
    ), "Correct these lines and start again."
