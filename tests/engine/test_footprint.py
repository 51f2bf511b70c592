"""The estimate of a large model's memory beside what meta tensors of its very shape keep: no GPU and no weights are needed for it."""

from __future__ import annotations

import dataclasses
import weakref
from pathlib import Path

import pytest
import torch
from tiny_model import make_tiny_flow, make_tiny_model, make_tiny_xl
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from engine.diffusion.footprint import KEPT, KEPT_TWICE, LIVE, Portion, footprint_of, values
from engine.diffusion.load import load_prior
from scripts.bench.shaped import shaped_prior

META = torch.device("meta")


@pytest.fixture(scope="module")
def shaped():
    return shaped_prior("sd21", META, dtype=torch.float16)


def test_what_the_encoder_keeps_of_a_view(shaped):
    """Stable Diffusion's encoder in float32 at 512 x 512: 3.0 GiB a view; four views through it at once 12."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    vae = shaped.vae.float()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        held = vae.encode(torch.empty(1, 3, 512, 512, device=META, requires_grad=True)).latent_dist.mode()
    weights = sum(parameter.numel() * 4 for parameter in vae.parameters())
    assert held.shape == (1, 4, 64, 64)
    assert sum(kept.values()) - weights == pytest.approx(KEPT * 512**2, rel=0.12)


def attention(tensor: torch.Tensor) -> bool:
    """Whether it is a matrix of every place with every other, which only meta tensors' attention writes down."""
    return tensor.dim() >= 2 and min(tensor.shape[-2:]) >= 1024


class Alive(TorchDispatchMode):
    """The most bytes of results alive at once; a view or a detached tensor holds its storage too."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.held: dict[int, list[int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, torch.Tensor)}
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and not attention(tensor):
                self._hold(tensor, given)
        return out

    def _hold(self, tensor: torch.Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self.held:
            self.held[storage._cdata][0] += 1
        elif storage._cdata in given:
            return  # of something that was there before
        else:
            self.held[storage._cdata] = [1, storage.nbytes()]
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        weakref.finalize(tensor, self._gone, storage._cdata)

    def _gone(self, storage: int) -> None:
        entry = self.held[storage]
        entry[0] -= 1
        if entry[0] == 0:
            self.now -= self.held.pop(storage)[1]


@pytest.mark.parametrize(("twice", "expected"), [(False, KEPT), (True, KEPT_TWICE)])
def test_what_the_encoder_takes_with_its_backward_pass(shaped, twice, expected):
    """Where it computes twice it still has its first blocks, of the picture's own size, to hold at once."""
    shaped.compute_twice(twice)
    pixels = torch.empty(1, 3, 512, 512, device=META, requires_grad=True)
    with Alive() as alive:
        latents = shaped.vae.float().encode(pixels).latent_dist.mode()
        torch.autograd.grad(latents, pixels, torch.empty_like(latents))
    shaped.compute_twice(False)
    assert alive.most == pytest.approx(expected * 512**2, rel=0.12)


def test_what_the_denoiser_has_alive(shaped):
    """Eight items of 64 x 64 latents in float16, as a step of four views asks: the estimate is no less, and not thrice as much."""
    x, states = torch.empty(8, 4, 64, 64, device=META, dtype=torch.float16), torch.empty(8, 77, 1024, device=META, dtype=torch.float16)
    with torch.no_grad(), Alive() as alive:
        shaped.unet(x, timestep=torch.zeros(8, device=META, dtype=torch.int64), encoder_hidden_states=states)
    assert alive.most <= 2 * LIVE * 8 * 64**2 * 320 <= 3 * alive.most


def test_weights_are_counted_by_their_headers_in_any_precision(tmp_path):
    folder: Path = make_tiny_model(tmp_path / "model")
    expected = sum(parameter.numel() for parameter in load_prior(str(folder)).unet.parameters())
    assert values(folder / "unet") == expected
    from safetensors.torch import load_file, save_file

    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    assert values(folder / "unet") == expected and values(tmp_path) == 0


def test_a_larger_model_more_views_and_full_precision_take_more(tmp_path):
    folder: Path = make_tiny_model(tmp_path / "model")
    half, full = (footprint_of(folder, kind) for kind in (torch.float16, torch.float32))
    assert half is not None and full is not None and footprint_of(tmp_path, torch.float16) is None  # no model
    one, four = Portion(1, half.pixels), Portion(4, half.pixels)
    assert half.bytes(one) < half.bytes(four) < full.bytes(four)
    assert half.bytes(dataclasses.replace(four, items=2)) == half.bytes(one)
    assert half.bytes(dataclasses.replace(one, twice=True)) < half.bytes(one) < half.bytes(dataclasses.replace(one, pixels=1024))
    assert full.bytes(one, texts=True) >= full.weights + full.texts > full.weights


def test_only_xl_keeps_its_encoder_in_full_precision(tmp_path):
    make = {"sd": make_tiny_model, "xl": make_tiny_xl, "sd3": make_tiny_flow}
    found = {
        name: [footprint_of(made, kind) for kind in (torch.float16, torch.float32)]
        for name, one in make.items()
        for made in [one(tmp_path / name)]
    }
    assert {name: half.kept / full.kept for name, (half, full) in found.items()} == {"sd": 0.5, "xl": 1.0, "sd3": 0.5}
