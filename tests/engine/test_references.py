"""Reference pictures through IP-Adapters: what the denoiser is told is what diffusers tells it, strength counts, and what does not fit."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_class, make_tiny_control, make_tiny_reference

from engine.cli import main
from engine.diffusion.control_nets import control_entries
from engine.diffusion.load import load_prior
from engine.diffusion.prior import referred
from engine.diffusion.references import reference_entries
from engine.doctor import examine
from engine.errors import EXIT_DONE, InputError, ModelError
from engine.formats.meshio import save_glb
from tests.engine.shapes import box

X, T = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([400])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("references")
    return functools.cache(lambda kind: make_tiny_class(root / kind, kind))


@pytest.fixture(scope="module")
def adapters(folders, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return functools.cache(lambda kind, plus=False: make_tiny_reference(root / f"{kind}-{plus}", folders(kind), plus))


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "chair.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


def prior_of(folder: Path, adapter: Path, picture: Path, strength: float = 1.0, **more):
    entries = reference_entries(f"{adapter}={picture}:{strength}")
    return load_prior(str(folder), "cpu", torch.float32, references=entries, **more)


def answers(prior) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the model, asked with the picture and without it."""
    told = prior.embed(["a chair"])
    return prior.predict_noise(X, T, referred(prior, told)), prior.predict_noise(X, T, told)


