"""Pairs without Blender: subjects drawn by the engine's rasterizer, for more shapes in less time (run by the engine's Python).

    python -m scripts.prior.data.draw_pairs --out FOLDER --count 2000 --seed 60 [--kinds chair,house]

The same folder as scripts.prior.data.make_pairs and make_buffers leave, without shadows and bounces of light. Starting it again goes
on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from engine.errors import SketchbridgeError
from engine.views import BACKGROUNDS
from scripts.prior.data import pairs
from scripts.prior.data.buffers import SIZE, make_buffers
from scripts.prior.data.kinds import KINDS

VIEWS = 4
REPORT_EVERY = 20
ELEVATION = (-5.0, 60.0)
"""Degrees; uniform on the sphere's surface."""
DISTANCE = (1.75, 2.2)
"""Of the camera, in sizes of the subject."""
FRONT, BACK, OVERHEAD = 40.0, 140.0, 55.0
"""Degrees from the front below which a view is a front view and above which a back view; elevation above which it is overhead."""


def random_view(height: float, radius: float, rng: np.random.Generator) -> tuple[list[list[float]], str]:
    """A camera about a subject that stands on z = 0 and faces -y: its world matrix (Blender's axes), and the view's word."""
    azimuth = rng.uniform(-math.pi, math.pi)
    low, high = (math.sin(math.radians(angle)) for angle in ELEVATION)
    elevation = math.asin(rng.uniform(low, high))
    backward = np.array([math.cos(elevation) * math.sin(azimuth), -math.cos(elevation) * math.cos(azimuth), math.sin(elevation)])
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    eye = np.array([0.0, 0.0, height / 2]) + backward * max(height, 2 * radius) * rng.uniform(*DISTANCE)
    world = np.eye(4)
    world[:3] = np.stack([right, np.cross(backward, right), backward, eye], axis=1)
    turned = abs(math.degrees(azimuth))
    word = "overhead" if math.degrees(elevation) > OVERHEAD else "front" if turned < FRONT else "back" if turned > BACK else "side"
    return world.tolist(), word


def draw_subject(name: str, out: Path) -> list[pairs.Pair]:
    """Pictures and buffers of one subject. InputError where its made-up sketch has no surface."""
    rng = np.random.default_rng([int(part) for part in name.split("_")])
    kind, _, subject = pairs.build_subject(name)
    views = [random_view(subject.height, subject.radius, rng) for _ in range(VIEWS)]
    made = [pairs.Pair(name, f"{name}_{number}.webp", subject.caption, "", word, kind, world) for number, (world, word) in enumerate(views)]
    stored = np.load(make_buffers(name, made, out))
    words = json.loads(str(stored["words"]))
    paints = stored["shaded"].shape[1]
    finished = []
    for number, pair in enumerate(made):
        background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
        mask = (stored["true"][number, 3:4].astype(np.float32) - 128).clip(0) / 127
        drawn = stored["shaded"][number, -1] + (1 - mask) * 255 * np.array(background.colour).reshape(3, 1, 1)
        Image.fromarray(drawn.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)).save(out / pair.file, quality=92)
        said = {key: value for key, value in words[(number + 1) * paints - 1].items() if key != "parts"}
        finished.append(pairs.Pair(**{**vars(pair), **said, "background": background.words}))
    return finished


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True, help="subjects of all kinds together")
    parser.add_argument("--seed", type=int, required=True, help="another one, other subjects")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names with commas; the others' numbers are left out")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parsed.out.mkdir(parents=True, exist_ok=True)
    done = {pair.subject for pair in pairs.read_pairs(parsed.out)}
    wanted, names = set(parsed.kinds.split(",")), list(KINDS)
    started, made = time.monotonic(), 0
    with (parsed.out / f"pairs-{parsed.seed}-0.jsonl").open("a", encoding="utf-8") as file:
        for index in range(parsed.count):
            name = pairs.subject_name(parsed.seed, index)
            if name in done or names[index % len(names)] not in wanted:
                continue
            try:
                rows = draw_subject(name, parsed.out)
            except SketchbridgeError as error:
                print(f"{name}: {error}", flush=True)
                continue
            file.writelines(map(pairs.as_line, rows))
            file.flush()
            made += 1
            if made % REPORT_EVERY == 0:
                print(f"{made} subjects of {SIZE} pixels, {(time.monotonic() - started) / made:.2f} s each", flush=True)


if __name__ == "__main__":
    main()
