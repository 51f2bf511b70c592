"""nvdiffrast as a back end on CUDA: optional, research-only licence, imported on first use. Unverified without a CUDA device."""

from __future__ import annotations

import importlib.util
import weakref
from typing import Any

import torch
from torch import Tensor

from engine.errors import JobError


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
        try:
            import nvdiffrast.torch as nvdiffrast
        except ImportError as error:
            raise JobError(
                "nvdiffrast_import",
                f"nvdiffrast is installed but cannot be imported: {error}.",
                "Install it for this torch and CUDA, or remove it: the Warp back end takes over.",
            ) from error
        self._nvdiffrast = nvdiffrast
        self._context = nvdiffrast.RasterizeCudaContext(device=device)
        self._known_faces: tuple[weakref.ref[Tensor], int, Any] | None = None

    def rasterize(self, pos: Tensor, tri: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.rasterize`."""
        rast, _ = self._nvdiffrast.rasterize(self._context, _packed(pos), tri.contiguous(), list(resolution), grad_db=False)
        return rast, rast.new_empty(*rast.shape[:3], 0)

    def interpolate(self, attr: Tensor, rast: Tensor, tri: Tensor) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.interpolate`."""
        batched = attr if attr.ndim == 3 else attr[None]
        out, _ = self._nvdiffrast.interpolate(_packed(batched), rast.contiguous(), tri.contiguous())
        return out, out.new_empty(*out.shape[:3], 0)

    def texture(self, tex: Tensor, uv: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
        """See `Rasterizer.texture`."""
        return self._nvdiffrast.texture(_packed(tex), _packed(uv), filter_mode=filter_mode, boundary_mode=boundary_mode)

    def antialias(self, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        """See `Rasterizer.antialias`."""
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


def _packed(tensor: Tensor) -> Tensor:
    """float32 and contiguous, as nvdiffrast requires."""
    return tensor.float().contiguous()
