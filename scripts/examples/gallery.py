"""The README's pictures from what `scripts/demo.py --all` and `scripts.examples.blockouts` left behind: one column an example.

    python -m scripts.examples.gallery [--out out] [--docs docs/images] [--before FOLDER]

Rows: sketch, result; of blockouts, where a folder with the results of an earlier prior is given: blockout, then, now.
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


def gallery(folder: Path, before: Path | None = None) -> Image.Image:
    """All examples that have a contact sheet in `folder` (and in `before`), side by side."""
    folders = [folder] if before is None else [before, folder]
    names = [name for name in ORDER if all((each / f"{name}.png").is_file() for each in folders)]
    if not names:
        raise SystemExit(f"No contact sheets in {folder}: run scripts/demo.py --all or python -m scripts.examples.blockouts first.")
    columns = []
    for name in names:
        pairs = [tiles(Image.open(each / f"{name}.png").convert("RGB")) for each in folders]
        columns.append([pairs[0][0], *(result for _, result in pairs)])
    width, height = columns[0][0].size
    picture = Image.new("RGB", (width * len(columns), height * len(columns[0])), "white")
    for column, stack in enumerate(columns):
        for row, tile in enumerate(stack):
            picture.paste(tile.resize((width, height)), (column * width, row * height))
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--before", type=Path, help="what an earlier prior made of the blockouts")
    arguments = parser.parse_args()
    if (arguments.out / "blockouts").is_dir():
        gallery(arguments.out / "blockouts", arguments.before).save(arguments.docs / "blockouts.jpg", quality=85)
    gallery(arguments.out).save(arguments.docs / "gallery.jpg", quality=85)
    flower = arguments.out / "flower.png"
    if flower.is_file():
        Image.open(flower).convert("RGB").save(arguments.docs / "flower.jpg", quality=85)
    return 0


if __name__ == "__main__":
    sys.exit(main())
