"""The fit of surface and colours to renders of the sketch, before anything is asked of the prior.

The surface starts from the exact signed distance of the sketch, so the fit has to mend only what the grid could not hold: the
shading of creases, strokes that are thinner than a cell, and the colours. The sketch's mask is a lower bound (shells and
closings cover more), its depth may differ by the shell's thickness, and the field stays near where it started.

A crisp surface (`engine.surface`) holds the sketch's creases already. Pictures of a few pixels know less of it than the signed distance
does, and would blunt it: of such a surface only the colours are fitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.camera import Cameras, orbit
from engine.isosurface.bounds import field_bounds
from engine.mesh import Mesh
from engine.regularizers import dead_zone_loss, laplacian
from engine.render.base import Rasterizer
from engine.render.images import image_from_raster
from engine.render.shading import RenderedViews, render_views
from engine.reporting import OnStep, unwatched
from engine.surface import Surface
from engine.texture.artist import paint_between
from engine.texture.field import GREY, ColourField

RINGS = ((-30.0, 6), (10.0, 10), (45.0, 6), (80.0, 2))
"""Elevations in degrees and how many views look from each."""

VIEWS_TOGETHER = 2
"""Views of the sketch, which may have millions of faces, that are rendered between two questions whether to go on."""

DISTANCE, FOV = 3.0, 40.0
"""Of the cameras from the origin in engine units, and their field of view in degrees."""

SLACK = 1.0
"""How far, in grid steps, the field may leave its start before it is pulled back, and the depth before it is noticed."""

REACH = 2.0
"""How far, in grid steps, the surface may leave its start; where the sketch is thin, it sinks by less (`engine.isosurface.bounds`)."""

SDF_LR, DEFORM_LR, COLOUR_LR = 0.005, 0.05, 0.02
"""Adam's rates: of the field in grid steps, of the raw deformation, of the colours. The field is right to begin with: the grid's own
vertices do most of the fitting."""


@dataclass(frozen=True)
class FitReport:
    """How well the fitted surface and colours match the sketch's views.

    colour_rmse   sRGB 0..1, over pixels that the sketch covers
    normal_degrees  mean angle between the surface's and the sketch's normals, over the same pixels
    depth_error   mean, engine units, over the same pixels
    covered       share 0..1 of the sketch's pixels that the surface covers
    field_change  largest change of the signed distance, engine units
    seconds       the whole fit
    """

    colour_rmse: float
    normal_degrees: float
    depth_error: float
    covered: float
    field_change: float
    seconds: float


@dataclass(frozen=True)
class SketchViews:
    """The sketch as B cameras see it: image tensors as in RenderedViews. solid bool [B, 1, H, W] marks wholly covered pixels;
    points float32 [N, 3] and their colours [N, 3] are the places on the sketch that those pixels show."""

    cameras: Cameras
    mask: Tensor
    normal: Tensor
    depth: Tensor
    colour: Tensor
    solid: Tensor
    points: Tensor
    colours: Tensor

    @classmethod
    def render(
        cls, sketch: Mesh, rasterizer: Rasterizer, size: int, device: torch.device, on_step: Callable[[], None] = lambda: None
    ) -> SketchViews:
        """Render a sketch in engine space from all round, its faces seen from both sides, its colours (or grey) unlit. on_step is called
        before every few views; what it raises (Cancelled) ends this."""
        vertices, faces = torch.from_numpy(sketch.vertices).to(device), torch.from_numpy(sketch.faces).to(device)
        colours = torch.full_like(vertices, GREY) if sketch.colours is None else _known(torch.from_numpy(sketch.colours).to(device))
        cameras, portions = ring_cameras().to(device), []
        for some in torch.arange(len(cameras)).split(VIEWS_TOGETHER):
            on_step()
            portions.append(_sketch_seen(vertices, faces, colours, cameras.select(some), rasterizer, size))
        mask, normal, depth, seen, hit = (torch.cat(layer) for layer in zip(*portions, strict=True))
        solid = hit & (mask > 0.99)
        if sketch.paint is not None:
            seen[:, 3:].permute(0, 2, 3, 1)[hit[:, 0]] = _painted(sketch, seen[:, :3].permute(0, 2, 3, 1)[hit[:, 0]])
        flat = seen.permute(0, 2, 3, 1)[hit[:, 0]]
        return cls(cameras, mask, normal, depth, seen[:, 3:], solid, flat[:, :3], flat[:, 3:])


@torch.no_grad()
def _sketch_seen(
    vertices: Tensor, faces: Tensor, colours: Tensor, cameras: Cameras, rasterizer: Rasterizer, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of a sketch from B cameras: mask, normal and depth as in RenderedViews, [B, 6, H, W] places and colours, and bool [B, 1, H, W]
    where there are any."""
    views = render_views(rasterizer, vertices, faces, cameras, size, None, want=("mask", "normal", "depth"), two_sided=True)
    rast, _ = rasterizer.rasterize(cameras.clip(vertices), faces, (size, size))
    seen, _ = rasterizer.interpolate(torch.cat([vertices, colours], dim=1), rast, faces)
    return views.mask, views.normal, views.depth, image_from_raster(seen), image_from_raster(rast)[:, 3:] > 0


