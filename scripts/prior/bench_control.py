"""Measure the prior that sees the surface on held-out assets, with its control, beside the picture prior without one.

    python -m scripts.prior.bench_control --data FOLDER [FOLDER ...] [--model FOLDER] [--count 60] [--out FOLDER]

--data holds pairs with buffers (`scripts.prior.data.draw_pairs`), from which the probe of colours and the regressor of surfaces learn.
Every figure stands beside what true pictures of the same assets reach. Needs the network that `scripts.metrics` judges with.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.camera import Cameras, view_words
from engine.diffusion.load import load_prior
from engine.diffusion.prior import ControlledPrior, Prior
from engine.guidance.pf_ode import GuidedPrompt, sample
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.control import MASK, geometry_control
from engine.views import BACKGROUNDS
from scripts import ROOT, metrics
from scripts.bench import held_out
from scripts.bench.held_out import Asset
from scripts.prior import judges, normal_regressor
from scripts.prior.colour_probe import ColourProbe, colour_word, read_examples
from scripts.prior.normal_regressor import NormalRegressor, RepaintedPictures

BATCH = 8


@dataclass(frozen=True)
class Views:
    """N views: what a prompt says, the asset, what is there of the surface [N, 5, S, S], and its true picture uint8 [N, S, S, 3]."""

    prompts: list[str]
    assets: list[Asset]
    control: Tensor
    truth: np.ndarray


def views_of(names: Sequence[str], rasterizer: Rasterizer, size: int) -> Views:
    """One view of each asset, from another side each."""
    prompts, assets, controls, truths = [], [], [], []
    for number, name in enumerate(names):
        made = held_out.asset(name)
        camera: Cameras = held_out.cameras().select([number % held_out.VIEWS])
        vertices, faces = torch.from_numpy(made.mesh.vertices), torch.from_numpy(made.mesh.faces)
        controls.append(geometry_control(rasterizer, vertices, faces, camera, size))
        shown = Image.fromarray(held_out.pictures_of_asset(rasterizer, made).lit[number % held_out.VIEWS])
        truths.append(np.asarray(shown.resize((size, size), Image.Resampling.BOX)))
        prompts.append(f"a photo of {made.prompt}, {BACKGROUNDS[0].words}, {view_words(camera)[0]}")
        assets.append(made)
    return Views(prompts, assets, torch.cat(controls), np.stack(truths))


def draw(prior: Prior, views: Views, words: str, steps: int, guidance: float) -> np.ndarray:
    """A picture of each view's prompt with more words after it; equal noise for equal places: uint8 [N, S, S, 3]."""
    drawn = []
    noise = torch.randn(len(views.prompts), *_shape(prior), generator=torch.Generator().manual_seed(0))
    for start in range(0, len(noise), BATCH):
        rows = slice(start, start + BATCH)
        said = prior.embed([prompt + words for prompt in views.prompts[rows]])
        said = said.under(views.control[rows]) if isinstance(prior, ControlledPrior) else said
        drawn.append(prior.decode(sample(prior, noise[rows], GuidedPrompt(said, guidance), steps)))
    pictures = (torch.cat(drawn).float().clamp(0, 1) * 255).round().byte()
    return pictures.permute(0, 2, 3, 1).numpy()


def _shape(prior: Prior) -> torch.Size:
    return prior.encode(torch.zeros(1, 3, prior.image_size, prior.image_size)).shape[1:]


def on_true_ground(pictures: np.ndarray, views: Views) -> np.ndarray:
    """Pictures uint8 [N, S, S, 3] with the true pictures' where there is no surface: what is judged then is the subjects alone."""
    mask = views.control[:, MASK, :, :, None].numpy()
    return (mask * pictures + (1 - mask) * views.truth).round().astype(np.uint8)


def colours_right(pictures: np.ndarray, views: Views, probe: ColourProbe) -> tuple[int, int]:
    """Of the views of kinds that the probe reads and whose prompt names one colour: how many have it, and how many there are."""
    right = total = 0
    for picture, asset, control in zip(pictures, views.assets, views.control, strict=True):
        word = colour_word(asset.prompt)
        if word and asset.kind in probe.kinds:
            total += 1
            right += probe.tells(picture[control[MASK].numpy() > 0.95] / 255) == word
    return right, total


def rows(pictures: np.ndarray, views: Views, judge: Judge) -> list[str]:
    """The figures of one set of pictures."""
    features = judge.network.features(pictures)
    kind = metrics.share_right(judge.kinds.predict(features), [asset.kind for asset in views.assets])
    right, total = colours_right(pictures, views, judge.colours)
    shown = judge.surfaces.agreement(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255, views.control)
    read = [f"{shown.outline.mean():.2f}", f"{np.nanmean(shown.normals):.1f}"]
    return [f"{1000 * metrics.kid(features, judge.real):.0f}", f"{kind:.0%}", f"{right} of {total}", *read]


