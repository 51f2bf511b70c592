"""Model folders of strangers: what is broken, hostile or of another kind is refused by name, and nothing of it is run."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_model

from engine.diffusion import hub
from engine.diffusion.load import load_prior
from engine.diffusion.model_folder import check_folder, libraries, refuse_not_finite
from engine.doctor import examine
from engine.errors import InputError, ModelError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture()
def folder(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, *words: str) -> ModelError:
    """Loading fails with a ModelError that says these words and has a fix."""
    with pytest.raises(ModelError) as caught:
        load_prior(str(folder))
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.fix
    return caught.value


def test_a_whole_folder_is_described(tiny):
    model = check_folder(tiny)
    assert model.classes == {
        "unet": "UNet2DConditionModel",
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "tokenizer": "CLIPTokenizer",
        "scheduler": "DDIMScheduler",
    }


@pytest.mark.parametrize("content", ["{", "[]", "5", "null", '"text"', "\x00\x01", "[" * 100_000])
@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json", "kinds.json"]
)
def test_a_description_that_is_no_object(folder, name, content):
    (folder / name).write_text(content)
    refused(folder, name)


@pytest.mark.parametrize("entry", [None, [], ["diffusers"], "UNet2DConditionModel", [None, None], ["diffusers", 5], ["diffusers", ["x"]]])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_an_index_without_a_class(folder, part, entry):
    for path in folder.glob("*/*config.json"):
        path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "_class_name"}))
    edit(folder / "model_index.json", **{part: entry})
    refused(folder, part, "class")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("text_encoder", "AutoModel"),
        ("tokenizer", "AutoTokenizer"),
        ("scheduler", "FlowMatchEulerDiscreteScheduler"),
        ("scheduler", "logging"),
        ("vae", "DiffusionPipeline"),
        ("unet", "StableDiffusionPipeline"),
        ("text_encoder", "pipeline"),
    ],
)
def test_only_known_classes(folder, part, name):
    edit(folder / "model_index.json", **{part: ["diffusers", name]})
    refused(folder, part, name)


def test_the_configuration_may_not_name_another_class(folder):
    edit(folder / "unet/config.json", _class_name="SomethingElse")
    refused(folder, "unet", "SomethingElse")


EVIL = "from pathlib import Path\nPath(__file__).with_name('RAN').write_text('ran')\nclass Evil: pass\n"


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_code_of_a_folder_is_never_run_nor_asked_about(folder, part, monkeypatch):
    """The hole that was there: an Auto class and `auto_map` made transformers ask on the terminal, and run the code on "y"."""
    (folder / part / "evil.py").write_text(EVIL)
    config = folder / part / ("config.json" if part == "text_encoder" else "tokenizer_config.json")
    key = "AutoModel" if part == "text_encoder" else "AutoTokenizer"
    edit(config, auto_map={key: ["evil.Evil", None] if part == "tokenizer" else "evil.Evil"})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the terminal was asked"))
    monkeypatch.setattr(sys, "stdin", None)
    for told in (key, None):  # by an Auto class, and by the plain one
        if told:
            edit(folder / "model_index.json", **{part: ["transformers", told]})
        refused(folder, part)
    assert not list(folder.rglob("RAN"))


def test_modules_named_by_the_folder_are_not_imported(folder):
    """The library of a part is the folder's own word: classes come from where this project takes them from."""
    (folder / "evil.py").write_text(EVIL)
    edit(folder / "model_index.json", vae=["evil", "AutoencoderKL"])
    assert load_prior(str(folder)).image_size == 16
    assert not list(folder.rglob("RAN"))


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("unet", {"sample_size": 10**9}, ("unet", "sample_size")),
        ("unet", {"sample_size": "8"}, ("unet", "sample_size")),
        ("unet", {"sample_size": [8, "8"]}, ("unet", "sample_size")),
        ("unet", {"block_out_channels": [8, 10**9]}, ("unet", "block_out_channels")),
        ("unet", {"in_channels": 9}, ("in_channels", "9")),
        ("unet", {"cross_attention_dim": 768}, ("cross_attention_dim", "768")),
        ("unet", {"addition_embed_type": "text_time"}, ("addition_embed_type", "text_time")),
        ("unet", {"class_embed_type": "projection"}, ("class_embed_type",)),
        ("unet", {"num_class_embeds": 10}, ("num_class_embeds",)),
        ("unet", {"out_channels": 8}, ("out_channels", "8")),
        ("text_encoder", {"vocab_size": 10**12}, ("text_encoder", "vocab_size")),
        ("text_encoder", {"num_hidden_layers": True}, ("text_encoder", "num_hidden_layers")),
        ("scheduler", {"num_train_timesteps": 10**12}, ("scheduler", "num_train_timesteps")),
        ("scheduler", {"prediction_type": "flow"}, ("prediction_type", "flow")),
        ("scheduler", {"beta_schedule": "magic"}, ("scheduler",)),
        ("vae", {"latent_channels": 0}, ("vae", "latent_channels")),
    ],
)
def test_numbers_out_of_bounds_and_parts_that_do_not_fit(folder, part, changes, words):
    edit(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), **changes)
    refused(folder, *words)


