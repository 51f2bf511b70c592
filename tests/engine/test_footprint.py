"""The estimate of a large model's memory beside what meta tensors of its very shape keep: no GPU and no weights are needed for it."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import pytest
import torch
from tiny_model import make_tiny_model
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from engine.diffusion.footprint import KEPT, LIVE, model_bytes, values
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
    """The most bytes of results alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.held: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, torch.Tensor)}
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given and not attention(tensor):
                size = tensor.untyped_storage().nbytes()
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


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
    base = model_bytes(folder, True, 1)
    assert base is not None and base < model_bytes(folder, True, 4) < model_bytes(folder, False, 4)
    assert model_bytes(tmp_path, True, 1) is None  # no model


@pytest.mark.parametrize(("views", "most"), [(1, 8e9), (4, 12e9)])
def test_stable_diffusion_at_512_fits_the_cards_that_it_is_said_to(tmp_path, views, most):
    """By its shape alone: 866 million weights in the denoiser, 84 million in the autoencoder."""
    folder: Path = make_tiny_model(tmp_path / "model")
    for part, changes in (
        ("unet", {"sample_size": 64, "block_out_channels": [320, 640, 1280, 1280]}),
        ("vae", {"block_out_channels": [128, 256, 512, 512]}),
    ):
        path = folder / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    activations = model_bytes(folder, True, views)
    assert activations is not None and activations + 2 * (866e6 + 0.41 * 84e6) < most - 1.5e9  # CUDA's own, and the job's
