"""ControlNets beside a diffusers folder, and a denoiser that takes depth: in images and jobs; everything that can be wrong."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import make_tiny_adapter, make_tiny_control, make_tiny_model

from engine.camera import orbit
from engine.cli import main
from engine.diffusion.control_nets import ControlEntry, control_entries, depth_picture, normal_picture
from engine.diffusion.controlled_prior import ControlledDiffusersPrior
from engine.diffusion.load import load_prior
from engine.diffusion.prior import ControlledPrior, Prior
from engine.distillation import Distillation, PromptPair
from engine.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError, ModelError
from engine.formats.meshio import save_glb
from engine.guidance.step import ConditionPair, GuidanceSettings, distill
from engine.job import run_job, texture_subject
from engine.job_fields import PRESETS, JobSettings
from engine.lab.control import read_control
from engine.render.base import select_rasterizer
from engine.render.control import geometry_control
from engine.reporting import QuietReporter
from tests.engine.shapes import box, merge, moved

SIZE = 16
CPU = torch.device("cpu")
TINY = {"grid": 16, "colour_grid": 16, "views": 2, "fit_steps": 2, "stage1_steps": 3, "stage2_steps": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("control")
    model = make_tiny_model(root / "model")
    make_tiny_control(root / "tiny_depth", model)
    shutil.copytree(root / "tiny_depth", root / "tiny_normal")
    make_tiny_control(root / "large_depth", model, pixels=8)
    make_tiny_adapter(root / "adapter_depth")
    return {"model": model, "depth_model": make_tiny_model(root / "sd2", depth=True)} | {
        name: root / name for name in ("tiny_depth", "tiny_normal", "large_depth", "adapter_depth")
    }


def prior_of(folders, *controls: str, model: str = "model") -> ControlledDiffusersPrior:
    prior = read_prior(folders[model], controls)
    assert isinstance(prior, ControlledDiffusersPrior) and isinstance(prior, ControlledPrior)
    return prior


@functools.cache
def read_prior(folder: Path, controls: tuple[str, ...] = ()) -> Prior:
    return load_prior(str(folder), "cpu", torch.float32, controls=control_entries(";".join(controls)))


@pytest.fixture(scope="module")
def control() -> torch.Tensor:
    mesh = box((0.5, 0.4, 0.6))
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    return geometry_control(select_rasterizer("cpu"), vertices, faces, orbit([20.0, 200.0], 20.0, 3.0, 40.0), SIZE)


def noise_of(prior, control, t=(500, 500), strength: float = 1.0) -> torch.Tensor:
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    return prior.predict_noise(x_t, torch.tensor(t), prior.embed(["a cup"] * 2).under(control, strength))


# What a user writes


@pytest.mark.parametrize(
    ("text", "kind", "numbers"),
    [
        ("{depth}", "depth", (1.0, 0.0, 1.0)),
        ("{depth}:0.6", "depth", (0.6, 0.0, 1.0)),
        ("{normal}:0.6:0.1:0.8", "normal", (0.6, 0.1, 0.8)),
        ("normal={depth}:2", "normal", (2.0, 0.0, 1.0)),
    ],
)
def test_a_control_is_read_as_it_is_written(folders, text, kind, numbers):
    written = text.format(depth=folders["tiny_depth"], normal=folders["tiny_normal"])
    (entry,) = control_entries(written)
    assert (entry.kind, (entry.strength, entry.start, entry.end)) == (kind, numbers)
    assert entry.folder == folders[f"tiny_{'normal' if text.startswith('{normal}') else 'depth'}"]


def test_several_controls_stand_in_one_setting(folders):
    text = f"{folders['tiny_depth']}; {folders['tiny_normal']}:0.5"
    assert [entry.kind for entry in control_entries(text)] == ["depth", "normal"]
    assert control_entries(None) == control_entries(" ; ") == ()


@pytest.mark.parametrize("numbers", [":x", ":3", ":-1", ":1:0.5", ":1:0.5:0.5", ":1:0.9:0.1", ":1:0:2", ":nan"])
def test_numbers_that_cannot_be_are_refused(folders, numbers):
    with pytest.raises(InputError, match="needs a strength from 0 to 2") as caught:
        control_entries(f"{folders['tiny_depth']}{numbers}")
    assert "control_depth:0.8" in caught.value.fix


def test_a_folder_that_is_missing_or_does_not_tell_its_kind_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match="no folder"):
        control_entries(str(tmp_path / "depth"))
    nameless = Path(shutil.copytree(folders["tiny_depth"], tmp_path / "mine"))
    with pytest.raises(InputError, match="does not say") as caught:
        control_entries(str(nameless))
    assert f"normal={nameless}" in caught.value.fix


# What a network is shown


def test_depth_is_near_bright_and_normals_are_scannet_s():
    """A plate seen from the front that leans to its left: red where it looks left, and nearer on the right."""
    control = torch.zeros(1, 5, 4, 4)
    control[0, :3, 1:3, 1:3] = torch.tensor([-0.6, 0.0, 0.8]).view(3, 1, 1)
    control[0, 3, 1:3, 1:3] = 1
    control[0, 4, 1:3, 1:3] = torch.tensor([[-0.1, 0.3], [-0.1, 0.3]])
    depth = depth_picture(control)
    assert torch.allclose(depth[0, 0, 1, 1:3], torch.tensor([0.2, 1.0])) and depth[0, 0, 0].sum() == 0
    assert torch.allclose(normal_picture(control)[0, :, 1, 1], torch.tensor([0.8, 0.5, 0.9]))
    assert torch.allclose(normal_picture(control)[0, :, 0, 0], torch.tensor([0.5, 0.5, 1.0]))


def test_a_view_that_sees_nothing_gives_pictures_without_surface(folders):
    nothing = torch.zeros(2, 5, SIZE, SIZE)
    assert torch.equal(depth_picture(nothing), torch.zeros(2, 1, SIZE, SIZE))
    for prior in (prior_of(folders, str(folders["tiny_depth"])), prior_of(folders, model="depth_model")):
        assert torch.isfinite(noise_of(prior, nothing)).all()


# What it does to the estimates


@pytest.mark.parametrize(
    ("controls", "model"),
    [(("tiny_depth",), "model"), (("tiny_depth", "tiny_normal"), "model"), ((), "depth_model"), (("adapter_depth",), "model"),
     (("adapter_depth", "tiny_normal"), "model")],
)  # fmt: skip
def test_the_surface_counts(folders, control, controls, model):
    prior = prior_of(folders, *(str(folders[name]) for name in controls), model=model)
    seen = noise_of(prior, control)
    assert seen.shape == (2, 4, 8, 8)
    assert not torch.allclose(seen, noise_of(prior, control.flip(-1)), atol=1e-4)
    pictures = torch.cat([depth_picture(control).expand(-1, 3, -1, -1), normal_picture(control)], dim=1)
    assert torch.allclose(seen, noise_of(prior, pictures if len(controls) == 2 else pictures[:, :3]), atol=1e-5)


@pytest.mark.parametrize("name", ["tiny_depth", "adapter_depth"])
def test_strength_and_range_weigh_it(folders, control, name):
    """Without strength, or outside of its range of noise levels, it is the plain model's estimate; half of it lies between."""
    plain = read_prior(folders["model"])
    without, depth = noise_of(plain, None), str(folders[name])
    assert torch.allclose(noise_of(prior_of(folders, f"{depth}:0"), control), without, atol=1e-6)
    assert torch.allclose(noise_of(prior_of(folders, depth), control, strength=0.0), without, atol=1e-6)
    late = prior_of(folders, f"{depth}:1:0.5:1")
    mixed = noise_of(late, control, t=(900, 100))
    assert torch.allclose(mixed[0], noise_of(plain, None, t=(900, 100))[0], atol=1e-5)
    assert torch.allclose(mixed[1], noise_of(prior_of(folders, depth), control, t=(900, 100))[1], atol=1e-5)
    whole, half = (float((noise_of(prior_of(folders, f"{depth}:{s}"), control) - without).square().mean()) for s in (1, 0.5))
    assert 0 < half < whole