def shard(folder: Path, weight_map: dict[str, object]) -> None:
    """The UNet's weights behind an index."""
    whole = folder / "unet/diffusion_pytorch_model.safetensors"
    whole.rename(folder / "unet/part-1.safetensors")
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_weights_in_shards_are_read(folder):
    names = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    shard(folder, dict.fromkeys(names, "part-1.safetensors"))
    assert load_prior(str(folder)).image_size == 16


@pytest.mark.parametrize(
    "name", ["weights.bin", "../../other.safetensors", "/etc/passwd", "..\\x.safetensors", 5, None, "gone.safetensors"]
)
def test_an_index_of_weights_that_names_something_else(folder, name):
    torch.save({"x": torch.zeros(1)}, folder / "unet/weights.bin")
    shard(folder, {"conv_in.weight": name})
    refused(folder, "unet")


@pytest.mark.parametrize("weight_map", [{}, [], None, 5])
def test_an_index_of_weights_without_a_map(folder, weight_map):
    shard(folder, weight_map)
    refused(folder, "unet", "index")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", ["cut", "empty", "huge header", "no json", "longer", "folder"])
def test_damaged_weights_are_named(folder, part, damage):
    path = next((folder / part).glob("*.safetensors"))
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": data[:-100],
                "empty": b"",
                "huge header": struct.pack("<Q", 2**60) + data[8:],
                "no json": data[:8] + b"\xff" * (len(data) - 8),
                "longer": data + b"\0" * 7,
            }[damage]
        )
    refused(folder, part)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_git_lfs_pointer_is_told_as_one(folder, part):
    path = next((folder / part).glob("*.safetensors"))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3438167540\n")
    error = refused(folder, part)
    assert "git-lfs" in f"{error.message} {error.fix}"
    told = finding(str(folder))
    assert told.state == "fails" and "git-lfs" in f"{told.detail} {told.fix}"


@pytest.mark.parametrize("variant", ["fp16", "bf16", "ema_v2"])
def test_weights_of_any_variant_are_found(folder, variant):
    path = next((folder / "unet").glob("*.safetensors"))
    path.rename(path.with_name(f"{path.stem}.{variant}.safetensors"))
    assert load_prior(str(folder)).image_size == 16


def test_an_index_with_a_byte_order_mark_is_read(folder):
    for name in ("model_index.json", "kinds.json"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + (path.read_bytes() if path.exists() else b"{}"))
    assert load_prior(str(folder)).image_size == 16


