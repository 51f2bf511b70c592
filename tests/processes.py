"""For tests that start processes."""

from __future__ import annotations

import os


def alive(process: int) -> bool:
    """Whether a process still runs; a zombie that nobody has waited for yet is dead."""
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
