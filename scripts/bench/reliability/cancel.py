"""How long a job may go on after Cancel: the longest stretch of work between two questions whether to stop, in each stage of large jobs.

Counted is the processor time of the job's own process: what other processes do for it is ended at once, and a busy machine changes
nothing.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine import job
from engine.cli import BEFORE_THE_WORK
from engine.errors import SketchbridgeError
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from scripts.bench.reliability.tiny import Row, board

LONGEST_SECONDS = 1.0
FIRST_STEP_SECONDS = 30.0
STROKES, FACES = 5000, 1_000_000
STEPS = {"stage1_steps": 4, "stage2_steps": 2}


class Listener(QuietReporter):
    """Notes the longest stretch between two questions in each stage, and what it all took until the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.longest: dict[str, float] = {}
        self.until_first_step = 0.0
        self._stage, self._last = "start", time.process_time()

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        self._note()
        self._stage = stage
        if stage == "stage 1" and step and not self.until_first_step:
            self.until_first_step = _all_processor_time()

    def cancelled(self) -> bool:
        self._note()
        return False

    def _note(self) -> None:
        now = time.process_time()
        self.longest[self._stage] = max(self.longest.get(self._stage, 0.0), now - self._last)
        self._last = time.process_time()


def attack(share: float, folder: Path, seed: int) -> Iterator[Row]:
    """Three large jobs, of a share of their faces; each row comes when its job is done, whatever becomes of the others."""
    model = board(folder / "board")
    jobs = {
        f"{round(STROKES * share):,} loose strokes, refine": (loose_strokes(round(STROKES * share)), "refine"),
        f"{round(FACES * share):,} faces, refine": (wavy_ball(round(FACES * share)), "refine"),
        f"{round(FACES * share):,} faces without UVs, texture": (wavy_ball(round(FACES * share)), "texture"),
    }
    for name, (mesh, mode) in jobs.items():
        try:
            yield _row(name, mesh, mode, model)
        except (SketchbridgeError, MemoryError) as error:
            yield Row(f"stages without a second's silence: {name}", 1, faults=[f"{name} ended with {type(error).__name__}: {error}"])


def _row(name: str, mesh: Mesh, mode: str, model: Path) -> Row:
    before, listener = _all_processor_time(), Listener()
    settings = JobSettings(prompt="a red ball", mode=mode, model=str(model), overrides=STEPS)
    job.run_job(mesh, settings, listener)
    took, first = _all_processor_time() - before, listener.until_first_step - before
    row = Row(f"stages without a second's silence: {name}")
    for stage, seconds in listener.longest.items():
        late = seconds > LONGEST_SECONDS and stage not in BEFORE_THE_WORK  # there nobody needs to be asked
        row.count(f"{stage}: {seconds:.2f} s between two questions" if late else None)
    if "strokes" in name and first > FIRST_STEP_SECONDS:
        row.faults.append(f"{first:.0f} s of processor time to the first step")
    silences = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in listener.longest.items())
    row.remark = f"{first:.0f} s of processor time to the first step, {took:.0f} s in all; longest silence in s: {silences}"
    return row


def _all_processor_time() -> float:
    """Seconds of this process and of those that it waited for."""
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def loose_strokes(count: int, sides: int = 5, rings: int = 6) -> Mesh:
    """Open tubes of 2 * sides * (rings - 1) triangles each, crossing each other all over a ball, as somebody paints in VR."""
    draw, along = np.random.default_rng(0), np.linspace(0, 1, rings)
    centre = draw.normal(size=(count, 3))
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    way = np.cross(centre, draw.normal(size=(count, 3)))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    path = centre[:, None] * (1 + 0.02 * np.sin(6 * along))[:, None] + way[:, None] * ((along - 0.5) * 0.3)[:, None]
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[:, None] * np.cross(centre, way)[:, None] + np.sin(angle)[:, None] * centre[:, None]
    vertices = (path[:, :, None] + 0.012 * ring[:, None]).reshape(-1, 3)
    place = np.arange(count * rings * sides).reshape(count, rings, sides)
    a, b = place[:, :-1], place[:, 1:]
    quads = np.stack([a, b, np.roll(b, -1, axis=-1), np.roll(a, -1, axis=-1)], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


def wavy_ball(count: int) -> Mesh:
    """A closed surface of about so many faces, with waves, without UVs."""
    across = max(8, round(np.sqrt(count)))
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, across, endpoint=False), np.linspace(0, np.pi, across // 2 + 1)[1:-1], indexing="ij")
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=-1)
    points = points * (1 + 0.02 * np.sin(20 * points[..., :1]))
    rows = points.shape[1]
    place = np.arange(across * rows).reshape(across, rows)
    a, b = place, np.roll(place, -1, axis=0)
    quads = np.stack([a[:, :-1], a[:, 1:], b[:, 1:], b[:, :-1]], axis=-1).reshape(-1, 4)
    north, south = across * rows, across * rows + 1
    caps = [np.stack([np.full(across, north), a[:, 0], b[:, 0]], axis=-1), np.stack([np.full(across, south), b[:, -1], a[:, -1]], axis=-1)]
    vertices = np.concatenate([points.reshape(-1, 3), [[0, 0, 1.0], [0, 0, -1.0]]])
    return Mesh(vertices.astype(np.float32), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *caps]).astype(np.int32))