@pytest.mark.parametrize("method", ["sds", "calibrated", "csd"])
def test_every_estimate_of_a_step_sees_the_same_control(folders, control, method, monkeypatch):
    prior, asked = prior_of(folders, str(folders["tiny_depth"])), []
    forward = prior.forward
    monkeypatch.setattr(prior, "forward", lambda x_t, t, states, seen: (asked.append(seen), forward(x_t, t, states, seen))[1])
    pair = ConditionPair(prior.embed(["a cup"]).under(control, 0.5), prior.embed(["a bowl"]).under(control, 0.5))
    images = torch.full((2, 3, SIZE, SIZE), 0.5, requires_grad=True)
    distill(prior, images, pair, GuidanceSettings(method), torch.Generator().manual_seed(0))[0].backward()
    (seen,) = asked
    assert len(seen) >= 4 and seen.strength == 0.5
    assert torch.equal(seen.control, control.repeat(len(seen) // 2, 1, 1, 1)) and images.grad.abs().sum() > 0


@pytest.mark.parametrize("wrong", [None, torch.zeros(2, 5, 8, 8), torch.zeros(2, 4, SIZE, SIZE), torch.zeros(1, 5, SIZE, SIZE)])
def test_a_control_that_is_missing_or_of_another_size_is_refused(folders, wrong):
    prior = prior_of(folders, str(folders["tiny_depth"]))
    with pytest.raises(ModelError) as caught:
        conditions = dataclasses.replace(prior.embed(["a cup", "a cup"]), control=wrong)
        prior.predict_noise(torch.randn(2, 4, 8, 8), torch.tensor([5, 5]), conditions)
    assert caught.value.code == "model_control" and caught.value.fix


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("cross_attention_dim", 768, "another base model: its cross_attention_dim is 768"),
        ("block_out_channels", [8, 32], "another base model: its block_out_channels"),
        ("addition_embed_type", "text_time", "another base model"),
        ("conditioning_channels", 1, "of another size"),
        ("block_out_channels", [8, 10**9], "whole number from 1"),
        ("_class_name", "ControlNetXSAdapter", "ControlNetXSAdapter"),
    ],
)
def test_a_control_of_another_base_is_refused_before_weights_are_read(folders, tmp_path, key, value, told):
    copy = Path(shutil.copytree(folders["tiny_depth"], tmp_path / "depth"))
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, key: value}))
    (copy / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=told) as caught:
        prior_of(folders, str(copy))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("more", "told"),
    [({"channels": [8, 8]}, r"its channels is \[8, 8\]"), ({"adapter_type": "full_adapter"}, "its adapter_type is 'full_adapter'"),
     ({"downscale_factor": 8}, "its downscale_factor is 8"), ({"in_channels": 1}, "its in_channels is 1; .* must be 3")],
)  # fmt: skip
def test_an_adapter_of_another_width_or_class_is_refused(folders, tmp_path, more, told):
    with pytest.raises(ModelError, match=told) as caught:
        prior_of(folders, str(make_tiny_adapter(tmp_path / "depth", **more)))
    assert "adapter" in caught.value.fix


