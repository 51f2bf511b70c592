"""What an isosurface extractor offers to the rest of the engine."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Isosurface(Protocol):
    """Turns a scalar field sampled on a fixed grid over [-1, 1]^3 into a triangle mesh whose vertices carry gradients."""

    @property
    def points(self) -> Tensor:
        """float [Nv, 3]: where the field is sampled, engine space."""
        ...

    @property
    def spacing(self) -> float:
        """Distance between neighbouring layers of samples, engine units."""
        ...

    def surface(self, sdf: Tensor, deform: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Field [Nv], negative inside, and optional raw vertex deformation [Nv, 3] -> vertices float [V, 3] with gradients to both,
        faces int32 [F, 3], counter-clockwise from outside."""
        ...
