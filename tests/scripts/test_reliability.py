"""Small shares of the attacks that `python -m scripts.bench.reliability` counts: what it finds is told in docs/reliability.md."""

from __future__ import annotations

import multiprocessing
import sys

import pytest

from scripts.bench.reliability.__main__ import ATTACKS
from scripts.bench.reliability.tiny import rows_of

SHARES = {"kills": 0.12, "conversations": 0.02, "damage": 0.2, "disk": 1.0, "models": 1.0, "meshes": 1.0, "soak": 0.1, "cancel": 0.02}
LONG = {"cancel", "soak"}
"""The first counts seconds, which a slow machine has fewer of: that cancelling is noticed in every stage is counted in test_whole_job. The
other is twenty jobs."""


def test_every_attack_is_tried_here() -> None:
    assert set(SHARES) == set(ATTACKS)


MARKS = {name: pytest.mark.long if name in LONG else pytest.mark.slow for name in SHARES}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
@pytest.mark.parametrize("attack", [pytest.param(name, marks=mark) for name, mark in MARKS.items()])
def test_nothing_that_is_tried_gets_through(attack: str) -> None:
    rows = rows_of_a_process(attack)
    assert rows and all(tried > 0 for tried, _ in rows)
    assert [fault for _, faults in rows for fault in faults] == []


def rows_of_a_process(attack: str) -> list[tuple[int, list[str]]]:
    """In a process of its own, as the whole is: attacks set limits and count what a process holds."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return [(row.tried, row.faults) for row in pool.apply(rows_of, (attack, SHARES[attack]))]
