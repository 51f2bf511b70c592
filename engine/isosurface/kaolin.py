"""FlexiCubes (Shen et al. 2023) from NVIDIA Kaolin as another extractor, where Kaolin is installed. Imported on first use.

Dual vertices follow creases better than marching tetrahedra do, at some times the cost. The tetrahedral grid is the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.errors import JobError

DEFORM_RANGE = 0.9
"""Largest deformation along an axis, times 1 / resolution: less than half a cell's side, which is 2 / resolution."""


class FlexiCubesGrid:
    """`Isosurface` over a grid of resolution^3 cubes on [-1, 1]^3, with FlexiCubes' weights left uniform.

    Raises JobError where Kaolin is not installed.
    """

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        self.resolution = resolution
        self._extractor = _flexicubes(device)
        points, self._cubes = self._extractor.construct_voxel_grid(resolution)
        self._points = 2 * points
        self._boundary = (self._points.abs() > 1 - 0.5 * self.spacing).any(dim=1)

    @property
    def points(self) -> Tensor:
        """float32 [Nv, 3]: the cubes' corners."""
        return self._points

    @property
    def spacing(self) -> float:
        """Side of a cube."""
        return 2.0 / self.resolution

    def surface(self, sdf: Tensor, deform: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`Isosurface.surface`; the hull counts as outside, as on the tetrahedral grid."""
        positions = self._points.to(sdf.dtype)
        if deform is not None:
            positions = positions + torch.tanh(deform) * (DEFORM_RANGE / self.resolution)
        closed = torch.where(self._boundary, sdf.clamp(min=1e-6), sdf)
        vertices, faces, _ = self._extractor(positions, closed, self._cubes, self.resolution, training=False)
        return vertices, faces.to(torch.int32)


def _flexicubes(device: torch.device | str) -> Any:
    try:
        from kaolin.ops.conversions import FlexiCubes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise JobError(
            "no_kaolin",
            f"FlexiCubes needs NVIDIA Kaolin 0.18 or newer (before, it stood elsewhere under another licence), which cannot be imported "
            f"here ({error}).",
            "Install a Kaolin wheel that matches torch from NVIDIA's index, or use the tetrahedral grid, which needs nothing.",
        ) from error
    return FlexiCubes(device=str(device))