def _known(colours: Tensor) -> Tensor:
    return torch.where(colours.isfinite(), colours, GREY)


def _painted(sketch: Mesh, places: Tensor) -> Tensor:
    """What is painted at places [N, 3] on the sketch, sRGB [N, 3]."""
    return _known(torch.from_numpy(paint_between(sketch, places.cpu().numpy())).to(places.device))


def ring_cameras() -> Cameras:
    """The cameras of RINGS, each ring turned against the last."""
    azimuth = [360.0 * (k + 0.5 * (ring % 2)) / count for ring, (_, count) in enumerate(RINGS) for k in range(count)]
    elevation = [height for height, count in RINGS for _ in range(count)]
    return orbit(azimuth, elevation, DISTANCE, FOV)


def fit_reach(resolution: int) -> float:
    """By how much the fit may move the field on a grid of so many cells, engine units."""
    return REACH * 2 / resolution


def fit_to_sketch(
    surface: Surface,
    colour_field: ColourField,
    sketch: Mesh,
    rasterizer: Rasterizer,
    steps: int,
    generator: torch.Generator,
    on_step: OnStep = unwatched,
    size: int = 96,
    batch: int = 4,
) -> FitReport:
    """Fit a surface, whose field is the sketch's signed distance, and a colour field to renders of the sketch; both change in place, but a
    crisp surface does not.

    sketch     engine space
    steps      of Adam; 0 only gives the colour field the colours of the nearest visible places
    generator  draws the views of each step
    on_step    called with steps done, steps in all and figures; may raise Cancelled
    size       of the views in pixels; batch: views a step
    """
    start = time.monotonic()
    views = SketchViews.render(sketch, rasterizer, size, surface.sdf.device, lambda: on_step(0, steps))
    if sketch.paint is not None:
        colour_field.initialize(sketch.paint.points, sketch.paint.colours)  # denser than what the views' pixels show
    elif len(views.points):
        colour_field.initialize(*_thinned(views.points, views.colours, 2 / colour_field.resolution))
    on_step(0, steps)
    initial = surface.sdf.detach().clone()
    groups, largest, still = colour_field.parameter_groups(COLOUR_LR), None, None
    if surface.crisp:
        still = tuple(part.detach() for part in surface.extract())
    else:
        _, largest = field_bounds(surface.grid, initial, fit_reach(surface.grid.resolution))
        groups += surface.parameter_groups(SDF_LR * surface.grid.spacing, DEFORM_LR)
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), foreach=True)
    for step in range(steps):
        chosen = torch.randperm(len(views.cameras), generator=generator)[:batch].to(initial.device)
        vertices, faces = still or surface.extract()
        if not len(faces):
            break
        seen = _look(vertices, faces, colour_field, views.cameras.select(chosen), rasterizer, size)
        losses, same = _colour_loss(seen, views, chosen, surface.grid.spacing)
        if largest is not None:
            losses |= _shape_losses(seen, views, chosen, surface, initial, same) | _roughness(vertices, faces, surface.grid.spacing)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        if largest is not None:
            with torch.no_grad():
                surface.sdf.clamp_(initial - fit_reach(surface.grid.resolution), largest)
        on_step(step + 1, steps, {name: float(loss.detach()) for name, loss in losses.items()})
    return _report(surface, colour_field, views, rasterizer, initial, time.monotonic() - start)


