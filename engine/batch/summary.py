"""The table at a batch's end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.batch.item import DONE, Item, Outcome
from engine.words import duration

MOST_ROWS = 60
"""More items than this: only the failed ones are listed."""


def summary(items: Sequence[Item], outcomes: Mapping[int, Outcome], seconds: float) -> str:
    """A row an item, or a failure, and a line of totals."""
    done = [one for one in outcomes.values() if one.state == DONE]
    failed, before = len(outcomes) - len(done), sum(one.before for one in done)
    shown = [item for item in items if item.number in outcomes]
    if len(shown) > MOST_ROWS:
        shown = [item for item in shown if outcomes[item.number].state != DONE][:MOST_ROWS]
    rows = [["item", "state", "time", "deviation mean %", "p95 %", "genus"]]
    for item in shown:
        outcome = outcomes[item.number]
        state = "done before" if outcome.before else outcome.state
        rows.append([item.name, state, "" if outcome.before else duration(outcome.seconds), *figures(outcome.record)])
    total = f"{len(done)} done ({before} of them before), {failed} failed, in {duration(seconds)}"
    left = len(items) - len(outcomes)
    return "\n".join([*(_aligned(rows) if shown else []), "", total + (f"; {left} not made" if left else "")])


def figures(record: Mapping[str, Any]) -> list[str]:
    """Deviation (mean, 95th percentile) and genus of a record in a person's words; empty where it has none."""
    deviations = [record.get(f"deviation_{key}_percent") for key in ("mean", "p95")]
    genus = record.get("genus")
    return [*(f"{value:.2f}" if isinstance(value, int | float) else "" for value in deviations), "" if genus is None else str(genus)]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
