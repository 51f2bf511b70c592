"""Durations in words: the same on every command line and in the panel."""

from __future__ import annotations

import math

import pytest

from engine.words import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (-3, "0 s"), (45, "45 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"),
        (None, ""), (math.inf, ""), (-math.inf, ""), (math.nan, ""),
    ],
)  # fmt: skip
def test_durations_read_naturally_and_what_nobody_knows_is_not_said(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
