"""Small shares of the attacks that `python -m scripts.bench.reliability` counts: what it finds is told in docs/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

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
    rows = list(rows_of(attack, SHARES[attack]))
    assert rows and all(row.tried > 0 for row in rows)
    assert [fault for row in rows for fault in row.faults] == []


@pytest.mark.parametrize(("ending", "told"), [("raise MemoryError('too little')", "too little"), ("os.kill(os.getpid(), 9)", "status -9")])
def test_an_attack_that_breaks_off_gives_the_rows_it_had_and_says_why(
    ending: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaking").mkdir()
    (tmp_path / "breaking" / "off.py").write_text(BREAKING.format(ending=ending))
    monkeypatch.syspath_prepend(str(tmp_path))
    first, last = rows_of("off", 0.5, package="breaking")
    assert (first.what, first.tried, first.faults) == ("one of three", 1, [])
    assert len(last.faults) == 1 and told in last.faults[0] and "off broke off" in last.faults[0]


BREAKING = """
import os
from scripts.bench.reliability.tiny import Row

def attack(share, folder, seed):
    yield Row("one of three", 1)
    {ending}
"""
