"""Pairs of a picture and the geometry that it shows: how they are named, made and stored.

A folder of pairs holds `pairs-*.jsonl` with one line a picture (`Pair`), the pictures, and `NAME.npz` with each subject's
triangles: `v` float32 [V, 3], `f` int32 [F, 3] and `part` int16 [F], which part of the workbench a face belongs to.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from scripts.prior.data.kinds import KINDS
from scripts.prior.data.workbench import Part, Subject, Workbench

LENS_MM, SENSOR_MM = 50, 36
HELD_OUT_EVERY = 19
"""Every nineteenth subject is kept for judging."""


@dataclass(frozen=True)
class Pair:
    """One picture of a subject.

    subject     "SEED_INDEX", which tells how to build it again (`build_subject`).
    file        the picture's name inside the folder.
    caption     the subject with its article; its colour as painted.
    background  "on sand".
    view        front, side, back or overhead.
    kind        one of KINDS.
    world       the camera's 4 x 4 world matrix, Blender's axes; a lens of 50 mm before a square sensor of 36 mm.
    looks       words of the named parts, {"roof": "red"}.
    told        the parts whose looks nobody could guess, which every caption therefore names.
    """

    subject: str
    file: str
    caption: str
    background: str
    view: str
    kind: str
    world: list[list[float]]
    looks: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


def subject_name(seed: int, index: int) -> str:
    """Of one subject of a seed."""
    return f"{seed:03d}_{index:05d}"


def is_held_out(subject: str) -> bool:
    """Whether a subject is kept for judging, by its name, so for good."""
    return int(subject.replace("_", "")) % HELD_OUT_EVERY == 0


def build_subject(name: str) -> tuple[str, list[Part], Subject]:
    """(kind, parts, subject) of a subject's name; the same on every machine."""
    seed, index = map(int, name.split("_"))
    kind = list(KINDS)[index % len(KINDS)]
    bench = Workbench(random.Random(f"pair {seed} {index}"))
    return kind, *_made(bench, kind)


def _made(bench: Workbench, kind: str) -> tuple[list[Part], Subject]:
    subject = KINDS[kind](bench)
    return bench.parts, subject


def triangles(parts: list[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices float32 [V, 3], triangles int32 [F, 3] (polygons as fans), and the number of each triangle's part int16 [F]."""
    vertices, faces, owner, first = [], [], [], 0
    for number, part in enumerate(parts):
        vertices.append(np.asarray(part.mesh.vertices, np.float32))
        for face in part.mesh.faces:
            faces += [(face[0] + first, face[k] + first, face[k + 1] + first) for k in range(1, len(face) - 1)]
        owner += [number] * (len(faces) - len(owner))
        first += len(part.mesh.vertices)
    return np.concatenate(vertices), np.asarray(faces, np.int32), np.asarray(owner, np.int16)


def read_pairs(folder: Path) -> list[Pair]:
    """All pairs of a folder whose picture is there, in the files' order; fields that `Pair` has not are passed over."""
    known = {entry.name for entry in fields(Pair)}
    pairs = []
    for path in sorted(folder.glob("pairs*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a process that was ended
            if (folder / values["file"]).exists():
                pairs.append(Pair(**{key: value for key, value in values.items() if key in known}))
    return pairs


def as_line(pair: Pair) -> str:
    """One line of a pairs file."""
    return json.dumps(asdict(pair)) + "\n"
