"""What the stages of a job take, before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.bridge import phases, planned_steps
from engine.export import planned_seconds as planned_export
from engine.job_fields import Hyperparameters
from engine.mesh import Mesh
from engine.stages import Stage
from engine.texture_sets import TextureSet

CELLS_A_TRIANGLE = 30
"""Of the whole grid, for each triangle of the surface that a sketch may have at most."""


def planned_seconds(
    mode: str, numbers: Hyperparameters, sketch: Mesh, sets: Sequence[TextureSet] = ()
) -> dict[Stage, float | dict[str, float]]:
    """What each stage of a job takes on two quiet cores; only their proportions matter, see `StageTimer`."""
    step = 0.015 * numbers.views * (1 + numbers.supersample**2) / 2
    finish = {name: step / 2 * planned_steps(numbers, phase) for phase, name in enumerate(phases(numbers))}
    faces = len(sketch.faces) if mode == "texture" else min(numbers.faces, 3 * numbers.grid**2)
    cells = min(numbers.grid**3, CELLS_A_TRIANGLE * numbers.grid_faces or math.inf)
    export = planned_export(faces, numbers.texture_size, images_of(sets), keeps_layout=bool(sets) and all(one.laid for one in sets))
    shape = {Stage.SDF: 0.5 + cells / 1e6 + len(sketch.faces) / 1e4, Stage.FIT: 0.5 + 0.1 * numbers.fit_steps}
    return {
        Stage.CHECK: 0.1 + len(sketch.faces) / 1e6,
        Stage.LOAD: 4.0,
        **(shape if mode == "refine" else {}),
        Stage.STAGE1: step * numbers.stage1_steps,
        Stage.STAGE2: step * numbers.stage2_steps,
        **({Stage.FINISH: finish} if finish else {}),
        Stage.EXPORT: {**export, "compare": 0.1 if mode == "texture" else 1.0 + len(sketch.faces) / 1e4},
    }


def images_of(sets: Sequence[TextureSet]) -> int:
    """Of a job with these texture sets; a refined mesh, which has none, has one."""
    return sum(len(one.tiles) for one in sets) or 1
