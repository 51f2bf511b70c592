"""Do colours come into the right parts? Example sketches are refined without their colours, then compared with them.

    python -m scripts.bench.blockouts --models embedded FOLDER [--names chair,mushroom] [--preset draft] [--out out/blockouts]

For each model and example: the share of the refined surface whose albedo is within a CIE76 difference of RIGHT of what the artist
painted at the nearest place, the mean difference, and the seconds of the two stages. Writes NAME.png: the sketch, then a row of views
for each model.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from engine.bridge import SurfaceBridge, phases
from engine.camera import fixed_ring
from engine.conventions import SceneNormalization
from engine.device import select_device
from engine.diffusion.load import load_prior
from engine.distillation import Distillation, PromptPair
from engine.fields import pairs
from engine.formats.meshio import load_mesh
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.images import srgb_to_linear
from engine.render.shading import Light, render_views
from engine.sketch.check import check_sketch
from engine.sketch_surface import fitted_subject, sketch_surface
from engine.subject import Subject
from engine.texture.field import surface_samples
from scripts import ROOT

PROMPTS = {
    "chair": "a wooden chair",
    "house": "a white house with a red roof",
    "mushroom": "a red mushroom with a white stalk",
    "flower": "a red tulip flower",
    "tree": "a green tree",
    "mug": "a blue coffee mug",
    "apple": "a green apple",
    "teapot": "a white teapot",
}
RIGHT = 30.0
"""CIE76. Two shades of one colour are nearer, two names of colours mostly farther."""
TILE = 160
VIEWS = 5
DISTANCE = 3.4
"""At which the longest diagonal is in the picture."""


@dataclass(frozen=True)
class Outcome:
    """Of one example under one model: right in 0..1, difference in CIE76, seconds of both stages, views uint8 [H, W, 3]."""

    right: float
    difference: float
    seconds: float
    views: np.ndarray


def lab(colours: np.ndarray) -> np.ndarray:
    """sRGB in 0..1 [N, 3] -> CIE L*a*b* (D65)."""
    linear = srgb_to_linear(torch.from_numpy(np.asarray(colours, np.float64))).numpy()
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def compare(places: np.ndarray, albedo: np.ndarray, painted: Mesh) -> tuple[float, float]:
    """Share of places [N, 3] that have the painted mesh's colour at the nearest place, and the mean difference."""
    known, colours = surface_samples(painted)
    if colours is None:
        raise ValueError("the sketch has no colours to compare with")
    difference = np.linalg.norm(lab(albedo) - lab(colours[KDTree(known).query(places)[1]]), axis=1)
    return float((difference < RIGHT).mean()), float(difference.mean())


def refine(name: str, settings: JobSettings, coloured: bool) -> Outcome:
    """An example without its colours, or with them, up to the end of the last stage."""
    numbers, device = settings.resolve(), select_device("auto")
    sketch, _ = check_sketch(load_mesh(ROOT / "examples" / f"{name}.glb"))
    painted = sketch.mapped(SceneNormalization.of_bounds(sketch.vertices).to_engine)
    given = painted if coloured else dataclasses.replace(painted, colours=None)
    rasterizer, generator = select_rasterizer(device), torch.Generator().manual_seed(settings.seed)
    subject = fitted_subject(sketch_surface(given, numbers, device), given, numbers, settings.adherence, rasterizer, generator)
    prior = load_prior(settings.model, device, surface=True)
    job = Distillation(subject, prior, rasterizer, numbers, PromptPair(settings.prompt), settings.adherence, generator, device)
    started = time.process_time()
    while not job.finished:
        job.step()
    bridge = SurfaceBridge(job, settings.seed)
    for phase in range(len(phases(numbers))):
        bridge.run(phase)
    seconds = time.process_time() - started
    with torch.no_grad():
        vertices, faces = subject.geometry()
        places, _ = surface_samples(Mesh(vertices.cpu().numpy(), faces.cpu().numpy()))
        albedo = subject.colour(torch.from_numpy(places).to(device)).cpu().numpy()
        return Outcome(*compare(places, albedo, painted), seconds, picture(subject, vertices, faces, rasterizer))


def picture(subject: Subject, vertices: Tensor, faces: Tensor, rasterizer) -> np.ndarray:
    """Views around the subject under one light, uint8 [TILE, VIEWS * TILE, 3]."""
    cameras = fixed_ring(VIEWS, elevation=20.0, distance=DISTANCE, start_azimuth=20.0).to(vertices.device)
    light = Light(torch.nn.functional.normalize(cameras.eye + torch.tensor([0.3, -0.2, 1.0], device=vertices.device), dim=1), 0.55)
    views = render_views(rasterizer, vertices, faces, cameras, TILE, subject.colour, light, supersample=2, want=("rgb",))
    assert views.rgb is not None
    return (torch.cat(list(views.rgb), dim=2).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["embedded"])
    parser.add_argument("--names", default=",".join(PROMPTS), help="names with commas")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coloured", action="store_true", help="keep the artist's colours: are they kept?")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="hyperparameters other than the preset's")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "blockout_colours")
    parsed = parser.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    overrides = pairs(parsed.set)
    print("| example | model | right | mean difference | seconds of both stages |\n|---|---|---|---|---|", flush=True)
    for name in parsed.names.split(","):
        rows = []
        for model in parsed.models:
            settings = JobSettings(prompt=PROMPTS[name], model=model, preset=parsed.preset, seed=parsed.seed, overrides=overrides)
            outcome = refine(name, settings, parsed.coloured)
            rows.append(outcome.views)
            print(f"| {name} | {model} | {outcome.right:.0%} | {outcome.difference:.1f} | {outcome.seconds:.1f} |", flush=True)
        Image.fromarray(np.concatenate(rows)).save(parsed.out / f"{name}.png")


if __name__ == "__main__":
    main()
