"""LoRA files merged into a model: every way of naming layers, strength and alpha, and all that is foreign."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_model import make_tiny_flow, make_tiny_model, make_tiny_xl

from engine.cli import main
from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.load import load_prior
from engine.diffusion.lora import LoraEntry, lora_entries
from engine.doctor import examine
from engine.errors import EXIT_DONE, InputError, ModelError

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "encoder.layers.0.mlp.fc1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("lora") / "model")


def prior_of(folder: Path, *loras: LoraEntry) -> DiffusersPrior:
    prior = load_prior(str(folder), "cpu", torch.float32, loras=loras)
    assert isinstance(prior, DiffusersPrior)
    return prior


def weight_of(prior: DiffusersPrior, name: str = LAYER) -> torch.Tensor:
    return prior.unet.get_submodule(name).weight


def pair(rows: int, columns: int, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator)


def written(path: Path, tensors: dict[str, torch.Tensor]) -> LoraEntry:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return LoraEntry(path)


FORMS = {
    "kohya": (f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight", f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight"),
    "peft": (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    "trained": (f"base_model.model.{LAYER}.lora_A.default.weight", f"base_model.model.{LAYER}.lora_B.default.weight"),
    "diffusers": (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight"),
    "old": (
        f"unet.{LAYER.replace('to_q', 'processor.to_q_lora')}.down.weight",
        f"unet.{LAYER.replace('to_q', 'processor.to_q_lora')}.up.weight",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_are_found_by_all_their_names(folder, tmp_path, form):
    before = weight_of(prior_of(folder))
    down, up = pair(*before.shape)
    entry = written(tmp_path / "style.safetensors", dict(zip(FORMS[form], (down, up), strict=True)))
    torch.testing.assert_close(weight_of(prior_of(folder, entry)), before + up @ down)


def test_strength_alpha_and_several(folder, tmp_path):
    before = weight_of(prior_of(folder))
    down, up = pair(*before.shape)
    key = FORMS["kohya"][0].removesuffix(".lora_down.weight")
    tensors = {FORMS["kohya"][0]: down, FORMS["kohya"][1]: up, f"{key}.alpha": torch.tensor(1.0)}
    file = written(tmp_path / "style.safetensors", tensors).file
    found = weight_of(prior_of(folder, LoraEntry(file, 0.5), LoraEntry(file, -2.0)))
    torch.testing.assert_close(found, before - 1.5 * 0.5 * up @ down)  # alpha 1 of rank 2


def test_convolutions_and_text_encoders(folder, tmp_path):
    plain = prior_of(folder)
    conv = plain.unet.get_submodule("down_blocks.0.resnets.0.conv1").weight
    states = plain.embed(["a cup"]).data
    down, up = torch.randn(2, conv.shape[1], 3, 3), torch.randn(conv.shape[0], 2, 1, 1)
    text_down, text_up = pair(16, 8)
    begins = {"lora_unet_down_blocks_0_resnets_0_conv1": (down, up), f"lora_te_text_model_{TEXT.replace('.', '_')}": (text_down, text_up)}
    tensors = {f"{key}.lora_{role}.weight": one for key, two in begins.items() for role, one in zip(("down", "up"), two, strict=True)}
    changed = prior_of(folder, written(tmp_path / "style.safetensors", tensors))
    expected = conv + torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    torch.testing.assert_close(changed.unet.get_submodule("down_blocks.0.resnets.0.conv1").weight, expected)
    told = changed.embed(["a cup"]).data
    assert not torch.allclose(told, states)
    changed.text.rest()
    changed.text._embedded.clear()
    torch.testing.assert_close(changed.embed(["a cup"]).data, told)  # read again, and merged again


@pytest.mark.parametrize(("make", "part"), [(make_tiny_xl, "unet"), (make_tiny_flow, "transformer")])
def test_other_classes_take_them_too(tmp_path, make, part):
    folder = make(tmp_path / "model")
    plain = prior_of(folder)
    name = next(name for name, layer in plain.unet.named_modules() if name.endswith("to_q"))
    before = plain.unet.get_submodule(name).weight
    down, up = pair(*before.shape)
    entry = written(tmp_path / "style.safetensors", {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up})
    torch.testing.assert_close(prior_of(folder, entry).unet.get_submodule(name).weight, before + up @ down)


@pytest.mark.parametrize(
    ("name", "shapes", "words"),
    [
        (LAYER, ((2, 99), (16, 2)), ("another width", "99")),
        ("mid_block.nothing.to_q", ((2, 16), (16, 2)), ("unet does not have", "nothing")),
    ],
)
def test_a_lora_of_another_model_is_refused_by_name(folder, tmp_path, name, shapes, words):
    keys = (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight")
    entry = written(tmp_path / "style.safetensors", {key: torch.zeros(shape) for key, shape in zip(keys, shapes, strict=True)})
    with pytest.raises(ModelError) as caught:
        prior_of(folder, entry)
    assert all(word in caught.value.message for word in words) and "style.safetensors" in caught.value.message and caught.value.fix


def test_keys_that_are_none_and_files_that_are_broken(folder, tmp_path):
    with pytest.raises(ModelError, match="does not have"):
        prior_of(folder, written(tmp_path / "a.safetensors", {"what.is.this": torch.zeros(2)}))
    (tmp_path / "b.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match=r"b\.safetensors"):
        prior_of(folder, LoraEntry(tmp_path / "b.safetensors"))
    down, up = FORMS["peft"]
    tensors = dict(zip((down, up), pair(4, 4), strict=True))
    tensors[up][0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite in 1 tensors"):
        prior_of(folder, written(tmp_path / "c.safetensors", tensors))


@pytest.mark.parametrize("model", ["embedded", "examples/boards/tulips"])
def test_models_that_take_none_say_so(model, tmp_path):
    with pytest.raises(ModelError, match="takes no LoRA") as caught:
        load_prior(model, surface=True, loras=[LoraEntry(tmp_path / "a.safetensors")])
    assert "--lora" in caught.value.fix


def test_a_setting_names_several(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    found = lora_entries(f"{tmp_path}/a.safetensors; {tmp_path}/b.safetensors:-0.5")
    assert [(entry.file.name, entry.strength) for entry in found] == [("a.safetensors", 1.0), ("b.safetensors", -0.5)]
    assert lora_entries(None) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [("{0}/a.safetensors:3", "strength"), ("{0}/a.safetensors:x", "strength"), ("{0}/a.safetensors:1:2", "strength"),
     ("{0}/no.safetensors", "not there"), ("{0}/a.ckpt", "can run code")],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path, text, words):
    for name in ("a.safetensors", "a.ckpt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=words):
        lora_entries(text.format(tmp_path))


def test_every_command_that_loads_a_model_takes_them(folder, tmp_path, capsys):
    """image and illusion, the doctor and a dream as well as jobs; what does not fit is told before any work."""
    shape = weight_of(prior_of(folder)).shape
    fits = written(tmp_path / "style.safetensors", dict(zip(FORMS["peft"], pair(*shape), strict=True))).file
    foreign = written(tmp_path / "foreign.safetensors", dict(zip(FORMS["peft"], pair(99, 99), strict=True))).file
    words = ["image", "--model", str(folder), "--prompt", "a cup", "--steps", "2", "--device", "cpu"]
    for name, more in (("plain", []), ("styled", ["--lora", f"{fits}:2"])):
        assert main([*words, "--out", str(tmp_path / f"{name}.png"), *more]) == EXIT_DONE
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "styled.png").read_bytes()
    assert main([*words, "--out", str(tmp_path / "no.png"), "--lora", str(foreign)]) == ModelError.exit_code
    assert "another width" in capsys.readouterr().err and not (tmp_path / "no.png").exists()
    for lora, state in ((fits, "works"), (foreign, "fails")):
        (found,) = [finding for finding in examine(str(folder), lora=str(lora)) if finding.name == "model"]
        assert found.state == state, found
    for command in ("illusion", "dream", "refine", "texture", "doctor"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--lora" in capsys.readouterr().out
