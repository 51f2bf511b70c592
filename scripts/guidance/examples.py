"""Pictures for the document: paintings made real beside SDEdit, and illusions by SDS and by two stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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

PAINTINGS = 6
STRENGTH = 0.5


def paintings(prior: Prior, data: Path, records: list[Record], steps: int, folder: Path) -> Path:
    """Held-out renders painted over by the data's own painting effect; rows: render, painting, SDEdit, calibrated, anchored."""
    chosen = [record for record in records if is_held_out(record)][:: max(sum(map(is_held_out, records)) // PAINTINGS, 1)][:PAINTINGS]
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
