"""nvdiffrast as a back end on CUDA: optional, research-only licence, imported on first use. Unverified without a CUDA device."""

from __future__ import annotations

import importlib.util
import weakref
from typing import Any

import torch
from torch import Tensor

from engine.errors import JobError

RESOLUTION_STEP = 8
"""nvdiffrast's CUDA rasterizer works on tiles of 8 x 8 pixels."""


def why_unavailable(device: torch.device) -> str | None:
    """Why nvdiffrast cannot be used on a device; None where it can. Does not import it."""
    if device.type != "cuda":
        return f"nvdiffrast needs CUDA, the device is {device.type}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if importlib.util.find_spec("nvdiffrast") is None:
        return "the package nvdiffrast is not installed"
    return None


class NvdiffrastRasterizer:
    """See `engine.render.base.Rasterizer`. Holds one CUDA context and the topology hash of the last face tensor."""

    name = "nvdiffrast"

    def __init__(self, device: torch.device) -> None:
        """Draws a triangle and differentiates it, since older releases compile only then. JobError for whatever goes wrong."""
        self._known_faces: tuple[weakref.ref[Tensor], int, Any] | None = None
        try:
            import nvdiffrast.torch as nvdiffrast  # pyright: ignore[reportMissingImports]

            self._nvdiffrast = nvdiffrast
            self._context = nvdiffrast.RasterizeCudaContext(device=device)
            self._try_a_triangle(device)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise JobError(
                "no_rasterizer",
                f"nvdiffrast is installed but does not work here ({first})",
                "Install it for this torch and CUDA (docs/gpu.md), or choose the rasterizer warp.",
            ) from error

    def _try_a_triangle(self, device: torch.device) -> None:
        """RuntimeError unless a triangle over the middle of a picture is seen there and its picture has a gradient in its corners."""
        corners = [[-0.5, -0.5, 0.0, 1.0], [0.5, -0.5, 0.0, 1.0], [0.0, 0.5, 0.0, 1.0]]
        pos = torch.tensor([corners], device=device, requires_grad=True)
        tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
        rast, _ = self.rasterize(pos, tri, (16, 16))
        shown = self.antialias(self.interpolate(pos.detach()[0, :, :1].contiguous() + 1, rast, tri)[0], rast, pos, tri)
        (gradient,) = torch.autograd.grad(shown.sum(), pos)
        if int(rast[0, 7, 8, 3]) != 1 or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
            raise RuntimeError("a test triangle is not drawn as it should be")

    def rasterize(self, pos: Tensor, tri: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.rasterize`."""
        if tri.shape[0] == 0:
            rast = pos.new_zeros(pos.shape[0], *resolution, 4, dtype=torch.float32)
        else:
            moved, padded = pad_resolution(_packed(pos), resolution)
            whole, _ = self._nvdiffrast.rasterize(self._context, moved.contiguous(), tri.contiguous(), padded, grad_db=False)
            rast = whole[:, : resolution[0], : resolution[1]].contiguous()
        return rast, rast.new_empty(*rast.shape[:3], 0)

    def interpolate(self, attr: Tensor, rast: Tensor, tri: Tensor) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.interpolate`."""
        batched = attr if attr.ndim == 3 else attr[None]
        if tri.shape[0] == 0:
            empty = attr.new_zeros(*rast.shape[:3], batched.shape[2], dtype=torch.float32)
            return empty, empty.new_empty(*rast.shape[:3], 0)
        out, _ = self._nvdiffrast.interpolate(_packed(batched), rast.contiguous(), tri.contiguous())
        return out, out.new_empty(*out.shape[:3], 0)

    def texture(self, tex: Tensor, uv: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
        """See `Rasterizer.texture`."""
        return self._nvdiffrast.texture(_packed(tex), _packed(uv), filter_mode=filter_mode, boundary_mode=boundary_mode)

    def antialias(self, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        """See `Rasterizer.antialias`."""
        if tri.shape[0] == 0:
            return _packed(color)
        return self._nvdiffrast.antialias(
            _packed(color), rast.contiguous(), _packed(pos), tri.contiguous(), topology_hash=self._topology(tri)
        )

    def _topology(self, tri: Tensor) -> Any:
        """The topology hash of `tri`, made anew unless it is the very tensor of the call before, unchanged."""
        if self._known_faces is not None:
            known, version, table = self._known_faces
            if known() is tri and version == tri._version:
                return table
        table = self._nvdiffrast.antialias_construct_topology_hash(tri.contiguous())
        self._known_faces = (weakref.ref(tri), tri._version, table)
        return table


def pad_resolution(pos: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Clip positions [B, V, 4] and a resolution (height, width) of multiples of 8 whose first rows and columns show the same picture.

    nvdiffrast's CUDA rasterizer takes no other sizes, at least in its older releases (its issue 193).
    """
    height, width = resolution
    padded = (-(-height // RESOLUTION_STEP) * RESOLUTION_STEP, -(-width // RESOLUTION_STEP) * RESOLUTION_STEP)
    if padded == (height, width):
        return pos, padded
    x, y, z, w = pos.unbind(dim=-1)
    x = x * (width / padded[1]) + w * (width / padded[1] - 1.0)
    y = y * (height / padded[0]) + w * (height / padded[0] - 1.0)
    return torch.stack([x, y, z, w], dim=-1), padded


def _packed(tensor: Tensor) -> Tensor:
    """float32 and contiguous, as nvdiffrast requires."""
    return tensor.float().contiguous()
