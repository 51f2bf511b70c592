"""Where results lie: a folder, or a URL that fsspec opens (s3://BUCKET/PATH, and whatever else has a driver installed)."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from engine.batch.item import is_url
from engine.errors import InputError, JobError, SketchbridgeError, writing
from engine.formats.files import replacing, write_atomically
from engine.results import prepare_folder

PROBE = ".sketchbridge-probe"


def local_path(place: str) -> Path | None:
    """The path that a place names, file:// included; None for a URL."""
    if place.startswith("file://"):
        return Path(unquote(place.removeprefix("file://")))
    return None if is_url(place) else Path(place)


class Store:
    """Files below one place, by names with forward slashes. Written whole or not at all; a missing one reads as None.

    InputError where the place cannot be used, JobError where it fails on the way.
    """

    def __init__(self, place: str) -> None:
        path = local_path(place)
        self.path = None if path is None else path.absolute()
        self.place = str(self.path) if self.path else place.rstrip("/")

    def prepare(self) -> None:
        """Prove, before an hour of work, that it takes a file and gives it back."""
        if self.path is not None:
            prepare_folder(self.path)
            return
        name, proof = f"{PROBE}-{secrets.token_hex(4)}", secrets.token_bytes(16)
        self.write(name, proof)
        if self.read(name) != proof:
            raise InputError(
                "cannot_write", f"'{self.place}' does not give back what is written there.", "Choose another place with --out."
            )
        self.remove(name)

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        try:
            return (self.path / name).read_bytes() if self.path is not None else self._files.cat_file(self._at(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:
            raise _told(error, f"'{self.place}/{name}' cannot be read", "cannot_read") from error

    def write(self, name: str, data: bytes) -> None:
        """A file of these bytes."""
        if self.path is not None:
            with writing(self.path / name):
                write_atomically(self.path / name, data)
            return
        with self._telling(name):
            self._files.pipe_file(self._at(name), data)

    def put(self, source: Path, name: str) -> None:
        """A copy of a file on this machine."""
        if self.path is not None:
            target = self.path / name
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as unfinished:
                    shutil.copyfile(source, unfinished)
            return
        with self._telling(name):
            self._files.put_file(str(source), self._at(name))

    def get(self, name: str, target: Path) -> bool:
        """Fetch a file to this machine; False where there is none."""
        data = self.read(name)
        if data is not None:
            write_atomically(target, data)
        return data is not None

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        if self.path is not None:
            (self.path / name).unlink(missing_ok=True)
            return
        with self._telling(name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    @property
    def _files(self) -> Any:
        return file_system(self.place)

    def _at(self, name: str) -> str:
        return f"{self.place}/{name}"

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:  # of a bucket that there is not
            raise InputError("cannot_write", f"There is no place '{self.place}'.", "Make the bucket first, or correct --out.") from error
        except Exception as error:
            raise _told(error, f"'{self.place}/{name}' could not be written", "cannot_write") from error


@functools.lru_cache(maxsize=8)
def _file_system(scheme: str) -> Any:
    import fsspec

    return fsspec.filesystem(scheme)


def file_system(url: str) -> Any:
    """fsspec's file system for a URL. InputError where its driver is not installed or does not start."""
    scheme = url.split("://", 1)[0]
    try:
        return _file_system(scheme)
    except (ImportError, ValueError) as error:
        fix = (
            "Install it: pip install 'sketchbridge[cluster]' brings s3://."
            if scheme == "s3"
            else f"Install fsspec's driver for {scheme}://."
        )
        raise InputError("unsupported_format", f"'{url}' cannot be opened: {error}.", fix) from error
    except Exception as error:
        raise _told(error, f"'{url}' cannot be opened", "cannot_read") from error


def _told(error: Exception, what: str, code: str) -> SketchbridgeError:
    """A driver's error in a sentence with its fix: rights and names are input, the rest a failed job."""
    if isinstance(error, SketchbridgeError):
        return error
    said = f"{what}: {(str(error) or type(error).__name__).rstrip('.')}."
    refused = isinstance(error, PermissionError) or any(
        word in str(error) for word in ("Access Denied", "Forbidden", "credentials", "AccessDenied")
    )
    if refused:
        return InputError("cannot_write" if code == "cannot_write" else "cannot_read", said,
                          "Ask for the right to read and write there, or set the credentials that its driver looks for.")  # fmt: skip
    return JobError(
        "cannot_write" if code == "cannot_write" else "cannot_read",
        said,
        "Check the address and the connection, then run again with --resume.",
    )
