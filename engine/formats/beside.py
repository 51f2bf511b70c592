"""The files beside a mesh file: found whatever system wrote their names, read only from inside the mesh's folder. Standard library only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote

from engine.errors import InputError

LARGEST_FILE = 2**31
"""Bytes of a mesh file or buffer, at most."""
_FIX = "Put it beside the mesh, or export one .glb that holds everything."


class Beside:
    """The folder of a mesh file. Nothing outside of it is opened, by whatever path or link, and only regular files are."""

    def __init__(self, mesh: Path) -> None:
        self._root = mesh.absolute().parent.resolve()

    def find(self, name: str) -> Path:
        """The file that is meant by a name in a mesh file: as it stands, with %20 and the like decoded, with back slashes, in another
        letter case, or by its bare name beside the mesh where its folders are those of another machine. InputError where there is none."""
        if "://" in name:
            raise InputError("remote_file", f"The file refers to '{name}' on a network.", "Put that file beside it, or export one .glb.")
        for spelling in dict.fromkeys((name, unquote(name), name.replace("\\", "/"), unquote(name).replace("\\", "/"))):
            for candidate in (spelling, spelling.replace("\\", "/").rsplit("/", 1)[-1]):
                found = self._inside(candidate)
                if found is not None:
                    return found
        raise InputError("missing_file", f"The file '{name}' that the mesh refers to is not in the mesh's folder.", _FIX)

    def read(self, name: str, largest: int = LARGEST_FILE) -> bytes:
        """The content of the file that is meant by `name`. InputError where it cannot be read or is larger than `largest` bytes."""
        return read_regular(self.find(name), largest)

    def _inside(self, name: str) -> Path | None:
        """The regular file inside the folder that a relative path leads to, letter case aside; None where there is none."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or ":" in parts[0]:
            return None
        here = self._root
        for part in parts:
            here = _entry(here, part)
            if here is None:
                return None
        try:
            real = here.resolve()
            return here if real.is_relative_to(self._root) and stat.S_ISREG(real.stat().st_mode) else None
        except OSError:
            return None


def read_regular(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """The whole of a regular file; never waits for a pipe, never reads a device. InputError otherwise, and beyond `largest` bytes."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            held = os.fstat(file.fileno())
            if not stat.S_ISREG(held.st_mode):
                raise InputError("not_a_file", f"'{path}' is not a file.", "Give the path of a file.")
            if held.st_size > largest:
                size, most = (f"{number / 1e6:.0f} MB" for number in (held.st_size, largest))
                raise InputError("file_too_large", f"'{path.name}' has {size}; at most {most} are read.", "Make the file smaller.")
            return file.read(largest)
    except OSError as error:
        raise InputError(
            "cannot_read", f"'{path}' cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def decoded(data: bytes) -> str:
    """Text of a file that users wrote: UTF-8 with or without a byte order mark, or UTF-16 with one; what is neither becomes U+FFFD."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def _entry(folder: Path, name: str) -> Path | None:
    """The entry of a folder of this name, else one that differs in letter case only."""
    exact = folder / name
    try:
        if exact.exists():
            return exact
        return next((folder / other for other in sorted(os.listdir(folder)) if other.casefold() == name.casefold()), None)
    except OSError:
        return None
