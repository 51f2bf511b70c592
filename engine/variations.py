"""Several textures of one job, each from the next seed. Each is what the job with that seed alone gives, to the byte; they share the model,
which is loaded once, and the unwrapping (engine.texture.finish)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import Reporter
from engine.results import JobResult

Run = Callable[[Mesh, JobSettings, Reporter, int], JobResult]
"""Runs one of the variations: the sketch, its own settings, whom to tell, and which of them it is."""


def run_variations(sketch: Mesh, settings: JobSettings, reporter: Reporter, run: Run) -> JobResult:
    """The first variation's result, with the others in `JobResult.variations`; what one raises ends all of them."""
    results: list[JobResult] = []
    told: set[str] = set()
    for index in range(settings.variations):
        own = dataclasses.replace(settings, seed=settings.seed + index, variations=1)
        results.append(run(sketch, own, _Share(reporter, index, settings.variations, told), index))

    def delivered() -> None:
        for result in results:
            result.delivered()

    return dataclasses.replace(results[0], variations=tuple(results[1:]), delivered=delivered)


class _Share:
    """One variation's part of the whole job's reports: time left includes those to come, and each note is told once."""

    def __init__(self, reporter: Reporter, index: int, count: int, told: set[str]) -> None:
        self._reporter, self._index, self._count, self._told = reporter, index, count, told
        self._started = time.monotonic()

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        """As a `Reporter`; those to come are taken to last as long as this one."""
        if seconds_left is not None:
            seconds_left += (self._count - 1 - self._index) * (time.monotonic() - self._started + seconds_left)
        self._reporter.progress(stage, step, total, seconds_left, {**figures, "variation": self._index + 1.0})

    def preview(self, image: np.ndarray) -> None:
        self._reporter.preview(image)

    def mesh(self, mesh: Mesh) -> None:
        self._reporter.mesh(mesh)

    def note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._reporter.note(text)

    def cancelled(self) -> bool:
        return self._reporter.cancelled()
