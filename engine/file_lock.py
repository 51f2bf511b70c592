"""A lock beside a file that one process holds at a time; the system lets go of it when the process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the system says of a lock that another holds; anything else means that there are no locks."""


class FileLock:
    """The lock of `path`: the file PATH.lock, there while it is held."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    @classmethod
    def is_held(cls, path: Path) -> bool:
        """Whether another holds it now."""
        lock = cls(path)
        if not lock._path.exists():
            return False
        free = lock.acquire()
        lock.release()
        return not free

    def acquire(self) -> bool:
        """False where another holds it; True too where no lock can be made: in a folder that cannot be written to, on a disk without."""
        while self._descriptor is None:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            except OSError:
                return True
            try:
                _take(descriptor)
            except OSError as error:
                os.close(descriptor)
                return error.errno not in _HELD
            if self._is_ours(descriptor):
                self._descriptor = descriptor
            else:  # whoever held it has removed the file since it was opened
                os.close(descriptor)
        return True

    def release(self) -> None:
        """Let go, and remove the file."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            if sys.platform != "win32":
                os.unlink(self._path)  # while it is held: nobody else can hold this very file afterwards
        os.close(descriptor)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _is_ours(self, descriptor: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        return False
