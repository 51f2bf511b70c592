"""Encoding view by view: the gradient is that of all views at once, what is kept is that of none; float16 loses no small gradient."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_model import make_tiny_model, make_tiny_xl
from torch.autograd.graph import saved_tensors_hooks

from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.encoding import encode_views, half_safe
from engine.diffusion.load import load_prior

VIEWS = 3


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> DiffusersPrior:
    prior = load_prior(str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")), "cpu", torch.float32)
    assert isinstance(prior, DiffusersPrior)
    return prior


def images() -> torch.Tensor:
    return torch.rand(VIEWS, 3, 32, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()


def at_once(prior: DiffusersPrior, pictures: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """As diffusers does it: all views in one graph."""
    posterior = prior.vae.encode(torch.nn.functional.avg_pool2d(pictures, 2) * 2 - 1).latent_dist
    return (posterior.mode() if generator is None else posterior.sample(generator)) * prior.vae.config.scaling_factor


@pytest.mark.parametrize("seed", [None, 5])
def test_values_and_gradients_are_those_of_all_views_at_once(prior, seed):
    weight = torch.randn(VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    found = []
    for encode in (prior.encode, lambda pictures, generator: at_once(prior, pictures, generator)):
        pictures = images()
        latents = encode(pictures, None if seed is None else torch.Generator().manual_seed(seed))
        (gradient,) = torch.autograd.grad((latents * weight).sum(), pictures)
        found.append((latents.detach(), gradient))
    (ours, our_gradient), (theirs, their_gradient) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-6)
    assert their_gradient.abs().max() > 1e-3


def test_each_view_has_the_very_gradient_that_it_has_alone(prior):
    """Bit for bit: two phases change nothing but when the work is done."""
    pictures, alone = images(), images()
    ours = torch.autograd.grad(prior.encode(pictures).square().sum(), pictures)[0]
    theirs = torch.cat([torch.autograd.grad(prior.encode(alone[[k]]).square().sum(), alone)[0][[k]] for k in range(VIEWS)])
    assert torch.equal(ours, theirs)


def kept_bytes(work) -> int:
    """Bytes that autograd keeps for the backward pass of some work, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(kept.values())


def test_nothing_is_kept_but_the_pictures(prior):
    pictures = images()
    small, large = kept_bytes(lambda: prior.encode(pictures)), kept_bytes(lambda: at_once(prior, pictures, None))
    assert small <= 2 * pictures.numel() * 4 and large > 5 * small


def test_a_hook_on_the_latents_reaches_the_pictures(prior):
    """How a guidance step weighs its gradient (`engine.guidance.step.distill`)."""
    found = []
    for factor in (1.0, 3.0):
        pictures = images()
        latents = prior.encode(pictures)
        latents.register_hook(lambda gradient, factor=factor: factor * gradient)
        found.append(torch.autograd.grad(latents.sum(), pictures)[0])
    torch.testing.assert_close(found[1], 3 * found[0])


@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_gradients_below_float16s_least_number_survive_it(size):
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    def network(pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(pixels, weight.to(pixels.dtype), padding=1)

    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (exact,) = torch.autograd.grad((network(pixels) * size).sum(), pixels)
    answer = half_safe(network, pixels, torch.float16)
    (found,) = torch.autograd.grad((answer * size).sum(), pixels)
    assert answer.dtype == found.dtype == torch.float32
    assert (found - exact).norm() < 0.01 * exact.norm()
    if size < 1e-8:
        (lost,) = torch.autograd.grad((network(pixels.to(torch.float16)) * size).sum(), pixels)
        assert lost.abs().max() == 0  # without the power of two nothing is left


def test_an_encoder_in_float16_gives_nearly_the_same_gradient(tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    whole, half = (load_prior(str(folder), "cpu", kind) for kind in (torch.float32, torch.float16))
    assert isinstance(half, DiffusersPrior) and half.vae.dtype == torch.float16
    gradients = []
    for prior in (whole, half):
        pictures = images()
        gradients.append(torch.autograd.grad(1e-7 * prior.encode(pictures).square().sum(), pictures)[0].flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.999


def test_an_xl_autoencoder_that_forces_it_stays_in_float32(tmp_path):
    folder = make_tiny_xl(tmp_path / "model")
    for forces, expected in ((True, torch.float32), (False, torch.float16)):
        path = folder / "vae" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"force_upcast": forces}))
        prior = load_prior(str(folder), "cpu", torch.float16)
        assert isinstance(prior, DiffusersPrior) and prior.vae.dtype == expected and prior.dtype == torch.float16


def test_one_view_and_no_gradient_go_straight_through():
    asked = []

    def encode(pixels: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        asked.append(len(pixels))
        return 2 * pixels

    one = torch.ones(1, 3, 2, 2, requires_grad=True)
    assert torch.equal(torch.autograd.grad(encode_views(encode, one, None).sum(), one)[0], 2 * torch.ones_like(one)) and asked == [1]
    assert not encode_views(encode, torch.ones(2, 3, 2, 2), None).requires_grad and asked == [1, 1, 1]


def test_the_decoder_is_not_held_and_comes_back_when_it_is_asked(tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    prior = load_prior(str(folder), "cpu", torch.float32)
    assert isinstance(prior, DiffusersPrior) and not any("decoder" in name for name, _ in prior.vae.named_parameters())
    from diffusers import AutoencoderKL

    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = AutoencoderKL.from_pretrained(folder / "vae")
    expected = (whole.decode(latents / whole.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    assert torch.equal(prior.decode(latents), expected)


def test_text_models_rest_and_come_back_for_a_new_prompt(tmp_path):
    prior = load_prior(str(make_tiny_model(tmp_path / "model")), "cpu", torch.float32)
    assert isinstance(prior, DiffusersPrior)
    before = prior.embed(["a cup", "a hat"]).data
    prior.text.rest()
    assert not any(isinstance(part, torch.nn.Module) for part in prior.text._parts.values())
    assert torch.equal(prior.embed(["a cup"]).data, before[:1])
    assert not any(isinstance(part, torch.nn.Module) for part in prior.text._parts.values())
    assert torch.isfinite(prior.embed(["a new one"]).data).all()


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_fewer_items_a_call_give_the_same(prior, at_once):
    x_t = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t, conditions = torch.tensor([1, 300, 500, 800, 999]), prior.embed(["a", "b", "c", "d", ""])
    expected = prior.predict_noise(x_t, t, conditions)
    prior.at_once = at_once
    try:
        torch.testing.assert_close(prior.predict_noise(x_t, t, conditions), expected, rtol=1e-4, atol=1e-5)
    finally:
        prior.at_once = 0
