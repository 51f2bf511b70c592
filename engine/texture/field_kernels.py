"""Trilinear sampling of dense colour grids as Warp kernels: one launch a level, forward and backward.

Read by `engine.texture.field`, which imports this module on first use only. `F.grid_sample` is the reference; the
gathers of its backward pass cost two to three times as much for the few thousand points of a distillation step.
"""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import FunctionCtx

from engine.render.warp_runtime import launch, load_warp


@wp.func
def _coordinate(position: float, resolution: int) -> float:
    """-1..1 -> 0..resolution - 1, clamped to the grid."""
    return wp.clamp((position + 1.0) * 0.5, 0.0, 1.0) * float(resolution - 1)


@wp.func
def _mix(table: wp.array(dtype=wp.vec3), corner: int, step_y: int, fy: float, fz: float) -> wp.vec3:
    """Bilinear value on one x-slab of a cell."""
    low = (1.0 - fz) * table[corner] + fz * table[corner + 1]
    high = (1.0 - fz) * table[corner + step_y] + fz * table[corner + step_y + 1]
    return (1.0 - fy) * low + fy * high


@wp.kernel(enable_backward=False)
def sample_kernel(points: wp.array(dtype=wp.vec3), table: wp.array(dtype=wp.vec3), resolution: int, out: wp.array(dtype=wp.vec3)):
    n = wp.tid()
    x = _coordinate(points[n][0], resolution)
    y = _coordinate(points[n][1], resolution)
    z = _coordinate(points[n][2], resolution)
    i = wp.min(int(x), resolution - 2)
    j = wp.min(int(y), resolution - 2)
    k = wp.min(int(z), resolution - 2)
    fx = x - float(i)
    corner = (i * resolution + j) * resolution + k
    near = _mix(table, corner, resolution, y - float(j), z - float(k))
    far = _mix(table, corner + resolution * resolution, resolution, y - float(j), z - float(k))
    out[n] = out[n] + (1.0 - fx) * near + fx * far


@wp.kernel(enable_backward=False)
def scatter_kernel(points: wp.array(dtype=wp.vec3), gradient: wp.array(dtype=wp.vec3), resolution: int, out: wp.array(dtype=wp.vec3)):
    n = wp.tid()
    x = _coordinate(points[n][0], resolution)
    y = _coordinate(points[n][1], resolution)
    z = _coordinate(points[n][2], resolution)
    i = wp.min(int(x), resolution - 2)
    j = wp.min(int(y), resolution - 2)
    k = wp.min(int(z), resolution - 2)
    fx = x - float(i)
    fy = y - float(j)
    fz = z - float(k)
    for side in range(2):
        along_x = fx if side == 1 else 1.0 - fx
        share = along_x * gradient[n]
        corner = ((i + side) * resolution + j) * resolution + k
        wp.atomic_add(out, corner, (1.0 - fy) * (1.0 - fz) * share)
        wp.atomic_add(out, corner + 1, (1.0 - fy) * fz * share)
        wp.atomic_add(out, corner + resolution, fy * (1.0 - fz) * share)
        wp.atomic_add(out, corner + resolution + 1, fy * fz * share)


class SampleGrids(torch.autograd.Function):
    """Sum over levels of trilinear samples; gradients reach the grids, never the points."""

    @staticmethod
    def forward(ctx: FunctionCtx, points: Tensor, *grids: Tensor) -> Tensor:
        """points float32 [N, 3] in -1..1, grids float32 [R, R, R, 3] (indexed x, y, z), all on one device that Warp runs on -> [N, 3]."""
        load_warp()
        points = points.detach().contiguous()
        out = torch.zeros_like(points)
        for grid in grids:
            table = (grid.view(-1, 3), wp.vec3)
            launch(sample_kernel, len(points), [(points, wp.vec3), table, grid.shape[0], (out, wp.vec3)], points.device)
        ctx.save_for_backward(points)
        ctx.resolutions = [grid.shape[0] for grid in grids]
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Scatter each point's gradient to the eight corners of its cell, level by level."""
        (points,) = ctx.saved_tensors
        incoming = gradient.contiguous()
        results: list[Tensor | None] = [None]
        for needed, resolution in zip(ctx.needs_input_grad[1:], ctx.resolutions, strict=True):
            if not needed:
                results.append(None)
                continue
            out = points.new_zeros(resolution, resolution, resolution, 3)
            table = (out.view(-1, 3), wp.vec3)
            launch(scatter_kernel, len(points), [(points, wp.vec3), (incoming, wp.vec3), resolution, table], points.device)
            results.append(out)
        return tuple(results)
