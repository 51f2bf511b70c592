"""What the scripts print: one status line that stays in its place, tables. Standard library only."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first being the heading, as aligned text; columns after the first are right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([line(rows[0]), "  ".join("-" * width for width in widths), *(line(row) for row in rows[1:])])


class StatusLine:
    """One line that is rewritten in place on a terminal, and a line now and then where the output is a file or a pipe.

    `update` may be called as often as one likes and from several threads; `say` prints a line that stays.
    """

    def __init__(self, stream: TextIO | None = None, sparse_seconds: float = 15.0) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._live = self._stream.isatty()
        self._sparse_seconds = sparse_seconds
        self._last_sparse = float("-inf")
        self._shown = False
        self._lock = threading.Lock()

    def update(self, text: str) -> None:
        """Show `text` as the state of things: at once on a terminal, at most every `sparse_seconds` elsewhere."""
        with self._lock:
            if self._live:
                width = shutil.get_terminal_size().columns - 1
                self._stream.write("\r\x1b[K" + text[:width])
                self._shown = True
            elif time.monotonic() - self._last_sparse >= self._sparse_seconds:
                self._last_sparse = time.monotonic()
                self._stream.write(text + "\n")
            self._stream.flush()

    def say(self, text: str) -> None:
        """Print `text` as lines of their own; the status line is cleared first."""
        with self._lock:
            self._clear()
            self._stream.write(text + "\n")
            self._stream.flush()

    def clear(self) -> None:
        """Take the status line off the terminal."""
        with self._lock:
            self._clear()
            self._stream.flush()

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._shown = False