@pytest.mark.parametrize(("kind", "pipeline"), [("sd15", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline")])
@pytest.mark.parametrize("plus", [False, True])
def test_the_denoiser_is_told_what_diffusers_tells_it(folders, adapters, picture, kind, pipeline, plus):
    import diffusers
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    adapter = adapters(kind, plus)
    encoder = CLIPVisionModelWithProjection.from_pretrained(adapter.parent / "image_encoder").eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    theirs = getattr(diffusers, pipeline).from_pretrained(folders(kind), image_encoder=encoder, feature_extractor=processor)
    theirs.load_ip_adapter(str(adapter.parent), subfolder="", weight_name=adapter.name, image_encoder_folder=None)
    theirs.set_ip_adapter_scale(0.7)
    (embeds,) = theirs.prepare_ip_adapter_image_embeds(Image.open(picture), None, "cpu", 1, True)
    none, seen = embeds.chunk(2)
    prior = prior_of(folders(kind), adapter, picture, 0.7)
    told = prior.told(prior.embed(["a chair"]).data)
    added = told.get("added_cond_kwargs", {})
    with torch.no_grad():
        expected = [
            theirs.unet(X, T, told["encoder_hidden_states"], added_cond_kwargs={**added, "image_embeds": [given]}).sample
            for given in (seen, none)
        ]
    for found, wanted in zip(answers(prior), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_strength_counts_and_the_unconditional_estimate_sees_no_picture(folders, adapters, picture):
    base = load_prior(str(folders("sd15")), "cpu", torch.float32)
    silent, loud = (prior_of(folders("sd15"), adapters("sd15"), picture, strength) for strength in (0.0, 1.0))
    torch.testing.assert_close(answers(silent)[0], base.predict_noise(X, T, base.embed(["a chair"])))
    with_it, without = answers(loud)
    assert not torch.allclose(with_it, without, atol=1e-3)
    unconditional = loud.embed([""]).beside(referred(loud, loud.embed(["a chair"])))
    assert torch.equal(loud.seen.apart(unconditional.data)[1][0], loud.seen.none.unsqueeze(1))


def test_several_pictures_each_by_its_own_adapter(folders, adapters, picture, tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (16, 16), "red").save(other)
    both = reference_entries(f"{adapters('sd15')}={picture}:0.5;{adapters('sd15', True)}={other}")
    prior = load_prior(str(folders("sd15")), "cpu", torch.float32, references=both)
    assert [entry.strength for entry in both] == [0.5, 1.0] and len(prior.seen.counts) == 2
    assert not torch.allclose(*answers(prior), atol=1e-3)


def test_beside_a_control_net_which_hears_of_no_picture(folders, adapters, picture, tmp_path):
    control = control_entries(f"depth={make_tiny_control(tmp_path / 'depth', folders('sd15'))}")
    prior = prior_of(folders("sd15"), adapters("sd15"), picture, controls=control)
    shown = torch.rand(1, 5, 16, 16, generator=torch.Generator().manual_seed(2))
    told = prior.embed(["a chair"]).under(shown)
    assert not torch.allclose(prior.predict_noise(X, T, referred(prior, told)), prior.predict_noise(X, T, told), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["refine", "texture", "image", "doctor"])
def test_commands_take_them(folders, adapters, picture, tmp_path, command):
    model, reference = str(folders("sd15")), f"{adapters('sd15')}={picture}"
    if command == "doctor":
        (found,) = [finding for finding in examine(model, reference=reference) if finding.name == "model"]
        assert found.state == "works", found
        return
    words = [command, "--prompt", "a chair", "--model", model, "--reference", reference]
    if command == "image":
        assert main([*words, "--steps", "2", "--out", str(tmp_path / "out.png")]) == EXIT_DONE
        return
    save_glb(tmp_path / "box.glb", box((0.5, 0.4, 0.6)))
    numbers = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 1, "stage1_steps": 2, "stage2_steps": 2}
    words += [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]
    words += ["--device", "cpu", "--maps", "albedo", "--texture-size", "32", "--faces", "200", "--out", str(tmp_path / "out")]
    assert main([*words[:1], str(tmp_path / "box.glb"), *words[1:]]) == EXIT_DONE
    assert list((tmp_path / "out").rglob("*.glb"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{adapter}", "needs an adapter, a picture"),
        ("{adapter}={picture}:3", "strength from 0 to 2"),
        ("{adapter}={picture}:much", "strength from 0 to 2"),
        ("{adapter}=nothing.png", "picture 'nothing.png' of a reference is not there"),
        ("nothing.safetensors={picture}", "adapter 'nothing.safetensors' of a reference is not there"),
        ("{picture}={picture}", "no .safetensors file"),
    ],
)
def test_what_cannot_be_read_is_told(adapters, picture, text, told):
    with pytest.raises(InputError, match=told):
        reference_entries(text.format(adapter=adapters("sd15"), picture=picture))


def refused(folder: Path, adapter: Path, picture: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        prior_of(folder, adapter, picture)
    assert caught.value.code in ("model_reference", "model_file", "model_files") and caught.value.fix


def test_an_adapter_of_another_width_or_kind_is_refused_before_weights_are_read(folders, adapters, picture, tmp_path, monkeypatch):
    from engine.diffusion import diffusers_prior

    monkeypatch.setattr(diffusers_prior, "read_parts", lambda *what: pytest.fail("weights were read"))
    refused(folders("sdxl"), adapters("sd15"), picture, "of another base model: ip_adapter.*attends to words of 16")
    refused(folders("sd3"), adapters("sd15"), picture, "takes no reference picture")
    good = load_file(adapters("sd15"))
    faces = tmp_path / "faces.safetensors"
    save_file({name.replace("image_proj.proj.", "image_proj.proj.0."): tensor for name, tensor in good.items()}, faces)
    refused(folders("sd15"), faces, picture, "no IP-Adapter with tokens of pictures")
    lonely = tmp_path / "lonely.safetensors"
    save_file(good, lonely)
    refused(folders("sd15"), lonely, picture, "image_encoder/config.json")
    encoder = tmp_path / "image_encoder"
    encoder.mkdir()
    config = json.loads((adapters("sd15").parent / "image_encoder" / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "projection_dim": 24}))
    (encoder / "model.safetensors").write_bytes((adapters("sd15").parent / "image_encoder" / "model.safetensors").read_bytes())
    refused(folders("sd15"), lonely, picture, "another image encoder: it takes 12 numbers")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(adapters("sd15").read_bytes()[:-8])
    refused(folders("sd15"), broken, picture, "broken.safetensors")


@pytest.mark.parametrize("model", ["embedded", "examples/boards/tulips"])
def test_models_that_take_none_say_so(model, adapters, picture):
    with pytest.raises(ModelError, match="takes no reference picture") as caught:
        load_prior(model, surface=True, references=reference_entries(f"{adapters('sd15')}={picture}"))
    assert "--reference" in caught.value.fix
