"""From a mesh and a colour function to pictures: shading with smooth normals, silhouettes with gradients, backgrounds.

Colours are evaluated once for all covered pixels of all views. Everything that the caller asks for is interpolated,
blended and averaged in one buffer; light adds up in linear space, alpha premultiplied, and is sRGB-encoded once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras
from engine.errors import InputError
from engine.render.base import Rasterizer
from engine.render.images import linear_to_srgb, srgb_to_linear
from engine.render.surface_ops import surface_at, to_image, vertex_normals

CHANNELS = ("rgb", "mask", "normal", "depth", "albedo")
MATT = torch.tensor([[1.0, 0.0]])
"""Roughness and metallic of a surface of which nothing is said."""


@dataclass(frozen=True)
class RenderedViews:
    """Pictures of B views, image tensors (row 0 at the top), by channel: those that were asked for."""

    channels: Mapping[str, Tensor]

    @property
    def rgb(self) -> Tensor:
        """[B, 3, H, W] sRGB in 0..1, over the background."""
        return self._channel("rgb")

    @property
    def mask(self) -> Tensor:
        """[B, 1, H, W] the covered share of each pixel, 0..1."""
        return self._channel("mask")

    @property
    def normal(self) -> Tensor:
        """[B, 3, H, W] unit normals in world axes, blended with 0 at silhouettes and 0 where nothing is seen."""
        return self._channel("normal")

    @property
    def depth(self) -> Tensor:
        """[B, 1, H, W] distance along the viewing direction in engine units, times the mask; 0 where nothing is seen."""
        return self._channel("depth")

    @property
    def albedo(self) -> Tensor:
        """[B, 3, H, W] sRGB in 0..1 without light, over the background."""
        return self._channel("albedo")

    def _channel(self, name: str) -> Tensor:
        if name not in self.channels:
            raise ValueError(f"The views have no '{name}', only {', '.join(self.channels)}: ask for it in `want`.")
        return self.channels[name]


@dataclass(frozen=True)
class Light:
    """One distant white light a view over a share of ambient light (Lambert).

    direction  [B, 3] unit vectors from the object to the light, world axes
    ambient    0..1; the distant light has the rest, so that a surface facing it shows its albedo
    """

    direction: Tensor
    ambient: float

    def shade(self, albedo: Tensor, normal: Tensor, towards: Tensor, view: Tensor, material: Tensor) -> Tensor:
        """Linear light [N, 3] of places with linear albedo and unit normals [N, 3], in views int64 [N]; nothing of it is mirrored."""
        del towards, material
        lambert = (normal * self.direction.to(normal)[view]).sum(dim=1, keepdim=True).clamp(min=0.0)
        return albedo * (self.ambient + (1.0 - self.ambient) * lambert)


class Lighting(Protocol):
    """What lights B views: `Light` or `engine.render.environment.EnvironmentLight`."""

    def shade(self, albedo: Tensor, normal: Tensor, towards: Tensor, view: Tensor, material: Tensor) -> Tensor:
        """Linear light [N, 3] to the eye, towards which the unit vectors [N, 3] point; material [N or 1, 2] roughness and metallic."""
        ...


def sample_light(
    generator: torch.Generator, cameras: Cameras, ambient: tuple[float, float] = (0.4, 0.9), spread_deg: float = 60.0
) -> Light:
    """A random light for each camera, within `spread_deg` of the direction to the camera (uniform on that cap), one ambient share."""
    count, device = len(cameras), generator.device
    towards = functional.normalize(cameras.eye.to(device), dim=1)
    other = torch.tensor([1.0, 0.0, 0.0], device=device).expand_as(towards)
    other = torch.where(towards[:, :1].abs() > 0.9, other.roll(1, dims=1), other)
    side = functional.normalize(torch.linalg.cross(towards, other), dim=1)
    third = torch.linalg.cross(towards, side)
    draws = torch.rand(count, 2, generator=generator, device=device)
    cosine = 1.0 - draws[:, :1] * (1.0 - math.cos(math.radians(spread_deg)))
    sine = (1.0 - cosine**2).clamp(min=0.0).sqrt()
    turn = 2.0 * math.pi * draws[:, 1:]
    direction = cosine * towards + sine * (turn.cos() * side + turn.sin() * third)
    share = ambient[0] + (ambient[1] - ambient[0]) * torch.rand(1, generator=generator, device=device).item()
    return Light(direction.to(cameras.device), share)


def render_views(
    rasterizer: Rasterizer,
    vertices: Tensor,
    faces: Tensor,
    cameras: Cameras,
    size: int,
    colour: Callable[[Tensor], Tensor] | None,
    light: Lighting | None = None,
    background: Tensor | None = None,
    supersample: int = 1,
    want: Collection[str] = ("rgb", "mask", "normal", "depth"),
    two_sided: bool = False,
    material: Tensor | None = None,
) -> RenderedViews:
    """Render a mesh from B cameras into square pictures, differentiably in vertices (silhouettes included) and colours.

    vertices     [V, 3] engine space; faces int32 [F, 3]
    size         pictures' side in pixels
    colour       engine-space points [N, 3] -> sRGB albedo [N, 3] in 0..1; may be None where neither rgb nor albedo is wanted
    light        None shows the albedo as it is
    background   [B, 3] sRGB in 0..1; None is white
    supersample  renders at size * supersample and averages (1: antialiased at silhouettes only)
    want         which of `CHANNELS` to make; nothing else is computed
    two_sided    turns normals towards the camera, for surfaces seen from both sides
    material     [F, 2] roughness and metallic of each face, or [1, 2] of all; None is matt. For lights that ask
    Raises InputError for an unknown channel or a missing colour function.
    """
    _check_request(want, colour)
    pos = cameras.clip(vertices)
    rast, _ = rasterizer.rasterize(pos, faces, (size * supersample, size * supersample))
    layers = _covered_layers(vertices, faces, cameras, rast, colour, light, want, two_sided, MATT if material is None else material)
    buffer = rasterizer.antialias(layers.pixels(rast.shape[:3]), rast, pos, faces)
    image = to_image(buffer, supersample)
    return _finish(layers.cut(image), background, want, light)


class _Layers:
    """Named channel groups of the covered pixels, side by side: values [N, C] at flat pixel indices [N]."""

    def __init__(self, index: Tensor) -> None:
        self.index = index
        self._values: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        self._values[name] = values

    def cut(self, image: Tensor) -> dict[str, Tensor]:
        """The groups of an image tensor [B, C, H, W] with these channels."""
        widths = [values.shape[1] for values in self._values.values()]
        return dict(zip(self._values, image.split(widths, dim=1), strict=True))

    def pixels(self, shape: torch.Size) -> Tensor:
        """The whole buffer [B, H, W, C], zeros where nothing is seen."""
        values = torch.cat(list(self._values.values()), dim=1)
        empty = values.new_zeros(math.prod(shape), values.shape[1])
        return empty.index_copy(0, self.index, values).view(*shape, values.shape[1])


def _check_request(want: Collection[str], colour: Callable[[Tensor], Tensor] | None) -> None:
    unknown = [name for name in want if name not in CHANNELS]
    if unknown:
        raise InputError("render_input", f"Cannot render {', '.join(map(repr, unknown))}.", f"Choose among {', '.join(CHANNELS)}.")
    if colour is None and ("rgb" in want or "albedo" in want):
        raise InputError(
            "render_input", "Colours were asked for without a colour function.", "Pass `colour`, or ask for mask and normal only."
        )


def _covered_layers(
    vertices: Tensor,
    faces: Tensor,
    cameras: Cameras,
    rast: Tensor,
    colour: Callable[[Tensor], Tensor] | None,
    light: Lighting | None,
    want: Collection[str],
    two_sided: bool,
    material: Tensor,
) -> _Layers:
    """Everything wanted, at the covered pixels only. Colours are linear light; the mask (ones) is always there."""
    index = torch.nonzero(rast[..., 3].reshape(-1) > 0)[:, 0]
    layers = _Layers(index)
    layers.add("mask", vertices.new_ones(index.shape[0], 1))
    wants_colour = "rgb" in want or "albedo" in want
    needs_normal = "normal" in want or ("rgb" in want and light is not None)
    needs_points = wants_colour or "depth" in want or (two_sided and needs_normal)
    if not (needs_points or needs_normal):
        return layers
    smooth = vertex_normals(vertices, faces) if needs_normal else None
    points, normal = surface_at(index, rast, faces, vertices, smooth)
    view = index // (rast.shape[1] * rast.shape[2])
    if needs_normal:
        if two_sided:
            # by the face itself: a smooth normal may lean away at an outline of what is seen from its front
            face = rast[..., 3].reshape(-1)[index].long() - 1
            corners = vertices.detach()[faces[face].long()]
            outward = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            facing = ((cameras.eye.to(points)[view] - points.detach()) * outward).sum(dim=1, keepdim=True)
            normal = torch.where(facing < 0, -normal, normal)
        if "normal" in want:
            layers.add("normal", normal)
    if "depth" in want:
        axis = cameras.view.to(points)[:, 2]
        layers.add("depth", -((points * axis[view, :3]).sum(dim=1, keepdim=True) + axis[view, 3:]))
    if wants_colour:
        assert colour is not None
        albedo = srgb_to_linear(colour(points))
        if "albedo" in want or light is None:
            layers.add("albedo", albedo)
        if "rgb" in want and light is not None:
            towards = functional.normalize(cameras.eye.to(points)[view] - points.detach(), dim=1)
            shown = material.to(points)
            if len(shown) > 1:
                shown = shown[rast[..., 3].reshape(-1)[index].long() - 1]
            layers.add("rgb", light.shade(albedo, normal, towards, view, shown))
    return layers


def _finish(image: dict[str, Tensor], background: Tensor | None, want: Collection[str], light: Lighting | None) -> RenderedViews:
    """Put the colours, linear and premultiplied, over the background and encode them; keep what is wanted."""
    mask = image["mask"]
    behind = mask.new_ones(mask.shape[0], 3) if background is None else srgb_to_linear(background.to(mask))
    empty = (1.0 - mask) * behind[:, :, None, None] if "rgb" in image or "albedo" in image else mask
    encoded = {name: linear_to_srgb((image[name] + empty).clamp(0.0, 1.0)) for name in ("rgb", "albedo") if name in image}
    if light is None and "albedo" in encoded:
        encoded["rgb"] = encoded["albedo"]
    every = {**image, **encoded}
    return RenderedViews({name: every[name] for name in CHANNELS if name in want})
