"""The smallest real job, and how what it gives is compared: a box, two pictures as its model, a second of work."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import multiprocessing
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.job_fields import JobSettings
from engine.mesh import Mesh

NUMBERS = {"grid": 16, "colour_grid": 16, "views": 1, "supersample": 1, "fit_steps": 4, "stage1_steps": 12, "stage2_steps": 6,
           "geometry_every": 2, "faces": 300, "texture_size": 32}  # fmt: skip


@dataclass
class Row:
    """One line of the table. faults holds a sentence for each try that was not survived."""

    what: str
    tried: int = 0
    remark: str = ""
    faults: list[str] = field(default_factory=list)

    def count(self, fault: str | None) -> None:
        """One try, and what was wrong with it, if anything."""
        self.tried += 1
        if fault:
            self.faults.append(fault)

    def __str__(self) -> str:
        return f"| {self.what} | {self.tried} | {self.tried - len(self.faults)} | {self.remark} |"


def box(layout: bool) -> Mesh:
    """A box of 12 faces, a little askew in size; with a layout that gives each face a place of its own, or none."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 0.8) for z in (0, 0.6)], dtype=np.float32)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    if not layout:
        return Mesh(corners, faces)
    cell = np.stack(np.divmod(np.arange(12), 4), axis=-1)[:, None] / 4
    triangle = np.array([[0.02, 0.02], [0.22, 0.02], [0.02, 0.22]])
    return Mesh(corners, faces, uvs=(cell + triangle).astype(np.float32))


def board(folder: Path) -> Path:
    """A model of two pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in (("red", (200, 40, 30)), ("blue", (30, 60, 180))):
        picture = Image.new("RGB", (64, 64), (230, 230, 230))
        picture.paste(colour, (16, 16, 48, 48))
        picture.save(folder / f"{name}.png")
    return folder


def settings(model: Path, mode: str = "refine", **changes: Any) -> JobSettings:
    """Of the small job."""
    return JobSettings(prompt="a red box", mode=mode, seed=3, model=str(model), overrides={**NUMBERS, **changes})


def digest(mesh: Mesh, maps: dict[str, Any]) -> str:
    """Equal where two results are, in every bit."""
    found = hashlib.sha256()
    for array in (mesh.vertices, mesh.faces, mesh.uvs, *maps.values()):
        found.update(b"none" if array is None else array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def plain(settings: JobSettings) -> dict[str, Any]:
    """As they travel on the wire."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def rows_of(attack: str, share: float, seed: int = 0, package: str = "scripts.bench.reliability") -> Iterator[Row]:
    """The rows of one attack as they come, in a process of its own: attacks set limits and count what a process holds. One that breaks off,
    whatever ends it, leaves a row that says so.

    share: of the full number of tries; seed: of what is drawn; package: where the attack's module is
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell_rows, args=(theirs, f"{package}.{attack}", share, seed), daemon=True)
    process.start()
    theirs.close()
    try:
        while (row := ours.recv()) is not None:
            yield row
    except EOFError:
        process.join()
        yield Row(attack, 1, faults=[f"{attack} broke off: its process ended with status {process.exitcode}"])
    process.join()


def _tell_rows(pipe: Connection, attack: str, share: float, seed: int) -> None:
    """Run an attack in a folder that is removed afterwards, and send its rows, then None."""
    with pipe, tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        try:
            for row in importlib.import_module(attack).attack(share, Path(folder), seed):
                pipe.send(row)
        except Exception:
            pipe.send(Row(attack, 1, faults=[f"{attack} broke off: {traceback.format_exc()}"]))
        pipe.send(None)
