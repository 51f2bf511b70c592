"""What a job optimizes: a surface with a colour field (refine), or a fixed mesh with a colour field (texture)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.isosurface.bounds import field_bounds
from engine.job_fields import Hyperparameters
from engine.mesh import Mesh
from engine.surface import Surface
from engine.texture.artist import ArtistColours
from engine.texture.creases import parted_at_creases
from engine.texture.field import ColourField

MIN_OFFSET, MAX_OFFSET = 0.01, 0.25
"""How far (engine units) the surface may leave the fitted sketch at adherence 1 and 0."""

MAX_COLOUR_WEIGHT = 50.0
"""Weight of the artist's colours at adherence 1."""


class Subject(Protocol):
    """The loop's view of what it optimizes; everything in engine space."""

    colour: ColourField
    can_move: bool
    """Whether the optimization may move the surface."""
    material: Tensor | None
    """Roughness and metallic as `engine.render.shading.render_views` takes them."""

    @property
    def crisp(self) -> bool:
        """Whether the surface's creases are meant (`engine.surface`)."""
        ...

    def geometry(self) -> tuple[Tensor, Tensor]:
        """Vertices [V, 3] and faces int32 [F, 3] as they are now, differentiable where they can move."""
        ...

    def parameter_groups(self, numbers: Hyperparameters) -> list[dict[str, Any]]:
        """Adam's groups with their rates."""
        ...

    def regularization(self, numbers: Hyperparameters) -> Tensor:
        """Regularization of the geometry as it was last extracted, a scalar."""
        ...

    artist: ArtistColours | None
    """What the artist's colours were, None where there are none to keep."""

    def project(self) -> None:
        """Bring the parameters back within their bounds after an optimizer step."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def max_offset(adherence: float) -> float:
    """Adherence 0..1 -> the furthest that the signed distance may move from the fitted sketch, engine units.

    A bound, not a wish: `RefineSubject.project` projects onto it after every step, so no guidance can carry the surface
    away from the artist's sketch.
    """
    return MIN_OFFSET + (MAX_OFFSET - MIN_OFFSET) * (1.0 - adherence) ** 2


def colour_weight(adherence: float) -> float:
    """Adherence 0..1 -> weight of the artist's colours beside the guidance, 0 .. MAX_COLOUR_WEIGHT; 1 at 0.5: both count alike."""
    return min(adherence / (1.0 - adherence), MAX_COLOUR_WEIGHT) if adherence < 1 else MAX_COLOUR_WEIGHT


class RefineSubject(nn.Module):
    """A fitted surface that may leave the sketch by at most `max_offset(adherence)` and keeps its middle, and its colours.

    artist  the artist's colours, to be kept in mind
    """

    can_move = True
    fitted: Tensor
    least: Tensor
    largest: Tensor

    material: Tensor | None = None

    def __init__(self, surface: Surface, colour: ColourField, adherence: float, artist: ArtistColours | None) -> None:
        super().__init__()
        self.surface = surface
        self.colour = colour
        self.register_buffer("fitted", surface.sdf.detach().clone())
        self.artist = artist
        least, largest = field_bounds(surface.grid, self.fitted, max_offset(adherence))
        self.register_buffer("least", least)
        self.register_buffer("largest", largest)

    @property
    def crisp(self) -> bool:
        return self.surface.crisp

    def geometry(self) -> tuple[Tensor, Tensor]:
        return self.surface.extract()

    def parameter_groups(self, numbers: Hyperparameters) -> list[dict[str, Any]]:
        return self.surface.parameter_groups(numbers.sdf_lr, numbers.deform_lr) + self.colour.parameter_groups(numbers.colour_lr)

    def regularization(self, numbers: Hyperparameters) -> Tensor:
        """Roughness of the displacement from the fitted sketch: the guidance may move parts, not pierce and ruffle them.

        A membrane energy of sdf - fitted and of the deformation over the edges of the band: it is zero for the
        fitted sketch itself, so thin strokes do not shrink as they would under a Laplacian of the surface.
        """
        return numbers.smoothness * self.surface.membrane(self.fitted)

    @torch.no_grad()
    def project(self) -> None:
        self.surface.sdf.clamp_(self.least, self.largest)


class TextureSubject(nn.Module):
    """A mesh that does not move, seen with the edges that it has, and its colours."""

    can_move = False
    crisp = False
    material: Tensor | None = None

    def __init__(self, mesh: Mesh, colour: ColourField, device: torch.device) -> None:
        super().__init__()
        self.colour = colour
        self.artist = ArtistColours.of(colour, mesh)
        vertices, faces = parted_at_creases(mesh.vertices, mesh.faces)
        self._vertices, self._faces = torch.from_numpy(vertices).to(device), torch.from_numpy(faces).to(device)

    def geometry(self) -> tuple[Tensor, Tensor]:
        return self._vertices, self._faces

    def parameter_groups(self, numbers: Hyperparameters) -> list[dict[str, Any]]:
        return self.colour.parameter_groups(numbers.colour_lr)

    def regularization(self, numbers: Hyperparameters) -> Tensor:
        return self._vertices.new_zeros(())

    def project(self) -> None:
        pass
