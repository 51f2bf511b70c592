"""How near a refined sketch comes to the thing that was sketched: held-out assets, sketched by rule, refined, compared with the truth.

    python -m scripts.bench.sketch_to_real [--assets 60] [--rows 'NAME;...'] [--styles 'NAME,...'] [--preset draft] [--set NAME=VALUE ...]

Each asset is sketched in three styles and each sketch refined by each row. What is done is kept in --out, so that the same command goes
on where it was ended, and one with more assets adds them; `--report` makes the table and the pictures of what is there. The judge of
pictures is an optional package (`scripts.metrics`).
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree

from engine.bridge import SurfaceBridge, phases
from engine.diffusion.load import EMBEDDED_FOLDER, load_prior
from engine.diffusion.prior import Prior
from engine.distillation import Distillation, PromptPair
from engine.fields import pairs
from engine.job_fields import Hyperparameters, JobSettings
from engine.mesh import Mesh
from engine.render.base import Rasterizer, select_rasterizer
from engine.sketch.check import check_sketch
from engine.sketch.soundness import Soundness
from engine.sketch_surface import fitted_subject, sketch_surface
from engine.subject import RefineSubject
from engine.texture.field import surface_samples
from scripts import ROOT
from scripts.bench import held_out
from scripts.bench.blockouts import lab
from scripts.bench.held_out import STYLES, Asset, Pictures
from scripts.bench.real_report import path_of, report

CPU = torch.device("cpu")
COVERED = 0.9


@dataclass(frozen=True)
class Row:
    """A way to refine.

    model      of the guidance; "" for none
    overrides  of the preset's numbers, given the steps of its two stages
    """

    model: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    alone: int = 0
    """The stage, 1 or 2, that takes the steps of both; 0 for none."""
    after: str = ""
    """The row whose result this one goes on from, by its finishing stage alone."""
    asked: bool = False
    """Made only where --rows names it."""


ROWS: dict[str, Row] = {
    "the sketch itself": Row(),
    "fitted, no prior": Row(),
    "picture prior, two-stage": Row(str(EMBEDDED_FOLDER)),
    "surface prior, SDS alone": Row("embedded", alone=1),
    "surface prior, stage 2 alone": Row("embedded", alone=2),
    "surface prior, two-stage": Row("embedded"),
    "surface prior, two-stage + bridge": Row("embedded", {"finish_steps": 6, "finish_views": 8}, after="surface prior, two-stage"),
    "surface prior, two-stage, antipodal views": Row("embedded", {"view_sampling": "antipodal"}, asked=True),
}


@dataclass(frozen=True)
class Outcome:
    """Of one sketch under one row, against the truth.

    chamfer   mean distance both ways between samples, % of the truth's diagonal, of what shows of the truth
    normal    mean angle between normals where both are seen, degrees
    outline   intersection over union of the silhouettes
    genus     handles more or fewer than the truth's own solid on the same grid has; NaN for a sketch, which is none
    colour    mean CIE76 where both are seen
    strayed   mean distance of the result's samples from the sketch's, %
    seconds   of CPU time, fit and stages
    """

    chamfer: float
    normal: float
    outline: float
    genus: float
    colour: float
    strayed: float
    seconds: float


class Bench:
    """Makes what is missing of assets x styles x rows, asset by asset."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.out = out
        self.settings = settings
        self.rasterizer: Rasterizer = select_rasterizer("cpu")

    def run(self, names: Sequence[str], styles: Sequence[str], rows: Sequence[str]) -> None:
        """Every asset in every style under every row that is not there yet."""
        for number, name in enumerate(names):
            wanted = [
                (style, row) for style in styles for row in rows if not path_of(self.out, name, style, row).with_suffix(".json").exists()
            ]
            if not wanted:
                continue
            asset = held_out.asset(name)
            truth = held_out.pictures_of_asset(self.rasterizer, asset)
            save(self.out / name / "truth", truth, {"kind": asset.kind, "prompt": asset.prompt})
            genus = self.solid(asset.mesh, asset).genus
            for style in styles:
                own = [row for kind, row in wanted if kind == style]
                if own:
                    self.refine(asset, truth, genus, style, own)
            print(f"{number + 1}/{len(names)} {name} {asset.prompt}", flush=True)

    def numbers(self, asset: Asset, row: Row) -> Hyperparameters:
        """The row's hyperparameters."""
        numbers = self.job(asset, row, {}).resolve()
        if not row.alone:
            return numbers
        whole = numbers.stage1_steps + numbers.stage2_steps
        return self.job(asset, row, {f"stage{stage}_steps": whole if stage == row.alone else 0 for stage in (1, 2)}).resolve()

    def job(self, asset: Asset, row: Row, more: dict[str, Any]) -> JobSettings:
        """Settings of the row's job."""
        overrides = {**self.settings["overrides"], **row.overrides, **more}
        return JobSettings(asset.prompt, model=row.model or "embedded", preset=self.settings["preset"], overrides=overrides)

    @functools.cache  # noqa: B019  one bench a process
    def prior(self, model: str) -> Prior:
        """By name, read once."""
        return load_prior(model, CPU, surface=True)

    def solid(self, mesh: Mesh, asset: Asset) -> Soundness:
        """Of the solid that the engine makes of a mesh."""
        vertices, faces = sketch_surface(mesh, self.numbers(asset, Row()), CPU).extract()
        return Soundness.of(vertices.detach().numpy(), faces.numpy())

    def refine(self, asset: Asset, truth: Pictures, genus: int, style: str, rows: Sequence[str]) -> None:
        """One sketch by these rows; the fit is shared, and its time counted for each."""
        sketch, _ = check_sketch(asset.sketch(style))
        started = time.process_time()
        numbers, generator = self.numbers(asset, Row()), torch.Generator().manual_seed(0)
        adherence = self.job(asset, Row(), {}).adherence
        fitted = fitted_subject(sketch_surface(sketch, numbers, CPU), sketch, numbers, adherence, self.rasterizer, generator)
        fit_seconds, state = time.process_time() - started, generator.get_state()
        ends: dict[str, tuple[RefineSubject, float]] = {}
        for name in rows:
            row = ROWS[name]
            subject, seconds = copy.deepcopy(ends.get(row.after, (fitted, fit_seconds)))
            generator.set_state(state)
            started = time.process_time()
            if row.model:
                self.distil(asset, row, subject, generator, adherence, staged=row.after in ends)
            seconds += time.process_time() - started
            ends[name] = subject, seconds
            if name == "the sketch itself":
                pictures, mesh = held_out.pictures_of_sketch(self.rasterizer, sketch), sketch
                handles, seconds = float("nan"), 0.0
            else:
                vertices, faces = (part.detach() for part in subject.geometry())
                pictures = held_out.pictures_of(self.rasterizer, vertices, faces, subject.colour)
                mesh = Mesh(vertices.numpy(), faces.numpy())
                handles = float(abs(Soundness.of(mesh.vertices, mesh.faces).genus - genus))
            outcome = compared(mesh, pictures, asset, truth, sketch, handles, seconds)
            save(path_of(self.out, asset.name, style, name), pictures, asdict(outcome))

    def distil(self, asset: Asset, row: Row, subject: RefineSubject, generator: torch.Generator, adherence: float, *, staged: bool) -> None:
        """All stages of the row; where both are done, the finishing stage."""
        numbers, prior = self.numbers(asset, row), self.prior(row.model)
        prompts = PromptPair(asset.prompt, None, numbers.stage2_method)
        job = Distillation(subject, prior, self.rasterizer, numbers, prompts, adherence, generator, CPU)
        while not (staged or job.finished):
            job.step()
        for phase in range(len(phases(numbers))):
            SurfaceBridge(job, 0).run(phase)


