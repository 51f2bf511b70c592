"""Cameras that orbit the origin of engine space: placing them, sampling them, and the words that describe their views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.views import view_word


@dataclass(frozen=True)
class Cameras:
    """A batch of B perspective cameras; float32 on one device.

    view        [B, 4, 4] world (engine space) -> eye, right-handed, the eye looks along -Z
    projection  [B, 4, 4] eye -> clip space (OpenGL's, `engine.conventions`)
    eye         [B, 3]    the cameras' positions in engine space
    azimuth     [B]       degrees in [-180, 180): 0 looks at the object's front from -Y, +90 stands at +X
    elevation   [B]       degrees in [-90, 90]: +90 looks straight down
    """

    view: Tensor
    projection: Tensor
    eye: Tensor
    azimuth: Tensor
    elevation: Tensor

    def __len__(self) -> int:
        return self.view.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the cameras' tensors live."""
        return self.view.device

    def clip(self, vertices: Tensor) -> Tensor:
        """Clip-space positions [B, V, 4] of engine-space points [V, 3], differentiable; a point's positions in all views lie together."""
        transform = (self.projection @ self.view).to(vertices).flatten(0, 1)
        return torch.addmm(transform[:, 3], vertices, transform[:, :3].mT).unflatten(1, (-1, 4)).transpose(0, 1)

    def select(self, indices: Tensor | Sequence[int]) -> Cameras:
        """The cameras at `indices`, in that order."""
        index = torch.as_tensor(indices, dtype=torch.long, device=self.device)
        return Cameras(self.view[index], self.projection[index], self.eye[index], self.azimuth[index], self.elevation[index])

    @classmethod
    def cat(cls, batches: Sequence[Cameras]) -> Cameras:
        """All cameras of several batches, one after another."""
        names = ("view", "projection", "eye", "azimuth", "elevation")
        return cls(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on another device."""
        return Cameras(
            self.view.to(device), self.projection.to(device), self.eye.to(device), self.azimuth.to(device), self.elevation.to(device)
        )


def orbit(
    azimuth_deg: Tensor | Sequence[float] | float,
    elevation_deg: Tensor | Sequence[float] | float,
    distance: Tensor | Sequence[float] | float,
    fov_deg: Tensor | Sequence[float] | float,
    near: float = 0.1,
    far: float = 10.0,
) -> Cameras:
    """Cameras on a sphere around the origin, looking at it, with +Z up in the picture.

    Scalars are shared by the whole batch; sequences must have one length. Straight above and below stay well defined: the
    picture's right is always (cos azimuth, sin azimuth, 0).

    azimuth_deg, elevation_deg  degrees, as in `Cameras`; azimuths are wrapped to [-180, 180)
    distance                    from the origin, engine units
    fov_deg                     vertical field of view of a square picture, degrees in (0, 180)
    near, far                   distances of the clipping planes, 0 < near < far
    """
    given = [torch.as_tensor(value, dtype=torch.float32) for value in (azimuth_deg, elevation_deg, distance, fov_deg)]
    azimuth, elevation, radius, fov = (value.clone() for value in torch.broadcast_tensors(*(v.reshape(-1) for v in given)))
    azimuth = (azimuth + 180.0) % 360.0 - 180.0
    view, eye = _look_at_origin(torch.deg2rad(azimuth.double()), torch.deg2rad(elevation.double()), radius.double())
    projection = _perspective(torch.deg2rad(fov.double()), near, far)
    return Cameras(view.float(), projection.float(), eye.float(), azimuth, elevation)


def look_at(eye: Tensor, target: Tensor, fov_deg: float, near: float = 0.05, far: float = 10.0) -> Cameras:
    """Cameras at `eye` [B, 3] that look at `target` [B, 3], engine space, with +Z up in the picture; azimuth and elevation are those of the
    direction that they look from. `fov_deg`, `near` and `far` as for `orbit`.
    """
    back = (eye - target).double()
    radius = back.norm(dim=1)
    azimuth, elevation = torch.atan2(back[:, 0], -back[:, 1]), torch.asin((back[:, 2] / radius).clamp(-1, 1))
    view, from_origin = _look_at_origin(azimuth, elevation, radius)
    view[:, :3, 3] = -torch.einsum("bij,bj->bi", view[:, :3, :3], from_origin + target.double())
    projection = _perspective(torch.full_like(radius, math.radians(fov_deg)), near, far)
    return Cameras(view.float(), projection.float(), eye.float(), torch.rad2deg(azimuth).float(), torch.rad2deg(elevation).float())


def sample_orbit(
    generator: torch.Generator,
    count: int,
    distance: tuple[float, float] = (2.6, 3.2),
    fov: tuple[float, float] = (35.0, 45.0),
    elevation: tuple[float, float] = (-10.0, 45.0),
) -> Cameras:
    """`count` random cameras, stratified in azimuth: each lies in its own 360/count degrees of a randomly turned circle.

    distance   engine units, uniform within (low, high)
    fov        degrees, uniform
    elevation  degrees, uniform on the sphere's surface (uniform in its sine)
    generator  draws on its own device; the cameras live there
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)

    turn = torch.rand(1, generator=generator, device=generator.device)
    strata = torch.arange(count, device=generator.device) + uniform(0.0, 1.0)
    sine = uniform(math.sin(math.radians(elevation[0])), math.sin(math.radians(elevation[1])))
    return orbit(360.0 * (strata / count + turn), torch.rad2deg(torch.asin(sine)), uniform(*distance), uniform(*fov))


def fixed_ring(count: int, elevation: float = 15.0, distance: float = 2.9, fov: float = 40.0, start_azimuth: float = 0.0) -> Cameras:
    """`count` cameras evenly spaced around the object at one elevation, the first at `start_azimuth` (degrees)."""
    return orbit(start_azimuth + torch.arange(count) * (360.0 / count), elevation, distance, fov)


def view_words(cameras: Cameras) -> list[str]:
    """For each camera one of "front view", "side view", "back view" and "overhead view", as prompts describe it."""
    angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
    return [f"{view_word(azimuth, elevation)} view" for azimuth, elevation in angles]


def _look_at_origin(azimuth: Tensor, elevation: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """View matrices [B, 4, 4] and eyes [B, 3] from radians [B] and distances [B]."""
    zero = torch.zeros_like(azimuth)
    right = torch.stack([azimuth.cos(), azimuth.sin(), zero], dim=-1)
    backward = torch.stack([azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1)
    up = torch.linalg.cross(backward, right)
    view = torch.zeros(azimuth.shape[0], 4, 4, dtype=azimuth.dtype, device=azimuth.device)
    view[:, :3, :3] = torch.stack([right, up, backward], dim=1)
    view[:, 2, 3] = -radius
    view[:, 3, 3] = 1.0
    return view, backward * radius[:, None]


def _perspective(fov: Tensor, near: float, far: float) -> Tensor:
    """OpenGL projection matrices [B, 4, 4] of square pictures; fov [B] in radians."""
    scale = 1.0 / torch.tan(fov / 2)
    projection = torch.zeros(fov.shape[0], 4, 4, dtype=fov.dtype, device=fov.device)
    projection[:, 0, 0] = scale
    projection[:, 1, 1] = scale
    projection[:, 2, 2] = -(far + near) / (far - near)
    projection[:, 2, 3] = -2.0 * far * near / (far - near)
    projection[:, 3, 2] = -1.0
    return projection
