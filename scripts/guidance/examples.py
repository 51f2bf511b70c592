"""Pictures for the document: paintings made real beside SDEdit, illusions by SDS and by two stages, and one over four boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.diffusion.prior import Prior
from engine.guidance.methods import METHODS
from engine.lab.edit import Edit, edit_image
from engine.lab.illusion import make_illusion
from engine.lab.recipes import for_prior, recipe
from engine.pictures import to_bytes
from engine.reporting import QuietReporter
from scripts.prior.data.captions import compose
from scripts.prior.data.degradations import painting
from scripts.prior.data.records import Record
from scripts.prior.dataset import is_held_out, read_pictures, resize

STRENGTH = 0.5
BOARD_KINDS = ("mushroom", "mug", "rose", "teapot")
"""Of the four boards of an illusion, of which the data's first kinds take the place where it lacks one."""
BOARD_SIDE = 64


def paintings(prior: Prior, data: Path, records: list[Record], steps: int, folder: Path) -> Path:
    """A held-out render of each kind painted over by the data's own painting effect; rows: render, painting, SDEdit, calibrated,
    anchored."""
    of_kind: dict[str, Record] = {}
    for record in records:
        if is_held_out(record):
            of_kind.setdefault(record.kind, record)
    chosen = [of_kind[kind] for kind in sorted(of_kind)]
    renders = [resize(image, prior.image_size) for image in read_pictures(data, chosen)]
    painted = [painting(image, np.random.default_rng(number)) for number, image in enumerate(renders)]
    init = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 for image in painted])
    rows = [torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 for image in renders]), init]
    results: list[list[Tensor]] = [[], [], []]
    for number, record in enumerate(chosen):
        prompt = compose(record.caption, background=record.background, view=record.view)
        for place, method in enumerate(("sdedit", "calibrated", "anchored")):
            numbers = for_prior(recipe(method, "draft", steps=20 if METHODS[method].samples else steps), prior.image_size)
            generator = torch.Generator().manual_seed(number)
            numbers = replace(numbers, rate=0.02, scale=numbers.scale if method == "calibrated" else 3.0)
            edit = Edit(prompt, strength=STRENGTH)
            results[place].append(edit_image(prior, init[number : number + 1], edit, numbers, generator, QuietReporter())[0])
    return save_rows([*rows, *(torch.stack(row) for row in results)], folder / "guidance_painting.jpg")


def illusions(prior: Prior, captions: Sequence[str], steps: int, folder: Path) -> Path:
    """Four captions in four quarter turns; rows: SDS, two stages; columns: base, rotator, the four views."""
    rows = []
    for method in ("sds", "calibrated"):
        numbers = replace(for_prior(recipe(method, "draft", steps=4 * steps), prior.image_size), rate=2e-3, rate_end=0.2)
        made = make_illusion(prior, captions[:4], numbers, torch.Generator().manual_seed(0), QuietReporter(), size=128)
        rows.append(torch.cat([made.base[None], made.rotator[None], made.views]))
    return save_rows(rows, folder / "guidance_illusion.jpg")


def boards(data: Path, records: Sequence[Record], across: int) -> tuple[Tensor, list[str], list[str]]:
    """Pictures [N, 3, S, S] of four kinds on white, `across` pixels wide in the upper left of a black square; their kinds; and the four."""
    known = sorted({record.kind for record in records})
    kinds: list[str] = [*BOARD_KINDS] if set(BOARD_KINDS) <= set(known) else (4 * known)[:4]
    chosen = [record for record in records if record.kind in kinds and "white" in record.background]
    squares = torch.zeros(len(chosen), 3, BOARD_SIDE, BOARD_SIDE)
    for square, image in zip(squares, read_pictures(data, chosen), strict=True):
        square[:, :across, :across] = torch.from_numpy(np.array(resize(image, across))).permute(2, 0, 1).float() / 255
    return squares, [record.kind for record in chosen], kinds


def board_illusions(data: Path, records: Sequence[Record], steps: int, folder: Path) -> Path:
    """Illusions under the exact score of four boards; for each two rows: base, rotator and views, and below each view the picture of its
    board that it is nearest to. Tells how near, and which of all pictures is nearest.

    Four views are 16 numbers for the places that a quarter turn takes into one another, and the two printed pictures hold 8: boards must
    leave each other room. Those in a quarter of the square do: one picture can say which quarter is seen, the other hold all four. Those
    that fill the square do not.
    """
    rows: list[Tensor] = []
    blank = torch.ones(2, 3, BOARD_SIDE, BOARD_SIDE)
    for across in (BOARD_SIDE // 2, BOARD_SIDE):
        pictures, kinds, asked = boards(data, records, across)
        prior = EmpiricalPrior(pictures, [ImageLabel(kind) for kind in kinds], spread=0.05, name="four boards")
        numbers = recipe("sds", "draft", steps=4 * steps, rate=2e-3, rate_end=0.1, scale=1.0, t_high_end=0.3, weighting="x0")
        made = make_illusion(prior, asked, numbers, torch.Generator().manual_seed(0), QuietReporter(), size=BOARD_SIDE)
        nearest = []
        for view, kind in zip(made.views, asked, strict=True):
            away = (pictures - view).square().flatten(1).mean(1)
            own = away.masked_fill(torch.tensor([name != kind for name in kinds]), torch.inf)
            place, first = int(own.argmin()), kinds[int(away.argmin())]
            nearest.append(pictures[place])
            told = f"{-10 * float(own[place].log10()):.1f} dB from its board's nearest picture; the nearest of all shows a {first}"
            print(f"{across} pixels, {kind}: {told}")
        rows += [torch.cat([made.base[None], made.rotator[None], made.views]), torch.cat([blank, torch.stack(nearest)])]
    return save_rows(rows, folder / "guidance_boards.png")


def save_rows(rows: Sequence[Tensor], path: Path, tile: int = 128) -> Path:
    """Images [N, 3, H, W] in 0..1 a row, as one picture."""
    sheet = Image.new("RGB", (max(map(len, rows)) * (tile + 2), len(rows) * (tile + 2)), "white")
    for across, row in enumerate(rows):
        for along, image in enumerate(row.float()):
            sheet.paste(
                Image.fromarray(to_bytes(image)).resize((tile, tile), Image.Resampling.BICUBIC), (along * (tile + 2), across * (tile + 2))
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85)
    return path
