"""Where a dream arrives: at the 3D cursor, or beside what was dreamt there before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from .geometry import Part
from .job_fields import DREAM
from .scene_read import Reading
from .scene_show import MARK, Place, Selection, is_result

APART = 2.0
"""From one dream to the next, metres: none is wider."""
LONGEST_NAME = 40


def readings(context: bpy.types.Context, prompt: str, count: int, expected: Sequence[np.ndarray]) -> list[Reading]:
    """Of nothing, each with a place of its own: the cursor's, else the next free one along the world's x axis.

    expected  places [3] of dreams that have not come to their end
    """
    free = itertools.islice(_free_places(context, expected), count)
    return [_reading(context, prompt.strip()[:LONGEST_NAME], place) for place in free]


def _free_places(context: bpy.types.Context, expected: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Places [3] where no dream stands or will stand."""
    dreams = [obj for obj in context.view_layer.objects if obj is not None and is_result(obj) and obj.get(f"{MARK}_mode") == DREAM]
    taken = [*expected, *(np.array(obj.matrix_world.translation, dtype=np.float64) for obj in dreams)]
    cursor = np.array(context.scene.cursor.location, dtype=np.float64)
    for step in itertools.count():
        place = cursor + np.array([APART * step, 0.0, 0.0])
        if all(np.abs(place - other).max() > APART / 2 for other in taken):
            yield place


def _reading(context: bpy.types.Context, name: str, place: np.ndarray) -> Reading:
    matrix = np.eye(4)
    matrix[:3, 3] = place
    nothing = Part(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    return Reading(nothing, place, (), (), name, matrix, Place.of(context), Selection.of(context.view_layer))
