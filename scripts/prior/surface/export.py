"""Write the folder of a prior that sees the surface: diffusers' layout, half precision, and what it knows.

    python -m scripts.prior.surface.export --run RUN --kinds KIND,KIND --to FOLDER

RUN is a folder of scripts.prior.surface.train. Afterwards `--model FOLDER` uses it in refine and texture.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import CLIPTextModel

from engine.diffusion.surface_unet import SurfaceUNet
from scripts.prior.data.kinds import KINDS
from scripts.prior.networks import make_scheduler
from scripts.prior.training import CHECKPOINT_NAME

MODEL_INDEX = {
    "_class_name": "SurfacePrior",
    "unet": ["engine.diffusion.surface_unet", "SurfaceUNet"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}


def write_folder(folder: Path, unet: SurfaceUNet, text_folder: Path, kinds: list[str]) -> None:
    """Write weights as float16 safetensors, configurations, tokenizer and kinds.json.

    unet         stays as it is
    text_folder  of a run: text model, `tokenizer` and `words.json`
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in unet.config.items() if not name.startswith("_")}  # no place it came from
    half = SurfaceUNet(**settings)
    half.load_state_dict(unet.state_dict())
    half.to(torch.float16).save_pretrained(folder / "unet")
    stored = CLIPTextModel.from_pretrained(text_folder, local_files_only=True)
    text = CLIPTextModel(stored.config)
    text.load_state_dict(stored.state_dict())
    text.to(torch.float16).save_pretrained(folder / "text_encoder")
    make_scheduler().save_pretrained(folder / "scheduler")
    shutil.copytree(text_folder / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # diffusers writes them for the owner alone
    words = json.loads((text_folder / "words.json").read_text("utf-8"))
    for name, content in (("model_index.json", MODEL_INDEX), ("kinds.json", {"kinds": sorted(kinds), "words": words})):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def averaged_unet(run: Path) -> tuple[SurfaceUNet, int]:
    """The averaged weights of a run's checkpoint, and how many samples it had seen. ValueError where there is no checkpoint."""
    path = run / CHECKPOINT_NAME
    if not path.exists():
        raise ValueError(f"no {CHECKPOINT_NAME} in {run}; run scripts.prior.surface.train first")
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights = content["unet"]
    fine_words = any(name.startswith("words_fine.") for name in weights)
    unet = SurfaceUNet(text_width=weights["pooled.weight"].shape[1], fine_words=fine_words)
    with torch.no_grad():
        for target, value in zip(unet.parameters(), content["average"], strict=True):
            target.copy_(value)
    return unet.eval(), content["progress"]["samples"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(KINDS), help="that it was taught, names with commas")
    parsed = parser.parse_args(arguments)
    unet, samples = averaged_unet(parsed.run)
    write_folder(parsed.to, unet, parsed.run / "text", parsed.kinds.split(","))
    size = sum(path.stat().st_size for path in parsed.to.rglob("*") if path.is_file())
    print(f"{samples} samples -> {parsed.to}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
