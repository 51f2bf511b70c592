"""The noise schedule: conversions between predictions, ranges and sampling of timesteps."""

from __future__ import annotations

import pytest
import torch

from engine.diffusion.schedule import (
    NoiseSchedule,
    as_prediction,
    cosine_schedule,
    sample_timesteps,
    sequence_timesteps,
)
from engine.errors import ModelError
from tests.engine.analytic import scaled_linear_schedule


@pytest.mark.parametrize("make", [scaled_linear_schedule, cosine_schedule])
def test_levels_fall_from_clean_to_noise(make):
    bar = make().alphas_cumprod
    assert bar.shape == (1000,)
    assert (bar.diff() <= 0).all()
    assert bar[0] > 0.99 and bar[-1] < 0.01


def test_scaled_linear_is_stable_diffusions():
    """alpha_bar of Stable Diffusion 1.x at its ends, as its own scheduler gives them."""
    bar = scaled_linear_schedule().alphas_cumprod
    assert float(bar[0]) == pytest.approx(1 - 0.00085, abs=1e-9)
    assert float(bar[-1]) == pytest.approx(0.004660, abs=2e-6)


def test_every_prediction_converts_to_the_noise_that_was_added():
    schedule = scaled_linear_schedule()
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 500, 999])
    x_t = schedule.add_noise(clean, noise, t)
    alpha, sigma = schedule.levels(t, clean)
    outputs = {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "sample": clean}
    for prediction, output in outputs.items():
        # float64 with one division by sigma_0 = 0.03: 1e-12 leaves three digits of room
        assert torch.allclose(schedule.to_epsilon(output, x_t, t, prediction), noise, atol=1e-12)
    assert torch.allclose(schedule.clean_estimate(x_t, noise, t), clean, atol=1e-12)


def test_conversions_stay_finite_where_no_signal_is_left():
    schedule = NoiseSchedule(torch.tensor([1.0, 0.5, 0.0]))
    x_t = torch.ones(3, 2)
    t = torch.arange(3)
    for prediction in ("epsilon", "v_prediction", "sample", "flow"):
        assert torch.isfinite(schedule.to_epsilon(x_t, x_t, t, prediction)).all()
    assert torch.isfinite(schedule.clean_estimate(x_t, x_t, t)).all()


def test_unknown_prediction_names_the_fix():
    with pytest.raises(ModelError, match="flow_prediction"):
        as_prediction("flow_prediction")


def test_range_of_the_paper():
    assert scaled_linear_schedule().bounds(0.02, 0.98) == (20, 979)
    assert scaled_linear_schedule().bounds(0.0, 1.0) == (0, 999)
    assert NoiseSchedule(torch.ones(4)).bounds(0.02, 0.02) == (0, 0)


def test_timesteps_cover_their_range_and_are_repeatable():
    schedule = scaled_linear_schedule()
    draw = [sample_timesteps(schedule, 50_000, 0.02, 0.98, torch.Generator().manual_seed(7), False, torch.device("cpu")) for _ in range(2)]
    assert torch.equal(*draw)
    assert int(draw[0].min()) == 20 and int(draw[0].max()) == 979
    # mean of a uniform draw: 499.5 with a standard error of 277 / sqrt(50,000) = 1.2
    assert float(draw[0].double().mean()) == pytest.approx(499.5, abs=5)


def test_stratified_timesteps_fall_one_into_each_part():
    schedule = scaled_linear_schedule()
    t = sample_timesteps(schedule, 8, 0.0, 0.8, torch.Generator().manual_seed(0), True, torch.device("cpu"))
    assert sorted((t // 100).tolist()) == list(range(8))
    assert t.tolist() != sorted(t.tolist())


def test_sequence_covers_the_range_evenly_over_the_steps():
    """Golden-ratio sequence: any 50 consecutive draws leave no gap of more than 2.7 / 50 of the range (three-gap theorem)."""
    schedule = scaled_linear_schedule()
    draws = torch.stack([sequence_timesteps(schedule, step, torch.tensor([0.1, 0.7]), 0.0, 1.0) for step in range(50)])
    for item in draws.T:
        gaps = item.sort().values.diff(prepend=torch.tensor([0]), append=torch.tensor([999]))
        assert int(gaps.max()) <= 54
    assert not torch.equal(draws[:, 0], draws[:, 1])