def test_a_control_of_another_size_or_with_damaged_weights_is_refused(folders, tmp_path):
    with pytest.raises(ModelError, match="of another size: a latent is 8 x 8"):
        prior_of(folders, str(folders["large_depth"]))
    copy = Path(shutil.copytree(folders["tiny_depth"], tmp_path / "depth"))
    (copy / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        prior_of(folders, str(copy))


@pytest.mark.parametrize("model", ["embedded", "board"])
def test_a_model_that_takes_no_controls_says_so(folders, model, tmp_path):
    if model == "board":
        Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(ModelError, match="takes no ControlNet") as caught:
        entries = (ControlEntry(folders["tiny_depth"], "depth"),)
        load_prior(str(tmp_path) if model == "board" else model, surface=True, controls=entries)
    assert "--model" in caught.value.fix


# The laboratory


@pytest.fixture()
def picture(tmp_path) -> Path:
    path = tmp_path / "control.png"
    Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))).save(path)
    return path


def image(folders, tmp_path, *extra, model: str = "model") -> int:
    words = ["image", "--model", str(folders[model]), "--prompt", "a cup", "--out", str(tmp_path / "out.png"), "--steps", "3"]
    return main([*words, *map(str, extra)])


@pytest.mark.parametrize("method", ["calibrated", "ddim", "vsd", "bridge"])
def test_an_image_is_made_under_a_control(folders, tmp_path, picture, method):
    made = {}
    for strength in (0, 1):
        controls = ("--control", f"{folders['tiny_depth']}:{strength}", "--control", picture)
        assert image(folders, tmp_path, "--method", method, *controls) == EXIT_DONE
        made[strength] = (tmp_path / "out.png").read_bytes()
    assert made[0] != made[1]


def test_a_picture_is_changed_under_a_control_and_by_a_depth_model(folders, tmp_path, picture):
    both = ("--control", folders["tiny_depth"], "--control", f"{folders['tiny_normal']}:0.5", "--control", picture)
    assert image(folders, tmp_path, *both, "--init", picture, "--baseline") == EXIT_DONE
    assert image(folders, tmp_path, "--control", picture, model="depth_model") == EXIT_DONE