def compared(mesh: Mesh, pictures: Pictures, asset: Asset, truth: Pictures, sketch: Mesh, handles: float, seconds: float) -> Outcome:
    """A surface and its pictures against the truth's."""
    percent = 100 / asset.mesh.diagonal
    own, drawn = (surface_samples(one)[0] for one in (mesh, sketch))
    added, lost = asset.tree.query(own)[0].mean(), KDTree(own).query(asset.shown)[0].mean()
    near, strayed = (added + lost) / 2 * percent, float(KDTree(drawn).query(own)[0].mean() * percent)
    seen = np.minimum(pictures.mask, truth.mask) > COVERED
    ours, theirs = (one.normal[seen] / np.linalg.norm(one.normal[seen], axis=1, keepdims=True).clip(1e-6) for one in (pictures, truth))
    cosine = (ours * theirs).sum(1).clip(-1, 1)
    union = np.maximum(pictures.mask, truth.mask).sum()
    outline = float(np.minimum(pictures.mask, truth.mask).sum() / max(union, 1e-9))
    colour = np.linalg.norm(lab(pictures.albedo[seen]) - lab(truth.albedo[seen]), axis=1).mean()
    return Outcome(float(near), float(np.degrees(np.arccos(cosine)).mean()), outline, handles, float(colour), strayed, seconds)


def save(path: Path, pictures: Pictures, figures: dict[str, Any]) -> None:
    """The lit pictures, then the figures, whose file says that all is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_suffix(".npz"), lit=pictures.lit)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(figures), "utf-8")
    part.replace(path.with_suffix(".json"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--assets", type=int, default=60)
    parser.add_argument("--kinds", help="names with commas; default: those that the embedded prior knows")
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--rows", default=";".join(name for name, row in ROWS.items() if not row.asked), help="names with semicolons")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="hyperparameters other than the preset's")
    parser.add_argument("--references", type=int, default=4, help="true assets of each kind that the judges learn from")
    parser.add_argument("--report", action="store_true", help="make only the table and the pictures of what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "sketch_to_real")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parsed = parse(arguments)
    torch.set_num_threads(1)
    kinds = tuple(parsed.kinds.split(",")) if parsed.kinds else load_prior("embedded", CPU, surface=True).kinds
    styles, rows = parsed.styles.split(","), parsed.rows.split(";")
    bench = Bench(parsed.out, {"preset": parsed.preset, "overrides": pairs(parsed.set)})
    names = held_out.held_out_names(kinds, parsed.assets)
    if not parsed.report:
        bench.run(names, styles, rows)
    print(report(bench.out, bench.rasterizer, names, styles, rows, held_out.reference_names(kinds, parsed.references)))


if __name__ == "__main__":
    main()
