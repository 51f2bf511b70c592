"""Differentiable building blocks of shading beyond the four primitives; they work with every back end."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engine.render.warp_runtime import launch, load_warp


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit vertex normals [V, 3]: the faces' normals averaged by area; differentiable. Vertices without area get 0.

    vertices [V, 3]; faces int32 [F, 3].
    """
    return _VertexNormals.apply(vertices.float().contiguous(), faces.contiguous())


def surface_at(pixels: Tensor, rast: Tensor, faces: Tensor, vertices: Tensor, normals: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points [N, 3] and unit normals [N, 3] (empty without `normals`) that the listed pixels show.

    pixels    int64 [N], flat indices into rast's [B, H, W]; each must show a face
    rast      [B, H, W, 4] of a rasterizer; gradients go through its u and v, and to vertices [V, 3] and normals [V, 3]
    """
    given = vertices.new_empty(0, 3) if normals is None else normals.contiguous()
    return _SurfaceAt.apply(pixels, rast.contiguous(), faces.contiguous(), vertices.float().contiguous(), given)


def to_image(buffer: Tensor, factor: int) -> Tensor:
    """Raster buffer [B, H, W, C] -> image tensor [B, C, H / factor, W / factor] (row 0 at the top), averaging factor^2 pixels."""
    batch, height, width, channels = buffer.shape
    blocks = buffer.view(batch, height // factor, factor, width // factor, factor * channels)
    # unbind and split: their gradients are one copy each, an index's is a zero-filled buffer for every part
    cells = functools.reduce(torch.add, functools.reduce(torch.add, blocks.unbind(2)).split(channels, dim=-1))
    return (cells * (1.0 / factor**2)).flip(1).permute(0, 3, 1, 2)


class _VertexNormals(Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor) -> Tensor:
        from engine.render.kernels import surface as kernels

        vec3 = load_warp().vec3
        summed = torch.zeros_like(vertices)
        normals = torch.empty_like(vertices)
        launch(kernels.sum_face_normals, faces.shape[0], [(vertices, vec3), faces, (summed, vec3)], vertices.device)
        launch(kernels.normalize, vertices.shape[0], [(summed, vec3), (normals, vec3)], vertices.device)
        ctx.save_for_backward(vertices, faces, summed)
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_normals: Tensor) -> tuple[Tensor, None]:
        from engine.render.kernels import surface as kernels

        vec3 = load_warp().vec3
        vertices, faces, summed = ctx.saved_tensors
        grad_summed = torch.empty_like(summed)
        grad_vertices = torch.zeros_like(vertices)
        scale = [(summed, vec3), (grad_normals.contiguous(), vec3), (grad_summed, vec3)]
        launch(kernels.normalize_backward, vertices.shape[0], scale, vertices.device)
        spread = [(vertices, vec3), faces, (grad_summed, vec3), (grad_vertices, vec3)]
        launch(kernels.sum_face_normals_backward, faces.shape[0], spread, vertices.device)
        return grad_vertices, None


class _SurfaceAt(Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, rast: Tensor, faces: Tensor, vertices: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        from engine.render.kernels import surface as kernels

        wp = load_warp()
        count = pixels.shape[0]
        points = vertices.new_empty(count, 3)
        unit = vertices.new_empty(count if normals.shape[0] else 0, 3)
        arguments = [
            pixels, (rast.view(-1, 4), wp.vec4), faces, (vertices, wp.vec3), (normals, wp.vec3), (points, wp.vec3), (unit, wp.vec3),
        ]  # fmt: skip
        launch(kernels.surface_at, count, arguments, vertices.device)
        ctx.save_for_backward(pixels, rast, faces, vertices, normals)
        return points, unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor, grad_unit: Tensor) -> tuple[None, Tensor, None, Tensor, Tensor]:
        from engine.render.kernels import surface as kernels

        wp = load_warp()
        pixels, rast, faces, vertices, normals = ctx.saved_tensors
        grad_rast, grad_vertices, grad_normals = torch.zeros_like(rast), torch.zeros_like(vertices), torch.zeros_like(normals)
        arguments = [
            pixels, (rast.view(-1, 4), wp.vec4), faces, (vertices, wp.vec3), (normals, wp.vec3),
            (grad_points.contiguous(), wp.vec3), (grad_unit.contiguous(), wp.vec3),
            (grad_rast.view(-1, 4), wp.vec4), (grad_vertices, wp.vec3), (grad_normals, wp.vec3),
        ]  # fmt: skip
        launch(kernels.surface_at_backward, pixels.shape[0], arguments, vertices.device)
        return None, grad_rast, None, grad_vertices, grad_normals
