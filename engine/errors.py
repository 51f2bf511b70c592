"""Errors that a user can act on: what happened, what was expected, what was found, and the fix.

Every failure that leaves the engine is one of these; anything else is a bug and is reported as such.
"""

from __future__ import annotations

import contextlib
import errno
import unicodedata
from collections.abc import Iterator
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130


def printable(text: str) -> str:
    """The text with its control characters made visible: what a file says must not command the terminal. Line breaks stay."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter) not in _CONTROLS else repr(letter)[1:-1] for letter in text)


_CONTROLS = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


class SketchbridgeError(Exception):
    """A failure with a stable code, a message (what, expected, got) and the fix, all for the user's eyes."""

    exit_code = EXIT_FAILED

    def __init__(self, code: str, message: str, fix: str) -> None:
        self.code = code
        self.message = printable(message)
        self.fix = printable(fix)
        super().__init__(f"{self.message} {self.fix}")


class InputError(SketchbridgeError):
    """The mesh, the prompt, a setting or a path that the user gave cannot be used."""

    exit_code = EXIT_BAD_INPUT


class ModelError(SketchbridgeError):
    """A diffusion model cannot be found, read or used."""

    exit_code = EXIT_BAD_INPUT


class JobError(SketchbridgeError):
    """The work itself failed: memory, disk, a back end that broke."""


class Cancelled(Exception):
    """The user cancelled; not a failure. The caller reports it and leaves nothing half-written."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError of the block, which writes `path` whole or not at all, into the error for the user: a place that cannot take
    the file is bad input, a disk that fails is a failed job."""
    try:
        yield
    except OSError as error:
        message = f"'{path}' could not be written: {error.strerror or error}. Nothing was written there."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobError("disk_full", message, "The disk is full: free some space or choose another output folder.") from error
        if error.errno in _OF_THE_PATH:
            raise InputError("cannot_write", message, "Choose an output folder that you may write to.") from error
        raise JobError("cannot_write", message, "Check the disk or choose another output folder.") from error


_OF_THE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)
