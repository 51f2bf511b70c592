"""Every class of model as a tiny folder of random weights: doctor, image, refine and texture; parity with diffusers."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from tiny_model import CLASSES, make_tiny_class, make_tiny_flow, make_tiny_model, make_tiny_xl

from engine.cli import main
from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.load import load_prior
from engine.diffusion.model_folder import check_folder
from engine.diffusion.schedule import straight_schedule
from engine.doctor import examine
from engine.errors import EXIT_DONE, ModelError
from engine.formats.meshio import save_glb
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents
from tests.engine.shapes import box

SHORT = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 1, "stage1_steps": 2, "stage2_steps": 2, "texture_size": 32, "faces": 200}
USED = [kind for kind in CLASSES if kind != "sd3-t5"]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    return functools.cache(lambda kind: make_tiny_class(root / kind, kind))


@pytest.fixture(scope="module")
def sketch(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sketch") / "box.glb"
    save_glb(path, box((0.5, 0.4, 0.6)))
    return path


@pytest.mark.parametrize("kind", USED)
def test_doctor(folder_of, kind):
    (found,) = [finding for finding in examine(str(folder_of(kind))) if finding.name == "model"]
    assert found.state == "works" and "16 x 16" in found.detail, found
    assert ("distilled" in found.detail) == (kind == "lcm")


@pytest.mark.parametrize("kind", [kind for kind in USED if kind != "sd2-depth"])
def test_image(folder_of, kind, tmp_path, capsys):
    out = tmp_path / "out.png"
    words = ["image", "--model", str(folder_of(kind)), "--prompt", "a cup", "--out", str(out), "--steps", "2"]
    assert main([*words, "--method", "calibrated"]) == EXIT_DONE and out.stat().st_size > 100
    assert ("distilled" in "".join(capsys.readouterr())) == (kind == "lcm")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refine", "texture"])
@pytest.mark.parametrize("kind", USED)
def test_job(folder_of, sketch, kind, mode, tmp_path):
    words = [mode, str(sketch), "--prompt", "a cup", "--model", str(folder_of(kind)), "--out", str(tmp_path), "--device", "cpu"]
    words += [word for name, value in SHORT.items() if name not in ("texture_size", "faces") for word in ("--set", f"{name}={value}")]
    assert main([*words, "--texture-size", "32", "--faces", "200", "--maps", "albedo"]) == EXIT_DONE
    assert list(tmp_path.rglob("*.glb"))


def states_and_pooled(pipeline, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What diffusers' own pipeline makes of a prompt."""
    with torch.no_grad():
        found = pipeline.encode_prompt(prompt, *([None, None] if "3" in type(pipeline).__name__ else []), do_classifier_free_guidance=False)
    return found[0], found[2]


def pipeline_of(folder: Path, name: str):
    import diffusers

    return getattr(diffusers, name).from_pretrained(folder)


def test_stable_diffusion_xl_is_told_what_diffusers_tells_it(tmp_path):
    folder = make_tiny_xl(tmp_path / "xl")
    prior, pipeline = load_prior(str(folder), "cpu", torch.float32), pipeline_of(folder, "StableDiffusionXLPipeline")
    states, pooled = states_and_pooled(pipeline, "a cup")
    told = prior.told(prior.embed(["a cup"]).data)
    torch.testing.assert_close(told["encoder_hidden_states"], states)
    torch.testing.assert_close(told["added_cond_kwargs"]["text_embeds"], pooled)
    ids = pipeline._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, 8)
    torch.testing.assert_close(told["added_cond_kwargs"]["time_ids"], ids)
    assert prior.embed([""]).data.abs().max() == 0  # force_zeros_for_empty_prompt
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([400])
    with torch.no_grad():
        added = {"text_embeds": pooled, "time_ids": ids}
        expected = pipeline.unet(x, t, encoder_hidden_states=states, added_cond_kwargs=added).sample
    torch.testing.assert_close(prior.predict_noise(x, t, prior.embed(["a cup"])), expected)


@pytest.mark.parametrize("third", [False, True])
def test_stable_diffusion_3_is_told_what_diffusers_tells_it(tmp_path, third):
    from diffusers import StableDiffusion3Pipeline

    folder = make_tiny_flow(tmp_path / "sd3", third)
    absent = {} if third else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **absent)
    prior = load_prior(str(folder), "cpu", torch.float32)
    states, pooled = states_and_pooled(pipeline, "a cup")
    told = prior.told(prior.embed(["a cup"]).data)
    torch.testing.assert_close(told["encoder_hidden_states"], states)
    torch.testing.assert_close(told["pooled_projections"], pooled)


