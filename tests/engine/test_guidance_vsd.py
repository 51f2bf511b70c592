"""VSD's adapter on a real UNet of random weights: it learns, it is kept apart from the prior, and it survives a checkpoint."""

from __future__ import annotations

import pytest
import torch
from tiny_model import make_tiny_model

from engine.diffusion.load import load_prior
from engine.errors import ModelError
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents
from engine.guidance.vsd import LoraParticles, LoraSettings, training_weight
from tests.engine.analytic import GaussianMixture, MixturePrior, scaled_linear_schedule

SETTINGS = LoraSettings(rank=2, learning_rate=3e-3, camera_drop=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture()
def prior(folder):
    return load_prior(str(folder), "cpu", torch.float32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(prior, seed=0):
    source = generator(seed)
    clean, noise = (torch.randn(8, 4, 8, 8, generator=source) for _ in range(2))
    t = torch.randint(20, 980, (8,), generator=source)
    return clean, prior.schedule.add_noise(clean, noise, t), t, noise, prior.embed(["a"]).expand(8)


def test_adapter_begins_as_the_prior(prior):
    clean, x_t, t, _, conditions = batch(prior)
    before = prior.predict_noise(x_t, t, conditions)
    particles = LoraParticles(prior, SETTINGS, generator())
    assert torch.allclose(particles.predict(clean, x_t, t, conditions, prior.schedule), before, atol=1e-5)


def test_adapter_learns_and_the_prior_stays_as_it_was(prior):
    particles = LoraParticles(prior, SETTINGS, generator())
    clean, x_t, t, noise, conditions = batch(prior)
    before = prior.predict_noise(x_t, t, conditions)
    losses = []
    for _ in range(40):
        particles.predict(clean, x_t, t, conditions, prior.schedule)
        losses.append(particles.learn(noise))
    assert losses[-1] < 0.97 * losses[0], (losses[0], losses[-1])
    assert torch.equal(prior.predict_noise(x_t, t, conditions), before)
    assert not torch.allclose(particles.predict(clean, x_t, t, conditions, prior.schedule), before, atol=1e-3)


def test_closing_leaves_no_trace(prior):
    names = [name for name, _ in prior.unet.named_parameters()]
    particles = LoraParticles(prior, SETTINGS, generator())
    assert len(list(prior.unet.named_parameters())) > len(names)
    particles.close()
    assert [name for name, _ in prior.unet.named_parameters()] == names


def test_checkpoint_goes_on_as_if_unbroken(folder):
    def run(steps, state=None):
        prior = load_prior(str(folder), "cpu", torch.float32)
        particles = LoraParticles(prior, SETTINGS, generator())
        if state is not None:
            particles.load_state_dict(state)
        for step in steps:
            clean, x_t, t, noise, conditions = batch(prior, seed=step)
            particles.predict(clean, x_t, t, conditions, prior.schedule)
            particles.learn(noise)
        clean, x_t, t, _, conditions = batch(prior, seed=99)
        return particles.predict(clean, x_t, t, conditions, prior.schedule), particles.state_dict()

    whole, _ = run(range(6))
    _, half = run(range(3))
    resumed, _ = run(range(3, 6), half)
    assert torch.allclose(whole, resumed, atol=1e-6)


def test_checkpoint_of_another_prior_is_refused(prior):
    particles = LoraParticles(prior, SETTINGS, generator())
    state = particles.state_dict()
    state["adapter"].popitem()
    with pytest.raises(ModelError, match="another prior"):
        particles.load_state_dict(state)


def test_camera_becomes_a_token_that_is_learnt(prior):
    particles = LoraParticles(prior, SETTINGS, generator(), camera_size=3)
    clean, x_t, t, noise, conditions = batch(prior)
    particles.cameras = torch.randn(8, 3, generator=generator(1))
    for _ in range(3):
        particles.predict(clean, x_t, t, conditions, prior.schedule)
        particles.learn(noise)
    near = particles.predict(clean, x_t, t, conditions, prior.schedule)
    particles.cameras = -particles.cameras
    assert not torch.allclose(near, particles.predict(clean, x_t, t, conditions, prior.schedule), atol=1e-6)


def test_whole_step_trains_once(prior):
    particles = LoraParticles(prior, SETTINGS, generator())
    latents = torch.randn(2, 4, 8, 8, generator=generator(), requires_grad=True)
    settings = GuidanceSettings("vsd", 7.5)
    loss, figures = distill_latents(prior, latents, ConditionPair(prior.embed(["a"])), settings, generator(), particles=particles)
    loss.backward()
    assert figures["particle_loss"] > 0 and float(latents.grad.abs().sum()) > 0
    with pytest.raises(RuntimeError, match="follows predict"):
        particles.learn(torch.zeros(2, 4, 8, 8))


def test_first_step_equals_sds_against_the_prior_itself(prior):
    """Before any training eps_lora is the prior's own conditional estimate, so VSD at s = 1 has no direction at all."""
    particles = LoraParticles(prior, SETTINGS, generator())
    latents = torch.randn(2, 4, 8, 8, generator=generator(), requires_grad=True)
    _, figures = distill_latents(
        prior, latents, ConditionPair(prior.embed(["a"])), GuidanceSettings("vsd", 1.0), generator(), particles=particles
    )
    assert figures["gradient"] < 1e-5


def test_prior_without_attention_is_refused(tmp_path):
    plain = load_prior(str(make_tiny_model(tmp_path / "plain", attention=False)), "cpu", torch.float32)
    closed = MixturePrior({"": GaussianMixture.single([0.0], 1.0)}, scaled_linear_schedule())
    for prior in (plain, closed):
        with pytest.raises(ModelError, match="no attention layers"):
            LoraParticles(prior, SETTINGS, generator())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_training_weight_is_the_priors_own_loss(prediction):
    """|eps - n|^2 times the weight equals |v - v*|^2, or |x0 - x0*|^2 min(SNR, 5), for any error of eps."""
    schedule = scaled_linear_schedule()
    clean, noise, error = (torch.randn(4, 3, generator=generator(seed), dtype=torch.float64) for seed in range(3))
    t = torch.tensor([50, 300, 600, 900])
    x_t = schedule.add_noise(clean, noise, t)
    alpha, sigma = schedule.levels(t, clean)
    estimate = noise + error
    weighted = training_weight(schedule, t, clean, prediction) * error.square()
    x0 = (x_t - sigma * estimate) / alpha
    own = {
        "epsilon": error.square(),
        "v_prediction": ((alpha * estimate - sigma * x0) - (alpha * noise - sigma * clean)).square(),
        "sample": (x0 - clean).square() * (alpha**2 / sigma**2).clamp(max=5.0),
    }
    assert torch.allclose(weighted, own[prediction], rtol=1e-9)
