"""The identities that tie the methods together, for arbitrary estimates and through the whole step."""

from __future__ import annotations

import pytest
import torch

from engine.errors import InputError, ModelError
from engine.guidance import methods
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents, surrogate
from engine.guidance.two_stage import TwoStage
from tests.engine.analytic import GaussianMixture, MixturePrior, scaled_linear_schedule

EXACT = 1e-6


@pytest.fixture()
def estimates():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) for name in ("u", "c", "src", "n", "x")}


@pytest.fixture()
def prior():
    mixtures = {
        "": GaussianMixture(
            torch.tensor([0.4, 0.6], dtype=torch.float64),
            torch.tensor([[-1.0, 0.5], [2.0, 0.0]], dtype=torch.float64),
            torch.tensor([0.9, 0.7], dtype=torch.float64),
        ),
        "target": GaussianMixture.single([1.0, -1.0], 0.5),
        "source": GaussianMixture.single([2.0, -2.0], 0.8),
    }
    return MixturePrior(mixtures, scaled_linear_schedule())


def direction_of(prior, settings, seed=0, reference=None, particles=None, source="source"):
    """(latents, gradient) of one whole step with equal draws for equal seeds; w(t) = 1 makes the gradient the direction / B."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(6, 2, generator=generator, dtype=torch.float64).requires_grad_()
    if reference == "self":
        reference = latents.detach()
    loss, figures = distill_latents(
        prior,
        latents,
        ConditionPair(prior.embed(["target"]), prior.embed([source])),
        settings,
        generator,
        reference=reference,
        particles=particles,
    )
    loss.backward()
    return latents.grad * 6, figures


def test_cfg_is_the_conditional_estimate_at_scale_one_and_the_unconditional_at_zero(estimates):
    u, c = estimates["u"], estimates["c"]
    assert torch.allclose(methods.cfg(u, c, 1.0), c, atol=EXACT)
    assert torch.equal(methods.cfg(u, c, 0.0), u)


def test_csd_with_equal_weights_is_calibrated(estimates):
    u, c, src = estimates["u"], estimates["c"], estimates["src"]
    assert torch.allclose(methods.csd(u, c, src, 25.0, 25.0), methods.calibrated(c, src, 25.0), atol=EXACT)


def test_csd_without_source_is_sds_without_its_denoising_part(estimates):
    u, c, n = estimates["u"], estimates["c"], estimates["n"]
    assert torch.allclose(methods.csd(u, c, u, 40.0, 0.0), methods.sds(u, c, n, 40.0) - (u - n), atol=EXACT)


def test_vsd_of_a_particle_score_that_says_the_noise_is_sds(estimates):
    u, c, n = estimates["u"], estimates["c"], estimates["n"]
    assert torch.allclose(methods.vsd(u, c, n, 7.5), methods.sds(u, c, n, 7.5), atol=EXACT)


def test_nfsd_at_scale_one_is_calibrated_to_the_negative_prompt_above_the_switch(estimates):
    u, c, negative = estimates["u"], estimates["c"], estimates["src"]
    early = torch.tensor([False, True, False, False])
    result = methods.nfsd(u, c, negative, early, 1.0)
    expected = methods.calibrated(c, negative, 1.0)
    assert torch.allclose(result[~early], expected[~early], atol=EXACT)
    assert torch.allclose(result[early], c[early], atol=EXACT)


def test_anchored_at_scale_one_subtracts_the_noise_from_the_target(estimates):
    assert torch.allclose(
        methods.anchored(estimates["c"], estimates["src"], estimates["n"], 1.0), estimates["c"] - estimates["n"], atol=EXACT
    )


def test_surrogate_has_the_given_gradient(estimates):
    latents = estimates["x"].clone().requires_grad_()
    surrogate(latents, estimates["n"]).backward()
    assert torch.allclose(latents.grad * 4, estimates["n"], atol=EXACT)


def test_annealing_reaches_zero():
    assert methods.annealed(40.0, 0, 500) == 40.0
    assert methods.annealed(40.0, 250, 500) == pytest.approx(20.0)
    assert methods.annealed(40.0, 500, 500) == methods.annealed(40.0, 900, 500) == 0.0


def test_whole_step_csd_with_equal_weights_is_calibrated(prior):
    csd, _ = direction_of(prior, GuidanceSettings("csd", 25.0, weighting="one"))
    calibrated, _ = direction_of(prior, GuidanceSettings("calibrated", scale=25.0, weighting="one"))
    assert torch.allclose(csd, calibrated, atol=EXACT)


def test_whole_step_csd_after_annealing_has_no_source(prior):
    settings = GuidanceSettings("csd", 40.0, weighting="one")
    plan = TwoStage(50, 50, settings, settings, anneal=0.2)
    assert [plan.at(step)[1].source_weight for step in (0, 5, 10)] == pytest.approx([40.0, 20.0, 0.0])
    late, _ = direction_of(prior, plan.at(10)[1])
    other_source, _ = direction_of(prior, plan.at(10)[1], source="")
    assert torch.allclose(late, other_source, atol=EXACT)


def test_whole_step_dds_from_the_image_itself_is_calibrated(prior):
    dds, _ = direction_of(prior, GuidanceSettings("dds", scale=1.0, weighting="one"), reference="self")
    calibrated, _ = direction_of(prior, GuidanceSettings("calibrated", scale=1.0, weighting="one"))
    assert torch.allclose(dds, calibrated, atol=EXACT)


def test_whole_step_nfsd_above_the_switch_is_calibrated(prior):
    late = {"t_low": 0.2, "t_high": 0.98, "weighting": "one"}
    nfsd, _ = direction_of(prior, GuidanceSettings("nfsd", scale=1.0, **late))
    calibrated, _ = direction_of(prior, GuidanceSettings("calibrated", scale=1.0, **late))
    assert torch.allclose(nfsd, calibrated, atol=EXACT)


def test_whole_step_nfsd_below_the_switch_is_the_target(prior):
    settings = GuidanceSettings("nfsd", scale=1.0, t_low=0.02, t_high=0.2, weighting="one")
    nfsd, _ = direction_of(prior, settings)
    other_negative, _ = direction_of(prior, settings, source="")
    assert torch.allclose(nfsd, other_negative, atol=EXACT)


class NoiseAsParticles:
    """A particle score that knows the noise: alpha, sigma and the clean image give it away."""

    def predict(self, latents, x_t, t, conditions, schedule):
        alpha, sigma = schedule.levels(t, x_t)
        return (x_t - alpha * latents) / sigma

    def learn(self, noise):
        return 0.0


def test_whole_step_vsd_of_a_perfect_noise_score_is_sds(prior):
    vsd, _ = direction_of(prior, GuidanceSettings("vsd", scale=7.5, weighting="one"), particles=NoiseAsParticles())
    sds, _ = direction_of(prior, GuidanceSettings("sds", scale=7.5, weighting="one"))
    assert torch.allclose(vsd, sds, atol=EXACT)


def test_whole_step_at_scale_one_skips_what_cancels(prior):
    short, _ = direction_of(prior, GuidanceSettings("sds", scale=1.0, weighting="one"))
    full, _ = direction_of(prior, GuidanceSettings("sds", scale=1.0 + 1e-12, weighting="one"))
    assert torch.allclose(short, full, atol=EXACT)
    assert GuidanceSettings("sds", scale=1.0).roles == ("target",)


@pytest.mark.parametrize(
    ("method", "evaluations"), [("sds", 2), ("calibrated", 2), ("anchored", 2), ("nfsd", 3), ("csd", 3), ("vsd", 2), ("dds", 2)]
)
def test_evaluations_a_step_and_one_call_of_the_prior(prior, method, evaluations):
    settings = GuidanceSettings(method, scale=7.5)
    assert len(settings.roles) == evaluations
    prior.calls = 0
    direction_of(prior, settings, reference="self", particles=NoiseAsParticles())
    assert prior.calls == 1


def test_weighting_by_clean_estimate_gives_the_distance_to_it(prior):
    """w = sigma / alpha turns c - n into x - x0_hat: for a single Gaussian the posterior mean is known."""
    latents = torch.randn(1, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    settings = GuidanceSettings("sds", 1.0, weighting="x0", stratified=False)
    loss, figures = distill_latents(prior, latents, ConditionPair(prior.embed(["target"])), settings, torch.Generator().manual_seed(4))
    loss.backward()
    generator = torch.Generator().manual_seed(4)  # draws again what the step drew: one timestep, then the noise
    torch.rand(1, generator=generator)
    noise = torch.randn(1, 2, generator=generator, dtype=torch.float64)
    alpha, sigma = prior.schedule.levels(torch.tensor([int(figures["t"])]), latents)
    clean, mean, deviation = latents.detach(), torch.tensor([[1.0, -1.0]], dtype=torch.float64), 0.5
    x_t = alpha * clean + sigma * noise
    estimate = mean + alpha * deviation**2 / ((alpha * deviation) ** 2 + sigma**2) * (x_t - alpha * mean)
    assert torch.allclose(latents.grad, clean - estimate, atol=EXACT)


def test_one_condition_an_item_or_one_for_all(prior):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    each = prior.embed(["target", "source"])
    gradients = []
    for conditions in (each, prior.embed(["target"]), prior.embed(["source"])):
        moving = latents.clone().requires_grad_()
        distill_latents(prior, moving, ConditionPair(conditions), GuidanceSettings("sds", 7.5), torch.Generator().manual_seed(1))[
            0
        ].backward()
        gradients.append(moving.grad)
    assert torch.allclose(gradients[0], torch.stack([gradients[1][0], gradients[2][1]]), atol=EXACT)
    with pytest.raises(ValueError, match="conditions for a batch"):
        prior.embed(["target"] * 3).expand(2)


def test_shared_noise_is_one_image_for_the_batch(prior):
    latents = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    settings = GuidanceSettings("sds", 1.0, t_low=0.5, t_high=0.501, shared_noise=True)
    distill_latents(prior, latents, ConditionPair(prior.embed(["target"])), settings, torch.Generator().manual_seed(0))[0].backward()
    assert torch.allclose(latents.grad[0], latents.grad[1], atol=EXACT) and torch.allclose(latents.grad[0], latents.grad[2], atol=EXACT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "Choose one of .*sds"),
        ({"method": "ddim"}, "gives no direction"),
        ({"weighting": "loud"}, "sigma2"),
        ({"scale": float("nan")}, "finite"),
        ({"source_weight": float("inf")}, "finite"),
        ({"t_low": 0.9, "t_high": 0.1}, "low < high"),
        ({"t_high": 1.5}, "low < high"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        GuidanceSettings(**change)


def test_prior_without_unconditional_distribution_is_named(prior):
    bare = MixturePrior({"target": GaussianMixture.single([0.0, 0.0], 1.0)}, scaled_linear_schedule())
    with pytest.raises(ModelError, match="no unconditional"):
        distill_latents(
            bare, torch.zeros(1, 2, dtype=torch.float64), ConditionPair(bare.embed(["target"])), GuidanceSettings("sds"), torch.Generator()
        )


def test_missing_source_and_reference_are_named(prior):
    latents = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="source"):
        distill_latents(prior, latents, ConditionPair(prior.embed(["target"])), GuidanceSettings("calibrated"), torch.Generator())
    with pytest.raises(InputError, match="--init"):
        distill_latents(
            prior, latents, ConditionPair(prior.embed(["target"]), prior.embed(["source"])), GuidanceSettings("dds"), torch.Generator()
        )
