"""Numbers in a person's words. Standard library only; addon/words.py is a link to this file."""

from __future__ import annotations

import math


def duration(seconds: float | None) -> str:
    """'45 s', '3 min 20 s', '2 h 05 min', at least '0 s'; empty where it is None or not finite: nobody knows yet."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
