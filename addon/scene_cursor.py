"""Where a dream arrives: at the 3D cursor, or beside it where it would be inside of something or on what was dreamt before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import bpy
import numpy as np
from mathutils import Vector

from .geometry import Part
from .job_fields import DREAM
from .scene_read import Reading
from .scene_show import MARK, Place, Selection, is_result

APART = 2.0
"""From one dream to the next, metres: none is wider."""
LONGEST_NAME = 40
ALL_ROUND = tuple(
    Vector(way) for way in ((1, 0.03, 0.02), (-1, 0.02, 0.03), (0.02, 1, 0.03), (0.03, -1, 0.02), (0.03, 0.02, 1), (0.02, 0.03, -1))
)
"""Along the axes, nearly: a ray along one meets edges of what stands straight."""
SURFACES = ("SOLID", "TEXTURED")
"""Ways to draw an object that hide what is inside."""
REACHED = 0.25
"""From its middle, metres: every dream sticks out of what is nearer."""


def readings(context: bpy.types.Context, prompt: str, count: int, expected: Sequence[np.ndarray]) -> list[Reading]:
    """Of nothing, each with a place of its own: the cursor's, else the next free one along the world's x axis.

    expected  places [3] of dreams that have not come to their end
    """
    free = itertools.islice(_free_places(context, expected), count)
    made = [_reading(context, prompt.strip()[:LONGEST_NAME], place) for place in free]
    around = enclosing(context, np.array(context.scene.cursor.location, dtype=np.float64))
    if around is not None:
        told = f"The 3D cursor is inside of '{around.name}', where nothing would be seen of it: it arrives beside."
        made[0] = replace(made[0], notes=(told,))
    return made


def _free_places(context: bpy.types.Context, expected: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Places [3] where no dream stands or will stand, and that nothing encloses."""
    dreams = [obj for obj in context.view_layer.objects if obj is not None and is_result(obj) and obj.get(f"{MARK}_mode") == DREAM]
    taken = [*expected, *(np.array(obj.matrix_world.translation, dtype=np.float64) for obj in dreams)]
    cursor = np.array(context.scene.cursor.location, dtype=np.float64)
    for step in itertools.count():
        place = cursor + np.array([APART * step, 0.0, 0.0])
        if all(np.abs(place - other).max() > APART / 2 for other in taken) and enclosing(context, place) is None:
            yield place


def enclosing(context: bpy.types.Context, place: np.ndarray) -> bpy.types.Object | None:
    """An object in sight that hides what is made at `place` [3], as the cube of a new file does at the cursor; None where there is a way
    out, or room, as inside of a house: walls more than `APART` away hide nothing."""
    depsgraph = context.evaluated_depsgraph_get()
    around = None
    for way in ALL_ROUND:
        hit, *_, around, _ = context.scene.ray_cast(depsgraph, Vector(place) + REACHED * way, way, distance=APART)
        if not hit or around.display_type not in SURFACES:
            return None
    return around


def _reading(context: bpy.types.Context, name: str, place: np.ndarray) -> Reading:
    matrix = np.eye(4)
    matrix[:3, 3] = place
    nothing = Part(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    return Reading(nothing, place, (), (), name, matrix, Place.of(context), Selection.of(context.view_layer))
