"""The same work on the CPU and on another device: how far the answers and their gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import fixed_ring
from engine.diffusion.load import load_prior
from engine.diffusion.prior import CONTROL_CHANNELS
from engine.diffusion.schedule import NoiseSchedule
from engine.errors import JobError
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.kaolin import NAMES, extractor
from engine.render.base import Rasterizer, select_rasterizer, unavailable
from engine.render.shading import render_views
from engine.surface import Surface
from engine.texture.field import ColourField
from scripts.bench.raster import bumpy_sphere

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """A figure and the least or largest that it may be."""

    name: str
    figure: float
    limit: float
    least: bool = True

    @property
    def passed(self) -> bool:
        """Whether the figure is good; one that is no number is not."""
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    def line(self) -> str:
        """A row of a Markdown table."""
        return f"| {self.name} | {self.figure:.6g} | {'>=' if self.least else '<='} {self.limit:g} | {'yes' if self.passed else '**NO**'} |"


def cosine(a: Tensor, b: Tensor) -> float:
    """Of two tensors as vectors, on the CPU in double precision."""
    return float(functional.cosine_similarity(a.double().flatten().cpu(), b.double().flatten().cpu(), dim=0))


def sphere(device: torch.device, side: int = 40) -> tuple[Tensor, Tensor]:
    """A bumpy sphere's vertices and faces."""
    vertices, faces = bumpy_sphere(side, side)
    return torch.from_numpy(vertices).to(device), torch.from_numpy(faces).to(device)


