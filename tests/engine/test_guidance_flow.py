"""Guidance under flow-matching models, and what a prior cannot serve: RFDS against the closed velocity of a Gaussian, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import make_tiny_flow
from torch import Tensor

from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.diffusion.load import load_prior
from engine.diffusion.schedule import straight_schedule
from engine.distillation import PromptPair
from engine.dream.dream import Dream
from engine.dream_fields import DreamNumbers
from engine.errors import ModelError
from engine.guidance import Guide, methods
from engine.guidance.methods import METHODS, methods_for
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents
from engine.job import run_job
from engine.job_fields import JobSettings
from engine.lab.edit import Edit, edit_image
from engine.lab.illusion import make_illusion
from engine.lab.optimize import text_to_image
from engine.lab.recipes import recipe
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from scripts.guidance.bench import COST_METHODS
from scripts.guidance.rows import EQUAL
from tests.engine.analytic import GaussianMixture, MixturePrior

MEAN, DEVIATION = {"": 0.5, "target": -1.0}, {"": 0.9, "target": 0.5}
TIMES = torch.tensor([100, 250, 400, 550, 700, 900])
POINTS = torch.linspace(-2, 3, 6, dtype=torch.float64)[:, None]
NOISE = torch.tensor([0.3, -1.2, 0.8, 2.0, -0.4, 0.1], dtype=torch.float64)[:, None]
SCHEDULE = straight_schedule(1000, 3.0)


@pytest.fixture()
def flow() -> MixturePrior:
    """Gaussians known by the levels of a flow-matching model."""
    found = MixturePrior({name: GaussianMixture.single([MEAN[name]], DEVIATION[name]) for name in MEAN}, SCHEDULE)
    found.prediction = "flow"  # type: ignore[attr-defined]
    return found


def place(t: Tensor) -> Tensor:
    """s of each timestep, [B, 1]: x_s = (1 - s) x_0 + s n."""
    return SCHEDULE.on_the_straight_path(POINTS, t)[1].double()[:, None]


def velocity(name: str, x_s: Tensor, s: Tensor) -> Tensor:
    """E[n - x_0 | x_s] of a Gaussian: with r = x_s - (1 - s) mu and V = (1 - s)^2 d^2 + s^2, E[n] = s r / V and
    E[x_0] = mu + (1 - s) d^2 r / V."""
    mean, variance = MEAN[name], DEVIATION[name] ** 2
    rest = (x_s - (1 - s) * mean) / ((1 - s) ** 2 * variance + s**2)
    return s * rest - (mean + (1 - s) * variance * rest)


def direction(prior: MixturePrior, settings: GuidanceSettings, noise: Tensor = NOISE) -> Tensor:
    latents = POINTS.clone().requires_grad_()
    pair = ConditionPair(prior.embed(["target"]))
    loss, _ = distill_latents(prior, latents, pair, settings, torch.Generator(), noise=lambda _: noise, timesteps=TIMES)
    return torch.autograd.grad(loss, latents)[0] * len(latents)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_rfds_on_a_gaussian_has_its_closed_form(flow: MixturePrior, scale: float) -> None:
    s = place(TIMES)
    x_s = (1 - s) * POINTS + s * NOISE
    unconditional, wanted = velocity("", x_s, s), velocity("target", x_s, s)
    expected = unconditional + scale * (wanted - unconditional) - (NOISE - POINTS)
    assert torch.allclose(direction(flow, GuidanceSettings("rfds", scale, weighting="one")), expected, atol=1e-5)


def test_rfds_is_sds_over_one_minus_s_and_the_same_difference_of_images(flow: MixturePrior) -> None:
    rfds, sds = (direction(flow, GuidanceSettings(name, 4.0, weighting="one")) for name in ("rfds", "sds"))
    assert torch.allclose(rfds * (1 - place(TIMES)), sds, atol=1e-5)
    rfds, sds = (direction(flow, GuidanceSettings(name, 4.0, weighting="x0")) for name in ("rfds", "sds"))
    assert torch.allclose(rfds, sds, atol=1e-5)


def test_rfds_leaves_the_mean_of_what_was_asked_where_it_is(flow: MixturePrior) -> None:
    """At scale 1 the mean over noise n and -n of the direction at an image x is (x - mu) s / V: nothing at mu, and towards it elsewhere."""
    settings = GuidanceSettings("rfds", 1.0, weighting="one")
    mean = (direction(flow, settings) + direction(flow, settings, -NOISE)) / 2
    s, variance = place(TIMES), DEVIATION["target"] ** 2
    expected = (POINTS - MEAN["target"]) * s / ((1 - s) ** 2 * variance + s**2)
    assert torch.allclose(mean, expected, atol=1e-5)


def test_rfds_by_a_flow_matching_model_s_own_answers(tmp_path: Path) -> None:
    """The velocities that the network itself gives at x_s, through the whole step."""
    prior = load_prior(str(make_tiny_flow(tmp_path / "sd3")), "cpu", torch.float32)
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    pair, t = ConditionPair(prior.embed(["a cup"] * 2)), torch.tensor([200, 700])
    settings = GuidanceSettings("rfds", 3.0, weighting="one")
    loss, _ = distill_latents(prior, z, pair, settings, torch.Generator(), noise=lambda _: noise, timesteps=t)
    s = prior.schedule.on_the_straight_path(z, t)[1]
    x_s = (1 - s.view(-1, 1, 1, 1)) * z.detach() + s.view(-1, 1, 1, 1) * noise
    with torch.no_grad():
        told = [prior.told(one.data) for one in (prior.embed([""] * 2), pair.target)]  # type: ignore[attr-defined]
        without, wanted = (prior.unet(x_s, timestep=1000 * s, **one).sample for one in told)  # type: ignore[attr-defined]
    expected = (without + 3.0 * (wanted - without) - (noise - z.detach())) / 2
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], expected, rtol=2e-3, atol=2e-4)


def test_velocities_and_noise_estimates_are_each_other_s_reverse() -> None:
    x_t, found = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    there = SCHEDULE.to_velocity(SCHEDULE.to_epsilon(found, x_t, TIMES, "flow"), x_t, TIMES)
    assert torch.allclose(there, found, atol=1e-6)


IMAGES, LABELS = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), [ImageLabel("a ball"), ImageLabel("a cup")]
BOARD = EmpiricalPrior(IMAGES, LABELS)
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
)


def in_an_image() -> None:
    text_to_image(BOARD, ["a ball"], recipe("rfds", "draft"), torch.Generator(), QuietReporter())


def in_somebody_s_loop() -> None:
    Guide(BOARD, "a ball", method="rfds")


def in_a_job() -> None:
    run_job(TETRAHEDRON, JobSettings("a ball", overrides={"stage2_method": "rfds"}), QuietReporter(), load=lambda *_, **__: BOARD)


def in_a_dream() -> None:
    Dream(BOARD, PromptPair("a ball", method="rfds"), DreamNumbers(dream_steps2=1, dream_grid=8), lambda _: None, torch.Generator())  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("begin", [in_an_image, in_somebody_s_loop, in_a_job, in_a_dream])
def test_a_method_for_flows_is_refused_by_every_other_prior_before_the_first_step(begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BOARD, "predict_noise", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ModelError) as caught:
        begin()
    assert (
        caught.value.code == "model_method" and "'rfds' needs a flow-matching model" in caught.value.message and "sds" in caught.value.fix
    )


class Conditional(EmpiricalPrior):
    """A model without an unconditional distribution, as some distilled ones are."""

    def embed(self, prompts, cameras=None):  # type: ignore[no-untyped-def]
        if "" in prompts:
            raise ModelError("model_method", "It has no unconditional distribution.", "Choose another model, or the method calibrated.")
        return super().embed(prompts, cameras)


@pytest.mark.parametrize("method", sorted({*methods_for("image", "edit", "illusion", "job")} - {"ddim", "sdedit", "rfds"}))
def test_a_prior_without_an_unconditional_distribution_is_told_before_the_first_step(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method whose steps would ask for one is refused; the others are not."""
    prior = Conditional(IMAGES, LABELS)
    asked: list[int] = []

    def answered(x_t: Tensor, t: Tensor, conditions: object) -> Tensor:
        asked.append(len(t))
        return torch.zeros_like(x_t)

    monkeypatch.setattr(prior, "predict_noise", answered)
    entry, numbers, generator = METHODS[method], recipe(method, "draft", steps=2, switch=0.0), torch.Generator().manual_seed(0)

    def run() -> None:
        if "image" in entry.uses:
            text_to_image(prior, ["a ball"], numbers, generator, QuietReporter())
        else:
            edit_image(prior, torch.rand(1, 3, 16, 16), Edit("a ball", "a cup"), numbers, generator, QuietReporter())

    inversion = entry.inversion
    asks = "uncond" in entry.needs or (inversion is not None and (inversion.under == "uncond" or inversion.scale != 1.0))
    if asks:
        with pytest.raises(ModelError, match="no unconditional"):
            run()
        assert not asked
    else:
        run()
        assert asked
    if "illusion" in entry.uses and asks:
        with pytest.raises(ModelError, match="no unconditional"):
            make_illusion(prior, ["a ball"] * 4, numbers, generator, QuietReporter(), size=16)
        assert not asked


def test_tables_of_every_prior_leave_methods_for_flows_out() -> None:
    assert METHODS["rfds"].flow and "equal_rfds" not in EQUAL and "rfds" not in COST_METHODS
    assert methods.rfds(torch.ones(1), torch.full((1,), 3.0), torch.full((1,), 2.0), 2.0).item() == 3.0  # 1 + 2 (3 - 1) - 2
