"""The full bridge against the exact map between mixtures in one dimension, and the sampler against known statistics.

Along the probability-flow ODE of a one-dimensional density the quantile of a point never changes. So the bridge takes x
to Q_tgt,0( F_tgt,T( Q_src,T( F_src,0(x) ) ) ), where F and Q are distribution and quantile functions at a timestep.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from engine.guidance import methods
from engine.guidance.pf_ode import BridgeSettings, GuidedPrompt, bridge_direction, bridge_ends, integrate_ode, sample, time_grid
from tests.engine.analytic import GaussianMixture, MixturePrior, scaled_linear_schedule

SCHEDULE = scaled_linear_schedule()


def mixture(weights, means, deviations) -> GaussianMixture:
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (weights, [[m] for m in means], deviations)]
    return GaussianMixture(*tensors)


SOURCE = mixture([0.5, 0.5], [-1.5, 1.0], [0.4, 0.3])
TARGET = mixture([0.3, 0.7], [-2.0, 2.0], [0.25, 0.35])


@pytest.fixture()
def prior():
    return MixturePrior({"": SOURCE, "source": SOURCE, "target": TARGET}, SCHEDULE)


def distribution(density: GaussianMixture, x: np.ndarray, t: int) -> np.ndarray:
    bar = float(SCHEDULE.alphas_cumprod[t])
    spread = np.sqrt(bar * density.deviations.numpy() ** 2 + 1 - bar)
    return (density.weights.numpy() * norm.cdf((x[:, None] - math.sqrt(bar) * density.means.numpy()[:, 0]) / spread)).sum(1)


def quantile(density: GaussianMixture, share: np.ndarray, t: int) -> np.ndarray:
    return np.array([brentq(lambda x, u=u: distribution(density, np.array([x]), t)[0] - u, -50, 50, xtol=1e-13) for u in share])


def exact_bridge(x: np.ndarray, last: int) -> np.ndarray:
    alpha = math.sqrt(float(SCHEDULE.alphas_cumprod[0]))
    noisy = quantile(SOURCE, distribution(SOURCE, alpha * x, 0), last)
    return quantile(TARGET, distribution(TARGET, noisy, last), 0) / alpha


def bridged(prior, x: np.ndarray, steps: int, solver: str, target="target") -> np.ndarray:
    ends = bridge_ends(
        prior,
        torch.from_numpy(x)[:, None],
        GuidedPrompt(prior.embed(["source"])),
        GuidedPrompt(prior.embed([target])),
        BridgeSettings(steps, 1.0, solver),
    )
    return ends[1][:, 0].numpy()


@pytest.fixture(scope="module")
def points():
    return np.linspace(-2.3, 1.7, 17)


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("heun", 2)])
def test_bridge_reaches_the_exact_map_with_its_order(prior, points, solver, order):
    """Steps x 3 (999 = 27 * 37 divides evenly): the error falls by 3^order; half an order is left for the finite start."""
    exact = exact_bridge(points, 999)
    errors = [float(np.abs(bridged(prior, points, steps, solver) - exact).mean()) for steps in (111, 333, 999)]
    orders = [math.log(errors[i] / errors[i + 1]) / math.log(3) for i in range(2)]
    assert errors[2] < {1: 0.03, 2: 1e-3}[order]
    assert min(orders) > order - 0.5, (errors, orders)


def test_heun_is_better_than_ddim_for_equal_evaluations(prior, points):
    exact = exact_bridge(points, 999)
    heun = np.abs(bridged(prior, points, 111, "heun") - exact).mean()
    ddim = np.abs(bridged(prior, points, 222, "ddim") - exact).mean()
    assert heun < ddim / 3


def test_source_to_source_returns_the_image(prior, points):
    back = bridged(prior, points, 333, "heun", target="source")
    assert np.abs(back - points).max() < 5e-3


def test_direction_vanishes_between_equal_prompts_whatever_the_solver_does(prior, points):
    """psi_src carries the same solver error as psi_tgt: with five coarse steps the difference is still zero."""
    latents = torch.from_numpy(points)[:, None]
    same = GuidedPrompt(prior.embed(["source"]))
    assert torch.equal(bridge_direction(prior, latents, same, same, BridgeSettings(5)), torch.zeros_like(latents))


def test_descending_on_the_direction_moves_to_the_target(prior, points):
    """One whole step against psi_src - psi_tgt lands where psi_tgt is, but for the solver's error in psi_src."""
    latents = torch.from_numpy(points)[:, None]
    direction = bridge_direction(
        prior, latents, GuidedPrompt(prior.embed(["source"])), GuidedPrompt(prior.embed(["target"])), BridgeSettings(333, 1.0, "heun")
    )
    assert np.abs((latents - direction)[:, 0].numpy() - exact_bridge(points, 999)).mean() < 0.02


