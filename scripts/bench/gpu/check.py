"""`python scripts/gpu_check.py`: parity, time, memory and whole jobs on a GPU, written into docs/gpu.md.

    python scripts/gpu_check.py [--quick] [--out FILE] [--device cpu]

Installs nothing and downloads nothing: large models are random weights of their shape. About ten minutes, and 12 GB of the GPU's
memory for all of it; what does not fit is told in its row. --device cpu tries the whole of it without a GPU, small, and by itself
writes nothing. Exit codes: 0 all rows of parity and all jobs are good, 1 some are not, 2 there is no such device.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from engine.device import TOO_SMALL, select_device
from engine.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, SketchbridgeError
from engine.formats.meshio import load_mesh, save_glb
from engine.job import run_job
from engine.job_fields import JobSettings
from engine.memory import fault_of_the_machine
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from engine.results import JobResult
from scripts import ROOT
from scripts.bench.gpu.parity import Row, parity
from scripts.bench.raster import bumpy_sphere
from scripts.bench.step import Bench, Measured, measure

BEGIN, END = "<!-- gpu_check begins -->", "<!-- gpu_check ends -->"
SHORT = {"grid": 16, "colour_grid": 16, "views": 2, "fit_steps": 2, "stage1_steps": 4, "stage2_steps": 4, "geometry_every": 4}
STEPS: dict[str, Any] = {"steps": 12, "warmup": 4}


def benches(device: str, quick: bool) -> dict[str, Bench]:
    """What is timed, by what it is called."""
    if quick:
        few: dict[str, Any] = {"device": device, "steps": 4, "warmup": 0, "views": 2}
        return {
            "embedded prior, 2 views, 800 faces": Bench(faces=800, **few),
            "tiny random weights, 2 views, 800 faces": Bench(model="tiny", faces=800, **few),
        }
    found = {"embedded prior, 4 views": Bench(device=device, **STEPS)}
    for views in (1, 4):
        for faces in (20_000, 200_000):
            name = f"SD 2.1's shape, 512, {views} view{'s' * (views > 1)}, {faces:,} faces"
            found[name] = Bench(device=device, model="sd21", size=512, views=views, faces=faces, **STEPS)
    return found


def machine(device: torch.device) -> str:
    """What was measured on, in a line."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device.type != "cuda":
        return f"On the CPU, to try the check itself; {versions}."
    facts = torch.cuda.get_device_properties(device)
    kind = f"compute capability {facts.major}.{facts.minor}, {facts.total_memory / 2**30:.1f} GiB"
    return f"{facts.name} ({kind}), CUDA {torch.version.cuda}, {versions}."


def fitting(work: Callable[[], Measured]) -> Measured | str:
    """A measurement, or why there is none; the memory of one that failed is given back."""
    try:
        return work()
    except (RuntimeError, MemoryError, SketchbridgeError) as error:
        told = error if isinstance(error, SketchbridgeError) else fault_of_the_machine(error)
        return told.message if told is not None else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def times(device: str, quick: bool) -> Iterator[str]:
    """Rows of the table of steps."""
    for name, bench in benches(device, quick).items():
        found = fitting(lambda bench=bench: measure(bench))
        if isinstance(found, str):
            yield f"| {name} | {found} | | | | |"
            continue
        shown = [f"{found.milliseconds(part):.0f}" for part in ("prior", "total")]
        yield f"| {name} | {' | '.join(shown)} | {found.ratio:.2f} | {found.peak / 2**30:.2f} GiB | {found.waits:.0f} |"


def jobs(device: str, quick: bool) -> Iterator[Row]:
    """Short whole jobs, each to a mesh file that is read again; the figure is the share of numbers that are finite."""
    sketch = load_mesh(ROOT / "examples" / "flower.glb")
    if quick:
        vertices, faces = bumpy_sphere(12, 8)
        sketch = Mesh(vertices, faces, (vertices + 1) / 2)
    numbers = SHORT | (
        {} if quick else {"grid": 80, "colour_grid": 64, "views": 4, "fit_steps": 60, "stage1_steps": 60, "stage2_steps": 20}
    )
    for mode in ("refine", "texture"):
        settings = JobSettings("a red tulip flower", mode, device=device, faces=2000, texture_size=256, overrides=numbers)
        started = time.perf_counter()
        result = run_job(sketch, settings, QuietReporter())
        yield Row(f"{mode} job, {time.perf_counter() - started:.0f} s", sound(result), 1.0)


def sound(result: JobResult) -> float:
    """1 for a result whose file is whole and whose colours differ from place to place."""
    with tempfile.TemporaryDirectory() as folder:
        save_glb(Path(folder) / "result.glb", result.mesh, result.maps)
        again = load_mesh(Path(folder) / "result.glb")
    return float(len(again.faces) > 0 and result.maps["albedo"].std() > 1)


def report(device: torch.device, quick: bool, say: Callable[[str], None] = print) -> tuple[list[str], bool]:
    """The lines of the tables, and whether all is good; each part is told as it is done."""
    lines, good = [machine(device), "", "| parity with the CPU | found | wanted | good |", "|---|---|---|---|"], True
    for part in (lambda: parity(device), lambda: jobs(str(device), quick)):
        for row in part():
            lines.append(row.line())
            say(lines[-1])
            good = good and row.passed
    head = ["", "| a step | the prior's networks, ms | whole, ms | ratio | peak memory | the host waits |", "|---|---|---|---|---|---|"]
    lines += head
    for line in times(str(device), quick):
        lines.append(line)
        say(line)
    return lines, good


def written(text: str, lines: list[str]) -> str:
    """A document with these lines between its marks. ValueError for one without them."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return "\n".join([before + BEGIN, "", *lines, "", END + after])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small models and short runs; always so on the CPU")
    parser.add_argument("--out", type=Path, help="the document whose tables are written; docs/gpu.md where a GPU was checked")
    told = parser.parse_args(arguments)
    try:
        device = select_device(told.device)
    except SketchbridgeError as error:
        print(f"No GPU can be checked here. {error.message}\nfix: {error.fix}")
        return EXIT_BAD_INPUT
    quick = told.quick or device.type == "cpu"
    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < TOO_SMALL:
        print("This GPU has little memory: only small models are tried.")
        quick = True
    lines, good = report(device, quick)
    out = told.out or (ROOT / "docs" / "gpu.md" if device.type == "cuda" else None)
    if out is not None:
        out.write_text(written(out.read_text(encoding="utf-8"), lines), encoding="utf-8")
        print(f"written to {out}")
    print("All is good." if good else "Some rows are not good: please report them with this output.")
    return EXIT_DONE if good else EXIT_FAILED
