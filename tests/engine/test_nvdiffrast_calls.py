"""The nvdiffrast back end against a strict stand-in that checks what nvdiffrast's own code checks, and draws with our kernels."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from engine.camera import fixed_ring
from engine.errors import JobError
from engine.render import nvdiffrast_backend
from engine.render.base import select_rasterizer
from engine.render.nvdiffrast_backend import NvdiffrastRasterizer
from engine.render.shading import render_views
from tests.engine.shapes import box

CPU = torch.device("cpu")


class Strict(types.ModuleType):
    """nvdiffrast.torch: contiguity, types, sizes and the age of the topology's hash, as its C++ code demands them (0.3.0 to 0.4.0)."""

    def __init__(self) -> None:
        super().__init__("nvdiffrast.torch")
        self.warp = select_rasterizer("cpu", "warp")
        self.hashes = 0
        self.RasterizeCudaContext = lambda device=None: self._context(device)

    def _context(self, device):
        assert device is None or isinstance(device, torch.device)
        return "context"

    @staticmethod
    def whole(tensor, kind, *shape) -> None:
        assert tensor.dtype == kind and tensor.is_contiguous() and tensor.dim() == len(shape), (tensor.dtype, tensor.shape)
        assert all(side is None or side == found for side, found in zip(shape, tensor.shape, strict=True)), tensor.shape

    def rasterize(self, glctx, pos, tri, resolution, ranges=None, grad_db=True):
        assert glctx == "context" and ranges is None
        self.whole(pos, torch.float32, None, None, 4)
        self.whole(tri, torch.int32, None, 3)
        assert len(tri) > 0 and isinstance(resolution, tuple) and all(side % 8 == 0 for side in resolution), resolution
        return self.warp.rasterize(pos, tri, resolution)

    def interpolate(self, attr, rast, tri, rast_db=None, diff_attrs=None):
        self.whole(attr, torch.float32, None, None, None)
        self.whole(rast, torch.float32, None, None, None, 4)
        self.whole(tri, torch.int32, None, 3)
        assert attr.shape[0] in (1, rast.shape[0])
        return self.warp.interpolate(attr, rast, tri)

    def texture(self, tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap"):
        self.whole(tex, torch.float32, None, None, None, None)
        self.whole(uv, torch.float32, None, None, None, 2)
        assert filter_mode in ("nearest", "linear") and boundary_mode in ("wrap", "clamp")
        return self.warp.texture(tex, uv, filter_mode, boundary_mode)

    def antialias_construct_topology_hash(self, tri):
        self.whole(tri, torch.int32, None, 3)
        self.hashes += 1
        return tri.clone()

    def antialias(self, color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
        for tensor, sides in ((color, 4), (rast, 4), (pos, 3)):
            self.whole(tensor, torch.float32, *[None] * sides)
        self.whole(tri, torch.int32, None, 3)
        assert color.shape[:3] == rast.shape[:3] and torch.equal(topology_hash, tri), "a hash of other faces"
        return self.warp.antialias(color, rast, pos, tri)


@pytest.fixture()
def strict(monkeypatch) -> Strict:
    found, package = Strict(), types.ModuleType("nvdiffrast")
    package.torch = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", found)
    return found


@pytest.mark.parametrize("size", [64, 60, 61])
def test_every_call_is_as_nvdiffrast_wants_it_and_draws_the_same(strict, size):
    """Sizes that are no multiples of 8 are drawn larger and cut."""
    found = []
    for rasterizer in (NvdiffrastRasterizer(CPU), strict.warp):
        mesh = box((0.5, 0.4, 0.6))
        vertices = torch.from_numpy(mesh.vertices).requires_grad_()
        cameras, faces = fixed_ring(2, elevation=30.0), torch.from_numpy(mesh.faces)
        rgb = render_views(rasterizer, vertices, faces, cameras, size, lambda p: (p + 1) / 2, want=("rgb",)).rgb
        (gradient,) = torch.autograd.grad(rgb.square().sum(), vertices)
        found.append((rgb.detach(), gradient))
    (rgb, gradient), (expected, expected_gradient) = found
    assert ((rgb - expected).abs().amax(1) < 1e-3).float().mean() > 0.99
    assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected_gradient.flatten(), dim=0) > 0.99


def test_the_hash_follows_faces_that_change_in_place(strict):
    rasterizer, mesh = NvdiffrastRasterizer(CPU), box((0.5, 0.4, 0.6))
    pos = fixed_ring(1).clip(torch.from_numpy(mesh.vertices))
    tri = torch.from_numpy(mesh.faces).clone()
    made = strict.hashes
    for change in (None, None, "flip"):
        if change:
            tri.copy_(tri.flip(1))
        rast, _ = rasterizer.rasterize(pos, tri, (32, 32))
        rasterizer.antialias(torch.rand(1, 32, 32, 3), rast, pos, tri)
    assert strict.hashes == made + 2


def test_odd_inputs_are_made_fit(strict):
    """Half floats, transposed tensors, one attribute for all views, a mesh without faces."""
    rasterizer, mesh = NvdiffrastRasterizer(CPU), box((0.5, 0.4, 0.6))
    vertices, tri = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    pos = fixed_ring(2).clip(vertices).transpose(0, 1).contiguous().transpose(0, 1)
    rast, _ = rasterizer.rasterize(pos, tri, (32, 40))
    assert rasterizer.interpolate(vertices.double(), rast, tri)[0].shape == (2, 32, 40, 3)
    assert rasterizer.texture(torch.rand(1, 4, 4, 3).half(), rast[..., :2]).shape == (2, 32, 40, 3)
    nothing = torch.zeros(0, 3, dtype=torch.int32)
    assert not rasterizer.rasterize(pos, nothing, (32, 40))[0].any() and rasterizer.antialias(rast, rast, pos, nothing).shape == rast.shape


@pytest.mark.parametrize("error", [OSError("CUDA_HOME environment variable is not set"), RuntimeError("Error building extension"),
                                   AttributeError("no RasterizeCudaContext")])  # fmt: skip
def test_an_installation_that_does_not_work_is_told_and_warp_takes_over(strict, monkeypatch, error):
    def fails(device=None):
        raise error

    strict.RasterizeCudaContext = fails
    with pytest.raises(JobError, match=str(error).split()[0]) as caught:
        NvdiffrastRasterizer(CPU)
    assert "docs/gpu.md" in caught.value.fix
    monkeypatch.setattr(nvdiffrast_backend, "why_unavailable", lambda device: None)
    notes: list[str] = []
    assert select_rasterizer("cpu", "nvdiffrast", notes.append).name == "warp" and "Warp draws instead" in notes[0]


def test_one_that_draws_nothing_is_not_taken(strict):
    strict.rasterize = lambda glctx, pos, tri, resolution, ranges=None, grad_db=True: (torch.zeros(1, *resolution, 4), None)
    with pytest.raises(JobError, match="test triangle"):
        NvdiffrastRasterizer(CPU)
