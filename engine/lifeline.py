"""A process that ends with the one that started it, also while native code holds the interpreter. Standard library only.

Linux ends the process itself (PR_SET_PDEATHSIG of prctl(2)). Other systems with fork get a second, tiny process that looks at both
from beside. On Windows the host puts the engine into a job object (addon/engine_process.py), which the system ends with the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.25
_NOTHING_LEFT = 1


def end_with_parent(parent: int | None = None) -> None:
    """End this process, by SIGKILL, when its parent ends. Call it early: before threads start, from the main thread.

    parent  its process id, where it is known: then it is noticed too if it ended before this was called
    On Linux it is the parent's *thread* that counts, the one that started this process.
    """
    if sys.platform == "win32":
        return
    parent = os.getppid() if parent is None else parent
    if sys.platform != "linux" or ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        watch_from_beside(parent)
    if os.getppid() != parent:  # it ended in between
        os._exit(_NOTHING_LEFT)


def bound(words: Sequence[str]) -> list[str]:
    """A command that is this one and ends with the process that starts it, where the system has a way."""
    return list(words) if sys.platform == "win32" else [sys.executable, "-P", __file__, str(os.getpid()), *words]


def watch_from_beside(parent: int) -> int:
    """Fork a process that kills this one once `parent` is gone, and that ends with this one. Returns its id."""
    watched = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _watch(watched, parent)
        finally:
            os._exit(0)
    return child


def _watch(watched: int, parent: int) -> None:
    """In the forked process: no file of the other's stays open here, so that both ends of its pipes still notice each other."""
    os.closerange(0, 1 << 16)
    while os.getppid() == watched:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(watched, signal.SIGKILL)
            return
        except PermissionError:  # it lives, and is another user's
            pass
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
