"""The prior that sees the surface: its control goes through every estimate of a step, and nothing changes for priors without."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from engine.camera import orbit
from engine.cli import main as sketchbridge
from engine.diffusion.load import load_prior
from engine.diffusion.prior import CONTROL_CHANNELS, Conditions, ControlledPrior, Prior
from engine.diffusion.surface_prior import SurfacePrior
from engine.diffusion.surface_unet import SurfaceUNet
from engine.distillation import Distillation, PromptPair
from engine.errors import ModelError
from engine.guidance.pf_ode import GuidedPrompt
from engine.guidance.step import ConditionPair, GuidanceSettings, distill
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.control import geometry_control
from engine.reporting import QuietReporter
from scripts.prior.data.kinds import KINDS
from scripts.prior.networks import make_text_model
from scripts.prior.surface.export import write_folder
from scripts.prior.tokenizer import write_tokenizer

SIZE = 32
CUBE = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
CUBE_FACES = torch.tensor(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
    dtype=torch.int32,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a tiny network with random weights, as the export writes it."""
    root = tmp_path_factory.mktemp("surface")
    torch.manual_seed(0)
    tokenizer = write_tokenizer(["a", "red", "mug", "roof"], root / "text" / "tokenizer")
    make_text_model(tokenizer, 16, 1).save_pretrained(root / "text")
    (root / "text" / "words.json").write_text(json.dumps(["a", "red", "mug", "roof"]))
    unet = SurfaceUNet(sample_size=SIZE, channels=(32, 32, 32), text_width=16, embedding=32, heads=2, head_channels=4)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # blocks that start as the identity would hide what they are told
    write_folder(root / "model", unet, root / "text", ["mug"])
    return root / "model"


@pytest.fixture(scope="module")
def prior(folder) -> SurfacePrior:
    return load_prior(str(folder), "cpu", torch.float32)


@pytest.fixture(scope="module")
def control() -> torch.Tensor:
    return geometry_control(select_rasterizer("cpu"), CUBE, CUBE_FACES, orbit([20.0, 200.0], 20.0, 3.0, 40.0), SIZE)


def test_a_folder_of_such_a_network_is_found_by_name(prior):
    assert isinstance(prior, SurfacePrior) and isinstance(prior, Prior) and isinstance(prior, ControlledPrior)
    assert (prior.image_size, prior.control_channels, prior.kinds) == (SIZE, CONTROL_CHANNELS, ("mug",))
    assert "owl" in prior.embed(["a red owl"]).notes[0]


def test_the_embedded_prior_is_the_one_that_sees_surfaces_where_there_is_one():
    pictures, surfaces = load_prior("embedded"), load_prior("embedded", surface=True)
    assert not isinstance(pictures, ControlledPrior) and isinstance(surfaces, ControlledPrior)
    assert set(pictures.kinds) < set(surfaces.kinds)


def test_what_ships_knows_the_kinds_of_the_generator():
    prior = load_prior("embedded", surface=True)
    assert set(prior.kinds) == set(KINDS) and not prior.embed(["a red guitar with a wooden neck"]).notes
    assert "xylophone" in prior.embed(["a red xylophone"]).notes[0]


def test_what_ships_paints_a_surface_in_the_colour_that_is_named():
    """Pure noise, one estimate of the clean picture: the cube takes the colour of the words."""
    prior = load_prior("embedded", dtype=torch.float32, surface=True)
    size = prior.image_size
    control = geometry_control(select_rasterizer("cpu"), CUBE, CUBE_FACES, orbit([20.0], 20.0, 3.0, 40.0), size)
    words = [f"a {colour} coffee mug, on a white background" for colour in ("red", "blue")]
    x_t, t = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)), torch.full((2,), 900)
    noise = prior.predict_noise(x_t, t, prior.embed(words).under(control.expand(2, -1, -1, -1)))
    clean = prior.decode(prior.schedule.clean_estimate(x_t, noise, t))
    red, blue = clean[:, :, control[0, 3] > 0.99].mean(2)
    assert red[0] - red[2] > blue[0] - blue[2] + 0.25


def test_encoding_is_the_picture(prior):
    images = torch.rand(2, 3, SIZE, SIZE)
    assert torch.allclose(prior.decode(prior.encode(images)), images, atol=1e-6)


