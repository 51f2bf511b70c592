"""A batch from its job file to its gallery. Exit codes: 0 all done, 1 some failed, 2 bad input and nothing started, 130 cancelled."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from engine.batch.blender import check_blender
from engine.batch.gallery import write_gallery
from engine.batch.item import DONE, FAILED, INDEX, Item, Outcome
from engine.batch.plan import plan
from engine.batch.pool import Machine, Pool
from engine.batch.progress import Progress
from engine.batch.ray_cluster import RayCluster, check_cluster
from engine.batch.store import Store
from engine.batch.summary import MOST_ROWS, summary
from engine.batch.work import MAKE, is_done, read_failure, read_record, remove_old
from engine.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, InputError, printable

NO_MORE_AFTER = ("disk_full",)
"""After such a failure every other item would fail too: no more are begun."""


@dataclass(frozen=True)
class Options:
    """What the command line says.

    threads   that an item is computed on; None for Machine's own choice
    resume    go on where an earlier run of the same batch ended; without it, results that are there are an error
    fresh     make again what is there
    numbers   first and last item to make, from 1; None for all: how a farm shares one job file
    ray       address of a Ray cluster; None for this machine
    make      "module:function" that makes an item (engine.batch.work.make)
    """

    jobs: Path
    out: str
    workers: int | None = None
    threads: int | None = None
    resume: bool = False
    fresh: bool = False
    numbers: tuple[int, int] | None = None
    ray: str | None = None
    blender: tuple[str, ...] | None = None
    check: bool = False
    report: bool = False
    make: str = MAKE


class Batch:
    """One run: what is done before it, what it makes, what it says at its end."""

    def __init__(self, options: Options) -> None:
        if options.blender is not None:
            check_blender(options.blender)
        self._options = options
        if options.ray is not None:
            check_cluster(options.ray)
        self._all = plan(options.jobs, options.out, options.blender is not None)
        first, last = options.numbers or (1, len(self._all))
        self._items = self._all[first - 1 : last]
        if not self._items:
            raise InputError("bad_setting", f"There is no item {first} to {last}: the batch has {len(self._all)}.", "Correct --items.")
        self._store = Store(options.out)
        self._outcomes: dict[int, Outcome] = {}
        self._few = len(self._items) <= MOST_ROWS
        self._begun = time.monotonic()

    def run(self) -> int:
        """The whole batch; its exit code. InputError where it cannot begin."""
        options = self._options
        known = [item for item in self._items if item.problem is not None]
        for item in known:
            assert item.problem is not None
            print(printable(f"{options.jobs}:{item.line}: {item.problem.message} {item.problem.fix}"), file=sys.stderr)
        if options.check:
            print(f"{len(self._items)} items, {len(known)} of them cannot be made")
            return EXIT_FAILED if known else EXIT_DONE
        self._store.prepare()
        if options.report:
            self._look()
            return self._end(False)
        todo = self._to_make()
        print(f"{len(self._items)} items: {len(todo)} to make, {len(self._items) - len(todo) - len(known)} done before, "
              f"{len(known)} cannot be made", file=sys.stderr)  # fmt: skip
        return self._end(self._make(todo) if todo else False)

    def _to_make(self) -> list[Item]:
        """The items that are neither done nor hopeless. InputError where results are there and it is not said what to do with them."""
        todo, there = [], 0
        for item in self._items:
            if item.problem is not None:
                self._outcomes[item.number] = Outcome(item.number, FAILED, problem=item.problem)
                continue
            if self._options.fresh:
                remove_old(self._store, item)
            record = None if self._options.fresh else read_record(self._store, item)
            there += record is not None
            if self._options.resume and is_done(self._store, item, record):
                self._outcomes[item.number] = Outcome(item.number, DONE, before=True, record=(record or {}) if self._few else {})
            else:
                todo.append(item)
        if there and not self._options.resume:
            raise InputError("would_overwrite", f"'{self._store.place}' holds {there} results of this batch already.",
                             "Go on with --resume, make all anew with --fresh, or choose another folder with --out.")  # fmt: skip
        return todo

    def _make(self, todo: Sequence[Item]) -> bool:
        """Make the items; whether the user stopped it."""
        options, items = self._options, {item.number: item for item in todo}
        device = "cpu" if all(item.settings.get("device") == "cpu" for item in todo) else "auto"
        machine = Machine.of(options.workers, options.threads, device)
        progress = Progress(len(todo), min(machine.workers, len(todo)), self._begun)
        if options.ray is not None:
            pool: Pool | RayCluster = RayCluster(options.ray, self._store.place, options.threads or 1, options.blender, options.make)
        else:
            pool = Pool(machine, self._store.place, options.blender, progress.tell, options.make)
        with _interrupts(pool.stop) as interrupted:
            with contextlib.closing(pool.run(todo)) as outcomes:
                for outcome in outcomes:
                    kept = outcome if self._few else replace(outcome, record={})
                    self._outcomes[outcome.number] = kept
                    progress.ended(items[outcome.number], outcome)
                    if outcome.problem is not None and outcome.problem.code in NO_MORE_AFTER:
                        pool.stop()
            progress.close()
            return interrupted.is_set()

    def _look(self) -> None:
        """What the records say, for a gallery without any work."""
        for item in self._items:
            record = read_record(self._store, item)
            if record is None and item.problem is None and read_failure(self._store, item) is None:
                continue  # nobody has tried it
            state, kept = FAILED if record is None else DONE, (record or {}) if self._few else {}
            self._outcomes[item.number] = Outcome(item.number, state, before=record is not None, problem=item.problem, record=kept)

    def _end(self, interrupted: bool) -> int:
        """Summary, gallery, exit code."""
        options = self._options
        print("\n" + summary(self._items, self._outcomes, time.monotonic() - self._begun), flush=True)
        bad = [item.number for item in self._items if (found := self._outcomes.get(item.number)) and found.state == FAILED]
        missing = [item.number for item in self._items if item.number not in self._outcomes]
        if options.numbers is None:
            write_gallery(self._all, self._store, bad, missing, options.jobs)
            print(f"{self._store.place}/{INDEX}")
        if interrupted:
            print("cancelled; --resume goes on from here", file=sys.stderr)
            return EXIT_CANCELLED
        return EXIT_FAILED if bad or missing else EXIT_DONE


@contextlib.contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Ctrl-C and a polite kill end the batch after what can end at once; a second one ends the process."""
    told = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        told.set()
        signal.signal(number, signal.SIG_DFL)
        print("\ncancelling; once more ends at once", file=sys.stderr, flush=True)
        threading.Thread(target=stop, daemon=True).start()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
