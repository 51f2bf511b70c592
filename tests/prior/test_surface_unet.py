"""The network that sees the surface: sizes, files, and that it learns to look at its control and its words."""

from __future__ import annotations

import torch
from torch.nn import functional

from engine.diffusion.surface_unet import SurfaceUNet
from scripts.prior.surface.dataset import Told
from scripts.prior.surface.training import SurfaceTrainer
from scripts.prior.training import TrainingSettings

TINY = {"channels": (32, 32, 32), "text_width": 16, "embedding": 32, "heads": 2, "head_channels": 4}


def make_tiny(**changes) -> SurfaceUNet:
    torch.manual_seed(0)
    return SurfaceUNet(**{**TINY, **changes})


def test_it_runs_at_any_size_of_whole_patches():
    net = make_tiny().eval()
    for size in (64, 96):
        answer = net(torch.randn(2, 3, size, size), torch.tensor([0, 999]), torch.randn(2, 7, 16), torch.zeros(2, 5, size, size))
        assert answer.shape == (2, 3, size, size) and torch.isfinite(answer).all()


def test_it_is_stored_and_read_back(tmp_path):
    net = make_tiny().eval()
    net.save_pretrained(tmp_path)
    again = SurfaceUNet.from_pretrained(tmp_path, local_files_only=True).eval()
    told = (torch.randn(1, 3, 64, 64), torch.tensor([500]), torch.randn(1, 7, 16), torch.rand(1, 5, 64, 64))
    assert torch.equal(net(*told), again(*told))


def test_what_places_attend_to_is_handed_out():
    """At the middle level down and up, and with fine words at every patch; a network without those answers as before."""
    told = (torch.randn(2, 3, 64, 64), torch.tensor([0, 999]), torch.randn(2, 7, 16), torch.rand(2, 5, 64, 64))
    shares: list[torch.Tensor] = []
    make_tiny(fine_words=True)(*told, shares)
    assert [share.shape for share in shares] == [(2, 2, 64, 7), (2, 2, 64, 7), (2, 2, 256, 7)]
    assert all(torch.allclose(share.sum(-1), torch.ones(())) for share in shares)
    coarse, fine = make_tiny().eval(), make_tiny(fine_words=True).eval()
    fine.load_state_dict(coarse.state_dict(), strict=False)
    assert torch.equal(coarse(*told), fine(*told))  # silent until it has learned


def test_it_learns_that_words_colour_what_the_control_shows():
    """Two words, squares at random places: after training, the named colour is where the control is, and not beside it."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(2, 4, 16, generator=generator)
    colours = torch.tensor([[0.9, -0.8, -0.8], [-0.8, -0.8, 0.9]])

    def batch(count: int):
        which = torch.randint(2, (count,), generator=generator)
        control = torch.zeros(count, 5, 32, 32)
        for row in range(count):
            y, x = torch.randint(0, 16, (2,), generator=generator).tolist()
            control[row, 2:4, y : y + 16, x : x + 16] = 1
        mask = control[:, 3:4]
        return colours[which][:, :, None, None] * mask, words[which], control, which

    trainer = SurfaceTrainer(make_tiny(), TrainingSettings(batch=8, learning_rate=3e-3, warm_up_steps=5, steps=200, bf16=False))
    worker = trainer.replica()
    unspoken = torch.zeros((8, 8, 8, 4), dtype=torch.bool)
    for _ in range(200):
        pictures, states, control, _ = batch(8)
        loss = trainer.loss(worker, pictures, Told(states, control, unspoken), generator)
        loss.backward()
        trainer.apply(worker, 8, float(loss.detach()))
    pictures, states, control, which = batch(8)
    noise = torch.randn(8, 3, 32, 32, generator=generator)
    far = torch.full((8,), 999)
    with torch.no_grad():
        seen = trainer.unet.eval()(noise, far, states, control)
        blind = trainer.unet(noise, far, states, torch.zeros_like(control))
        renamed = trainer.unet(noise, far, words[1 - which], control)

    def error(answer: torch.Tensor, truth: torch.Tensor) -> float:
        """Over blocks of 8 pixels: what is left of the noise does not count."""
        return float(functional.avg_pool2d(answer - truth, 8).abs().mean())

    other = colours[1 - which][:, :, None, None] * control[:, 3:4]
    assert error(seen, pictures) < 0.12
    assert error(blind, pictures) > 2 * error(seen, pictures)
    assert error(renamed, other) < 0.5 * error(renamed, pictures)
