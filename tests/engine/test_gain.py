"""The encoder's gain is measured and taken out: a difference of pictures is one, whatever the encoder's scale."""

from __future__ import annotations

import pytest
import torch
from tiny_model import make_tiny_model

from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.gain import encoder_gain
from engine.diffusion.load import load_prior

CPU = torch.device("cpu")


def averaged(weight: float):
    """An encoder whose transpose times itself is known: means of 8 x 8 pixels times a weight, k = weight^2 / 64 for what is smooth."""
    return lambda pixels: weight * torch.nn.functional.avg_pool2d(pixels, 8)


@pytest.mark.parametrize("weight", [0.5, 8.0, 30.0])
def test_a_known_gain_is_found(weight):
    found = encoder_gain(averaged(weight), 64, 8, CPU)
    assert found == pytest.approx(weight**2 / 64, rel=0.35)  # its finest differences are a little smoothed by the means
    assert found == encoder_gain(averaged(weight), 64, 8, CPU)


@pytest.fixture()
def prior(tmp_path) -> DiffusersPrior:
    found = load_prior(str(make_tiny_model(tmp_path / "model")), "cpu", torch.float32)
    assert isinstance(found, DiffusersPrior)
    return found


def reaching(prior: DiffusersPrior, wanted: torch.Tensor) -> torch.Tensor:
    """What arrives in pixels (-1..1) where the latents are to change by what `wanted` does to them."""
    nodes = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    images = torch.nn.functional.interpolate(nodes, size=(16, 16), mode="bilinear").requires_grad_()
    with torch.no_grad():
        change = prior.encode(images + 0.5 * wanted) - prior.encode(images)
    latents = prior.encode(images)
    latents.register_hook(prior.precondition)
    return torch.autograd.grad(latents, images, change)[0] / 2  # pixels are twice the images


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_strength_does_not_depend_on_the_encoders_scale(prior, scale):
    wanted = 0.05 * torch.nn.functional.interpolate(torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(3)), size=(16, 16))
    expected = reaching(prior, wanted)
    prior._factor *= scale
    del prior.gain
    found = reaching(prior, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    share = float((found * wanted).sum() / wanted.square().sum())
    assert 0.3 < share < 3, share
