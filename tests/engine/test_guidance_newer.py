"""Guidance after the paper's: identities for any estimates, closed forms for Gaussians, and what each method keeps or costs."""

from __future__ import annotations

import pytest
import torch

from engine.guidance import methods
from engine.guidance.methods import METHODS, Inversion, methods_for, view_weight
from engine.guidance.pf_ode import GuidedPrompt, invert
from engine.guidance.step import ConditionPair, GuidanceSettings, distill_latents, later_timesteps
from engine.guidance.surface_noise import surface_noise
from engine.guidance.two_stage import WINDOW, TwoStage
from engine.lab.optimize import Run, RunMonitor, descend
from engine.lab.recipes import recipe
from engine.reporting import QuietReporter
from tests.engine.analytic import GaussianMixture, GaussianParticles, MixturePrior, scaled_linear_schedule

SCHEDULE = scaled_linear_schedule()
MEAN, DEVIATION = {"": 0.5, "source": 2.0, "target": -1.0}, {"": 0.9, "source": 0.8, "target": 0.5}
ITEMS = 6


@pytest.fixture()
def prior() -> MixturePrior:
    return MixturePrior({name: GaussianMixture.single([MEAN[name]], DEVIATION[name]) for name in MEAN}, SCHEDULE)


@pytest.fixture()
def estimates():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) for name in ("u", "c", "neg", "n", "later")}


def points() -> torch.Tensor:
    return torch.linspace(-2, 3, ITEMS, dtype=torch.float64)[:, None]


