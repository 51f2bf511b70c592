"""The rasterizer's interface, nvdiffrast's four primitives, and the choice of a back end for a device.

Buffers follow nvdiffrast: [batch, height, width, channels], row 0 at the BOTTOM, float32; faces int32 [F, 3].
`engine.render.images.image_from_raster` turns them into image tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from engine.errors import InputError, JobError


class Rasterizer(Protocol):
    """What every back end offers, in nvdiffrast's argument order (Laine et al. 2020, Modular Primitives)."""

    name: str

    def rasterize(self, pos: Tensor, tri: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Which face each pixel shows, and where on it.

        pos         [B, V, 4] clip space
        tri         int32 [F, 3]
        resolution  (height, width) in pixels
        returns     rast [B, H, W, 4] = (u, v, z/w, face + 1), u and v the perspective-correct weights of the face's vertices
                    0 and 1, all zeros where nothing is seen; and rast_db, empty [B, H, W, 0] (no pixel differentials).
                    u and v carry gradients to pos; z/w and the id carry none.
        """
        ...

    def interpolate(self, attr: Tensor, rast: Tensor, tri: Tensor) -> tuple[Tensor, Tensor]:
        """Vertex attributes [V, C] or [B, V, C] at each pixel: [B, H, W, C], zeros where nothing is seen, and an empty tensor.

        Gradients to attr and, through u and v, to rast.
        """
        ...

    def texture(self, tex: Tensor, uv: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
        """Texture [1 | B, Ht, Wt, C] at uv [B, H, W, 2]: [B, H, W, C].

        Row 0 of the texture is at v = 0, texel centres at (i + 0.5) / size. filter_mode "nearest" or "linear";
        boundary_mode "wrap" or "clamp". Gradients to tex and, for "linear", to uv.
        """
        ...

    def antialias(self, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        """Blend color [B, H, W, C] across the silhouettes of the mesh; gradients to color and to pos [B, V, 4]."""
        ...


def select_rasterizer(device: torch.device | str, prefer: str | None = None, note: Callable[[str], None] | None = None) -> Rasterizer:
    """The back end to use on `device`: the one on Warp kernels.

    prefer  "nvdiffrast" asks for that one (its licence is the user's to take, and on meshes as fine as this engine's it finds few of the
            outlines' gradients); "warp" and "reference" likewise
    note    where what is preferred cannot be had, it is told why, and Warp takes over; None: then that is an error
    Raises JobError, with the reason and the fix, where nothing can be had; InputError for an unknown name.
    """
    if prefer not in (None, "warp", "nvdiffrast", "reference"):
        raise InputError("bad_setting", f"No rasterizer is called {prefer!r}.", "Choose warp, nvdiffrast or reference.")
    device = torch.device(device)
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())  # one context, however it is asked for
    try:
        return _selected(device, prefer or "warp")
    except JobError as error:
        if note is None or prefer in (None, "warp"):
            raise
        note(f"{error.message} Warp draws instead.")
        return _selected(device, "warp")


@functools.cache
def _selected(device: torch.device, name: str) -> Rasterizer:
    if name == "reference":
        from engine.render.reference import ReferenceRasterizer

        return ReferenceRasterizer()
    reason = unavailable(name, device)
    if reason is None:
        try:
            return _make(name, device)
        except JobError as error:
            reason = error.message
    raise JobError(
        "no_rasterizer",
        f"The rasterizer {name} cannot be used on {device}: {reason}.",
        "Install warp-lang in the engine's environment (sketchbridge doctor shows what it has), or choose --device cpu.",
    )


def unavailable(name: str, device: torch.device | str) -> str | None:
    """Why the back end `name` ("warp" or "nvdiffrast") cannot be used on a device; None where it can."""
    device = torch.device(device)
    if name == "nvdiffrast":
        from engine.render.nvdiffrast_backend import why_unavailable
    else:
        from engine.render.warp_backend import why_unavailable
    return why_unavailable(device)


def _make(name: str, device: torch.device) -> Rasterizer:
    if name == "nvdiffrast":
        from engine.render.nvdiffrast_backend import NvdiffrastRasterizer

        return NvdiffrastRasterizer(device)
    from engine.render.warp_backend import WarpRasterizer

    return WarpRasterizer()