def buffers(rasterizer: Rasterizer, device: torch.device, size: tuple[int, int]) -> dict[str, Tensor]:
    """Ids and weights, interpolated positions and their gradients, a texture and its gradients, of two views."""
    vertices, faces = sphere(device)
    vertices.requires_grad_()
    rast, _ = rasterizer.rasterize(fixed_ring(2, elevation=35.0).to(device).clip(vertices), faces, size)
    points, _ = rasterizer.interpolate(vertices, rast, faces)
    (to_vertices,) = torch.autograd.grad((points * points.detach().cos()).sum(), vertices)
    tex = torch.rand(1, 9, 16, 3, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    shown = rasterizer.texture(tex, points.detach()[..., :2].contiguous())
    (to_texture,) = torch.autograd.grad(shown.square().sum(), tex)
    found = {"rast": rast, "points": points, "to_vertices": to_vertices, "shown": shown, "to_texture": to_texture}
    return {name: value.detach().cpu() for name, value in found.items()}


def picture(rasterizer: Rasterizer, device: torch.device, boxy: bool) -> tuple[Tensor, Tensor]:
    """A shaded picture with antialiased outlines, and a loss's gradient in the vertices; boxy: of a mesh of few large faces."""
    vertices, faces = sphere(device, 6 if boxy else 40)
    vertices.requires_grad_()
    cameras = fixed_ring(2, elevation=35.0).to(device)
    rgb = render_views(rasterizer, vertices, faces, cameras, 64, lambda p: (p + 1) / 2, want=("rgb",), supersample=2).rgb
    weight = torch.rand(rgb.shape, generator=torch.Generator().manual_seed(0)).to(device)
    (gradient,) = torch.autograd.grad((rgb * weight).sum(), vertices)
    return rgb.detach().cpu(), gradient.cpu()


def rasterizer_rows(name: str, ours: Rasterizer, device: torch.device, other: Rasterizer, where: torch.device) -> list[Row]:
    """Of one rasterizer on a device beside another elsewhere."""
    rows = []
    for size in ((128, 128), (61, 60)):
        a, b = buffers(ours, device, size), buffers(other, where, size)
        same = a["rast"][..., 3] == b["rast"][..., 3]
        rows += [
            Row(f"{name}, {size[0]} x {size[1]}: same face", float(same.float().mean()), 0.99),
            Row(f"{name}, {size[0]} x {size[1]}: weights", float((a["rast"] - b["rast"])[same].abs().max()), 1e-3, least=False),
        ]
    rows += [Row(f"{name}: gradient of {what}", cosine(a[key], b[key]), 0.999) for what, key in
             (("interpolation", "to_vertices"), ("texture", "to_texture"))]  # fmt: skip
    for boxy in (True, False):
        if name == "nvdiffrast" and not boxy:
            continue  # it finds few of the outline's pixels on fine meshes
        (rgb, gradient), (expected, expected_gradient) = picture(ours, device, boxy), picture(other, where, boxy)
        kind = "few large faces" if boxy else "3,200 faces"
        close = float(((rgb - expected).abs().amax(1) < 4e-3).float().mean())
        rows += [
            Row(f"{name}, {kind}: pixels alike", close, 0.98),
            Row(f"{name}, {kind}: gradient of the picture", cosine(gradient, expected_gradient), 0.98),
        ]
    return rows


def surface_of(device: torch.device, crisp: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, faces and a gradient in the field, of a torus on a grid of 24."""
    grid = TetGrid.make(24, device)
    points = grid.points.cpu()
    ring = torch.stack([points[:, :2].norm(dim=1) - 0.55, points[:, 2]], 1)
    away = functional.normalize(
        torch.cat([points[:, :2] / points[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-6) * ring[:, :1], ring[:, 1:]], 1)
    )
    surface = Surface.from_sdf(grid, (ring.norm(dim=1) - 0.25).to(device), away.to(device) if crisp else None)
    vertices, faces = surface.extract()
    (gradient,) = torch.autograd.grad((vertices * vertices.detach().sin()).sum(), surface.sdf)
    return vertices.detach().cpu(), faces.cpu(), gradient.cpu()


def surface_rows(device: torch.device) -> list[Row]:
    """Of both isosurfaces."""
    rows = []
    for name, crisp in (("marching tetrahedra", False), ("the dual", True)):
        (vertices, faces, gradient), (expected, expected_faces, expected_gradient) = surface_of(device, crisp), surface_of(CPU, crisp)
        same = vertices.shape == expected.shape and torch.equal(faces, expected_faces)
        far = float((vertices - expected).abs().max()) if same else float("inf")
        rows += [Row(f"{name}: vertices", far, 1e-4, least=False), Row(f"{name}: gradient", cosine(gradient, expected_gradient), 0.9999)]
    return rows


def colours_of(device: torch.device) -> tuple[Tensor, Tensor]:
    """Colours at places, and the gradient in the field's finest level."""
    generator = torch.Generator().manual_seed(0)
    field = ColourField(32, noise=0.1, generator=generator).to(device)
    colours = field(torch.rand(500, 3, generator=generator).mul(2).sub(1).to(device))
    gradient = torch.autograd.grad(colours.square().sum(), list(field.parameters()))[-1]
    return colours.detach().cpu(), gradient.cpu()


def field_rows(device: torch.device) -> list[Row]:
    """Of the colour field."""
    (colours, gradient), (expected, expected_gradient) = colours_of(device), colours_of(CPU)
    return [
        Row("colour field: colours", float((colours - expected).abs().max()), 1e-4, least=False),
        Row("colour field: gradient", cosine(gradient, expected_gradient), 0.9999),
    ]


def difference_of(device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """What a calibrated step follows, eps_tgt - eps_src, of the embedded prior on noise."""
    prior = load_prior("embedded", device, dtype, surface=True)
    generator = torch.Generator().manual_seed(0)
    size = prior.image_size
    x = torch.randn(2, 3, size, size, generator=generator).to(device)
    control = torch.rand(2, CONTROL_CHANNELS, size, size, generator=generator).to(device)
    t = torch.tensor([300, 600], device=device)
    answers = [prior.predict_noise(x, t, prior.embed([prompt] * 2).under(control)) for prompt in ("a red tulip flower", "a poor picture")]
    assert isinstance(prior.schedule, NoiseSchedule)
    return (answers[0] - answers[1]).float().cpu()


def prior_rows(device: torch.device) -> list[Row]:
    """The embedded prior in float32 and in the type that jobs take on the device, beside float32 on the CPU."""
    expected = difference_of(CPU, torch.float32)
    whole, fast = difference_of(device, torch.float32), difference_of(device, None)
    return [
        Row("embedded prior, float32: direction", cosine(whole, expected), 0.9999),
        Row("embedded prior, as in jobs: direction", cosine(fast, expected), 0.98),
    ]


def kaolin_rows(device: torch.device) -> list[Row]:
    """Kaolin's marching tetrahedra beside ours, and the volume of FlexiCubes' sphere; none where Kaolin cannot be had."""
    grid = TetGrid.make(32, device)
    field = grid.points.norm(dim=1) - 0.6
    try:
        draws = {name: extractor(name, grid) for name in NAMES}
    except JobError:
        return []
    ours, _ = grid.surface(field)
    found = {name: draw(grid.points, field, grid.tets) for name, draw in draws.items() if draw is not None}
    far = torch.cdist(found["kaolin"][0], ours, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max()
    a, b, c = (found["flexicubes"][0].double()[corner] for corner in found["flexicubes"][1].long().unbind(1))
    share = float((torch.linalg.cross(a, b) * c).sum() / 6 / (4 / 3 * torch.pi * 0.6**3))
    return [
        Row("Kaolin's marching tetrahedra: vertices", float(far), 1e-4, least=False),
        Row("Kaolin's FlexiCubes: a sphere's volume", share, 0.95),
    ]


def parity(device: torch.device) -> list[Row]:
    """All rows; nvdiffrast's and Kaolin's where they can be had."""
    warp = select_rasterizer("cpu", "warp")
    checks: list[Callable[[], list[Row]]] = [
        lambda: rasterizer_rows("warp", select_rasterizer(device, "warp"), device, warp, CPU),
        lambda: surface_rows(device),
        lambda: field_rows(device),
        lambda: prior_rows(device),
        lambda: kaolin_rows(device),
    ]
    if unavailable("nvdiffrast", device) is None:
        checks.append(lambda: rasterizer_rows("nvdiffrast", select_rasterizer(device, "nvdiffrast"), device, warp, CPU))
    return [row for check in checks for row in check()]
