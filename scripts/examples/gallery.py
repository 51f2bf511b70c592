"""The README's pictures from what `scripts/demo.py --all` left behind: one column an example, the sketch above, the result below.

python -m scripts.examples.gallery [--out out] [--docs docs/images]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from scripts import ROOT

ORDER = ("flower", "mushroom", "apple", "tree", "mug", "teapot", "chair", "house")
COLUMNS, ROWS = 6, 2
"""Tiles of a contact sheet: six views, before above after."""


def tiles(sheet: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The second view (a little from the side) of the sketch and of the result."""
    width, height = sheet.width // COLUMNS, sheet.height // ROWS
    return tuple(sheet.crop((width, row * height, 2 * width, (row + 1) * height)) for row in range(ROWS))  # type: ignore[return-value]


def gallery(folder: Path) -> Image.Image:
    """All examples that have a contact sheet in `folder`, side by side."""
    sheets = [folder / f"{name}.png" for name in ORDER if (folder / f"{name}.png").is_file()]
    if not sheets:
        raise SystemExit(f"No contact sheets in {folder}: run scripts/demo.py --all first.")
    columns = [tiles(Image.open(sheet).convert("RGB")) for sheet in sheets]
    width, height = columns[0][0].size
    picture = Image.new("RGB", (width * len(columns), height * ROWS), "white")
    for column, pair in enumerate(columns):
        for row, tile in enumerate(pair):
            picture.paste(tile.resize((width, height)), (column * width, row * height))
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    gallery(arguments.out).save(arguments.docs / "gallery.jpg", quality=85)
    flower = arguments.out / "flower.png"
    if flower.is_file():
        Image.open(flower).convert("RGB").save(arguments.docs / "flower.jpg", quality=85)
    return 0


if __name__ == "__main__":
    sys.exit(main())
