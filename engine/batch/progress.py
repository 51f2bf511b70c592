"""What a running batch shows: one bar for the whole and one for each worker's item; lines now and then where nobody watches."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from engine.batch.item import DONE, Item, Outcome
from engine.errors import printable
from engine.words import duration

MOST_BARS = 8
LINE_SECONDS = 10.0


class Progress:
    """Shows how far a batch is, on standard error. Called from several threads."""

    def __init__(self, total: int, workers: int, begun: float) -> None:
        self._total, self._begun, self._terminal = total, begun, sys.stderr.isatty()
        self._lock = threading.Lock()
        self._done, self._made, self._failed, self._line = 0, 0, 0, 0.0
        self._shares: dict[int, float] = {}
        self._started: dict[int, tuple[int, float]] = {}
        self._bars: list[Any] = []
        if self._terminal:
            from tqdm import tqdm

            self._bars = [tqdm(total=total, desc="batch", unit="item", position=0, bar_format="{l_bar}{bar}| {n:.1f}/{total}{postfix}")]
            self._bars += [tqdm(total=1.0, position=1 + number, leave=False, bar_format="{l_bar}{bar}|{postfix}")
                           for number in range(min(workers, MOST_BARS))]  # fmt: skip

    def tell(self, worker: int, item: Item | None, message: dict[str, Any]) -> None:
        """A worker's line about its item; no item once that is over."""
        with self._lock:
            if item is None:
                self._shares.pop(worker, None)
                return
            if "progress" not in message:
                return
            number, since = self._started.get(worker, (0, 0.0))
            if number != item.number:
                since = time.monotonic()
                self._started[worker] = (item.number, since)
            left, taken = message.get("left"), time.monotonic() - since
            share = taken / (taken + left) if left is not None and taken + left > 0 else 0.0
            self._shares[worker] = share
            said = f"{item.name}: {message['progress']} {message['step']}/{message['total']}" + (
                f", about {duration(left)} left" if left else ""
            )
            self._show(worker, share, said)

    def ended(self, item: Item, outcome: Outcome) -> None:
        """An item is over: failures are told at once."""
        with self._lock:
            self._done += 1
            self._made += not outcome.before
            self._failed += outcome.state != DONE
            if outcome.problem is not None:
                self._say(f"failed: {item.name}: {outcome.problem.message} {outcome.problem.fix}")
            elif not self._terminal and not outcome.before and self._total <= 200:
                self._say(f"done: {item.name} in {duration(outcome.seconds)}")
            self._show(-1, 0.0, "")

    def close(self) -> None:
        """Take the bars away."""
        for bar in reversed(self._bars):
            bar.close()

    def _show(self, worker: int, share: float, said: str) -> None:
        done = self._done + sum(self._shares.values())
        rest = f"{self._failed} failed" if self._failed else ""
        made = self._made + sum(self._shares.values())
        left = (self._total - done) * (time.monotonic() - self._begun) / made if made > 0.02 else None
        rest += (", " if rest and left else "") + (f"about {duration(left)} left" if left else "")
        if self._terminal:
            self._bars[0].n = done
            self._bars[0].set_postfix_str(rest)
            if 0 <= worker < len(self._bars) - 1:
                bar = self._bars[1 + worker]
                bar.n, bar.desc = share, said[:70]
                bar.refresh()
        elif time.monotonic() - self._line >= LINE_SECONDS or self._done == self._total:
            self._line = time.monotonic()
            self._say(f"{self._done}/{self._total}{', ' + rest if rest else ''}{'; ' + said if said else ''}")

    def _say(self, text: str) -> None:
        if self._terminal:
            self._bars[0].write(printable(text), file=sys.stderr)
        else:
            print(printable(text), file=sys.stderr, flush=True)
