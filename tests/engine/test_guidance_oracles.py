"""Numeric oracles on Gaussian mixtures, whose scores are exact: fixed points, drift, spread, and what Adam makes of w."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents
from engine.guidance.two_stage import TwoStage
from tests.engine.analytic import GaussianMixture, GaussianParticles, MixturePrior, scaled_linear_schedule

SCHEDULE = scaled_linear_schedule()


class Gaussian(NamedTuple):
    mean: float
    deviation: float


def pull(deviation: float) -> float:
    """A(sd) = sum over t = 20..979 of w sigma alpha / D^2 with w = sigma^2, D^2 = alpha^2 sd^2 + sigma^2."""
    bar = SCHEDULE.alphas_cumprod[20:980]
    alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
    return float((sigma**3 * alpha / ((alpha * deviation) ** 2 + sigma**2)).sum())


def prior_of(**gaussians: Gaussian) -> MixturePrior:
    names = {"uncond": ""}
    return MixturePrior({names.get(name, name): GaussianMixture.single([g.mean], g.deviation) for name, g in gaussians.items()}, SCHEDULE)


def descend(prior, settings, start, steps, rate, particles=None, keep=None):
    """Plain gradient descent of points [N, d]; returns their mean averaged over the last `keep` steps, and the points."""
    points = start.clone().requires_grad_()
    prompts = ConditionPair(prior.embed(["target"]), prior.embed(["source"]) if "source" in settings.roles else None)
    generator = torch.Generator().manual_seed(0)
    kept = []
    for _ in range(steps):
        loss, _ = distill_latents(prior, points, prompts, settings, generator, particles=particles)
        (gradient,) = torch.autograd.grad(loss, points)
        with torch.no_grad():
            points -= rate * len(points) * gradient
        kept.append(float(points.detach().mean()))
    last = keep or steps // 3
    return sum(kept[-last:]) / last, points.detach()


@pytest.mark.parametrize("scale", [1.0, 7.5, 40.0])
@pytest.mark.parametrize("uncond", [Gaussian(0.0, 0.5), Gaussian(0.0, 0.8)])
def test_sds_fixed_point(scale, uncond):
    """x* = (s mu_y A_y - (s-1) mu_0 A_0) / (s A_y - (s-1) A_0). 512 points with stratified t: the mean is good to about 0.01 s^0.5."""
    target = Gaussian(1.0, 0.5)
    a_target, a_uncond = pull(target.deviation), pull(uncond.deviation)
    stiffness = scale * a_target - (scale - 1) * a_uncond
    expected = (scale * target.mean * a_target - (scale - 1) * uncond.mean * a_uncond) / stiffness
    rate = 0.05 * 960 / stiffness
    mean, _ = descend(
        prior_of(target=target, uncond=uncond), GuidanceSettings("sds", scale), torch.zeros(512, 1, dtype=torch.float64), 240, rate
    )
    assert mean == pytest.approx(expected, rel=0.01)


def test_saturation_is_linear_in_the_guidance_scale():
    """With equal variances the formula above gives mu_y + (s - 1)(mu_y - mu_0): an overshoot in proportion to s - 1."""
    target, uncond = Gaussian(1.0, 0.5), Gaussian(0.5, 0.5)
    rate = 0.05 * 960 / pull(0.5)
    overshoot = [
        descend(prior_of(target=target, uncond=uncond), GuidanceSettings("sds", s), torch.zeros(512, 1, dtype=torch.float64), 240, rate)[0]
        - 1.0
        for s in (5.0, 9.0)
    ]
    assert overshoot == pytest.approx([2.0, 4.0], rel=0.01)


def test_calibrated_fixed_point_where_the_target_is_narrower():
    """(mu_t A_t - mu_s A_s) / (A_t - A_s)."""
    target, source = Gaussian(1.0, 0.4), Gaussian(2.5, 0.8)
    a_target, a_source = pull(target.deviation), pull(source.deviation)
    expected = (target.mean * a_target - source.mean * a_source) / (a_target - a_source)
    rate = 0.05 * 960 / (a_target - a_source)
    mean, _ = descend(
        prior_of(target=target, source=source),
        GuidanceSettings("calibrated", scale=1.0),
        torch.full((512, 1), 2.5, dtype=torch.float64),
        300,
        rate,
    )
    assert mean == pytest.approx(expected, abs=0.02)


def test_calibrated_drifts_away_where_the_target_is_broader():
    """A_t < A_s: the linear term pushes outward, so the distance to the would-be fixed point grows without end."""
    target, source = Gaussian(1.0, 0.8), Gaussian(2.5, 0.4)
    prior = prior_of(target=target, source=source)
    settings = GuidanceSettings("calibrated", scale=1.0)
    start = torch.full((256, 1), 2.5, dtype=torch.float64)
    short, _ = descend(prior, settings, start, 60, 0.2, keep=1)
    long, _ = descend(prior, settings, start, 240, 0.2, keep=1)
    assert long < short - 1.0 and long < target.mean - 5.0


def test_calibrated_first_comes_closer_from_what_sds_left():
    """Start in the source, an amplified and broader copy of the target: the first steps reduce the distance. No more is promised."""
    prior = prior_of(target=Gaussian(1.0, 0.5), source=Gaussian(2.0, 0.7))
    start = GaussianMixture.single([2.0], 0.7).sample(512, torch.Generator().manual_seed(1))
    _, points = descend(prior, GuidanceSettings("calibrated", scale=1.0), start, 30, 0.2)
    assert float((points - 1.0).abs().mean()) < 0.8 * float((start - 1.0).abs().mean())


def test_vsd_keeps_the_spread_that_sds_collapses():
    """With the exact particle score the target's deviation 0.5 is stationary (2 % from 512 particles); under SDS at s = 1 it vanishes."""
    prior = MixturePrior({"target": GaussianMixture.single([1.0, -1.0], 0.5), "": GaussianMixture.single([0.0, 0.0], 1.0)}, SCHEDULE)
    start = 0.1 * torch.randn(512, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, particles = descend(prior, GuidanceSettings("vsd", 1.0), start, 700, 0.08, particles=GaussianParticles())
    _, collapsed = descend(prior, GuidanceSettings("sds", 1.0), start, 700, 0.08)
    assert particles.mean(0).tolist() == pytest.approx([1.0, -1.0], abs=0.05)
    assert float(particles.std(0).mean()) == pytest.approx(0.5, abs=0.06)
    assert float(collapsed.std(0).mean()) < 0.15


def test_adam_makes_a_constant_weight_irrelevant():
    """Adam divides by the gradient's own size: w = 1 and w = 25 give the same image to rounding (eps is 1e-15)."""
    prior = prior_of(target=Gaussian(1.0, 0.4), source=Gaussian(2.5, 0.8))
    ends = []
    prompts = ConditionPair(prior.embed(["target"]), prior.embed(["source"]))
    for weight in (1.0, 25.0):
        points = torch.zeros(8, 1, dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([points], lr=0.01, eps=1e-15)
        generator = torch.Generator().manual_seed(0)
        for _ in range(100):
            loss, _ = distill_latents(prior, points, prompts, GuidanceSettings("calibrated", weight), generator)
            adam.zero_grad()
            loss.backward()
            adam.step()
        ends.append(points.detach())
    assert torch.allclose(*ends, atol=1e-10)


def test_highest_timestep_falls_over_all_steps():
    sds = GuidanceSettings("sds", t_high=0.98)
    schedule = TwoStage(11, 5, sds, sds, t_high_end=0.48)
    assert schedule.at(0)[1].t_high == pytest.approx(0.98)
    assert schedule.at(5)[1].t_high == pytest.approx(0.73)
    assert schedule.at(10)[1].t_high == pytest.approx(0.48)


def test_highest_timestep_drops_at_once():
    sds = GuidanceSettings("sds", t_high=0.98)
    schedule = TwoStage(100, 80, sds, sds, t_high_end=0.5, t_drop=0.2)
    assert [schedule.at(step)[1].t_high for step in (0, 19, 20, 99)] == [0.98, 0.98, 0.5, 0.5]
