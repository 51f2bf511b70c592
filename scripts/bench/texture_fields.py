"""Which representation of a texture learns best from small noisy views: the same loop with each of them, towards a texture that is known.

    python -m scripts.bench.texture_fields [--model island] [--steps 150] [--noise 0.2]

The views' gradient is what the guidance's is under "x0" weighting: the difference between the picture and a noisy estimate of what it
should be; here the estimate is the known texture's own picture plus noise of the given deviation, drawn anew at each step. Printed are
the root mean square error of the colours that views saw and of those that none saw, the contrast of seams, and milliseconds a step.
Candidates: the colour field of jobs (dense grids in space), a hash grid in space, single texels, a Laplacian pyramid of texels, and a
skip network of fixed noise (Youwang et al. 2024, Paint-it).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.conventions import SceneNormalization
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.surface_ops import surface_at
from engine.texture.bake import Places, bake_channels
from engine.texture.coverage import Coverage
from engine.texture.field import ColourField
from engine.view_batch import sample_cameras
from scripts.bench.texture_measures import Textures, seam_contrast
from scripts.bench.texture_models import MODELS

SIDE = 256
"""Texels a side of those that live in UV space, and of the texture that is measured."""
PIXELS = 64


class Candidate(Protocol):
    """Colours at places: points [N, 3] in engine space and their uvs [N, 2] -> sRGB [N, 3]."""

    def at(self, points: Tensor, uvs: Tensor) -> Tensor: ...

    def groups(self) -> list[dict[str, Any]]: ...


class Grids(ColourField):
    """The colour field of jobs."""

    def at(self, points: Tensor, uvs: Tensor) -> Tensor:
        return self(points)

    def groups(self) -> list[dict[str, Any]]:
        return self.parameter_groups(2e-2)


class Hashed(nn.Module):
    """Levels of a hash grid (Mueller et al. 2022) whose features are the colours themselves: 16 to 256 cells, 2^15 entries a level."""

    SIZES, ENTRIES = (16, 32, 64, 128, 256), 1 << 15

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(self.ENTRIES, 3)) for _ in self.SIZES)

    def at(self, points: Tensor, uvs: Tensor) -> Tensor:
        total = torch.zeros_like(points)
        for size, table in zip(self.SIZES, self.tables, strict=True):
            place = (points + 1) / 2 * size
            corner = place.floor()
            share = place - corner
            for offset in range(8):
                step = torch.tensor([offset >> axis & 1 for axis in range(3)], dtype=points.dtype)
                cell = (corner + step).long()
                index = (cell[:, 0] ^ cell[:, 1] * 2654435761 ^ cell[:, 2] * 805459861) % self.ENTRIES
                total = total + torch.where(step > 0, share, 1 - share).prod(dim=1, keepdim=True) * table[index]
        return total.sigmoid()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [table], "lr": 2e-2 * 2 ** (-level / 4)} for level, table in enumerate(self.tables)]


class Texels(nn.Module):
    """A pyramid of textures that are summed, [1, 3, s, s] each; of one level it is single texels."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ParameterList(nn.Parameter(torch.zeros(1, 3, size, size)) for size in sizes)

    def at(self, points: Tensor, uvs: Tensor) -> Tensor:
        return torch.stack([sampled(level, uvs) for level in self.levels]).sum(dim=0).sigmoid()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [level], "lr": 2e-2 * 2 ** (-number / 4)} for number, level in enumerate(self.levels)]


