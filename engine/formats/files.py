"""Files written whole or not at all. Standard library only: engine, add-on and scripts share this one file."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".part-"
"""Stands in the names of files that are still being written: `.NAME.part-RANDOM.SUFFIX`, beside the file that they will become."""

STALE = 24 * 3600.0
"""Seconds after which an unfinished file belongs to nobody any more."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new empty file beside `path`, of the same type by its name; it takes the place of `path` once the block has ended.

    A reader sees the old file, the new one, or none, never half of one, also after a power cut: contents and folder are flushed to the
    disk. The name is random and the file must not exist before, so that no link is followed and no two writers meet; a link at `path`
    itself is replaced, not followed. Permissions are those of any new file. Whatever goes wrong, the old file stays and the unfinished
    one is removed. OSError where something cannot be written.
    """
    unfinished = path.with_name(f".{path.stem[:40]}{UNFINISHED}{secrets.token_hex(6)}{path.suffix}")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield unfinished
        with unfinished.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    _flush_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """`replacing` for bytes in memory; makes the folder. OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def prepare_folder(folder: Path) -> None:
    """Make a folder and prove that it takes bytes, before an hour of work; clear what writers killed a day ago left. OSError otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder, STALE)
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(1024))
        probe.flush()
        os.fsync(probe.fileno())


def remove_unfinished(folder: Path, age: float) -> None:
    """Delete what writers that were killed left behind: unfinished files last changed more than `age` seconds ago. Never raises."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{UNFINISHED}*"):
            if time.time() - path.lstat().st_mtime > age:
                path.unlink()


def _flush_folder(folder: Path) -> None:
    """Make the new name last; systems and file systems that cannot are let be: the file itself is safe."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
