"""The estimate of the time left: near the truth from early on, whatever the machine's speed."""

from __future__ import annotations

import pytest

import engine.reporting as reporting
from engine.errors import Cancelled
from engine.reporting import QuietReporter, StageTimer, duration

PLAN = {"check": 1.0, "fit": 10.0, "stage 1": 40.0, "export": 15.0}


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
    clock.start("check")
    listener.stop = True
    with pytest.raises(Cancelled):
        clock.step(1, 2)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert duration(seconds) == text
