"""The image tools as functions, over an exact prior whose right answer is known, and over a small real network."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_model import make_tiny_flow, make_tiny_model

from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.diffusion.load import load_prior
from engine.errors import Cancelled, InputError
from engine.guidance.methods import METHODS, methods_for, source_text
from engine.lab.edit import Edit, edit_image
from engine.lab.illusion import FourierImage, make_illusion, overlay
from engine.lab.optimize import RunMonitor, text_to_image
from engine.lab.recipes import PRESETS, Recipe, for_prior, recipe
from engine.reporting import QuietReporter

NAMES = ("a red tulip", "a blue mug", "a green tree", "a yellow chair")


@pytest.fixture(scope="module")
def pictures():
    coarse = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")


@pytest.fixture()
def board(pictures):
    return EmpiricalPrior(pictures, [ImageLabel(name) for name in NAMES])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_prior(str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")), "cpu", torch.float32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def distance(images, pictures):
    """[N, M] root mean square differences."""
    return (images[:, None] - pictures[None]).square().mean((2, 3, 4)).sqrt()


@pytest.mark.parametrize("method", ["ddim", "sds"])
def test_text_to_image_finds_the_picture_of_its_prompt(board, pictures, method):
    numbers = recipe(method, "draft", steps=200 if method == "sds" else 20, rate=0.03, scale=1.0)
    images = text_to_image(board, NAMES, numbers, generator(), QuietReporter())
    found = distance(images, pictures)
    # each image is one batch entry: it must be its own prompt's picture, and near it (8-bit steps are 0.004)
    assert found.argmin(1).tolist() == [0, 1, 2, 3] and float(found.diagonal().max()) < 0.05


def test_anchored_second_stage_keeps_what_the_first_found(board, pictures):
    numbers = recipe("anchored", "draft", steps=200, rate=0.03, first_scale=1.0, scale=1.0)
    found = distance(text_to_image(board, NAMES[:2], numbers, generator(), QuietReporter()), pictures)
    assert float(found.diagonal().max()) < 0.05


@pytest.mark.parametrize("method", methods_for("image"))
def test_every_method_runs_on_a_network_and_is_repeatable(network, method, tmp_path):
    prior = load_prior(str(make_tiny_flow(tmp_path / "flow")), "cpu", torch.float32) if METHODS[method].flow else network
    numbers = recipe(method, "draft", steps=6, bridge_steps=3)
    runs = [text_to_image(prior, ["a", "b"], numbers, generator(4), QuietReporter()) for _ in range(2)]
    assert runs[0].shape == (2, 3, prior.image_size, prior.image_size) and torch.isfinite(runs[0]).all()
    assert torch.equal(*runs)
    assert not any("lora" in name for name, _ in prior.unet.named_parameters())


def test_adam_state_is_kept_and_stages_switch(network):
    stages = []

    class Listening(QuietReporter):
        def progress(self, stage, step, total, seconds_left, figures):
            stages.append((stage, step, total))

    text_to_image(network, ["a"], recipe("calibrated", "draft", steps=5, switch=0.4), generator(), Listening())
    assert stages == [("stage 1", 1, 5), ("stage 1", 2, 5), ("stage 2", 3, 5), ("stage 2", 4, 5), ("stage 2", 5, 5)]


def test_cancelling_ends_within_a_step(network):
    steps = []

    class Impatient(QuietReporter):
        def progress(self, stage, step, total, seconds_left, figures):
            steps.append(step)

        def cancelled(self):
            return len(steps) == 3

    with pytest.raises(Cancelled):
        text_to_image(network, ["a"], recipe("vsd", "draft", steps=50), generator(), Impatient())
    assert steps == [1, 2, 3]
    assert not any("lora" in name for name, _ in network.unet.named_parameters())


def test_watch_keeps_frames_and_shows_previews(network):
    shown = []

    class Looking(QuietReporter):
        def preview(self, image):
            shown.append(image)

    watch = RunMonitor(Looking(), network, every=4)
    text_to_image(network, ["a"], recipe("sds", "draft", steps=10), generator(), QuietReporter(), watch=watch)
    assert len(watch.frames) == 4 and watch.frames[0].shape == (3, 16, 16)  # steps 1, 4, 8, 10
    assert shown and shown[0].shape == (16, 16, 3) and shown[0].dtype.name == "uint8"


def test_notes_reach_the_user(network):
    reporter = QuietReporter()
    text_to_image(network, ["a very long prompt indeed"], recipe("sds", "draft", steps=1), generator(), reporter)
    assert any("cut from the prompt" in note for note in reporter.notes)


def test_painting_to_real_moves_the_painting_towards_the_picture(board, pictures):
    """From a posterized copy, under the anchored direction at scale 1, towards the clean picture."""
    painted = (pictures[:1] * 3).round() / 3
    numbers = recipe("anchored", "draft", steps=120, rate=0.02, scale=1.0)
    real = edit_image(board, painted, Edit(NAMES[0]), numbers, generator(), QuietReporter())
    assert float(distance(real, pictures)[0, 0]) < 0.4 * float(distance(painted, pictures)[0, 0])


def test_painting_to_real_uses_the_users_source(network):
    painted = torch.rand(1, 3, 16, 16, generator=generator())
    ends = [
        edit_image(network, painted, Edit("a", source), recipe("calibrated", "draft", steps=3), generator(), QuietReporter())
        for source in (None, "a, painting", "b b b")
    ]
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_sdedit_returns_the_picture_of_the_prompt(board, pictures):
    painted = (pictures[:1] * 3).round() / 3
    numbers = recipe("sdedit", "draft", steps=20, scale=1.0)
    real = edit_image(board, painted, Edit(NAMES[0], strength=0.5), numbers, generator(), QuietReporter())
    assert float(distance(real, pictures)[0, 0]) < 0.05


def test_delta_denoising_goes_from_one_prompt_to_the_other(board, pictures):
    numbers = recipe("dds", "draft", steps=150, rate=0.03)
    edited = edit_image(board, pictures[:1], Edit(NAMES[1], NAMES[0]), numbers, generator(), QuietReporter())
    assert int(distance(edited, pictures).argmin()) == 1


def test_delta_denoising_between_equal_prompts_changes_nothing(board, pictures):
    numbers = recipe("dds", "draft", steps=5)
    edited = edit_image(board, pictures[:1], Edit(NAMES[0], NAMES[0]), numbers, generator(), QuietReporter())
    # the first step has x = x_ref, so the direction is exactly zero and stays so
    assert torch.allclose(edited, pictures[:1], atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 1.2, float("nan")])
def test_strength_out_of_range(strength):
    with pytest.raises(InputError, match="strength"):
        Edit("a", strength=strength)


@pytest.mark.parametrize("method", methods_for("edit"))
def test_every_editing_method_runs_on_a_network_and_is_repeatable(network, method):
    numbers = recipe(method, "draft", steps=4, bridge_steps=3)
    painted = torch.rand(2, 3, 16, 16, generator=generator())
    runs = [edit_image(network, painted, Edit("a", "b"), numbers, generator(4), QuietReporter()) for _ in range(2)]
    assert runs[0].shape == (2, 3, 16, 16) and torch.isfinite(runs[0]).all() and torch.equal(*runs)


def test_methods_that_do_not_edit_are_refused(board, pictures):
    for method in set(METHODS) - set(methods_for("edit")):
        with pytest.raises(InputError, match="for edits"):
            edit_image(board, pictures[:1], Edit("a"), recipe(method, "draft", steps=1), generator(), QuietReporter())


def test_delta_denoising_needs_a_source(board, pictures):
    with pytest.raises(InputError, match="--source"):
        edit_image(board, pictures[:1], Edit("a"), recipe("dds"), generator(), QuietReporter())


def test_overlay_formula_and_turns():
    base, rotator = torch.rand(2, 1, 3, 8, 8, generator=generator())
    assert torch.allclose(overlay(base, rotator, 0), torch.tanh(3 * base * rotator))
    # a quarter turn counter-clockwise brings the right column to the top row
    assert torch.allclose(overlay(torch.ones_like(base), rotator, 1)[0, :, 0, :], torch.tanh(3 * rotator[0, :, :, -1]))
    assert torch.allclose(overlay(base, rotator, 4), overlay(base, rotator, 0))


def test_fourier_image_is_one_function_at_all_sizes():
    image = FourierImage(generator())
    with torch.no_grad():
        small, large = image(16), image(48)
    # pixel centres of 16 are among those of 48: every third, from the second on
    assert torch.allclose(small, large[:, :, 1::3, 1::3], atol=1e-5)
    assert FourierImage(generator())(4).equal(FourierImage(generator())(4))


def test_illusion_shows_each_prompt_in_its_turn():
    """The four pictures are overlays of a hidden pair, so that an exact solution exists; SDS at s = 1 must come near to all of them."""
    coarse = torch.rand(2, 3, 4, 4, generator=generator(5))
    base, rotator = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").split(1)
    pictures = torch.cat([overlay(base, rotator, turns) for turns in range(4)])
    board = EmpiricalPrior(pictures, [ImageLabel(name) for name in NAMES])
    numbers = recipe("sds", "draft", steps=300, rate=5e-3, scale=1.0)
    illusion = make_illusion(board, NAMES, numbers, generator(), QuietReporter(), size=16)
    found = distance(illusion.views, pictures)
    assert found.argmin(1).tolist() == [0, 1, 2, 3] and float(found.diagonal().max()) < 0.1, found
    assert torch.allclose(illusion.views[2], overlay(illusion.base[None], illusion.rotator[None], 2)[0], atol=1e-6)


def test_illusion_in_two_stages_on_a_network(network):
    illusion = make_illusion(network, ["a", "b", "c", "d"], recipe("calibrated", "draft", steps=4), generator(), QuietReporter(), size=32)
    assert illusion.base.shape == (3, 32, 32) and illusion.views.shape == (4, 3, 32, 32) and torch.isfinite(illusion.views).all()


@pytest.mark.parametrize(("prompts", "method"), [(("a", "b"), "sds"), (("a", "b", "c", "d"), "nfsd"), (("a", "b", "c", " "), "sds")])
def test_illusions_that_cannot_be(network, prompts, method):
    with pytest.raises(InputError):
        make_illusion(network, prompts, recipe(method, "draft", steps=1), generator(), QuietReporter())


def test_paper_preset_is_the_published_protocol():
    plan = recipe("calibrated", "paper").plan()
    assert (plan.steps, plan.switch) == (2500, 500)
    assert plan.first.strength == 40.0 and plan.second.strength == 25.0 and recipe("calibrated", "paper").rate == 0.01
    csd = recipe("csd", "paper")
    assert csd.plan().at(0)[1].strength == csd.plan().at(0)[1].source_weight == 40.0
    assert csd.plan().at(499)[1].source_weight > 0 == csd.plan().at(500)[1].source_weight


def test_presets_of_the_released_codes_by_step():
    """2D: s = 40 and w(t) = 1 - alpha_bar throughout, switch at 500 of 1,000. 3D: s = 100, then the bare difference."""
    flat = recipe("calibrated", "code-2d").plan()
    assert [flat.at(step)[0] for step in (0, 499, 500, 999)] == [1, 1, 2, 2]
    assert flat.at(0)[1].strength == flat.at(999)[1].strength == 40.0
    assert flat.at(0)[1].weighting == flat.at(999)[1].weighting == "sigma2"
    solid = recipe("calibrated", "code-3d").plan()
    assert [(solid.at(step)[1].method, solid.at(step)[1].strength) for step in (19_999, 20_000)] == [("sds", 100.0), ("calibrated", 1.0)]
    assert [solid.at(step)[1].weighting for step in (19_999, 20_000)] == ["sigma2", "one"]
    assert [solid.at(step)[1].t_high for step in (4_999, 5_000, 24_999)] == [0.98, 0.5, 0.5]
    assert recipe("nfsd", "code-2d").scale == METHODS["nfsd"].scale


def test_words_of_quality_are_said_in_stage_2_alone(network, monkeypatch):
    """The 2D code adds them to y_tgt after the switch; under "paper" they are never said."""
    said = []
    embed = network.embed
    monkeypatch.setattr(network, "embed", lambda prompts, cameras=None: (said.extend(prompts), embed(prompts, cameras))[1])
    for preset in ("paper", "code-2d"):
        said.clear()
        text_to_image(network, ["a cup"], recipe("calibrated", preset, steps=4), generator(), QuietReporter())
        assert any("sharp" in text for text in said) == (preset == "code-2d")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipe("magic"), "no method"),
        (lambda: recipe("sds", "turbo"), "no preset"),
        (lambda: recipe("sds", colour=1), "no setting 'colour'"),
        (lambda: recipe("sds", first_scale=float("inf")), "finite"),
        (lambda: recipe("calibrated", scale=float("nan")), "finite"),
        (lambda: recipe("sds", steps=0), "steps"),
        (lambda: recipe("sds", rate=-1.0), "rate"),
        (lambda: recipe("calibrated", switch=1.5), "switch"),
    ],
)
def test_recipes_that_cannot_work(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_every_preset_and_method_makes_a_plan():
    for preset in PRESETS:
        for name, method in METHODS.items():
            numbers = recipe(name, preset)
            assert numbers.steps == 20 if method.samples else numbers.plan().steps >= 100


def test_sources_by_method():
    assert "unrealistic" in source_text("nfsd", "a rose")
    assert source_text("calibrated", "a rose, 4k").startswith("a rose, oversaturated")
    assert source_text("csd", "a rose", given="my own") == "my own"


def test_evaluations_of_a_run():
    assert recipe("ddim", steps=20).evaluations() == 40
    assert recipe("sds", steps=100).evaluations() == recipe("calibrated", steps=100).evaluations() == 200
    assert recipe("nfsd", steps=100).evaluations() == 300
    assert dataclasses.replace(Recipe("bridge"), steps=100, bridge_rounds=2, bridge_steps=10).evaluations() == 260


def test_small_priors_get_milder_numbers_but_the_users_stay():
    assert for_prior(recipe("calibrated"), 512) == recipe("calibrated")
    small = for_prior(recipe("calibrated", scale=3.0), 64, ["scale"])
    assert small.first_scale == 7.5 and small.scale == 3.0 and small.spread == 0.3
