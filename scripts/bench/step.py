"""Where one distillation step spends its time, and how it compares with the prior's own networks.

    python -m scripts.bench.step [--preset draft] [--model embedded] [--example examples/flower.glb] [--steps 30]

Prints, for the settings of a real job on a real sketch, the median milliseconds a step and share of extraction, raster, shading,
encode, prior, backward and optimizer, the ratio of the whole step to the prior's networks alone, and the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.conventions import SceneNormalization
from engine.device import select_device
from engine.diffusion.load import load_prior
from engine.diffusion.prior import Prior
from engine.distillation import Distillation, PromptPair
from engine.formats.meshio import load_mesh
from engine.job import fitted_subject, sketch_surface
from engine.job_fields import JobSettings
from engine.render.base import Rasterizer, select_rasterizer
from engine.sketch.check import check_sketch
from engine.subject import Subject
from scripts import ROOT

PARTS = ("extraction", "raster", "shading", "encode", "prior", "backward", "optimizer", "rest")


class Stopwatch:
    """Adds up seconds by name; time spent in a part inside another is counted once, for the inner."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed under `name`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start, inner_before = time.perf_counter(), sum(self.seconds.values())
            result = function(*arguments, **named)
            inner = sum(self.seconds.values()) - inner_before
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start - inner
            return result

        return timed


class Timed:
    """Another object with the stopwatch around some of its methods; the object itself stays as it is."""

    def __init__(self, inner: Any, watch: Stopwatch, **parts: str) -> None:
        self._inner = inner
        self._methods = {method: watch.wrap(part, getattr(inner, method)) for method, part in parts.items()}

    def __getattr__(self, name: str) -> Any:
        return self._methods[name] if name in self._methods else getattr(self._inner, name)


def _timed(inner: Any, watch: Stopwatch, **parts: str) -> Any:
    """`Timed`, which stands for any object."""
    return Timed(inner, watch, **parts)


class TimedDistillation(Distillation):
    """The product's step with the stopwatch around its parts."""

    def __init__(self, subject: Subject, prior: Prior, rasterizer: Rasterizer, *arguments: Any, watch: Stopwatch) -> None:
        timed_prior = _timed(prior, watch, encode="encode", predict_noise="prior")
        super().__init__(
            _timed(subject, watch, geometry="extraction"), timed_prior, _timed(rasterizer, watch, rasterize="raster"), *arguments
        )
        self.optimizer = _timed(self.optimizer, watch, step="optimizer")
        self.render = watch.wrap("shading", self.render)
        self.backward = watch.wrap("backward", self.backward)


def measure(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds by part, one dictionary a cycle of steps, after warm-up steps that are thrown away."""
    settings = JobSettings(prompt="a red tulip flower", model=arguments.model, preset=arguments.preset)
    numbers, device = settings.resolve(), select_device(settings.device)
    mesh, _ = check_sketch(load_mesh(arguments.example))
    local = mesh.with_vertices(SceneNormalization.of_bounds(mesh.vertices).to_engine(mesh.vertices))
    rasterizer, generator, watch = select_rasterizer(device), torch.Generator().manual_seed(settings.seed), Stopwatch()
    surface = sketch_surface(local, numbers, device)
    subject = fitted_subject(surface, local, numbers, settings.adherence, rasterizer, generator)
    prior, prompts = load_prior(settings.model, device, surface=True), PromptPair(settings.prompt)
    distillation = TimedDistillation(subject, prior, rasterizer, numbers, prompts, settings.adherence, generator, device, watch=watch)
    rows = []
    for _ in range(arguments.warmup + arguments.steps):
        watch.seconds.clear()
        start = time.perf_counter()
        distillation.step()
        total = time.perf_counter() - start
        rows.append({**watch.seconds, "rest": total - sum(watch.seconds.values()), "total": total})
    return cycles(rows[arguments.warmup :], numbers.geometry_every)


def cycles(rows: list[dict[str, float]], length: int) -> list[dict[str, float]]:
    """Steps averaged over whole cycles, since the surface moves only at every `length`-th: no kind of step is left out."""
    whole = [rows[start : start + length] for start in range(0, len(rows) - length + 1, length)]
    return [{part: sum(row.get(part, 0.0) for row in cycle) / length for part in (*PARTS, "total")} for cycle in whole]


def print_table(rows: list[dict[str, float]]) -> None:
    """Median milliseconds and share of each part, as a Markdown table."""
    medians = {part: statistics.median(row.get(part, 0.0) for row in rows) * 1e3 for part in (*PARTS, "total")}
    print("| part | ms (median) | share |\n|---|---|---|")
    for part in PARTS:
        print(f"| {part} | {medians[part]:.1f} | {100 * medians[part] / medians['total']:.0f} % |")
    print(f"| whole step | {medians['total']:.1f} | 100 % |")
    ratio = statistics.median(row["total"] / row["prior"] for row in rows)
    print(f"\nWhole step / the prior's networks alone: {ratio:.2f} (target: at most 1.30)")
    print(f"Peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB (target: under 3)")
    print(f"medians of {len(rows)} cycles, torch {torch.__version__}, {torch.get_num_threads()} thread(s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--example", type=Path, default=ROOT / "examples" / "flower.glb")
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--warmup", type=int, default=4)
    print_table(measure(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