@pytest.mark.parametrize("content", ["{", "[]", '{"unet": null}'])
def test_the_doctor_tells_of_a_broken_description_and_goes_on(folder, content):
    (folder / "model_index.json").write_text(content)
    told = finding(str(folder))
    assert told.state == "fails" and told.detail and told.fix


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_lack_a_tensor_are_not_filled_with_chance(folder, part):
    path = next((folder / part).glob("*.safetensors"))
    tensors = load_file(path)
    lost = sorted(tensors)[0]
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    refused(folder, part, "lack 1 tensors")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_finite_are_told_before_any_step(folder, part, number):
    path = next((folder / part).glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[-1] = number
    save_file(tensors, path, metadata={"format": "pt"})
    refused(folder, part, "not finite in 1 tensors", name)


def test_large_weights_whose_sum_overflows_are_finite():
    refuse_not_finite({"large": torch.full((4,), 3e38)}, "They")


def test_weights_of_another_shape(folder):
    edit(folder / "text_encoder/config.json", intermediate_size=24)
    refused(folder, "text_encoder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["tokenizer/vocab.json", "unet/config.json", "tokenizer/tokenizer.json"])
def test_a_pipe_does_not_hang_it(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, name.rpartition("/")[2])


def test_a_tokenizer_without_words(folder):
    for path in (folder / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    refused(folder, "tokenizer")


def test_a_tokenizer_with_more_words_than_the_text_encoder(folder):
    edit(folder / "text_encoder/config.json", vocab_size=40)
    path = folder / "text_encoder/model.safetensors"
    tensors = {name: tensor[:40].clone() if "token_embedding" in name else tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    refused(folder, "tokenizer", "40")


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("bad"), RuntimeError("worse"), json.JSONDecodeError("no", "", 0), RecursionError()]
)
def test_whatever_a_library_raises_names_the_part(tmp_path, error):
    with pytest.raises(ModelError, match=r"The 'unet' .*" + type(error).__name__), libraries(tmp_path, "unet"):
        raise error


def test_our_own_errors_and_lack_of_memory_pass_unchanged(tmp_path):
    for error in (InputError("a", "b", "c"), MemoryError()):
        with pytest.raises(type(error)), libraries(tmp_path, "unet"):
            raise error


def test_a_hub_is_asked_for_text_and_safetensors_alone(monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(name, allow_patterns, ignore_patterns):
        asked.update(allow=allow_patterns)
        return str(tmp_path)

    def nobody(self, name):
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", nobody)
    assert hub.download("owner/model") == tmp_path
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in asked["allow"])
    import fnmatch

    for name in ("tokenizer/evil.py", "unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin", "scheduler/x.py", "evil.py"):
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in asked["allow"]), name
    for name in ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors.index.json", "tokenizer/merges.txt"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in asked["allow"]), name


def test_of_two_precisions_one_is_fetched():
    """On CUDA float16 where it is there; nobody gets both, nor weights that are not read."""
    both = [f"unet/diffusion_pytorch_model{kind}.safetensors" for kind in ("", ".fp16", ".non_ema")]
    both += ["text_encoder/model.safetensors", "v1-5-pruned.safetensors", "vae/diffusion_pytorch_model.bin"]
    both += [f"text_encoder_3/model{kind}-0000{n}-of-00002.safetensors" for kind in ("", ".fp16") for n in (1, 2)]
    half, whole = hub.needed_weights(both, half=True), hub.needed_weights(both, half=False)
    assert both[1] in half and both[0] not in half and both[0] in whole and both[1] not in whole
    assert "text_encoder/model.safetensors" in half and "text_encoder/model.safetensors" in whole
    assert [name for name in half if "_3" in name] == [name for name in both if ".fp16-" in name]
    assert [name for name in whole if "_3" in name] == [name for name in both if "_3" in name and ".fp16-" not in name]
    assert not any("non_ema" in name or "pruned" in name or name.endswith(".bin") for name in (*half, *whole))
    assert hub.needed_weights(both[1:2], half=False) == both[1:2]


def test_the_tiny_autoencoder_has_no_posterior(folder):
    from diffusers import AutoencoderTiny

    shutil.rmtree(folder / "vae")
    AutoencoderTiny(
        encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4), num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)
    ).save_pretrained(folder / "vae")
    edit(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    prior = load_prior(str(folder), "cpu", torch.float32)
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(prior.encode(images), prior.encode(images, torch.Generator().manual_seed(0)))
    assert prior.decode(prior.encode(images)).shape == (1, 3, 16, 16)


def finding(model: str):
    (found,) = [entry for entry in examine(model) if entry.name == "model"]
    return found


def test_doctor_asks_the_model_for_an_estimate(tiny, folder):
    works = finding(str(tiny))
    assert works.state == "works" and "noise estimate" in works.detail
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: tensor * torch.nan for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    broken = finding(str(folder))
    assert broken.state == "fails" and "not finite" in broken.detail and broken.fix