@dataclass(frozen=True)
class Judge:
    """The network, features of reference pictures, a probe of kinds taught on them, the probe of colours, and what reads surfaces back."""

    network: metrics.FeatureNetwork
    real: np.ndarray
    kinds: metrics.RidgeProbe
    colours: ColourProbe
    surfaces: NormalRegressor

    @classmethod
    def taught(cls, names: Sequence[str], rasterizer: Rasterizer, data: Sequence[Path], size: int) -> Judge:
        """On pictures of these true assets, at the priors' size."""
        network, lit, kinds = metrics.FeatureNetwork(), [], []
        for name in names:
            made = held_out.asset(name)
            for picture in held_out.pictures_of_asset(rasterizer, made).lit:
                lit.append(np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX)))
                kinds.append(made.kind)
        features = network.features(np.stack(lit))
        colours, surfaces = ColourProbe(read_examples(data)), normal_regressor.taught(RepaintedPictures.read(data, held_out=False))
        return cls(network, features, metrics.RidgeProbe(features, kinds), colours, surfaces)

    def own_scores(self, data: Sequence[Path]) -> str:
        """What the probe of colours and the regressor make of pictures that they have not learnt from."""
        share, judged = self.colours.score
        told = f"{share:.1%} of {judged} held-out pictures right" if judged else "no picture of a held-out subject to judge it by"
        held_out = RepaintedPictures.read(data, held_out=True)
        shown = normal_regressor.own_score(self.surfaces, held_out)
        return (
            f"The probe of colours: {told}; it reads {', '.join(self.colours.kinds)}.\n"
            f"The regressor of surfaces, on {len(shown.outline)} held-out pictures: outline {shown.outline.mean():.3f}, "
            f"normals {np.nanmean(shown.normals):.1f} degrees off."
        )


def degradation_rows(prior: Prior, views: Views, plain: np.ndarray, steps: int, guidance: float) -> list[str]:
    """For each descriptor with a measure of its own: the share of pairs that it moves the right way."""
    lines = []
    for word, (measure, sign) in judges.DEGRADATION_MEASURES.items():
        pairs = judges.compare_pairs(measure(plain), measure(draw(prior, views, f", {word}", steps, guidance)), sign)
        lines.append(f"| {word} | {pairs.right} of {pairs.count} |")
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of pairs with buffers")
    parser.add_argument("--model", default="embedded", help="a folder of scripts.prior.surface.export; default: the one that ships")
    parser.add_argument("--count", type=int, default=60, help="held-out assets, one view each")
    parser.add_argument("--references", type=int, default=4, help="true assets of each kind to compare with")
    parser.add_argument("--pairs", type=int, default=24, help="views for each descriptor; 0 leaves them out")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench_control")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parsed = parse(arguments)
    torch.set_grad_enabled(False)
    rasterizer = select_rasterizer("cpu")
    seeing, blind = load_prior(parsed.model, surface=True), load_prior("embedded")
    size = seeing.image_size
    views = views_of(held_out.held_out_names(seeing.kinds, parsed.count), rasterizer, size)
    judge = Judge.taught(held_out.reference_names(seeing.kinds, parsed.references), rasterizer, parsed.data, size)
    print(judge.own_scores(parsed.data), flush=True)
    known = [number for number, asset in enumerate(views.assets) if asset.kind in blind.kinds]
    fewer = Views([views.prompts[n] for n in known], [views.assets[n] for n in known], views.control[known], views.truth[known])
    drawn = draw(seeing, views, "", parsed.steps, parsed.guidance)
    table = {
        "true pictures": rows(views.truth, views, judge),
        "with its control": rows(drawn, views, judge),
        "with its control, its subjects before the true grounds": rows(on_true_ground(drawn, views), views, judge),
        f"picture prior, no control, its {len(blind.kinds)} kinds": rows(draw(blind, fewer, "", parsed.steps, 3.0), fewer, judge),
    }
    print(f"\n| pictures | {metrics.KID} | kind recognized | colour right | outline, IoU | normals, degrees |\n|---|---|---|---|---|---|")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if parsed.pairs:
        some = Views(
            views.prompts[: parsed.pairs], views.assets[: parsed.pairs], views.control[: parsed.pairs], views.truth[: parsed.pairs]
        )
        print("\n| descriptor | pairs that differ as it says |\n|---|---|")
        print("\n".join(degradation_rows(seeing, some, drawn[: parsed.pairs], parsed.steps, parsed.guidance)))
    parsed.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate([a, b]) for a, b in zip(views.truth[:16], drawn[:16], strict=False)], axis=1)).save(
        parsed.out / "beside_truth.png"
    )


if __name__ == "__main__":
    main()
