"""How often a job draws, against windows in which a drawing costs nothing, much, or in which somebody else draws all the time."""

from __future__ import annotations

import pytest

from addon.pace import REST, SHORTEST_SECONDS, Pace

TICK = 0.1


def drawings(cost: float, seconds: float = 60.0, busy: float = 0.0) -> int:
    """How often there is a drawing in a window that each keeps for `cost` seconds, and other things for `busy` at every tick; the job
    has news all the time, and the timer comes as late as the drawing makes it."""
    pace, now, count = Pace(TICK), 100.0, 0
    while now < 100.0 + seconds:
        drawing = pace.tick(now)
        if drawing:
            pace.drawn(now)
            count += 1
        now += max(TICK, cost * drawing + busy)
    return count


def test_in_a_fast_window_news_are_drawn_twice_a_second() -> None:
    assert drawings(0.005) == pytest.approx(60 / (SHORTEST_SECONDS + TICK), rel=0.1)


@pytest.mark.parametrize("cost", [0.3, 0.8, 2.0])
def test_a_slow_window_keeps_three_quarters_of_its_time(cost: float) -> None:
    share = drawings(cost) * cost / 60
    assert 0.6 / (1 + REST) < share < 1.15 / (1 + REST)


def test_a_view_that_somebody_else_draws_all_the_time_still_grows() -> None:
    assert 2 <= drawings(0.2, busy=0.3) <= 8


def test_the_time_before_the_first_tick_and_a_late_tick_without_a_drawing_are_no_cost() -> None:
    pace = Pace(TICK)
    pace.drawn(5.0)
    assert not pace.tick(100.0) or pace.tick(100.1)
    late = Pace(TICK)
    assert late.tick(0.0) and late.tick(30.0)
