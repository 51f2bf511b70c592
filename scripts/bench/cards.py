"""What jobs ask of large models on cards of several sizes, by the engine's own estimate; no GPU and no weights are needed.

    python -m scripts.bench.cards

Prints the table of docs/gpu.md.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.footprint import Portion, footprint_of
from engine.job_fields import PRESETS, JobSettings
from engine.large_models import for_its_model
from engine.room import CERTAIN, FACES, ROOM, Needs, fitting

CARDS = (6, 8, 12, 16, 24)
"""GB on the box, which are GiB."""
TAKEN = 0.5 * 2**30
"""By a desktop before the engine starts, bytes."""
_BLOCKS = [320, 640, 1280, 1280]
MODELS: dict[str, dict[str, Any]] = {
    "SD 1.5, 512": {"unet": (859_520_964, {"sample_size": 64, "block_out_channels": _BLOCKS}), "text_encoder": (123_060_480, {})},
    "SD 2.1 base, 512": {"unet": (865_910_724, {"sample_size": 64, "block_out_channels": _BLOCKS}), "text_encoder": (340_387_840, {})},
    "SD 2.1, 768": {"unet": (865_910_724, {"sample_size": 96, "block_out_channels": _BLOCKS}), "text_encoder": (340_387_840, {})},
    "SD XL, 1024": {
        "unet": (2_567_463_684, {"sample_size": 128, "block_out_channels": _BLOCKS[:3]}),
        "text_encoder": (123_060_480, {}),
        "text_encoder_2": (694_659_840, {}),
    },
    "SD 3 medium, 1024": {
        "transformer": (2_028_328_000, {"sample_size": 128, "patch_size": 2, "caption_projection_dim": 1536}),
        "text_encoder": (123_650_304, {}),
        "text_encoder_2": (694_659_840, {}),
        "text_encoder_3": (4_762_310_656, {}),
    },
}
"""By name: the numbers in each part's weights, and what of its configuration counts."""
VAE = (83_653_863, {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512]})


def shaped_folder(folder: Path, parts: dict[str, Any]) -> Path:
    """Configurations, and headers of weights without the weights."""
    for name, (count, config) in {"vae": VAE, **parts}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({"_class_name": name, **config}))
        header = json.dumps({"all": {"dtype": "F16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
        (folder / name / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (folder / "model_index.json").write_text("{}")
    return folder


def needs_of(folder: Path, preset: str) -> tuple[Needs, JobSettings, Portion]:
    """Of a refine job under that model on a GPU with fast half precision, its settings, and what it wishes."""
    settings = for_its_model(JobSettings("a chair", model=str(folder), preset=preset))
    footprint = footprint_of(folder, torch.float16)
    assert footprint is not None
    numbers = settings.resolve()
    needs = Needs("refine", numbers, FACES, 1, 11, 0, footprint, texts=False)
    return needs, settings, Portion(numbers.views, footprint.pixels)


def cell(needs: Needs, settings: JobSettings, wished: Portion, card: float) -> str:
    """What a job does on a card of so many GiB."""
    free = int(card * 2**30 - TAKEN)
    portion = fitting(needs, free, wished, settings)
    needed = needs.bytes(portion)
    if CERTAIN * needed > free:
        return "refused"
    told = [f"{portion.views} view{'s' * (portion.views > 1)}", f"{needed / 1e9:.1f} GB"]
    told += [f"{portion.pixels} pixels"] * (portion.pixels != wished.pixels)
    told += ["encoder twice"] * portion.twice + ["one item a call"] * bool(portion.items)
    return ", ".join(told) + ("" if needed <= ROOM * free else " (tight)")


def rows() -> Iterator[str]:
    """The table, a line at a time."""
    yield f"| model, preset | {' | '.join(f'{card} GB' for card in CARDS)} |"
    yield "|---" * (1 + len(CARDS)) + "|"
    for number, (name, parts) in enumerate(MODELS.items()):
        with tempfile.TemporaryDirectory() as scratch:
            folder = shaped_folder(Path(scratch) / str(number), parts)
            for preset in PRESETS:
                told = needs_of(folder, preset)
                yield f"| {name}, {preset} | {' | '.join(cell(*told, card) for card in CARDS)} |"


def main() -> int:
    print("\n".join(rows()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
