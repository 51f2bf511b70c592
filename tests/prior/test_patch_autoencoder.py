"""The embedded prior's autoencoder: linear one way, learnt the other."""

from __future__ import annotations

import pytest
import torch

from engine.diffusion.patch_autoencoder import PatchAutoencoder
from scripts.prior import autoencoder_training, dataset


@pytest.fixture(scope="module")
def pictures(picture_folder) -> torch.Tensor:
    records = dataset.read_records(picture_folder)
    return dataset.build_splits(picture_folder, records, 64, 1, seed=0)[0].pictures


def encode(model: PatchAutoencoder, pictures: torch.Tensor) -> torch.Tensor:
    return model.encode(pictures.float() / 127.5 - 1).latent_dist.mode()


def test_shapes_and_the_two_ways_to_ask():
    model = PatchAutoencoder(latent_channels=6)
    latents = model.encode(torch.zeros(2, 3, 16, 24)).latent_dist
    assert latents.mode().shape == (2, 6, 2, 3)
    assert torch.equal(latents.sample(), latents.mode())
    assert model.decode(latents.mode()).sample.shape == (2, 3, 16, 24)
    assert torch.equal(model.decode(latents.mode(), return_dict=False)[0], model.decode(latents.mode()).sample)


def test_the_pull_back_of_a_gradient_does_not_depend_on_the_picture():
    torch.manual_seed(0)
    model = PatchAutoencoder()
    direction = torch.randn(1, 16, 4, 4)
    gradients = []
    for picture in (torch.zeros(1, 3, 32, 32), torch.rand(1, 3, 32, 32)):
        picture.requires_grad_()
        (model.encode(picture).latent_dist.mode() * direction).sum().backward()
        gradients.append(picture.grad)
    assert torch.allclose(*gradients)
    assert gradients[0].abs().min(dim=1).values.gt(0).float().mean() > 0.99  # every pixel is reached


def test_a_difference_of_latents_becomes_the_difference_of_images(pictures):
    """Encoding what reaches the pixels gives the difference again, though the channels' scales differ tenfold."""
    torch.manual_seed(0)
    model = PatchAutoencoder()
    autoencoder_training.start_from_components(model, pictures)
    model.encoder.weight.data *= torch.logspace(-1, 0, 16)[:, None, None, None]
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    latents = model.encode(image).latent_dist.mode()
    difference = torch.randn_like(latents)
    latents.backward(model.precondition(difference))
    assert torch.allclose(model.encode(image.grad).latent_dist.mode(), difference, atol=1e-3)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        PatchAutoencoder().encode(torch.zeros(1, 3, 12, 16))
    with pytest.raises(ValueError, match="expected 8"):
        PatchAutoencoder(patch=4)


def test_the_start_keeps_all_that_linear_patches_can(pictures):
    """Encoding by principal components and back by their transpose leaves exactly the discarded variance."""
    model = PatchAutoencoder()
    autoencoder_training.start_from_components(model, pictures)
    kernels = model.encoder.weight[:, :, 4:12, 4:12].flatten(1)
    assert torch.allclose(kernels @ kernels.T, torch.eye(16), atol=1e-4)
    columns = torch.nn.functional.unfold(pictures.float() / 127.5 - 1, 8, stride=8).transpose(1, 2).reshape(-1, 192)
    lost = columns - columns @ kernels.T @ kernels
    spectrum = torch.linalg.eigvalsh(columns.T @ columns / len(columns))
    assert float(lost.detach().square().sum(1).mean()) == pytest.approx(float(spectrum[:-16].sum()), rel=1e-3, abs=1e-5)


def test_scaling_the_latents_changes_what_is_decoded_by_nothing_inside(pictures):
    torch.manual_seed(0)
    model = PatchAutoencoder()
    autoencoder_training.start_from_components(model, pictures)
    model.encoder.weight.data += 0.02 * torch.randn_like(model.encoder.weight)  # all channels alive
    before = model.decode(encode(model, pictures)).sample
    autoencoder_training.normalize_latents(model, pictures)
    latents = encode(model, pictures)
    after = model.decode(latents).sample
    inner = (..., slice(24, 40), slice(24, 40))  # the first convolution pads latents with zero: borders differ
    assert torch.allclose(before[inner], after[inner], atol=2e-3)
    channels = latents.transpose(0, 1).flatten(1)
    assert channels.mean(1).abs().max() < 1e-3
    assert float(channels.detach().var(1).mean().sqrt()) == pytest.approx(autoencoder_training.LATENT_SPREAD, rel=0.02)
    covariance = torch.cov(channels)
    assert (covariance - covariance.diag().diag()).abs().max() < 2e-3


@pytest.mark.long
def test_training_decodes_what_was_encoded(pictures):
    torch.manual_seed(0)
    model = PatchAutoencoder()
    lines: list[str] = []
    psnr = autoencoder_training.train(model, pictures, steps=450, seed=0, report=lines.append)
    assert psnr > 24  # one grey for all gives about 10
    assert lines
    assert not model.encoder.weight.requires_grad
