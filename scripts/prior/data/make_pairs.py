"""Render pairs of pictures and geometry for the prior that sees the surface (run by Blender's Python).

    python -m scripts.prior.data.make_pairs --out FOLDER --count 3000 --seed 1

COUNT subjects, four pictures each, repainted in most of them so that captions can name parts. Starting it again goes on where it
was ended. See scripts/prior/data/pairs.py for what the folder holds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np

from scripts.prior.data import pairs
from scripts.prior.data.part_words import named_looks, repaint

REPAINTED_SHARE = 0.65
VIEWS = 4
REPORT_EVERY = 10


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True, help="subjects")
    parser.add_argument("--seed", type=int, required=True, help="another one, other subjects")
    parser.add_argument("--first", type=int, default=0, help="number of the first subject, for several processes side by side")
    parser.add_argument("--step", type=int, default=1, help="only every STEP-th subject")
    parser.add_argument("--size", type=int, default=192, help="pixels")
    parser.add_argument("--samples", type=int, default=12, help="of a pixel")
    return parser.parse_args(arguments)


def render_subject(studio, name: str, out: Path) -> list[pairs.Pair]:
    """The pictures of one subject; writes its triangles too."""
    kind, parts, subject = pairs.build_subject(name)
    v, f, part = pairs.triangles(parts)
    np.savez_compressed(out / f"{name}.npz", v=v, f=f, part=part)
    rng = random.Random(f"views {name}")
    studio.place(parts)
    made = []
    for view in range(VIEWS):
        painted, caption, told = repaint(parts, subject.caption, rng) if rng.random() < REPAINTED_SHARE else (parts, subject.caption, [])
        studio.paint(painted)
        file = f"{name}_{view}.webp"
        ground, words, world = studio.shoot(subject, rng, out / file)
        made.append(pairs.Pair(name, file, caption, ground.words, words, kind, world, named_looks(painted, caption), told))
    return made


def main(arguments: list[str] | None = None) -> None:
    """Render what is not there yet."""
    parsed = parse_arguments(arguments)
    from scripts.prior.data.pair_studio import PairStudio  # bpy takes seconds

    parsed.out.mkdir(parents=True, exist_ok=True)
    done = {pair.subject for pair in pairs.read_pairs(parsed.out)}
    studio = PairStudio(parsed.size, parsed.samples, threads=1)
    started, made = time.monotonic(), 0
    with (parsed.out / f"pairs-{parsed.seed}-{parsed.first}.jsonl").open("a", encoding="utf-8") as file:
        for index in range(parsed.first, parsed.count, parsed.step):
            name = pairs.subject_name(parsed.seed, index)
            if name in done:
                continue
            rows = render_subject(studio, name, parsed.out)
            file.writelines(map(pairs.as_line, rows))
            file.flush()
            made += len(rows)
            if index % REPORT_EVERY == 0:
                print(f"{made} pictures, {(time.monotonic() - started) / made:.2f} s each", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