def test_affine_map_between_gaussians():
    """For Gaussians the exact bridge is affine: mu_t + sd_t / D_t (alpha (mu_s - mu_t) + D_s (x - mu_s) / sd_s), up to timestep T."""
    source, target = GaussianMixture.single([1.0, -2.0], 0.6), GaussianMixture.single([-1.0, 0.5], 0.3)
    prior = MixturePrior({"source": source, "target": target}, SCHEDULE)
    x = source.sample(8, torch.Generator().manual_seed(0))
    settings = BridgeSettings(599, 0.6, "heun")
    got = bridge_ends(prior, x, GuidedPrompt(prior.embed(["source"])), GuidedPrompt(prior.embed(["target"])), settings)[1]

    def levels(t, sd):
        bar = float(SCHEDULE.alphas_cumprod[t])
        return math.sqrt(bar), math.sqrt(bar * sd**2 + 1 - bar)

    first, wide_source = levels(0, 0.6)
    alpha, far_source = levels(599, 0.6)
    _, far_target = levels(599, 0.3)
    _, wide_target = levels(0, 0.3)
    z = (first * x - first * source.means) / wide_source
    noisy = alpha * source.means + far_source * z
    exact = target.means + wide_target / first * (noisy - alpha * target.means) / far_target
    assert float((got - exact).abs().max()) < 1e-3


def test_sign_of_a_single_step(prior):
    """psi_tgt - psi_src = -(sigma / alpha)(eps_tgt - eps_src) for one step from one noisy image."""
    x_t, t = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([500])
    target, source = (prior.predict_noise(x_t, t, prior.embed([name])) for name in ("target", "source"))
    alpha, sigma = SCHEDULE.levels(t, x_t)
    ends = [SCHEDULE.clean_estimate(x_t, estimate, t) for estimate in (source, target)]
    assert torch.allclose(methods.bridge(*ends), sigma / alpha * methods.calibrated(target, source, 1.0), atol=1e-12)


def test_sampler_reproduces_the_target_distribution(prior):
    """200 DDIM steps from noise: the shares of the modes (0.3, 0.7) and their means, within three standard errors and the solver's bias."""
    start = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = sample(prior, start, GuidedPrompt(prior.embed(["target"])), 200)[:, 0]
    left = result[result < 0]
    assert len(left) / 4000 == pytest.approx(0.3, abs=0.03)
    assert float(left.mean()) == pytest.approx(-2.0, abs=0.05)
    assert float(result[result > 0].std()) == pytest.approx(0.35, abs=0.04)


def test_guided_sampling_evaluates_both_in_one_call(prior):
    prior.calls = 0
    sample(prior, torch.zeros(2, 1, dtype=torch.float64), GuidedPrompt(prior.embed(["target"]), 3.0), 7)
    assert prior.calls == 7


def test_sampler_shows_each_step(prior):
    seen = []
    sample(prior, torch.ones(1, 1, dtype=torch.float64), GuidedPrompt(prior.embed(["target"])), 5, on_step=seen.append)
    assert len(seen) == 4 and all(torch.isfinite(image).all() for image in seen)


def test_travel_there_and_back(prior):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    times = time_grid(prior, 300, 600)
    guided = GuidedPrompt(prior.embed(["source"]))
    assert torch.allclose(integrate_ode(prior, integrate_ode(prior, x, guided, times, "heun"), guided, times[::-1], "heun"), x, atol=2e-3)


def test_time_grid_has_no_doubles():
    prior = MixturePrior({"": SOURCE}, SCHEDULE)
    assert time_grid(prior, 4) == [0, 250, 500, 749, 999]
    assert time_grid(prior, 50, 3) == [0, 1, 2, 3]