@pytest.fixture(scope="module")
def flow(tmp_path_factory) -> DiffusersPrior:
    prior = load_prior(str(make_tiny_flow(tmp_path_factory.mktemp("flow") / "sd3")), "cpu", torch.float32)
    assert isinstance(prior, DiffusersPrior) and prior.prediction == "flow"
    return prior


def test_a_straight_path_has_the_levels_of_its_scheduler(flow):
    from diffusers import FlowMatchEulerDiscreteScheduler

    sigmas = FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas.flip(0)
    bar = straight_schedule(1000, 3.0).alphas_cumprod
    ours = (1 - bar).sqrt() / (bar.sqrt() + (1 - bar).sqrt())
    torch.testing.assert_close(ours, sigmas, atol=1e-4, rtol=0)
    torch.testing.assert_close(flow.schedule.alphas_cumprod, bar)


def test_the_direction_is_s_times_the_difference_of_velocities(flow):
    """In velocity form, from the model's own answers: the gradient in the scaled latents is w s (v_tgt - v_src) / B."""
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t = torch.tensor([200, 700])
    pair = ConditionPair(flow.embed(["a cup"] * 2), flow.embed(["a poor cup"] * 2))
    settings = GuidanceSettings("calibrated", 4.0, weighting="x0")
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    loss, _ = distill_latents(flow, z, pair, settings, torch.Generator(), noise=lambda _: noise, timesteps=t)
    (found,) = torch.autograd.grad(loss, z)
    s = flow.schedule.on_the_straight_path(z, t)[1]
    x = (1 - s.view(-1, 1, 1, 1)) * z.detach() + s.view(-1, 1, 1, 1) * noise
    with torch.no_grad():
        velocity = [flow.unet(x, timestep=1000 * s, **flow.told(one.data)).sample for one in (pair.target, pair.source)]
    expected = 4.0 * s.view(-1, 1, 1, 1) * (velocity[0] - velocity[1]) / 2
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)
    assert expected.abs().max() > 1e-2


def test_the_end_of_a_straight_path_is_the_clean_picture(flow):
    """An exact answer n - x_0 gives the noise, and with it the picture, at every level but the last, where no picture is left."""
    z, n = (torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    t = torch.tensor([0, 500, 990])
    x_t = flow.schedule.add_noise(z, n, t)
    found = flow.schedule.to_epsilon(n - z, x_t, t, "flow")
    torch.testing.assert_close(found, n, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flow.schedule.clean_estimate(x_t, found, t), z, atol=1e-2, rtol=1e-2)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}, ("FluxPipeline", "FluxTrans")),
        ({"text_encoder": [None, None], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, ("refiner",)),
        ({"prior": ["diffusers", "PriorTransformer"]}, ("prior",)),
    ],
)
def test_other_classes_are_named(tmp_path, changes, words):
    folder = make_tiny_model(tmp_path / "model")
    edit(folder / "model_index.json", **changes)
    with pytest.raises(ModelError) as caught:
        check_folder(folder)
    assert all(word in caught.value.message for word in words) and caught.value.fix


def test_text_encoders_of_another_width_are_named(tmp_path):
    folder = make_tiny_xl(tmp_path / "xl")
    edit(folder / "text_encoder_2" / "config.json", projection_dim=12)
    with pytest.raises(ModelError, match="projection_class_embeddings_input_dim"):
        check_folder(folder)
    folder = make_tiny_flow(tmp_path / "sd3")
    edit(folder / "text_encoder" / "config.json", projection_dim=12)
    with pytest.raises(ModelError, match="pooled_projection_dim"):
        check_folder(folder)


def test_a_denoiser_without_a_size_takes_the_autoencoders(tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    for told in (None, [8, 8]):
        edit(folder / "unet" / "config.json", sample_size=told)
        assert load_prior(str(folder)).image_size == 16
    edit(folder / "unet" / "config.json", sample_size=None)
    edit(folder / "vae" / "config.json", sample_size=None)
    with pytest.raises(ModelError, match="sample_size"):
        check_folder(folder)


def test_a_distilled_model_is_known_by_its_name(tmp_path):
    prior = load_prior(str(make_tiny_model(tmp_path / "sd-turbo")))
    assert isinstance(prior, DiffusersPrior) and "distilled" in prior.remarks[0]
    assert not getattr(load_prior(str(make_tiny_model(tmp_path / "turbotax"))), "remarks", ())