def test_words_surface_and_noise_level_all_count(prior, control):
    x_t, t = torch.randn(2, 3, SIZE, SIZE), torch.tensor([400, 400])
    said = prior.embed(["a red mug", "a red mug"])
    seen = prior.predict_noise(x_t, t, said.under(control))
    for other in (
        prior.predict_noise(x_t, t, said.under(control.flip(0))),
        prior.predict_noise(x_t, t, prior.embed(["roof", "roof"]).under(control)),
        prior.predict_noise(x_t, t + 300, said.under(control)),
    ):
        assert not torch.allclose(seen, other, atol=1e-3)
    alone = prior.predict_noise(x_t[1:], t[1:], said.under(control).select([1]))
    assert torch.allclose(alone, seen[1:], atol=1e-4)


@pytest.mark.parametrize("given", [None, torch.zeros(2, 4, SIZE, SIZE), torch.zeros(2, 5, SIZE // 2, SIZE // 2)])
def test_a_control_that_is_missing_or_does_not_fit_is_refused(prior, given):
    with pytest.raises(ModelError, match="expected a control of shape") as caught:
        prior.predict_noise(torch.randn(2, 3, SIZE, SIZE), torch.tensor([5, 5]), prior.embed(["a", "a"]).under(given))
    assert "embedded" in caught.value.fix


def test_conditions_keep_their_controls(prior, control):
    one, two = prior.embed(["a"]).under(control), prior.embed(["red", "mug"]).under(control.flip(0))
    both = Conditions.cat([one, two])
    assert torch.equal(both.control, torch.cat([control, control.flip(0)]))
    assert torch.equal(both.select([3, 0]).control, torch.stack([control[0], control[0]]))
    assert both.under(None).control is None and prior.embed(["a"]).control is None
    with pytest.raises(ValueError, match="1 of 2"):
        Conditions.cat([one, prior.embed(["a"])])


@pytest.mark.parametrize("method", ["sds", "calibrated", "csd"])
def test_every_estimate_of_a_step_sees_the_same_surface(prior, control, method, monkeypatch):
    asked = []
    answer = prior.predict_noise

    def watched(x_t, t, conditions):
        asked.append(conditions)
        return answer(x_t, t, conditions)

    monkeypatch.setattr(prior, "predict_noise", watched)
    images = torch.full((2, 3, SIZE, SIZE), 0.5, requires_grad=True)
    pair = ConditionPair(prior.embed(["a red mug"]).under(control), prior.embed(["mug"]).under(control))
    loss, _ = distill(prior, images, pair, GuidanceSettings(method, weighting="x0"), torch.Generator().manual_seed(0))
    loss.backward()
    assert images.grad.abs().sum() > 0
    (conditions,) = asked
    assert torch.equal(conditions.control, control.repeat(len(conditions) // 2, 1, 1, 1))


def test_guided_sampling_sees_the_surface_too(prior, control):
    prompt = GuidedPrompt(prior.embed(["a red mug"]).under(control), scale=3.0)
    assert prompt.noise(prior, torch.randn(2, 3, SIZE, SIZE), 500).shape == (2, 3, SIZE, SIZE)


class StillCube:
    """A subject of fixed geometry with one colour to learn."""

    artist = None
    material = None
    can_move = False

    def __init__(self) -> None:
        self.tone = torch.zeros(3, requires_grad=True)

    def geometry(self):
        return CUBE, CUBE_FACES

    def colour(self, points):
        return self.tone.sigmoid().expand(len(points), 3)

    def parameter_groups(self, hyperparameters):
        return [{"params": [self.tone], "lr": 0.02}]

    def regularization(self, hyperparameters):
        return torch.zeros(())

    def project(self):
        pass


@pytest.mark.parametrize("supersample", [1, 2])
def test_a_job_shows_the_prior_the_surface_as_each_view_sees_it(prior, supersample, monkeypatch):
    """Both stages; target and source see one control, and it is that of the views."""
    numbers = dataclasses.replace(PRESETS["draft"], stage1_steps=1, stage2_steps=1, views=2, supersample=supersample)
    subject, seen = StillCube(), []
    embed = type(prior).embed
    cameras = []

    def watched(self, prompts, given=None):
        if given is not None:
            cameras.append(given)
        return embed(self, prompts, given)

    monkeypatch.setattr(type(prior), "embed", watched)
    answer = prior.predict_noise
    monkeypatch.setattr(prior, "predict_noise", lambda x_t, t, conditions: (seen.append(conditions), answer(x_t, t, conditions))[1])
    rasterizer = select_rasterizer("cpu")
    job = Distillation(subject, prior, rasterizer, numbers, PromptPair("a red mug"), 0.5, torch.Generator().manual_seed(0))
    before = subject.tone.detach().clone()
    while not job.finished:
        job.step()
    assert not torch.equal(before, subject.tone)
    for number, conditions in enumerate(seen):
        expected = geometry_control(rasterizer, CUBE, CUBE_FACES, cameras[2 * number], SIZE, supersample=supersample)
        assert torch.allclose(conditions.control, torch.cat([expected, expected]), atol=1e-5)


def test_the_image_laboratory_says_what_such_a_model_is_for(folder, tmp_path, capsys):
    code = sketchbridge(["image", "--prompt", "a red mug", "--model", str(folder), "--out", str(tmp_path / "a.png")])
    assert code != 0
    assert "for pictures choose the model 'embedded'" in capsys.readouterr().err


def test_the_doctor_tries_such_a_model(folder):
    from engine.doctor import examine

    (found,) = [finding for finding in examine(str(folder)) if finding.name == "model"]
    assert found.state == "works", found
    assert "mug" in found.detail


@pytest.mark.parametrize(
    ("file", "key", "value", "told"),
    [
        ("unet/config.json", "control_channels", 4, "control_channels = 4"),
        ("unet/config.json", "text_width", 24, "text_width = 24"),
        ("unet/config.json", "patch", 10**9, "patch"),
        ("scheduler/scheduler_config.json", "prediction_type", "epsilon", "prediction_type"),
        ("unet/config.json", "_class_name", "Anything", "Anything"),
        ("unet/config.json", "sample_size", 30, "multiple of four patches"),
        ("unet/config.json", "sample_size", None, "multiple of four patches"),
        ("unet/config.json", "sample_size", [32, 32], "multiple of four patches"),
        ("unet/config.json", "heads", 5, "multiples of the heads"),
        ("unet/config.json", "channels", [32, 32], "three channels"),
        ("scheduler/scheduler_config.json", "trained_betas", [float("nan")] * 1000, "alpha_bar must fall"),
        ("scheduler/scheduler_config.json", "trained_betas", [-0.1] * 1000, "alpha_bar must fall"),
        ("tokenizer/tokenizer_config.json", "model_max_length", -5, "model_max_length = -5"),
        ("tokenizer/tokenizer_config.json", "model_max_length", 2, "model_max_length = 2"),
        ("kinds.json", "words", None, "has words = None; expected a list of texts"),
        ("kinds.json", "words", "a red mug", "has words = 'a red mug'"),
        ("kinds.json", "kinds", [], r"has kinds = \[\]"),
        ("kinds.json", "kinds", ["mug", None], "has kinds"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_what_it_says_of_itself(folder, tmp_path, file, key, value, told):
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    content = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps({**content, key: value}))
    with pytest.raises(ModelError, match=told):
        load_prior(str(copy))


def test_a_job_says_which_words_the_model_does_not_know_before_it_starts_on_the_sketch(folder):
    told = []

    class Order(QuietReporter):
        def progress(self, stage, step, total, seconds_left, figures):
            told.append(stage)

        def note(self, text):
            told.append(text)

    few = {"grid": 8, "colour_grid": 8, "views": 1, "fit_steps": 0, "stage1_steps": 0, "stage2_steps": 0}
    cube = Mesh(CUBE.numpy(), CUBE_FACES.numpy())
    run_job(cube, JobSettings("a red owl", model=str(folder), faces=200, texture_size=16, overrides=few), Order())
    warnings = [text for text in told if "does not know" in text]
    assert "owl" in warnings[0] and "mug" in warnings[0] and told.index(warnings[0]) < told.index("sdf")
