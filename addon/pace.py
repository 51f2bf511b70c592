"""How often something new is drawn, by what drawing it takes here. No bpy."""

from __future__ import annotations

SHORTEST_SECONDS = 0.5
"""Between two drawings, however fast they are."""
REST = 3.0
"""Seconds left to the user for each that a drawing took: what a job shows takes a quarter of the window's time at most."""
LONGEST_DRAWING = 5.0
"""A window that is busy for longer is so with something else."""


class Pace:
    """Says when to draw again. A drawing is seen by how late the caller's timer comes after it: Blender's loop draws between two ticks.

    Where a view is drawn in software, or the scene is heavy, each drawing may take longer than the engine takes for its next surface;
    without a rest the window would do nothing else, and no click would be heard. What is not drawn is not missed: the newest is.
    """

    def __init__(self, tick_seconds: float) -> None:
        """`tick_seconds` is what the timer is asked for."""
        self._tick_seconds = tick_seconds
        self._last_tick: float | None = None
        self._drawn = self._free_at = float("-inf")
        self._cost: float | None = None
        """Seconds that the newest drawing took so far, None once it is over."""

    def tick(self, now: float) -> bool:
        """To be called at each tick; True where something new may be drawn."""
        late = 0.0 if self._last_tick is None else max(now - self._last_tick - self._tick_seconds, 0.0)
        self._last_tick = now
        if self._cost is not None:
            self._cost += late
            if late < self._tick_seconds / 2 or now - self._drawn > LONGEST_DRAWING:
                self._free_at = max(self._drawn + SHORTEST_SECONDS, now + REST * min(self._cost, LONGEST_DRAWING))
                self._cost = None
        return self._cost is None and now >= self._free_at

    def drawn(self, now: float) -> None:
        """Something new is about to be drawn."""
        self._drawn, self._cost = now, 0.0
