"""A real but tiny job for tests of the wire: it smooths the mesh with numpy, so that no test of the protocol loads torch.

What the prompt says decides how it behaves; `override` fields are those of the product.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.job_fields import DREAM, JobSettings
from engine.mesh import Mesh
from engine.reporting import Reporter, stop_if_cancelled
from engine.results import ImageSet, JobResult
from engine.texture_sets import plan

DREAMT = Mesh(
    np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32),
    np.array([[a, b, top] if top == 4 else [b, a, top] for top in (4, 5) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))], np.int32),
)
"""An octahedron around the origin: what every dream begins as here."""
SMOOTHING_STEPS = 5
"""What comes after them changes nothing, so that something is left to see of the surface."""


def run_job(sketch: Mesh, settings: JobSettings, reporter: Reporter) -> JobResult:
    """Smooth the vertices in `steps` steps; the prompt may ask for trouble."""
    print("this line would break the wire if standard output were not taken")
    words = settings.prompt.split()
    if settings.mode == DREAM:
        sketch = DREAMT
    if len(sketch.checked().faces) == 0:
        raise InputError("empty_mesh", "The mesh has no faces.", "Add faces.")
    steps = int(words[words.index("steps") + 1]) if "steps" in words else 5
    vertices = sketch.vertices.copy()
    for step in range(steps):
        stop_if_cancelled(reporter)
        if step < SMOOTHING_STEPS:
            vertices = 0.9 * vertices + 0.1 * vertices.mean(axis=0)
        reporter.progress("stage 1", step + 1, steps, 0.02 * (steps - step), {"loss": float(np.abs(vertices).mean()), "bad": float("nan")})
        reporter.mesh(sketch.with_vertices(vertices))
        reporter.preview(np.full((8, 8, 3), step % 256, np.uint8))
        misbehave(words, step)
        if "steps" in words:
            time.sleep(0.02)
    reporter.note("smoothed")
    corners = vertices[sketch.faces][..., :2].astype(np.float64)
    span = max(float(np.ptp(corners)), 1e-9)
    uvs = sketch.uvs if sketch.uvs is not None else ((corners - corners.min()) / span).astype(np.float32)
    size = settings.texture_size or 16
    rows = np.linspace(0, 255, size).astype(np.uint8)[:, None, None]
    maps = {"albedo": np.concatenate([np.broadcast_to(rows, (size, size, 1)), np.full((size, size, 2), 40, np.uint8)], axis=2)}
    maps["roughness"] = np.full((size, size, 1), 128, np.uint8)
    report = {
        "deviation_mean_percent": np.float32(1.5),
        "deviation_p95_percent": 2.25,
        "deviation_max_percent": 7.5,
        "genus": 3,
        "genus_of_sketch": 1,
        "components": 2,
        "components_of_sketch": 2,
        "volume_change_percent": -4.5,
        "deviation_of_nothing": float("inf"),
        "seed": settings.seed,
        "prompt": settings.prompt,
        "model": settings.model,
        "pid": os.getpid(),
        "torch": "torch" in sys.modules,
    }
    mesh = Mesh(vertices, sketch.faces, None, uvs, parts=sketch.parts)
    images = images_of(mesh, maps)
    return JobResult(mesh, images, report, delivered, tuple(JobResult(mesh, images) for _ in range(settings.variations - 1)))


def images_of(mesh: Mesh, maps: dict[str, np.ndarray]) -> tuple[ImageSet, ...]:
    """The same maps for each texture set and tile of the mesh."""
    if mesh.parts is None:
        return (ImageSet.whole(mesh, maps),)
    sets = plan(mesh.parts.pieces, mesh.parts.of_face, mesh.uvs)
    return tuple(ImageSet(one.name, np.zeros(0, int), dict.fromkeys(one.tiles, maps), np.zeros(0, int), one.pieces) for one in sets)


def delivered() -> None:
    """Leaves a word in the file that the environment names, for the test of delivery."""
    if "TINY_DELIVERED" in os.environ:
        Path(os.environ["TINY_DELIVERED"]).write_text("delivered")


def misbehave(words: list[str], step: int) -> None:
    """Do what the prompt's words ask for."""
    if "crash" in words:
        raise ValueError("crashed as asked")
    if "die" in words and step == 2:
        print("last words of the engine", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if "memory" in words:
        raise MemoryError
    if "lost" in words:
        raise RuntimeError("CUDA error: unspecified launch failure")
    if "deaf" in words:  # does not look at cancel any more
        time.sleep(60)
    if "hold" in words and step == 3:  # native code that does not let go of the interpreter
        ctypes.PyDLL(None).sleep(60)
    if "chatter" in words:  # more than a pipe holds
        os.write(2, b"chatter\n" * 100_000)
    if "shout" in words:
        os.write(1, b"shouted past Python\n")
