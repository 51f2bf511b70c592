"""The sketches that a job's `input` means: paths, globs and URLs; what of them can be seen to be of no use; what their files hold."""

from __future__ import annotations

import functools
import glob
import hashlib
import itertools
import os
from pathlib import Path

from engine.batch.item import Problem, is_url, place_name
from engine.batch.store import file_system, local_path
from engine.errors import InputError, SketchbridgeError
from engine.formats import SUFFIXES
from engine.formats.references import files_of

BLENDER_TYPES = (".blend", ".fbx")
"""Read through Blender."""
WILD = ("*", "?", "[")


def is_pattern(text: str, base: Path = Path()) -> bool:
    """Whether a text is a glob; a file whose name has such letters and that is there is no glob."""
    path = local_path(text)
    return any(letter in text for letter in WILD) and (path is None or not (base / path).exists())


def expand(text: str, base: Path) -> list[str]:
    """Absolute paths or URLs of the sketches that `text` means, by name; a folder means the files in it.

    InputError where nothing is there.
    """
    if is_url(text) and local_path(text) is None:
        return _expand_url(text)
    place = local_path(text) or Path(text)
    path = base / place
    if path.is_dir():
        found = [str(entry) for entry in path.iterdir()]
    elif is_pattern(text, base):
        found = [str(base / entry) for entry in glob.glob(str(place), root_dir=base, recursive=True)]
    elif not os.path.lexists(path):
        raise InputError("missing_file", f"There is no file '{path}'.", "Correct the path; it is relative to the job file.")
    elif path.suffix.lower() not in SUFFIXES + BLENDER_TYPES:
        raise _unreadable_type(path.name)
    else:
        return [os.path.normpath(path.absolute())]
    kept = sorted(os.path.normpath(os.path.abspath(entry)) for entry in found if _is_sketch(entry) and not os.path.isdir(entry))
    if not kept:
        raise InputError("missing_file", f"'{text}' matches no sketch in '{base}'; expected files of type {_types()}.",
                         "Correct the pattern; it is relative to the job file, and [[] stands for a bracket.")  # fmt: skip
    return kept


def _expand_url(url: str) -> list[str]:
    files = file_system(url)
    scheme = url.split("://", 1)[0]
    try:
        found = files.glob(url) if is_pattern(url) else [url] if files.exists(url) else []
    except Exception as error:
        raise InputError(
            "cannot_read", f"'{url}' cannot be looked into: {error}.", "Check the address, your rights and the credentials."
        ) from error
    kept = sorted(entry if is_url(entry) else f"{scheme}://{entry}" for entry in map(str, found) if _is_sketch(entry))
    if not kept:
        raise InputError("missing_file", f"'{url}' matches no sketch; expected files of type {_types()}.", "Correct the address.")
    return kept


def folder_of_pattern(text: str, base: Path) -> Path | None:
    """The folder in which a glob or a folder of sketches is looked up; None for a single file and for a URL."""
    place = local_path(text)
    if place is None:
        return None
    if (base / place).is_dir():
        return (base / place).resolve()
    if not is_pattern(text, base):
        return None
    return base.joinpath(*itertools.takewhile(lambda part: not any(letter in part for letter in WILD), place.parts)).resolve()


def problem_of(source: str, has_blender: bool) -> Problem | None:
    """What can be known of a sketch before any work: unreadable, empty, of a kind that needs Blender where there is none."""
    kind = place_name(source).suffix.lower()
    if kind in BLENDER_TYPES and not has_blender:
        return Problem("unsupported_format", f"'{source}' goes through Blender, and there is none.",
                       "Name a Blender with --blender, or export a .glb.")  # fmt: skip
    if is_url(source):
        return None
    try:
        with open(source, "rb") as file:
            begin = file.read(1)
    except OSError as error:
        return Problem("cannot_read", f"'{source}' cannot be read: {error.strerror or error}.", "Check the file and its permissions.")
    return None if begin else Problem("empty_file", f"'{source}' is empty.", "Export it again.")


def contents_of(source: str) -> dict[str, str]:
    """Each file that a sketch is made of, by its path from the sketch -> a digest of what it holds; of a URL only what its server says."""
    if is_url(source):
        try:
            return {source: _said_of(source)}
        except SketchbridgeError:
            raise
        except Exception as error:
            raise InputError("cannot_read", f"'{source}' cannot be read: {error}.", "Check the address and your rights.") from error
    return {os.path.relpath(path, os.path.dirname(source)): digest_of(str(path)) for path in files_of(Path(source))}


def digest_of(place: str) -> str:
    """SHA-256 of a file, of a URL what its server says; of what cannot be read, a word for that."""
    try:
        if is_url(place):
            return _said_of(place)
        status = os.stat(place)
        return _digest(place, status.st_size, status.st_mtime_ns)
    except (OSError, SketchbridgeError) as error:
        return f"unreadable {type(error).__name__}"


def _said_of(url: str) -> str:
    return str(file_system(url).checksum(url))


@functools.lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sketch(entry: str) -> bool:
    name = place_name(entry)
    return not name.name.startswith(".") and name.suffix.lower() in SUFFIXES + BLENDER_TYPES


def _types() -> str:
    return " ".join(SUFFIXES + BLENDER_TYPES)


def _unreadable_type(name: str) -> InputError:
    return InputError("unsupported_format", f"'{name}' is of a type that is not read here; expected {_types()}.", "Export it as .glb.")
