"""The estimate of the time left: near the truth from early on, whatever the machine's speed."""

from __future__ import annotations

from itertools import pairwise

import pytest

import engine.reporting as reporting
from engine.errors import Cancelled
from engine.reporting import QuietReporter, StageTimer
from engine.stages import Stage, stage_label

PLAN = {Stage.CHECK: 1.0, Stage.FIT: 10.0, Stage.STAGE1: 40.0, Stage.EXPORT: 15.0}


class Listener(QuietReporter):
    def __init__(self) -> None:
        super().__init__()
        self.left: list[float] = []
        self.stop = False

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        assert seconds_left is not None
        self.left.append(seconds_left)

    def cancelled(self) -> bool:
        return self.stop


@pytest.mark.parametrize("slowness", [0.5, 1.0, 6.0])
def test_the_estimate_nears_the_truth_and_never_says_nearly_done_at_the_start(slowness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    listener = Listener()
    clock = StageTimer(listener, PLAN)
    end = 100.0 + slowness * sum(PLAN.values())
    errors = []
    for stage, plan in PLAN.items():
        clock.start(stage)
        for step in range(20):
            now[0] += slowness * plan / 20
            clock.step(step + 1, 20)
            errors.append((end - now[0], listener.left[-1]))
    first_true, first_said = errors[0]
    assert first_said > 0.15 * first_true
    for truth, said in errors[38:-1]:
        assert abs(said - truth) < 0.3 * truth + 2.0
    assert errors[-1][1] == pytest.approx(0, abs=1e-6)


def test_a_step_raises_once_the_user_cancels() -> None:
    listener = Listener()
    clock = StageTimer(listener, PLAN)
    clock.start(Stage.CHECK)
    listener.stop = True
    with pytest.raises(Cancelled):
        clock.step(1, 2)


def test_the_bar_never_jumps_through_a_stage_whose_work_cannot_tell_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of the whole job that a host shows, elapsed / (elapsed + left), through an export in parts: half of it silent."""
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    listener = Listener()
    export = {"clean": 0.5, "unwrap": 8.0, "bake": 6.0, "compare": 1.0}
    clock = StageTimer(listener, {Stage.STAGE1: 40.0, Stage.EXPORT: export})
    shares, slowness = [], 3.0

    def work(seconds: float, parts: int, on_step: reporting.OnStep, silent: bool = False) -> None:
        for part in range(parts):
            now[0] += slowness * seconds / parts
            on_step(*((0, 1) if silent else (part + 1, parts)))
            shares.append((now[0] - 100.0) / (now[0] - 100.0 + listener.left[-1]))

    clock.start(Stage.STAGE1)
    work(40.0, 100, clock.step)
    clock.start(Stage.EXPORT)
    for name, seconds in export.items():
        work(seconds, 40, clock.part(name), silent=name == "unwrap")
    clock.close()
    steps = [after - before for before, after in pairwise(shares[10:])]
    assert max(steps) < 0.05 and min(steps) > -0.01
    assert shares[-1] == pytest.approx(1, abs=1e-6)
    assert clock.seconds[Stage.EXPORT.value] == pytest.approx(slowness * 15.5)


def test_a_stage_made_of_parts_tells_hundredths_that_only_rise() -> None:
    told: list[tuple[str, int, int]] = []

    class Steps(QuietReporter):
        def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
            told.append((stage, step, total))

    clock = StageTimer(Steps(), {Stage.EXPORT: {"unwrap": 3.0, "bake": 1.0}})
    clock.start(Stage.EXPORT)
    for done in range(4):
        clock.part("unwrap")(done, 4)
    clock.part("bake")(1, 2)
    clock.step(2, 2)
    assert {(stage, total) for stage, _, total in told} == {("export", 100)}
    steps = [step for _, step, _ in told]
    assert steps == sorted(steps) and steps[-1] == 100 and 87 in steps


def test_a_part_that_was_guessed_at_does_not_go_back_once_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], []

    class Steps(QuietReporter):
        def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
            told.append(step)

    monkeypatch.setattr("engine.reporting.time.monotonic", lambda: now[0])
    clock = StageTimer(Steps(), {Stage.EXPORT: {"unwrap": 3.0, "bake": 1.0}})
    clock.start(Stage.EXPORT)
    for done, seconds in ((0, 0.0), (0, 6.0), (1, 6.1), (50, 9.0), (100, 12.0)):
        now[0] = seconds
        clock.step(done, 100)
    assert told == sorted(told) and told[2] > 50 and told[-1] == 75


def test_every_stage_has_words_for_people() -> None:
    assert all(stage_label(stage.value) == stage.label != stage.value for stage in Stage)
    assert stage_label("starting the engine") == "Starting the engine"