class SkipNetwork(nn.Module):
    """A small U-Net that makes the whole texture of fixed noise at every step."""

    def __init__(self, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.register_buffer("noise", torch.rand(1, width, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.1)
        self.down = nn.ModuleList(self._block(width, width, 2) for _ in range(depth))
        self.up = nn.ModuleList(self._block(2 * width, width, 1) for _ in range(depth))
        self.last = nn.Conv2d(width, 3, 1)

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.LeakyReLU(0.2))

    def at(self, points: Tensor, uvs: Tensor) -> Tensor:
        passed = [self.noise]
        for block in self.down:
            passed.append(block(passed[-1]))
        values = passed.pop()
        for block in self.up:
            beside = passed.pop()
            values = block(torch.cat([functional.interpolate(values, size=beside.shape[2:], mode="bilinear"), beside], dim=1))  # pyright: ignore
        return sampled(self.last(values), uvs).sigmoid()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": 5e-3}]


def sampled(texture: Tensor, uvs: Tensor) -> Tensor:
    """Bilinear samples [N, 3] of a texture [1, 3, s, s], row 0 at v = 0, at uvs [N, 2]."""
    return functional.grid_sample(texture, uvs.view(1, 1, -1, 2) * 2 - 1, padding_mode="border", align_corners=False)[0, :, 0].T


CANDIDATES = {
    "dense grids in space (jobs)": lambda: Grids(64),
    "hash grid in space": Hashed,
    "single texels": lambda: Texels((SIDE,)),
    "pyramid of texels": lambda: Texels((8, 16, 32, 64, 128, SIDE)),
    "skip network of noise": SkipNetwork,
}


def known_texture(points: Tensor) -> Tensor:
    """sRGB [N, 3]: broad waves, stripes about a view's pixel wide, and a sharp border between two parts."""
    x, y, z = points.unbind(1)
    broad = torch.stack([torch.sin(3 * x + 1), torch.sin(4 * y), torch.sin(3 * z - 1)], dim=1)
    stripes = torch.sin(60 * (x + 0.5 * z))[:, None] * torch.tensor([1.0, -0.5, 0.3])
    part = torch.where(z > 0.15, 0.18, -0.12)[:, None] * torch.tensor([1.0, 0.2, -1.0])
    return (0.5 + 0.16 * broad + 0.08 * stripes + part).clamp(0, 1)


class Loop:
    """Steps of a candidate on a mesh with uvs, engine space."""

    def __init__(self, mesh: Mesh, candidate: Candidate, noise: float) -> None:
        assert mesh.uvs is not None
        self.candidate, self.noise = candidate, noise
        self.numbers = dataclasses.replace(PRESETS["draft"], views=4)
        self.rasterizer: Rasterizer = select_rasterizer(torch.device("cpu"))
        self.vertices, self.faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
        self.uvs = torch.from_numpy(mesh.uvs.reshape(-1, 2)).contiguous()
        self.corners = torch.arange(3 * len(self.faces), dtype=torch.int32).view(-1, 3)
        self.generator = torch.Generator().manual_seed(0)
        self.optimizer = torch.optim.Adam(candidate.groups(), betas=(0.9, 0.99))

    def step(self) -> None:
        cameras = sample_cameras(self.numbers, self.generator)
        rast, _ = self.rasterizer.rasterize(cameras.clip(self.vertices), self.faces, (PIXELS, PIXELS))
        index = torch.nonzero(rast[..., 3].reshape(-1) > 0)[:, 0]
        points, _ = surface_at(index, rast, self.faces, self.vertices, None)
        uvs, _ = self.rasterizer.interpolate(self.uvs, rast, self.corners)
        estimate = known_texture(points) + self.noise * torch.randn(points.shape, generator=self.generator)
        loss = 0.5 * (self.candidate.at(points, uvs.reshape(-1, 2)[index]) - estimate).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def measure(mesh: Mesh, candidate: Candidate, steps: int, noise: float) -> tuple[float, float, float, float]:
    """(error where views looked, error elsewhere, seams, milliseconds a step)."""
    assert mesh.uvs is not None
    loop = Loop(mesh, candidate, noise)
    started = time.process_time()
    for _ in range(steps):
        loop.step()
    cost = 1e3 * (time.process_time() - started) / steps
    uvs = mesh.uvs.astype(np.float64)

    @torch.no_grad()
    def colours(places: Places) -> np.ndarray:
        where = np.einsum("nk,nkd->nd", places.weights, uvs[places.faces]).astype(np.float32)
        return candidate.at(torch.from_numpy(places.points), torch.from_numpy(where)).numpy()

    albedo = bake_channels(mesh, {"a": colours}, SceneNormalization((0.0, 0.0, 0.0), 1.0), SIDE)["a"]
    coverage = Coverage(
        mesh, sample_cameras(dataclasses.replace(loop.numbers, views=24), torch.Generator().manual_seed(1)), PIXELS, 4000, 24
    )
    points = coverage.places
    corners = mesh.corner_vertices()[points.faces].astype(np.float64)
    error = (
        colours(Places(points.points, points.faces, _weights(corners, points.points)))
        - known_texture(torch.from_numpy(points.points)).numpy()
    )
    square, seen = (error**2).mean(axis=1), coverage.density > 0
    return (
        float(np.sqrt(square[seen].mean())),
        float(np.sqrt(square[~seen].mean())),
        seam_contrast(mesh, Textures.whole(mesh, albedo)),
        cost,
    )


def _weights(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[N, 3] weights of triangles [N, 3, 3] at points [N, 3] within them."""
    first, second, to = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    a, b, c = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    d, e = (to * first).sum(1), (to * second).sum(1)
    scale = np.maximum(a * c - b * b, 1e-30)
    v, w = (c * d - b * e) / scale, (a * e - b * d) / scale
    return np.stack([1 - v - w, v, w], axis=1)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="island", choices=sorted(MODELS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--only", nargs="*", default=list(CANDIDATES))
    given = parser.parse_args()
    mesh = MODELS[given.model].laid_out()
    print("| representation | error where views looked | elsewhere | seams / interior | ms a step |\n|---|---|---|---|---|", flush=True)
    for name in given.only:
        torch.manual_seed(0)
        seen, unseen, seams, cost = measure(mesh, CANDIDATES[name](), given.steps, given.noise)
        print(f"| {name} | {seen:.3f} | {unseen:.3f} | {seams:.2f} | {cost:.0f} |", flush=True)


if __name__ == "__main__":
    main()
