"""Where one distillation step spends its time, and how it compares with the prior's own networks.

    python -m scripts.bench.step [--device cpu|cuda] [--preset draft] [--model embedded|sd15|sd21|FOLDER] [--size 512] [--views 4]
                                 [--example examples/flower.glb] [--faces 200000] [--rasterizer warp] [--grid 80] [--compiled yes]
                                 [--steps 48]

Prints, for the settings of a real job on a real sketch, the median milliseconds a step and share of extraction, raster, shading,
encode, prior, backward and optimizer, the ratio of the whole step to the prior's networks alone (the floor: the denoiser, and an
encoder on the way there and back), how often the host waits for the GPU, and the peak memory. On the CPU times are the processor's.
sd15 and sd21 are random weights of those models' shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.compiling import CompiledSteps, Steps
from engine.conventions import SceneNormalization
from engine.device import select_device
from engine.diffusion.load import load_prior
from engine.diffusion.prior import Prior
from engine.distillation import Distillation, PromptPair
from engine.formats.meshio import load_mesh
from engine.job import texture_subject
from engine.job_fields import Hyperparameters, JobSettings
from engine.mesh import Mesh
from engine.render.base import Rasterizer, select_rasterizer
from engine.sketch.check import check_sketch
from engine.sketch_surface import fitted_subject, sketch_surface
from engine.subject import Subject
from scripts import ROOT
from scripts.bench.raster import bumpy_sphere
from scripts.bench.shaped import SHAPES, shaped_prior

PARTS = ("extraction", "raster", "shading", "encode", "prior", "encoder back", "backward", "optimizer", "rest")
NETWORKS = ("encode", "prior", "encoder back")
"""Parts that are the networks' own, where the prior has an encoder; else the denoiser alone is."""


def synchronized() -> None:
    """All that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Stopwatch:
    """Adds up seconds by name; time spent in a part inside another is counted once, for the inner.

    clock  the processor's time of this process, which other work on the machine leaves alone; on a GPU a clock on the wall
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.seconds: dict[str, float] = {}
        self.clock = clock
        self._began = 0.0

    def begin(self, gradient: torch.Tensor) -> torch.Tensor:
        """A hook of a tensor: what is timed until `end` starts where its gradient is there."""
        synchronized()
        self._began = self.clock()
        return gradient

    def end(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """A hook of a tensor, which ends what `begin` began."""

        def ended(gradient: torch.Tensor) -> torch.Tensor:
            synchronized()
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - self._began
            return gradient

        return ended

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed under `name`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            synchronized()
            start, inner_before = self.clock(), sum(self.seconds.values())
            result = function(*arguments, **named)
            synchronized()
            inner = sum(self.seconds.values()) - inner_before
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start - inner
            return result

        return timed


class Timed:
    """Another object with the stopwatch around some of its methods; the object itself stays as it is."""

    def __init__(self, inner: Any, watch: Stopwatch, **parts: str) -> None:
        self._inner, self._watch = inner, watch
        self._methods = {method: watch.wrap(part, getattr(inner, method)) for method, part in parts.items()}

    def __getattr__(self, name: str) -> Any:
        return self._methods[name] if name in self._methods else getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._inner, name, value)


