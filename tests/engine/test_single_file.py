"""A checkpoint in a single file: told what it is and how it becomes a folder, by its header alone; nothing of it is run."""

from __future__ import annotations

import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.diffusion.load import load_prior
from engine.errors import ModelError

KEYS = {
    "StableDiffusionPipeline": "model.diffusion_model.input_blocks.0.0.weight",
    "StableDiffusionXLPipeline": "conditioner.embedders.1.model.positional_embedding",
    "StableDiffusion3Pipeline": "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias",
    "--lora": "lora_unet_down_blocks_0.lora_down.weight",
    "--control": "control_model.time_embed.0.weight",
    "model_index.json": "down_blocks.0.resnets.0.conv1.weight",
    "knows": "what.is.this",
}


def told(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_prior(str(path))
    assert caught.value.code == "model_missing" and str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("word", KEYS)
def test_a_file_is_known_by_its_keys(tmp_path, word):
    path = tmp_path / "my model.safetensors"
    save_file({KEYS[word]: torch.zeros(1)}, path)
    fix = told(path).fix
    assert word in fix and ("from_single_file" in fix) == word.endswith("Pipeline")


@pytest.mark.parametrize("kind", [word for word in KEYS if word.endswith("Pipeline")])
def test_the_told_command_is_one(tmp_path, kind):
    """The shell takes it apart as it was meant, and diffusers has what it names; what the file lacks would be fetched."""
    path = tmp_path / "it's mine.safetensors"
    save_file({KEYS[kind]: torch.zeros(1)}, path)
    python, flag, code, file, folder = shlex.split(told(path).fix.partition("python: ")[2])
    assert (python, flag, file, folder) == (sys.executable, "-c", str(path), str(tmp_path / "it's mine"))
    stand_in = f"import diffusers; diffusers.{kind}.from_single_file = lambda path: print(path) or P(); "
    stand_in += "P = type('P', (), {'save_pretrained': lambda self, folder: print(folder)}); "
    done = subprocess.run([python, flag, stand_in + code, file, folder], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [file, folder]


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt"])
def test_files_that_can_run_code_are_not_read(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    error = told(tmp_path / name)
    assert "can run code" in error.message and "from_single_file" not in error.fix
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]"])
def test_broken_files_are_told_as_well(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert told(tmp_path / "model.safetensors").fix
