"""A checkpoint in a single file where a folder is expected: what it is by its header alone, and the command that makes a folder of it."""

from __future__ import annotations

import json
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from engine.diffusion.model_folder import LARGEST_HEADER
from engine.errors import ModelError

PIPELINES = {
    "joint_blocks.": "StableDiffusion3Pipeline",
    "conditioner.embedders.1.": "StableDiffusionXLPipeline",
    "model.diffusion_model.": "StableDiffusionPipeline",
}
"""What is in the keys of a whole model's file -> the class of diffusers that reads it; the first that fits."""
LORA_KEYS = ("lora_down.", "lora_up.", "lora_A.", "lora_B.", "lora.down.", "lora.up.")
CONTROL_KEYS = ("control_model.", "controlnet_cond_embedding.")
PART_KEYS = ("down_blocks.", "transformer_blocks.", "text_model.", "decoder.up_blocks.")
"""Of the networks in a folder of diffusers' own."""
CODE = "import sys, diffusers; diffusers.{kind}.from_single_file(sys.argv[1]).save_pretrained(sys.argv[2])"


def refused(path: Path) -> ModelError:
    """What to tell somebody who gave a file as a model, with what to do about it."""
    if path.suffix != ".safetensors":
        return ModelError(
            "model_missing",
            f"The model '{path}' is a file, and no .safetensors one; expected a folder. Other weights can run code and are not read.",
            "Get the model as .safetensors or as a folder in diffusers' format (with model_index.json).",
        )
    keys = _keys(path)
    kind = next((name for part, name in PIPELINES.items() if any(part in key for key in keys)), None)
    if kind is not None:
        fix = f"It is converted once, with a connection, by the engine's python: {convert_command(path, kind)}"
    elif any(part in key for key in keys for part in LORA_KEYS):
        fix = "It is a LoRA: give it with --lora beside the folder of the model that it was made for."
    elif any(part in key for key in keys for part in CONTROL_KEYS):
        fix = "It is a ControlNet: give its folder in diffusers' format with --control beside the folder of a model."
    elif any(part in key for key in keys for part in PART_KEYS):
        fix = f"It is one part of a model: give the whole model's folder, with model_index.json (perhaps '{path.parent.parent}')."
    else:
        fix = (
            "It names no part of a model that this engine knows. Give a folder in diffusers' format (with model_index.json), or of images."
        )
    return ModelError("model_missing", f"The model '{path}' is a file; expected a folder.", fix)


def convert_command(path: Path, kind: str) -> str:
    """For a shell of this system: makes a folder beside the file. It reads nothing but safetensors, and fetches what the file lacks."""
    words = [sys.executable, "-c", CODE.format(kind=kind), str(path), str(path.with_suffix(""))]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _keys(path: Path) -> Iterable[str]:
    """The names of a safetensors file's tensors, none for one that is broken."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            found = json.loads(file.read(length)) if length <= LARGEST_HEADER else {}
        return found.keys() if isinstance(found, dict) else ()
    except (OSError, ValueError, struct.error):
        return ()
