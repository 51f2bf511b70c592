"""Compare the engine's rasterizer with deodr (BSD, C++), in one run: time, memory, and whether both see the same faces.

    python -m scripts.bench.raster [--size 512] [--rounds 25] [--json FILE]

deodr is a benchmark-only dependency: `pip install --no-deps deodr` in the engine's environment (it needs numpy and scipy).
Both draw one view of a bumpy sphere, all faces, neither culling. Timed are

    ours    `rasterize`: from clip space, projection included, to ids, perspective-correct barycentrics and depth
    deodr   its core on vertices projected beforehand, one colour channel, its input checks and antialiasing off

in turns, so that a change of the machine's load falls on both. Ids come out of deodr by giving each face a flat colour of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from engine.camera import orbit
from engine.render.base import select_rasterizer

GRIDS = {20_000: (100, 100), 100_000: (224, 224)}
"""Faces -> columns and rows of the sphere's grid; it has 2 * columns * rows faces."""

METHODS = ("warp", "deodr")

MISSING_DEODR = "deodr is not installed. It is needed for this comparison only: pip install --no-deps deodr"


def bumpy_sphere(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 [V, 3] and faces int32 [F, 3] of a sphere with bumps that hide each other."""
    around = np.arange(columns) * (2 * math.pi / columns)
    down = np.linspace(0.001, math.pi - 0.001, rows + 1)
    u, v = np.meshgrid(around, down, indexing="ij")
    radius = 0.8 + 0.12 * np.sin(7 * u) * np.sin(5 * v) + 0.08 * np.sin(13 * v + 3 * u)
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=-1) * radius[..., None]
    i, j = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
    a, b = i * (rows + 1) + j, (i + 1) % columns * (rows + 1) + j
    faces = np.concatenate([np.stack([a, a + 1, b], -1).reshape(-1, 3), np.stack([b, a + 1, b + 1], -1).reshape(-1, 3)])
    return points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def clip_positions(vertices: np.ndarray) -> torch.Tensor:
    """Clip space [1, V, 4] of the benchmark's one camera."""
    return orbit(23.0, 17.0, 2.6, 40.0).clip(torch.from_numpy(vertices))


def our_render(pos: torch.Tensor, faces: np.ndarray, size: int) -> Callable[[], np.ndarray]:
    """A function that rasterizes and returns the ids [H, W] (0: nothing), row 0 at the bottom."""
    rasterizer, tri = select_rasterizer("cpu"), torch.from_numpy(faces)

    def render() -> np.ndarray:
        with torch.no_grad():
            return rasterizer.rasterize(pos, tri, (size, size))[0][0, :, :, 3].numpy()

    return render


def deodr_render(pos: torch.Tensor, faces: np.ndarray, size: int, flat_ids: bool) -> Callable[[], np.ndarray]:
    """A function that draws with deodr and returns the picture [H, W], rows as ours; `flat_ids`: each face in the colour id."""
    from deodr.differentiable_renderer import Scene2D, renderScene

    clip = pos[0].double().numpy()
    screen = (clip[:, :2] / clip[:, 3:] * 0.5 + 0.5) * size - 0.5
    depth, colours = clip[:, 2] / clip[:, 3], np.ones((len(clip), 1))
    if flat_ids:
        screen, depth = screen[faces.reshape(-1)], depth[faces.reshape(-1)]
        colours = np.repeat(np.arange(1, len(faces) + 1, dtype=np.float64), 3)[:, None]
        faces = np.arange(3 * len(faces)).reshape(-1, 3)
    none = np.zeros(len(faces), dtype=bool)
    indices = np.ascontiguousarray(faces, dtype=np.uint32)
    scene = Scene2D(
        faces=indices,
        faces_uv=indices,
        ij=np.ascontiguousarray(screen),
        depths=np.ascontiguousarray(depth),
        textured=none,
        uv=np.zeros((len(screen), 2)),
        shade=np.zeros(len(screen)),
        colors=colours,
        shaded=none,
        edgeflags=np.zeros((len(faces), 3), dtype=bool),
        height=size,
        width=size,
        nb_colors=1,
        texture=np.zeros((0, 0, 1)),
        background_color=np.zeros(1),
        backface_culling=False,
    )
    image, z_buffer = np.zeros((size, size, 1)), np.zeros((size, size))

    def render() -> np.ndarray:
        renderScene(scene, 0.0, image, z_buffer, check_valid=False)
        return image[..., 0]

    return render


def make_render(name: str, faces: int, size: int) -> Callable[[], np.ndarray]:
    """The timed function of one method: "warp", or "deodr"."""
    vertices, triangles = bumpy_sphere(*GRIDS[faces])
    pos = clip_positions(vertices)
    return our_render(pos, triangles, size) if name == "warp" else deodr_render(pos, triangles, size, flat_ids=False)


def time_in_turns(renders: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds [rounds, 2] of each method: on the clock, and of this thread's processor time (which other programs disturb less)."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in renders}
    for render in renders.values():
        render()
    for _ in range(rounds):
        for name, render in renders.items():
            clock, processor = time.perf_counter(), time.thread_time()
            render()
            spent[name].append((1e3 * (time.perf_counter() - clock), 1e3 * (time.thread_time() - processor)))
    return {name: np.array(values) for name, values in spent.items()}


def agreement(faces: int, size: int) -> float:
    """Share of pixels that show the same face (or nothing) in both."""
    vertices, triangles = bumpy_sphere(*GRIDS[faces])
    pos = clip_positions(vertices)
    ours = our_render(pos, triangles, size)().round().astype(np.int64)
    theirs = deodr_render(pos, triangles, size, flat_ids=True)().round().astype(np.int64)
    if (ours > 0).mean() < 0.2:
        raise SystemExit("The benchmark's picture is nearly empty: something is wrong with the camera.")
    return float((ours == theirs).mean())


def peak_growth(name: str, faces: int, size: int) -> float:
    """MB by which a fresh process's peak memory grows over three renders; measured in a child process (Linux), else nan."""
    if not Path("/proc/self/clear_refs").exists():
        return math.nan
    command = [sys.executable, "-m", "scripts.bench.raster", "--size", str(size), "--measure-memory", name, str(faces)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak_growth(name: str, faces: int, size: int) -> None:
    """The child's part of `peak_growth`. The first, small render loads libraries and kernels."""

    def status(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith(field)).split()[1]) / 1024

    make_render(name, min(GRIDS), 8)()
    render = make_render(name, faces, size)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    for _ in range(3):
        render()
    print(status("VmHWM") - before)


def compare(faces: int, size: int, rounds: int) -> dict[str, Any]:
    """One mesh, all figures. Ratios are medians of the rounds' own ratios."""
    spent = time_in_turns({name: make_render(name, faces, size) for name in METHODS}, rounds)
    median = {name: np.median(values, axis=0) for name, values in spent.items()}
    ratio, cpu_ratio = np.median(spent["warp"] / spent["deodr"], axis=0)
    return {
        "faces": faces,
        "ms": {name: float(median[name][0]) for name in METHODS},
        "cpu_ms": {name: float(median[name][1]) for name in METHODS},
        "peak_mb": {name: peak_growth(name, faces, size) for name in METHODS},
        "ratio": float(ratio),
        "cpu_ratio": float(cpu_ratio),
        "agreement": agreement(faces, size),
    }


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels a side (512)")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds (25)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--measure-memory", nargs=2, metavar=("METHOD", "FACES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure_memory:
        print_peak_growth(options.measure_memory[0], int(options.measure_memory[1]), options.size)
        return
    try:
        import deodr  # noqa: F401
    except ImportError:
        raise SystemExit(MISSING_DEODR) from None
    rows = [compare(faces, options.size, options.rounds) for faces in GRIDS]
    print(f"{options.size} x {options.size}, one view, {options.rounds} rounds in turns, one thread; medians")
    print(f"{'faces':>8} {'method':>8} {'ms':>8} {'CPU ms':>8} {'peak MB':>8} {'ours/deodr':>11} {'by CPU':>7} {'same ids':>9}")
    for row in rows:
        for name in METHODS:
            tail = f"{row['ratio']:11.2f} {row['cpu_ratio']:7.2f} {row['agreement']:9.3%}" if name == "warp" else ""
            print(f"{row['faces']:8,} {name:>8} {row['ms'][name]:8.2f} {row['cpu_ms'][name]:8.2f} {row['peak_mb'][name]:8.1f} {tail}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
