"""How good finished textures are, and what they cost: one job a row, each in a process of its own.

    python -m scripts.bench.texture [--models apple,mug] [--variants before,now] [--steps 120,40] [--size 512] [--out out/texture]

For each model (scripts.bench.texture_models) and variant: the share of views that an ImageNet classifier puts in the right class, grey and
textured (where its package is installed); contrast across seams over that within charts; albedo change under other lights, by the same
job lit otherwise (--relight); what some view saw of what can be seen (by how open a place lies, and by area alone); effective resolution;
texels that show a wrong face; images; whether vertices, faces and UVs came back byte for byte; how far the prior's pictures of one place
lie apart; seconds; peak memory. Writes NAME_VARIANT.jpg, a row of views each, and table.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.bridge import SurfaceBridge, phases
from engine.camera import fixed_ring, orbit
from engine.conventions import SceneNormalization
from engine.device import select_device
from engine.diffusion.load import load_prior
from engine.distillation import Distillation, PromptPair
from engine.errors import ModelError
from engine.job import texture_subject
from engine.job_fields import Hyperparameters, JobSettings
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.texture.coverage import Coverage
from engine.texture.finish import finish_texture
from engine.texture.job_views import TextureViews
from engine.texture.maps import MapWishes
from engine.view_batch import ViewBatch, sample_lighting
from scripts import ROOT
from scripts.bench.texture_measures import Textures, disagreement, seam_contrast, textured_views, wrong_texels
from scripts.bench.texture_models import MODELS
from scripts.prior.judges import IMAGENET_CLASSES

OLD: dict[str, Any] = {"coverage_views": 0, "shading": "lambert", "view_noise": "fresh", "view_sampling": "stratified"}
VARIANTS: dict[str, dict[str, Any]] = {
    "before": OLD,
    "now": {},
    "sds": {"stage2_method": "sds"},
    "bridge": {"finish_steps": 6, "finish_views": 8},
    "covering": {**OLD, "coverage_views": 1},
    "physical": {**OLD, "coverage_views": 1, "shading": "pbr"},
    "surface_noise": {**OLD, "coverage_views": 1, "view_noise": "surface"},
    "antipodal": {**OLD, "coverage_views": 1, "view_sampling": "antipodal"},
    "agreeing": {**OLD, "coverage_views": 1, "view_noise": "surface", "view_sampling": "antipodal"},
}
"""Name -> settings other than the preset's; "before" is the job of version 0.1, "now" the two stages, "sds" stage 1's direction to the
end, "bridge" the two stages and the finishing bridge."""
COLUMNS = {
    "recognised": ("recognised, grey -> textured", "{}"),
    "seams": ("seams / interior", "{:.2f}"),
    "relit": ("re-lit albedo", "{:.1%}"),
    "coverage": ("coverage", "{:.2%}"),
    "area": ("of area", "{:.1%}"),
    "effective": ("effective texels a side", "{:.0f}"),
    "wrong": ("wrong texels", "{}"),
    "images": ("images", "{}"),
    "kept": ("mesh and UVs kept", "{}"),
    "apart": ("views apart", "{:.4f}"),
    "seconds": ("CPU seconds", "{:.0f}"),
    "memory": ("peak GiB", "{:.2f}"),
}


def numbers_of(variant: str, steps: tuple[int, int], preset: str) -> tuple[JobSettings, Hyperparameters]:
    """The settings of a row."""
    overrides = {"stage1_steps": steps[0], "stage2_steps": steps[1], **VARIANTS[variant]}
    settings = JobSettings(prompt="-", mode="texture", preset=preset, overrides=overrides)
    return settings, settings.resolve()


def textured(mesh: Mesh, prompt: str, numbers: Hyperparameters, light_seed: int | None = None) -> tuple[Distillation, Coverage]:
    """A whole optimization of a mesh in engine space. `light_seed` draws the lights apart from all else, for re-lighting."""
    device = select_device("auto")
    prior, generator = load_prior("embedded", device, surface=True), torch.Generator().manual_seed(0)
    views = TextureViews.of(mesh, numbers, prior.image_size, seed=0)

    def sample(numbers: Hyperparameters, drawn: torch.Generator, step: int) -> ViewBatch:
        batch = views.sampler(device)(numbers, drawn, step)
        if light_seed is None:
            return batch
        other = torch.Generator().manual_seed(light_seed + int(drawn.get_state().sum()) % 100_000)
        return dataclasses.replace(batch, light=sample_lighting(numbers, other, batch.cameras))

    subject = texture_subject(mesh, numbers, device)
    job = Distillation(subject, prior, select_rasterizer(device), numbers, PromptPair(prompt), 0.5, generator, device, sample)
    while not job.finished:
        job.step()
    if phases(numbers):
        bridge = SurfaceBridge(job, seed=0)
        for phase in range(len(phases(numbers))):
            bridge.run(phase)
    return job, views.coverage


def measure(name: str, variant: str, steps: tuple[int, int], size: int, preset: str, relight: bool, out: Path) -> dict[str, Any]:
    """One row."""
    model, (_, numbers) = MODELS[name], numbers_of(variant, steps, preset)
    mesh = model.mesh()
    started = time.process_time()
    job, coverage = textured(mesh, model.prompt, numbers)
    same = SceneNormalization((0.0, 0.0, 0.0), 1.0)
    wishes = MapWishes(coverage=coverage if numbers.coverage_views else None)
    finished, sets = finish_texture(mesh, job.subject.colour, same, size, wishes=wishes)
    textures = Textures.of(finished, sets)
    row: dict[str, Any] = {"seconds": time.process_time() - started, "images": len(textures.images)}
    row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row["coverage"] = coverage.share
    row["area"] = coverage.share_of_area
    row["effective"] = coverage.effective(finished, size, (numbers.colour_grid - 1) / 2)
    row["wrong"] = sum(wrong_texels(textures.uvs[textures.of_face == image], size)[0] for image in range(len(textures.images)))
    row["kept"] = kept(mesh, finished)
    seams = seam_contrast(finished, textures)
    row["seams"] = None if np.isnan(seams) else seams  # where all of it is one chart
    row["apart"] = disagreement(job, mesh)
    if relight:
        row["relit"] = albedo_change(mesh, model.prompt, numbers)
    cameras = orbit(torch.arange(6) * 60.0, torch.tensor([18.0, 18.0, 18.0, 18.0, -40.0, 60.0]), 3.2, 40.0)
    pictures = textured_views(finished, textures, cameras)
    row["recognised"] = recognised(finished, textures, model.kind)
    Image.fromarray(np.concatenate(list(pictures), axis=1)).save(out / f"{name}_{variant}.jpg", quality=88)
    Image.fromarray(np.concatenate(textures.images, axis=1)).save(out / f"{name}_{variant}_albedo.png")
    return row


def kept(before: Mesh, after: Mesh) -> str:
    """Whether vertices, faces and the uvs that there were are the same bytes."""
    same = before.vertices.tobytes() == after.vertices.tobytes() and before.faces.tobytes() == after.faces.tobytes()
    same = same and (before.uvs is None or (after.uvs is not None and before.uvs.tobytes() == after.uvs.tobytes()))
    return "yes" if same else "NO"


def albedo_change(mesh: Mesh, prompt: str, numbers: Hyperparameters) -> float:
    """Mean change of linear albedo over its mean, between two jobs whose lights alone differ."""
    from engine.conventions import srgb_to_linear
    from engine.texture.coverage import SurfacePoints

    points = torch.from_numpy(SurfacePoints.of(mesh, 8000).points)
    found = []
    for seed in (1, 2):
        job, _ = textured(mesh, prompt, numbers, light_seed=seed)
        with torch.no_grad():
            found.append(srgb_to_linear(job.subject.colour(points).numpy()))
    return float(np.abs(found[0] - found[1]).mean() / np.mean(found))


def recognised(mesh: Mesh, textures: Textures, kind: str) -> str:
    """'40 % -> 80 %' of views in the right class; '-' where ImageNet has no such class or the classifier is not installed."""
    from scripts.metrics import FeatureNetwork

    if kind not in IMAGENET_CLASSES:
        return "-"
    try:
        network = FeatureNetwork()
    except ModelError:
        return "-"
    cameras = fixed_ring(10, elevation=20.0, distance=3.0)
    shares = []
    for shown in (Textures.whole(mesh, np.full((4, 4, 3), 153, np.uint8)), textures):
        classes = network.features_and_classes(textured_views(mesh, shown, cameras))[1]
        shares.append(np.isin(classes, IMAGENET_CLASSES[kind]).mean())
    return f"{shares[0]:.0%} -> {shares[1]:.0%}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| model | variant | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        cells = [form.format(row[key]) if row.get(key) is not None else "-" for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {row['model']} | {row['variant']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--variants", default="before,now", help=", ".join(VARIANTS))
    parser.add_argument("--steps", default="120,40", help="of stage 1 and 2")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--relight", action="store_true", help="also two jobs under other lights, which takes three times as long")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "texture")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    first, second = (int(number) for number in given.steps.split(","))
    if given.row:
        name, variant = given.row.split(":")
        print(json.dumps(measure(name, variant, (first, second), given.size, given.preset, given.relight, given.out)))
        return 0
    rows = []
    for name in given.models.split(","):
        for variant in given.variants.split(","):
            command = [sys.executable, "-m", "scripts.bench.texture", f"--row={name}:{variant}", f"--steps={given.steps}"]
            command += [f"--size={given.size}", f"--preset={given.preset}", f"--out={given.out}", *(["--relight"] if given.relight else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            rows.append({"model": name, "variant": variant, **json.loads(done.stdout.splitlines()[-1])})
            print(table(rows[-1:]).splitlines()[-1], flush=True)
            (given.out / "table.md").write_text(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