class TimedPrior(Timed):
    """A prior whose encoder is timed on the way back too."""

    def encode(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """As the prior's."""
        watch: Stopwatch = self._watch
        if not images.requires_grad:
            return self._methods["encode"](images, generator)
        given = images.view_as(images)
        given.register_hook(watch.end("encoder back"))
        latents = self._methods["encode"](given, generator)
        latents.register_hook(watch.begin)
        return latents


def _timed(inner: Any, watch: Stopwatch, **parts: str) -> Any:
    """`Timed`, which stands for any object."""
    return Timed(inner, watch, **parts)


class TimedDistillation(Distillation):
    """The product's step with the stopwatch around its parts."""

    def __init__(self, subject: Subject, prior: Prior, rasterizer: Rasterizer, *arguments: Any, watch: Stopwatch) -> None:
        timed_prior: Any = TimedPrior(prior, watch, encode="encode", predict_noise="prior")
        super().__init__(
            _timed(subject, watch, geometry="extraction"), timed_prior, _timed(rasterizer, watch, rasterize="raster"), *arguments
        )
        self.optimizer = _timed(self.optimizer, watch, step="optimizer")
        self.render = watch.wrap("shading", self.render)
        self.backward = watch.wrap("backward", self.backward)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is measured. model: a name of `SHAPES`, or what a job's setting may be; size: pixels, of `SHAPES` alone; faces: a sphere with
    about so many takes the place of the example, and its texture is made; views, grid: None for the preset's; compiled: the setting."""

    device: str = "auto"
    model: str = "embedded"
    preset: str = "draft"
    size: int | None = None
    views: int | None = None
    example: Path = ROOT / "examples" / "flower.glb"
    faces: int | None = None
    rasterizer: str | None = None
    grid: int | None = None
    compiled: str = "no"
    steps: int = 48
    warmup: int = 4

    @property
    def numbers(self) -> Hyperparameters:
        """Of the job that is imitated."""
        model = "embedded" if self.model in SHAPES else self.model
        numbers = JobSettings(prompt="a red tulip flower", model=model, preset=self.preset).resolve()
        own = {"views": self.views, "grid": self.grid}
        return dataclasses.replace(numbers, **{name: value for name, value in own.items() if value is not None})


@dataclasses.dataclass(frozen=True)
class Measured:
    """rows: seconds by part, one dictionary a cycle of steps; peak bytes; waits of the host for the GPU in a step; faces drawn; networks:
    the parts that are the prior's own."""

    rows: list[dict[str, float]]
    peak: int
    waits: float
    faces: int
    networks: tuple[str, ...] = ("prior",)

    def milliseconds(self, part: str) -> float:
        """Median of a part, or of "total"."""
        return statistics.median(row.get(part, 0.0) for row in self.rows) * 1e3

    @property
    def ratio(self) -> float:
        """Whole step over what the prior's networks take of it: the denoiser, and an encoder on the way there and back."""
        return statistics.median(row["total"] / sum(row[part] for part in self.networks) for row in self.rows)


def distillation_of(bench: Bench, watch: Stopwatch) -> tuple[TimedDistillation, torch.device]:
    """A job's loop, ready for its first step."""
    device, numbers = select_device(bench.device), bench.numbers
    rasterizer, generator = select_rasterizer(device, bench.rasterizer), torch.Generator().manual_seed(0)
    if bench.faces is None:
        mesh, _ = check_sketch(load_mesh(bench.example))
        local = mesh.with_vertices(SceneNormalization.of_bounds(mesh.vertices).to_engine(mesh.vertices))
        surface = sketch_surface(local, numbers, device)
        subject: Subject = fitted_subject(surface, local, numbers, 0.5, rasterizer, generator)
    else:
        side = round((bench.faces / 2) ** 0.5)
        subject = texture_subject(Mesh(*bumpy_sphere(side, side)), numbers, device)
    if bench.model in SHAPES:
        prior: Prior = shaped_prior(bench.model, device, bench.size)
    else:
        prior = load_prior(bench.model, device, surface=True)
    return TimedDistillation(
        subject, prior, rasterizer, numbers, PromptPair("a red tulip flower"), 0.5, generator, device, watch=watch
    ), device


def measure(bench: Bench) -> Measured:
    """Times, memory and waits, after warm-up steps that are thrown away."""
    cuda = select_device(bench.device).type == "cuda"
    watch = Stopwatch(time.perf_counter if cuda else time.process_time)
    distillation, device = distillation_of(bench, watch)
    rows, faces = [], 0
    steps: Steps = CompiledSteps(distillation, distillation, print) if bench.compiled == "yes" else distillation
    for number in range(bench.warmup + bench.steps):
        if cuda and number == bench.warmup:
            torch.cuda.reset_peak_memory_stats(device)
        watch.seconds.clear()
        synchronized()
        start = watch.clock()
        faces = len(steps.step().faces)
        synchronized()
        total = watch.clock() - start
        rows.append({**watch.seconds, "rest": total - sum(watch.seconds.values()), "total": total})
    peak = torch.cuda.max_memory_allocated(device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    every = distillation.hyperparameters.geometry_every
    networks = NETWORKS if hasattr(distillation.prior, "vae") else ("prior",)
    return Measured(cycles(rows[bench.warmup :], every), peak, count_waits(distillation) if cuda else 0.0, faces, networks)


def count_waits(distillation: Distillation) -> float:
    """How often the host waits for the GPU in a step, by torch's own count; the stopwatch's waits are not counted."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            distillation.step()
        return sum("synchroniz" in str(warning.message) for warning in told)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def cycles(rows: list[dict[str, float]], length: int) -> list[dict[str, float]]:
    """Steps averaged over whole cycles, since the surface moves only at every `length`-th: no kind of step is left out."""
    whole = [rows[start : start + length] for start in range(0, len(rows) - length + 1, length)]
    return [{part: sum(row.get(part, 0.0) for row in cycle) / length for part in (*PARTS, "total")} for cycle in whole]


def print_table(found: Measured, device: str) -> None:
    """Median milliseconds and share of each part, as a Markdown table."""
    total = found.milliseconds("total")
    print(f"| part | ms (median{', processor time' if device != 'cuda' else ''}) | share |\n|---|---|---|")
    for part in PARTS:
        print(f"| {part} | {found.milliseconds(part):.1f} | {100 * found.milliseconds(part) / total:.0f} % |")
    print(f"| whole step | {total:.1f} | 100 % |")
    print(f"\nWhole step / the prior's networks ({', '.join(found.networks)}): {found.ratio:.2f} (target: at most 1.25 with the embedded")
    print("prior, 1.10 with sd21)")
    print(f"Peak memory: {found.peak / 2**30:.2f} GiB; {found.faces:,} faces; the host waits {found.waits:.0f} times a step for the GPU")
    print(f"medians of {len(found.rows)} cycles on {device}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Bench):
        kind = {"example": Path, "size": int, "views": int, "faces": int, "grid": int, "steps": int, "warmup": int}.get(field.name, str)
        parser.add_argument(f"--{field.name}", type=kind, default=field.default)
    bench = Bench(**vars(parser.parse_args()))
    print_table(measure(bench), bench.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
