"""How sound sketches come out of whole draft jobs, and how far they went: what a person gets.

    python -m scripts.bench.surface_jobs [--set FIELD=VALUE] [--pictures FILE] [NAME ...]

For the examples, the stroke sketches that the tests draw and solids with a known truth (`scripts.bench.surface`): the grid that the
sketch got, handles of the sketch's own solid and of the result, parts, change of volume, deviation, notes about what is broken, and
seconds of processor time of the signed distance with the fit and of everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from engine.conventions import SceneNormalization
from engine.job import run_job
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from engine.stages import Stage
from scripts.bench.surface import EXAMPLES, sketch
from scripts.bench.surface_pictures import write_pictures
from scripts.bench.surface_truth import GENUS
from tests.engine.stroke_sketches import STROKE_SKETCHES

HEAD = ("name", "grid", "surface", "genus: solid", "result (truth)", "parts", "volume %", "deviation mean %", "95th %", "largest %",
        "broken", "sdf + fit s", "all s")  # fmt: skip


class Clock(QuietReporter):
    """Processor time of each stage, as it goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self._since, self._stage = time.process_time(), ""

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        """The stage that work is in."""
        del step, total, seconds_left, figures
        now = time.process_time()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._since, self._stage = now, stage


def row(name: str, drawn: Mesh, overrides: dict[str, object]) -> tuple[list[str], Mesh]:
    """The cells of a whole draft of a sketch (engine space), and its mesh."""
    clock, start = Clock(), time.process_time()
    prompt = f"a {name}" if name in EXAMPLES else "a wooden thing"
    result = run_job(drawn, JobSettings(prompt=prompt, overrides=overrides), clock)
    told, seconds = result.report, time.process_time() - start
    truth = f" ({GENUS[name]})" if name in GENUS else ""
    broken = sum(sentence.startswith("The result") for sentence in clock.notes)
    shares = [f"{told['volume_change_percent']:+.1f}", *(f"{told[f'deviation_{one}_percent']:.2f}" for one in ("mean", "p95", "max"))]
    shape = clock.seconds.get(Stage.SDF.value, 0.0) + clock.seconds.get(Stage.FIT.value, 0.0)
    sound = [str(told["genus_of_sketch"]), f"{told['genus']}{truth}", str(told["components"])]
    return [name, str(told["grid"]), told["surface"], *sound, *shares, str(broken), f"{shape:.1f}", f"{seconds:.0f}"], result.mesh


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="which; all where none is given")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="another number of the draft preset, as JSON")
    parser.add_argument("--pictures", type=Path, help="write sketches and results from three sides")
    options = parser.parse_args(arguments)
    overrides = {field: json.loads(value) for field, value in (given.split("=", 1) for given in options.set)}
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    pictures: dict[str, list[Mesh]] = {}
    for name in options.names or [*EXAMPLES, *STROKE_SKETCHES, *GENUS]:
        drawn = sketch(name)
        cells, mesh = row(name, drawn, overrides)
        print("| " + " | ".join(cells) + " |", flush=True)
        pictures[name] = [drawn, mesh.with_vertices(SceneNormalization.of_bounds(drawn.vertices).to_engine(mesh.vertices))]
        if options.pictures:
            write_pictures(options.pictures, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