def _thinned(points: Tensor, colours: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """One of the points [N, 3] with its colour in each cube of a side; the nearest of many equal points is slow to find."""
    cell = ((points + 1) / side).floor().long()
    _, owner = torch.unique(cell @ cell.new_tensor([2**40, 2**20, 1]), return_inverse=True)
    # the first of each cube: an assignment with repeated indices would keep whichever a thread wrote last
    order = torch.arange(len(points), device=points.device)
    first = torch.full((int(owner.max()) + 1,), len(points), device=points.device).scatter_reduce_(0, owner, order, "amin")
    return points[first], colours[first]


def _look(vertices: Tensor, faces: Tensor, colour_field: ColourField, cameras: Cameras, rasterizer: Rasterizer, size: int) -> RenderedViews:
    """The surface from the cameras; colours do not push the surface about."""
    want = ("albedo", "mask", "normal", "depth")
    return render_views(rasterizer, vertices, faces, cameras, size, lambda points: colour_field(points.detach()), want=want)


def _colour_loss(seen: RenderedViews, views: SketchViews, chosen: Tensor, spacing: float) -> tuple[dict[str, Tensor], Tensor]:
    """The loss of the colours, and [B, 1, H, W], 1 where both show about the same place; elsewhere one looks past the other."""
    gap = (seen.depth - views.depth[chosen]).detach().abs()
    same = (views.solid[chosen] & (seen.mask.detach() > 0.99) & (gap < 4 * spacing)).to(gap.dtype)
    return {"colour": ((seen.albedo - views.colour[chosen]).square() * same).sum() / same.sum().clamp(min=1)}, same


def _shape_losses(
    seen: RenderedViews, views: SketchViews, chosen: Tensor, surface: Surface, initial: Tensor, same: Tensor
) -> dict[str, Tensor]:
    """Weighted losses of one step that move the surface, scalars."""
    spacing = surface.grid.spacing
    gap = (seen.depth - views.depth[chosen]).abs()
    count = same.sum().clamp(min=1)
    cosine = (seen.normal * views.normal[chosen]).sum(dim=1, keepdim=True)
    band = surface.band_vertices()
    return {
        "normal": 3 * ((1 - cosine) * same).sum() / count,
        "depth": (dead_zone_loss(gap / spacing, torch.zeros_like(gap), SLACK) * same).sum() / count,
        "mask": 2 * (views.mask[chosen] - seen.mask).clamp(min=0).square().mean(),
        "field": 10 * dead_zone_loss(surface.sdf[band], initial[band], SLACK * spacing).mean() / spacing**2,
    }


def _roughness(vertices: Tensor, faces: Tensor, spacing: float) -> dict[str, Tensor]:
    return {"smooth": 0.5 * laplacian(vertices, faces).mean() / spacing**2}


@torch.no_grad()
def _report(
    surface: Surface, colour_field: ColourField, views: SketchViews, rasterizer: Rasterizer, initial: Tensor, seconds: float
) -> FitReport:
    vertices, faces = surface.extract()
    change = float((surface.sdf - initial).abs().max())
    if not len(faces):
        return FitReport(1.0, 180.0, float("inf"), 0.0, change, seconds)
    seen = _look(vertices, faces, colour_field, views.cameras, rasterizer, views.mask.shape[2])
    both = views.solid & (seen.mask > 0.99)
    count = both.sum().clamp(min=1)
    cosine = (seen.normal * views.normal).sum(dim=1, keepdim=True).clamp(-1, 1)
    colour = (((seen.albedo - views.colour).square().mean(dim=1, keepdim=True) * both).sum() / count).sqrt()
    angle = torch.rad2deg((cosine.acos() * both).sum() / count)
    depth = ((seen.depth - views.depth).abs() * both).sum() / count
    covered = torch.minimum(seen.mask, views.mask).sum() / views.mask.sum().clamp(min=1e-6)
    return FitReport(float(colour), float(angle), float(depth), float(covered), change, seconds)