def levels(t: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha, sigma and the deviation D of the noised Gaussian at t, [B, 1] each."""
    alpha, sigma = SCHEDULE.levels(t, points())
    return alpha, sigma, ((alpha * DEVIATION[name]) ** 2 + sigma**2).sqrt()


def estimate(x_t: torch.Tensor, t: torch.Tensor, name: str) -> torch.Tensor:
    """The exact eps of a Gaussian at x_t."""
    alpha, sigma, width = levels(t, name)
    return sigma * (x_t - alpha * MEAN[name]) / width**2


def carried(x: torch.Tensor, t: torch.Tensor, name: str) -> torch.Tensor:
    """Where the probability-flow ODE of a Gaussian takes x at timestep 0 (scaled as alpha_0 x) at t: the quantile stays."""
    first = torch.zeros_like(t)
    alpha_0, _, width_0 = levels(first, name)
    alpha, _, width = levels(t, name)
    return alpha * MEAN[name] + width * alpha_0 * (x - MEAN[name]) / width_0


def direction_of(prior, settings, t, seed=0, x=None) -> torch.Tensor:
    """The direction of a whole step at given timesteps [B], with w(t) = 1."""
    latents = (points() if x is None else x).clone().requires_grad_()
    pair = ConditionPair(prior.embed(["target"]), prior.embed(["source"]))
    generator = torch.Generator().manual_seed(seed)
    loss, _ = distill_latents(prior, latents, pair, settings, generator, timesteps=t, particles=GaussianParticles(), reference=points())
    return torch.autograd.grad(loss, latents)[0] * len(latents)


def with_inversion(monkeypatch, name: str, inversion: Inversion) -> None:
    """A method with finer intervals, so that closed forms of the exact ODE apply."""
    import dataclasses

    monkeypatch.setitem(METHODS, name, dataclasses.replace(METHODS[name], inversion=inversion))


TIMES = torch.tensor([100, 250, 400, 550, 700, 900])


@pytest.mark.parametrize("name", ["source", "target"])
def test_inversion_follows_the_flow_of_each_item_to_its_own_timestep(prior, name):
    """Euler's error falls with the number of intervals, to first order."""
    errors = []
    for steps in (50, 100, 200):
        guided = GuidedPrompt(prior.embed([name]))
        x_t, _ = invert(prior, points(), TIMES, guided, Inversion("source", steps), torch.Generator())
        errors.append(float((x_t - carried(points(), TIMES, name)).abs().max()))
    assert errors[2] < 0.1 and errors[1] / errors[2] == pytest.approx(2.0, rel=0.25), errors


def test_inversion_with_a_last_interval_tells_its_slope(prior):
    """ISM: x_t is one DDIM step of 50 timesteps from x_s, along the estimate at s."""
    guided = GuidedPrompt(prior.embed([""]))
    x_t, slope = invert(prior, points(), TIMES, guided, Inversion("uncond", 60, last=0.05), torch.Generator())
    x_s = carried(points(), TIMES - 50, "")
    assert torch.allclose(slope, estimate(x_s, TIMES - 50, ""), rtol=0.03, atol=0.01)
    (alpha, sigma, _), (alpha_s, sigma_s, _) = levels(TIMES, ""), levels(TIMES - 50, "")
    assert torch.allclose(x_t / alpha, x_s / alpha_s + (sigma / alpha - sigma_s / alpha_s) * slope, rtol=0.03, atol=0.03)


def test_fresh_noise_on_the_way_has_ddims_deviation(prior):
    """eta = 1 adds at each interval what ancestral sampling would; eta = 0 adds nothing."""
    still = Inversion("target", 1)
    t = torch.full((4000,), 600)
    x = torch.zeros(4000, 1, dtype=torch.float64)
    ends = [
        invert(prior, x, t, GuidedPrompt(prior.embed(["target"])), Inversion("target", 1, eta=eta), torch.Generator().manual_seed(0))[0]
        for eta in (0.0, 1.0)
    ]
    bar, bar_0 = SCHEDULE.alphas_cumprod[600], SCHEDULE.alphas_cumprod[0]
    expected = float(((1 - bar_0) / (1 - bar) * (1 - bar / bar_0)).sqrt())
    assert float(ends[0].std()) == pytest.approx(0.0, abs=1e-12) and still.evaluations == 1
    assert float(ends[1].std()) == pytest.approx(expected, rel=0.05)


def test_inverted_between_gaussians_has_its_closed_form_and_no_noise(prior, monkeypatch):
    """eps_tgt - eps_src at x_t = alpha mu_s + D_s z, z the quantile of x under the source."""
    with_inversion(monkeypatch, "inverted", Inversion("source", 400))
    got = direction_of(prior, GuidanceSettings("inverted", 1.0, weighting="one"), TIMES)
    x_t = carried(points(), TIMES, "source")
    assert torch.allclose(got, estimate(x_t, TIMES, "target") - estimate(x_t, TIMES, "source"), atol=0.02)
    again = direction_of(prior, GuidanceSettings("inverted", 1.0, weighting="one"), TIMES, seed=1)
    assert torch.equal(got, again)


def test_inverted_from_a_prompt_to_itself_is_nothing(prior):
    latents = points().requires_grad_()
    same = ConditionPair(prior.embed(["target"]), prior.embed(["target"]))
    loss, figures = distill_latents(prior, latents, same, GuidanceSettings("inverted"), torch.Generator().manual_seed(0), timesteps=TIMES)
    assert figures["gradient"] == 0.0 and float(loss.detach()) == 0.0


@pytest.mark.parametrize("time", [400, 600, 800])
def test_inverted_is_nearer_to_the_bridge_than_calibrated(prior, time):
    """(sigma / alpha)(eps_tgt - eps_src) stands for x - psi_tgt, whose exact value between Gaussians is known. At the inverted x_t
    there is no chance in it, and its error is below that of the mean over 200 draws of noise. What is left is one step's curvature."""
    t = torch.full((ITEMS,), time)
    images = MEAN["source"] + DEVIATION["source"] * torch.linspace(-1.5, 1.5, ITEMS, dtype=torch.float64)[:, None]
    alpha, _, width = levels(t, "target")
    alpha_0, _, clean_width = levels(torch.zeros_like(t), "target")
    x_t = carried(images, t, "source")
    exact = images - (MEAN["target"] + clean_width / alpha_0 * (x_t - alpha * MEAN["target"]) / width)

    def errors(name: str, seeds: int) -> tuple[float, float]:
        settings = GuidanceSettings(name, 1.0, weighting="x0")
        drawn = torch.stack([direction_of(prior, settings, t, seed, images) for seed in range(seeds)])
        return float((drawn - exact).square().mean().sqrt()), float((drawn.mean(0) - exact).square().mean().sqrt())

    single, averaged = errors("calibrated", 200)
    inverted, _ = errors("inverted", 1)
    assert inverted < 0.99 * averaged < 0.99 * single, (inverted, averaged, single)


def test_sdi_on_a_gaussian_has_its_closed_form(prior, monkeypatch):
    """Inverted under the target itself, c - n = z alpha sd (D - alpha sd) / (sigma D): towards the mean, without chance."""
    with_inversion(monkeypatch, "sdi", Inversion("target", 600))
    got = direction_of(prior, GuidanceSettings("sdi", 1.0, weighting="one"), TIMES)
    alpha, sigma, width = levels(TIMES, "target")
    z = (carried(points(), TIMES, "target") - alpha * MEAN["target"]) / width
    spread = alpha * DEVIATION["target"]
    expected = z * spread * (width - spread) / (sigma * width)
    assert torch.allclose(got, expected, atol=0.03), (got - expected).abs().max()


def test_ism_on_a_gaussian_has_its_closed_form(prior):
    """At scale 1 and with the unconditional inversion: c(x_t) - u(x_s)."""
    got = direction_of(prior, GuidanceSettings("ism", 1.0, weighting="one"), TIMES)
    x_t, slope = invert(prior, points(), TIMES, GuidedPrompt(prior.embed([""])), METHODS["ism"].inversion, torch.Generator())
    assert torch.allclose(got, estimate(x_t, TIMES, "target") - slope, atol=1e-9)


def test_asd_on_a_gaussian_has_its_closed_form(prior):
    """(x - mu)(sa/D2 - s'a'/D'2) + n (s2/D2 - s'2/D'2) at t and t+."""
    got = direction_of(prior, GuidanceSettings("asd", 1.0, weighting="one"), TIMES, seed=5)
    noise = torch.randn(points().shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    later = later_timesteps(SCHEDULE, TIMES, 0.02)
    (a, s, w), (a_l, s_l, w_l) = levels(TIMES, "target"), levels(later, "target")
    pull = (points() - MEAN["target"]) * (s * a / w**2 - s_l * a_l / w_l**2)
    assert torch.allclose(got, pull + noise * (s**2 / w**2 - s_l**2 / w_l**2), atol=1e-9)


def test_later_timesteps_lie_a_tenth_above_and_inside_the_schedule():
    t = torch.tensor([20, 21, 120, 520, 995, 999])
    assert later_timesteps(SCHEDULE, t, 0.02).tolist() == [21, 22, 130, 570, 999, 999]


def test_asd_whose_later_estimate_is_the_noise_is_sds(estimates):
    u, c, n = estimates["u"], estimates["c"], estimates["n"]
    assert torch.equal(methods.asd(u, c, n, 7.5), methods.sds(u, c, n, 7.5))
    assert torch.equal(methods.ism(u, c, n, 7.5), methods.sds(u, c, n, 7.5))


def test_perp_neg_without_weight_is_sds_and_so_is_a_negative_along_the_prompt(estimates):
    u, c, n = estimates["u"], estimates["c"], estimates["n"]
    sds = methods.sds(u, c, n, 7.5)
    assert torch.allclose(methods.perp_neg(u, c, estimates["neg"], n, 0.0, 7.5), sds)
    assert torch.allclose(methods.perp_neg(u, c, u + 3 * (c - u), n, 1.0, 7.5), sds)


def test_perp_neg_takes_away_only_what_is_perpendicular(estimates):
    """Along the prompt the guidance is whole; along the perpendicular part of the negative it is -s w of it; each item its own w."""
    u, c, n, negative = (estimates[name] for name in ("u", "c", "n", "neg"))
    weight = torch.tensor([0.0, 0.5, 1.0, 2.0])
    guided = methods.perp_neg(u, c, negative, n, weight, 4.0) - u + n
    wanted = c - u
    along = (guided * wanted).sum((1, 2)) / wanted.square().sum((1, 2))
    assert torch.allclose(along, torch.full_like(along, 4.0))
    unwanted = negative - u
    apart = unwanted - ((unwanted * wanted).sum((1, 2)) / wanted.square().sum((1, 2))).view(-1, 1, 1) * wanted
    across = (guided * apart).sum((1, 2)) / apart.square().sum((1, 2))
    assert torch.allclose(across, -4.0 * weight.double())


def test_view_weight_is_the_published_one_and_has_no_jump():
    """4 exp(-r/2) - 2.426 and exp(-r/2) + 0.967: nothing in front, 1.574 at the side, 1.967 behind, alike on both sides."""
    angles = torch.tensor([0.0, 45.0, 89.999, 90.0, 135.0, 180.0, -45.0, 270.0])
    assert view_weight(angles).tolist() == pytest.approx([0.0, 0.6892, 1.574, 1.5735, 1.7458, 1.967, 0.6892, 1.5735], abs=1e-3)


def test_perp_neg_in_3d_holds_a_view_off_the_front():
    told = methods.source_text("perp_neg", "a red owl", ", on a white background, back view")
    assert told == "a red owl, on a white background, front view"
    assert "unrealistic" in methods.source_text("perp_neg", "a red owl")
    assert methods.source_text("perp_neg", "a red owl", ", back view", "a toy") == "a toy, back view"


@pytest.mark.parametrize("name", ["sdi", "cfd"])
def test_a_falling_timestep_falls_over_the_whole_stage(name):
    settings = GuidanceSettings(name)
    plan = TwoStage(101, 101, settings, settings)
    found = [plan.at(step)[1] for step in (0, 50, 100)]
    end = METHODS[name].falling or 0.0
    lowest = max(end, settings.t_low + WINDOW)
    assert [entry.t_high for entry in found] == pytest.approx([0.98, (0.98 + lowest) / 2, lowest])
    assert all(entry.t_high - entry.t_low == pytest.approx(WINDOW) for entry in found)


def test_a_falling_timestep_in_the_second_stage_begins_there():
    first, second = GuidanceSettings("sds"), GuidanceSettings("sdi", t_high=0.75)
    plan = TwoStage(30, 20, first, second)
    assert plan.at(20)[1].t_high == pytest.approx(0.75) and plan.at(29)[1].t_high == pytest.approx(0.25)


class Listening(MixturePrior):
    """Remembers where it was asked."""

    def predict_noise(self, x_t, t, conditions):
        self.heard = [*getattr(self, "heard", []), (x_t[:ITEMS].clone(), t[:ITEMS].clone())]
        return super().predict_noise(x_t, t, conditions)


class Unwatched(RunMonitor):
    """Points make no pictures."""

    def step(self, stage, step, total, latents, figures):
        pass


def run_of(name: str, **changes: object) -> tuple[Listening, torch.Tensor]:
    """Points descended on by a method, from 0."""
    gaussians = {key: GaussianMixture.single([MEAN[key]], DEVIATION[key]) for key in MEAN}
    listening = Listening(gaussians, SCHEDULE)
    numbers = recipe(name, "draft", **changes)
    run = Run(listening, numbers, torch.Generator().manual_seed(0), Unwatched(QuietReporter(), listening))
    pair = ConditionPair(listening.embed(["target"]), listening.embed(["source"]))
    end = descend(run, torch.zeros(ITEMS, 1, dtype=torch.float64), pair, numbers.plan())
    return listening, end


def test_cfd_keeps_one_noise_an_image():
    listening, _ = run_of("cfd", steps=12, rate=1e-6, scale=1.0)
    noises = []
    for x_t, t in listening.heard:
        _, sigma = SCHEDULE.levels(t, x_t)
        noises.append(x_t / sigma)  # the image stays near 0
    assert all(torch.allclose(noise, noises[0], atol=1e-3) for noise in noises[1:])
    assert float(noises[0].std()) > 0.3


def test_cfd_keeps_its_seeds_apart_where_sds_brings_them_together():
    ends = {name: run_of(name, steps=300, rate=0.02, scale=1.0)[1] for name in ("cfd", "sds")}
    assert float(ends["cfd"].std()) > 2 * float(ends["sds"].std())
    assert float(ends["cfd"].mean()) == pytest.approx(MEAN["target"], abs=0.5)


OPTIMIZING = [name for name, method in METHODS.items() if not method.samples]


@pytest.mark.parametrize("name", OPTIMIZING)
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_a_step_costs_what_its_entry_says(prior, name, scale):
    settings = GuidanceSettings(name, scale)
    direction_of(prior, settings, TIMES)
    trained = 3 if METHODS[name].particles else 0
    assert prior.asked == ITEMS * (settings.evaluations - trained)


@pytest.mark.parametrize("name", OPTIMIZING)
def test_every_method_points_from_a_far_image_towards_the_target(prior, name):
    """Images far on the source's side of the target, averaged over timesteps and noise: descent moves them to the target's mean."""
    far = torch.full((64, 1), 4.0, dtype=torch.float64)
    t = torch.linspace(100, 900, 64).long()
    particles = GaussianParticles()
    latents = (far + 0.1 * torch.randn(64, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).requires_grad_()
    pair = ConditionPair(prior.embed(["target"]), prior.embed(["source"]))
    settings = GuidanceSettings(name, 2.0)
    kwargs = {"timesteps": t, "particles": particles, "reference": far}
    loss, _ = distill_latents(prior, latents, pair, settings, torch.Generator().manual_seed(0), **kwargs)
    (gradient,) = torch.autograd.grad(loss, latents)
    assert float(gradient.mean()) > 0


def test_names_of_the_methods_by_use():
    assert set(methods_for("job")) >= {"calibrated", "sds", "perp_neg", "asd", "ism", "sdi", "cfd", "inverted"}
    assert "vsd" not in methods_for("job") and "dds" not in methods_for("image", "job", "illusion")


def seen(shift: float = 0.0, count: int = 2, side: int = 64) -> torch.Tensor:
    """Places of a plane, the same in every view but for a shift along x in the last."""
    axis = torch.linspace(-0.8, 0.8, side)
    plane = torch.stack([*torch.meshgrid(axis, axis, indexing="ij"), torch.zeros(side, side)], dim=-1)
    views = plane.repeat(count, 1, 1, 1)
    views[-1, ..., 0] += shift
    return views


def test_surface_noise_is_standard_normal_and_independent_from_pixel_to_pixel():
    views = seen(count=1, side=256)
    noise = surface_noise(views, torch.ones(views.shape[:3], dtype=torch.bool), 32, 16, seed=3, cell=0.005)[0]
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.03) and float(noise.std()) == pytest.approx(1.0, abs=0.03)
    neighbours = torch.corrcoef(torch.stack([noise[:, :, 1:].flatten(), noise[:, :, :-1].flatten()]))[0, 1]
    channels = torch.corrcoef(torch.stack([noise[0].flatten(), noise[1].flatten()]))[0, 1]
    assert abs(float(neighbours)) < 0.05 and abs(float(channels)) < 0.12
    assert float((noise.abs() > 2).double().mean()) == pytest.approx(0.0455, abs=0.01)


def test_surface_noise_of_a_place_is_the_same_in_every_view():
    views, all_seen = seen(), torch.ones(2, 64, 64, dtype=torch.bool)
    noise = surface_noise(views, all_seen, 16, 4, seed=3)
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(noise, surface_noise(views, all_seen, 16, 4, seed=3))
    assert not torch.allclose(noise, surface_noise(views, all_seen, 16, 4, seed=4))
    elsewhere = surface_noise(seen(shift=50.0), all_seen, 16, 4, seed=3)
    assert torch.equal(elsewhere[0], noise[0]) and abs(float(torch.corrcoef(elsewhere.flatten(1))[0, 1])) < 0.1


def test_surface_noise_moves_with_the_surface():
    """The second view is turned by four latent pixels: its noise is the first one's, moved."""
    step = 1.6 / 63
    noise = surface_noise(seen(shift=16 * step), torch.ones(2, 64, 64, dtype=torch.bool), 16, 4, seed=3)
    assert torch.allclose(noise[1, :, :12], noise[0, :, 4:], atol=0.75)
    moved = torch.corrcoef(torch.stack([noise[1, :, :12].flatten(), noise[0, :, 4:].flatten()]))[0, 1]
    assert float(moved) > 0.8


def test_where_no_surface_is_seen_each_view_has_noise_of_its_own():
    noise = surface_noise(seen(), torch.zeros(2, 64, 64, dtype=torch.bool), 16, 4, seed=3)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.1


def test_surface_noise_needs_whole_blocks():
    with pytest.raises(ValueError, match="multiple"):
        surface_noise(seen(), torch.ones(2, 64, 64, dtype=torch.bool), 20, 4, seed=0)