def test_where_a_control_picture_is_transparent_there_is_no_surface(folders, tmp_path):
    """Far, or a plain that looks at the camera: over white the background of a cut-out depth picture would be its nearest place."""
    cut_out = np.zeros((32, 32, 4), np.uint8)
    cut_out[8:24, 8:24] = (200, 100, 50, 255)
    Image.fromarray(cut_out).save(tmp_path / "cut.png")
    both = prior_of(folders, str(folders["tiny_depth"]), str(folders["tiny_normal"]))
    control = read_control(both, [tmp_path / "cut.png"] * 2)
    assert control is not None
    assert (control[0, :, 0, 0] * 255).round().tolist() == [0, 0, 0, 128, 128, 255]
    assert (control[0, :, 8, 8] * 255).round().tolist() == [200, 100, 50] * 2
    alone = read_control(prior_of(folders, model="depth_model"), [tmp_path / "cut.png"])
    assert alone is not None and alone[0, :, 0, 0].tolist() == [0, 0, 0]


def test_the_laboratory_says_what_is_missing_or_too_much(folders, tmp_path, picture, capsys):
    flat = tmp_path / "flat.png"
    Image.new("RGB", (16, 16), (90, 90, 90)).save(flat)
    depth = ("--control", folders["tiny_depth"])
    cases = [
        (depth, "there is none", {}),
        ((), "there is none", {"model": "depth_model"}),
        (("--control", picture), "looks at no control", {}),
        ((*depth, "--control", flat), "of one colour", {}),
        ((*depth, "--control", folders["tiny_normal"], *(("--control", picture) * 3)), "looks at 2", {}),
        (("--control", tmp_path / "nowhere.png"), "no folder", {}),
    ]
    for extra, told, options in cases:
        assert image(folders, tmp_path, *extra, **options) == EXIT_BAD_INPUT
        said = capsys.readouterr().err
        assert told in said and "fix:" in said, said


# Jobs


@pytest.mark.parametrize("mode", ["refine", "texture"])
@pytest.mark.parametrize(
    ("model", "controls"), [("model", ("tiny_depth", "tiny_normal")), ("model", ("adapter_depth",)), ("depth_model", ())]
)
def test_jobs_run_under_a_control(folders, tmp_path, mode, model, controls):
    sketch = tmp_path / "box.glb"
    save_glb(sketch, box((0.5, 0.4, 0.6)))
    words = [mode, str(sketch), "--prompt", "a cup", "--model", str(folders[model]), "--out", str(tmp_path / "out")]
    words += [word for name in controls for word in ("--control", f"{folders[name]}:0.8")]
    numbers = [f"{name}={value}" for name, value in TINY.items()]
    assert main([*words, "--texture-size", "32", *(word for number in numbers for word in ("--set", number))]) == EXIT_DONE
    report = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert (report["control"] or "").count(";") == max(len(controls) - 1, 0)


def test_a_control_that_does_not_fit_is_told_before_a_job_starts(folders):
    settings = JobSettings("a cup", model=str(folders["model"]), control=str(folders["large_depth"]), overrides=TINY)
    with pytest.raises(ModelError, match="of another size"):
        run_job(box((0.5, 0.4, 0.6)), settings, QuietReporter())


def distillation_of(folders, **numbers) -> Distillation:
    prior = prior_of(folders, str(folders["tiny_depth"]))
    numbers = dataclasses.replace(PRESETS["draft"], **{**TINY, **numbers})
    subject = texture_subject(box((0.5, 0.4, 0.6)), numbers, CPU)
    return Distillation(subject, prior, select_rasterizer("cpu"), numbers, PromptPair("a cup"), 0.5, torch.Generator().manual_seed(0))


def test_the_control_rises_only_where_the_surface_may_move(folders):
    """A texture's surface is what it is; a sketch's is a question in the first steps."""
    job = distillation_of(folders, stage1_steps=8, control_rise=0.5)
    assert job.control_strength() == 1.0
    job.subject.can_move = True
    strengths = []
    for taken in range(10):
        job.taken = taken
        strengths.append(job.control_strength())
    assert strengths == [0.25, 0.4375, 0.625, 0.8125, *[1.0] * 6]


def test_views_that_see_nothing_are_told_once(folders):
    parts = [moved(box((0.2, 0.2, 0.2)), x, y, 0) for x in (-3, 3) for y in (-3, 3)]
    reporter = QuietReporter()
    settings = JobSettings("a cup", "texture", model=str(folders["model"]), control=str(folders["tiny_depth"]), texture_size=16,
                           overrides={**TINY, "fov": 8.0})  # fmt: skip
    run_job(merge(*parts), settings, reporter)
    told = [note for note in reporter.notes if "see nothing of the subject" in note]
    assert len(told) == 1 and "fov" in told[0]
