"""Measure the embedded prior against the renders that it learnt from.

    python -m scripts.prior.bench --data FOLDER [--count 220] [--guidance 3] [--out FOLDER]

Every row stands beside what real renders reach under the same measure: a distance is to be read
against the distance between two halves of the renders, a share against the share on renders that
were held out. Needs the network that scripts.metrics judges with.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scripts import ROOT, metrics
from scripts.prior import dataset, judges, sampling
from scripts.prior.data.captions import compose, modifiers_of
from scripts.prior.data.degradations import ALL_DESCRIPTORS, DEGRADATIONS, DOMAINS, Degradation, draw_degradation
from scripts.prior.data.palette import COLOURS
from scripts.prior.data.records import Record
from scripts.prior.networks import IMAGE_SIZE

TAUGHT_DEGRADATIONS = 300
"""Renders from which the probe of each degradation learns."""
FRONTED_KINDS = ("chair", "house")
"""Kinds whose front and back differ."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measure: str
    prior: str
    renders: str
    chance: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures of records, judged once.

    images    uint8 [N, 64, 64, 3].
    features  float64 [N, 1280].
    classes   int64 [N].
    """

    records: list[Record]
    images: np.ndarray
    features: np.ndarray
    classes: np.ndarray


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of renders")
    parser.add_argument("--model", type=Path, default=ROOT / "engine" / "diffusion" / "embedded")
    parser.add_argument("--count", type=int, default=220, help="pictures to draw")
    parser.add_argument("--real", type=int, default=1080, help="renders to compare with")
    parser.add_argument("--pair-count", type=int, default=24, help="pairs of pictures for each word")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench_prior")
    return parser.parse_args(arguments)


def colour_of(record: Record) -> str:
    """The one colour word of the caption; empty where there is none, or where there are several."""
    found = [word for word in modifiers_of(record) if word in COLOURS]
    return found[0] if len(found) == 1 and len(modifiers_of(record)) == 1 else ""


def read_images(folder: Path, records: list[Record]) -> np.ndarray:
    """uint8 [N, 64, 64, 3]."""
    pictures = dataset.read_pictures(folder, records)
    return np.stack([np.asarray(dataset.resize(picture, IMAGE_SIZE)) for picture in pictures])


def spread(records: list[Record], count: int, rng: np.random.Generator) -> list[Record]:
    """As many records of each kind, shuffled; repeated where there are too few."""
    kinds = sorted({record.kind for record in records})
    by_kind = {kind: rng.permutation([i for i, r in enumerate(records) if r.kind == kind]) for kind in kinds}
    picks = [by_kind[kinds[n % len(kinds)]][n // len(kinds) % len(by_kind[kinds[n % len(kinds)]])] for n in range(count)]
    return [records[int(index)] for index in picks]


def prompt_of(record: Record, descriptors: tuple[str, ...] = ()) -> str:
    """The full caption."""
    return compose(record.caption, "a photo of", record.background, record.view, descriptors)


class Bench:
    """Draws, judges and compares."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.network = metrics.FeatureNetwork()
        self.models = sampling.load_models(arguments.model)
        self.rng = np.random.default_rng(arguments.seed)
        known = json.loads((arguments.model / "kinds.json").read_text("utf-8"))["kinds"]
        records = dataset.read_records(arguments.data, tuple(known))
        held = [record for record in records if dataset.is_held_out(record)]
        taught = [record for record in records if not dataset.is_held_out(record)]
        self.held = self.judged(held, read_images(arguments.data, held))
        chosen = spread(taught, min(arguments.real, len(taught)), self.rng)
        self.taught = self.judged(chosen, read_images(arguments.data, chosen))
        drawn = spread(taught, arguments.count, self.rng)
        self.drawn = self.judged(drawn, self.draw([prompt_of(record) for record in drawn]))

    def judged(self, records: list[Record], images: np.ndarray) -> Pictures:
        """With features and classes."""
        return Pictures(records, images, *self.network.features_and_classes(images))

    def draw(self, prompts: list[str], seed: int = 0) -> np.ndarray:
        """Samples of the prior; uint8 [N, 64, 64, 3]."""
        options = {"guidance": self.arguments.guidance, "steps": self.arguments.steps}
        return sampling.sample_many(self.models, prompts, seed=self.arguments.seed + seed, **options)

    def distance_rows(self) -> list[Row]:
        """KID and FID of clean and of degraded pictures."""
        kid, fid = metrics.kid, metrics.fid
        ours, real = self.drawn.features, self.taught.features
        halves = real[::2], real[1::2]
        rows = [
            Row(f"{metrics.KID} to renders", _milli(kid(ours, real)), f"{_milli(kid(*halves))} (two halves)"),
            Row(f"{metrics.FID} to renders; few pictures: biased up", f"{fid(ours, real):.0f}", f"{fid(*halves):.0f} (two halves)"),
        ]
        records = self.taught.records[: len(self.drawn.records)]
        features, classes = self.network.features_and_classes(self.rebuilt(self.taught.images[: len(records)]))
        rows.append(Row(f"{metrics.KID} of renders through the autoencoder", "", _milli(kid(features, real))))
        share = judges.imagenet_share(classes, [record.kind for record in records])
        rows.append(Row("kind, by ImageNet's classes, of renders through the autoencoder", "", _percent(share), "1 %"))
        degraded = self.degraded_renders()
        rows.append(Row(f"{metrics.KID} of degraded renders to clean ones", "", _milli(kid(degraded, real))))
        count = len(self.drawn.records) // 2
        prompts = [prompt_of(record, ALL_DESCRIPTORS) for record in self.drawn.records[:count]]
        listed = self.network.features(self.draw(prompts, seed=500))
        rows.append(Row(f"{metrics.KID} to clean renders, whole descriptor list in the prompt", _milli(kid(listed, real)), ""))
        rows.append(Row(f"{metrics.KID} to degraded renders, whole descriptor list in the prompt", _milli(kid(listed, degraded)), ""))
        return rows

    def rebuilt(self, images: np.ndarray) -> np.ndarray:
        """Encoded and decoded: the best that any denoiser of these latents can show; uint8 [N, 64, 64, 3]."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        autoencoder = self.models.autoencoder
        decoded = autoencoder.decode(autoencoder.encode(pixels).latent_dist.mode()).sample
        return sampling.as_pictures(decoded)

    def degraded_renders(self) -> np.ndarray:
        """Features of renders with three to five degradations each; as many as pictures were drawn."""
        degraded = []
        for image in self.taught.images[: len(self.drawn.images)]:
            while True:
                picture, words = draw_degradation(Image.fromarray(image), self.rng)
                if words == ALL_DESCRIPTORS:
                    break
            degraded.append(np.asarray(picture))
        return self.network.features(np.stack(degraded))

    def probe_rows(self) -> list[Row]:
        """Shares of pictures that show what their prompt says, by probes taught on renders."""
        rows = [
            self._probe_row("kind, by a probe", lambda p: p.features, lambda r: r.kind),
            self._probe_row("overhead view or not, by a probe", lambda p: p.features, lambda r: str(r.view == "overhead")),
            self._probe_row("colour of the subject, by a probe", lambda p: judges.subject_colours(p.images), colour_of),
            self._probe_row("background, by a probe", lambda p: judges.border_colours(p.images), lambda r: r.background),
        ]
        shares = [judges.imagenet_share(p.classes, [r.kind for r in p.records]) for p in (self.drawn, self.held)]
        rows.append(Row("kind, by ImageNet's classes (kinds named there)", _percent(shares[0]), _percent(shares[1]), "1 %"))
        return rows

    def _probe_row(self, name: str, describe: Callable[[Pictures], np.ndarray], label_of: Callable[[Record], str]) -> Row:
        """Teach a probe on the labelled renders, ask it about ours and about held-out ones."""
        labels = [label_of(record) for record in self.taught.records]
        rows = [index for index, label in enumerate(labels) if label]
        probe = metrics.RidgeProbe(describe(self.taught)[rows], [labels[index] for index in rows])
        shares = []
        for pictures in (self.drawn, self.held):
            wanted = [label_of(record) for record in pictures.records]
            kept = [index for index, label in enumerate(wanted) if label]
            predicted = probe.predict(describe(pictures)[kept])
            shares.append(metrics.balanced_share(predicted, [wanted[index] for index in kept]))
        return Row(name, _percent(shares[0]), _percent(shares[1]), _percent(1 / len(probe.names)))

    def degradation_rows(self) -> list[Row]:
        """Do descriptors do what they say? Pairs from the same noise, without and with the word."""
        chosen = spread(self.taught.records, self.arguments.pair_count, self.rng)
        plain = self.draw([prompt_of(record) for record in chosen], seed=900)
        plain_features = self.network.features(plain)
        measured, probed = [], []
        for word, degrade in (DEGRADATIONS | DOMAINS).items():
            changed = self.draw([prompt_of(record, (word,)) for record in chosen], seed=900)
            if word in judges.DEGRADATION_MEASURES:
                measure, sign = judges.DEGRADATION_MEASURES[word]
                before, after = measure(plain), measure(changed)
                name = f'"{word}": {measure.__name__} {"up" if sign > 0 else "down"}, x{after.mean() / before.mean():.2f}'
                real = judges.compare_pairs(measure(self.held.images), measure(self.degraded(self.held.images, degrade)), sign)
                measured.append(_pair_row(name, judges.compare_pairs(before, after, sign), real))
            taught = self.taught.features[:TAUGHT_DEGRADATIONS]
            bad = self.network.features(self.degraded(self.taught.images[:TAUGHT_DEGRADATIONS], degrade))
            probe = metrics.RidgeProbe(np.concatenate([taught, bad]), ["plain"] * len(taught) + [word] * len(bad))
            features = (plain_features, self.network.features(changed))
            held = (self.held.features, self.network.features(self.degraded(self.held.images, degrade)))
            ours, real = (judges.compare_pairs(*(probe.margin(part, word) for part in parts)) for parts in (features, held))
            probed.append(_pair_row(f'"{word}", by a probe', ours, real))
        return measured + probed

    def degraded(self, images: np.ndarray, degrade: Degradation) -> np.ndarray:
        """Every picture with the same degradation; uint8 [N, 64, 64, 3]."""
        return np.stack([np.asarray(degrade(Image.fromarray(image), self.rng)) for image in images])

    def view_row(self) -> Row:
        """Front against back, for the kinds that show the difference: a probe, asked about pairs from the same noise."""
        real = (self.taught, self.held)
        records = [record for pictures in real for record in pictures.records]
        features = np.concatenate([pictures.features for pictures in real])
        rows = [n for n, r in enumerate(records) if r.kind in FRONTED_KINDS and r.view in ("front", "back")]
        views = [records[n].view for n in rows]
        half = metrics.RidgeProbe(features[rows[::2]], views[::2]).predict(features[rows[1::2]])
        probe = metrics.RidgeProbe(features[rows], views)
        count = self.arguments.pair_count
        chosen = spread([records[n] for n in rows], count, self.rng)
        drawn = {}
        for view in ("front", "back"):
            images = self.draw([prompt_of(replace(record, view=view)) for record in chosen], seed=700)
            drawn[view] = probe.margin(self.network.features(images), "back")
        pairs = judges.compare_pairs(drawn["front"], drawn["back"])
        share = metrics.balanced_share(half, views[1::2])
        name = f"front or back view of {' and '.join(FRONTED_KINDS)}, by a probe; share of pairs"
        return Row(name, _significant(pairs), f"{_percent(share)} of single ones", "50 %")


def _significant(pairs: judges.Pairs) -> str:
    """The share, with a star where chance alone would give it in fewer than 5 of 100 cases."""
    return _percent(pairs.share) + (" *" if pairs.chance < 0.05 else "")


def _pair_row(name: str, ours: judges.Pairs, real: judges.Pairs) -> Row:
    """Shares of pairs that differ as the word says, of samples and of held-out renders."""
    return Row(f"{name}; share of pairs", _significant(ours), _significant(real), "50 %")


def _milli(value: float) -> str:
    return f"{1000 * value:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def as_table(rows: list[Row]) -> str:
    """A Markdown table."""
    lines = ["| measure | embedded prior | renders | chance |", "|---|---|---|---|"]
    lines += [f"| {row.measure} | {row.prior} | {row.renders} | {row.chance} |" for row in rows]
    return "\n".join(lines)


def write_sheets(bench: Bench, folder: Path) -> None:
    """Fixed prompts, and one picture for each of the drawn prompts beside a render of it."""
    sampling.training_grid(bench.models, folder / "prompts.png")
    count = min(24, len(bench.drawn.records))
    real = {record.file: image for record, image in zip(bench.taught.records, bench.taught.images, strict=True)}
    pairs = [(r, image) for r, image in zip(bench.drawn.records, bench.drawn.images, strict=True) if r.file in real]
    images = np.stack([picture for record, image in pairs[:count] for picture in (image, real[record.file])])
    labels = [record.caption for record, _ in pairs[:count]]
    sampling.contact_sheet(images, labels, folder / "beside_renders.png", columns=4)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parsed = parse_arguments(arguments)
    torch.set_grad_enabled(False)
    started = time.monotonic()
    bench = Bench(parsed)
    rows = bench.distance_rows() + bench.probe_rows() + [bench.view_row()] + bench.degradation_rows()
    parsed.out.mkdir(parents=True, exist_ok=True)
    table = as_table(rows)
    (parsed.out / "table.md").write_text(table + "\n", "utf-8")
    write_sheets(bench, parsed.out)
    print(table)
    print("\n* more than chance: one-sided sign test, 5 %")
    counts = f"{len(bench.drawn.images)} pictures drawn, {len(bench.taught.images)} renders"
    seconds = time.monotonic() - started
    print(f"\n{counts}, {len(bench.held.images)} held out, {seconds:.0f} s; sheets in {parsed.out}")


if __name__ == "__main__":
    main()
