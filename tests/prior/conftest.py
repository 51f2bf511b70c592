"""A folder of pictures like those of the generator, made without Blender."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

COLOURS = {"red": (200, 40, 30), "blue": (40, 60, 190), "yellow": (220, 190, 40)}
GROUNDS = {"on a white background": (230, 230, 230), "on a grass field": (60, 120, 50)}
VIEWS = ("front", "side", "back", "overhead")


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """24 pictures of 64 pixels, of two kinds: discs ("apple") and squares ("mug")."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = []
    for number in range(24):
        kind = ("apple", "mug")[number % 2]
        colour = list(COLOURS)[number % 3]
        ground = list(GROUNDS)[number // 2 % 2]
        image = Image.new("RGB", (64, 64), GROUNDS[ground])
        draw = ImageDraw.Draw(image)
        shape = draw.ellipse if kind == "apple" else draw.rectangle
        shape((18 + number % 5, 20, 44 + number % 5, 48), fill=COLOURS[colour])
        name = f"{number:04d}.webp"
        image.save(folder / name, lossless=True)
        caption = f"a {colour} {'coffee mug' if kind == 'mug' else kind}"
        record = {"file": name, "caption": caption, "background": ground, "view": VIEWS[number % 4], "kind": kind}
        lines.append(json.dumps(record))
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
