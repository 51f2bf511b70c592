"""The permissive back end: nvdiffrast's four primitives on NVIDIA Warp kernels, for CPU and CUDA (CUDA unverified)."""

from __future__ import annotations

import importlib.util
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engine.errors import InputError
from engine.render.warp_runtime import launch, load_warp, parts_of_a_face, runs_of_pixels, runs_of_views

USUAL_PAIRS = 65_536
"""Of pixels that an outline parts: room for so many at least is taken before they are looked for."""


def why_unavailable(device: torch.device) -> str | None:
    """Why this back end cannot run on a device; None where it can."""
    if importlib.util.find_spec("warp") is None:
        return "the package warp-lang is not installed"
    if device.type not in ("cpu", "cuda"):
        return f"Warp runs on cpu and cuda, not on {device.type}"
    if device.type == "cuda" and not load_warp().is_cuda_available():
        return "Warp finds no CUDA driver"
    return None


class WarpRasterizer:
    """See `engine.render.base.Rasterizer`. Keeps the edge table of the last face tensor; otherwise without state."""

    name = "warp"

    def __init__(self) -> None:
        self._known_faces: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def rasterize(self, pos: Tensor, tri: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.rasterize`."""
        _require(pos.ndim == 3 and pos.shape[2] == 4, "pos", "[B, V, 4]", pos)
        _require_faces(tri)
        if tri.shape[0] == 0:
            rast = pos.new_zeros(pos.shape[0], *resolution, 4, dtype=torch.float32)
        else:
            rast = _Rasterize.apply(_as_vectors(pos), tri.contiguous(), *resolution)
        return rast, rast.new_empty(*rast.shape[:3], 0)

    def interpolate(self, attr: Tensor, rast: Tensor, tri: Tensor) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.interpolate`."""
        batched = attr if attr.ndim == 3 else attr[None]
        _require(batched.ndim == 3 and batched.shape[0] in (1, rast.shape[0]), "attr", "[V, C] or [B, V, C]", attr)
        _require_faces(tri)
        if tri.shape[0] == 0:
            out = attr.new_zeros(*rast.shape[:3], batched.shape[2], dtype=torch.float32)
        else:
            out = _Interpolate.apply(_packed(batched), _packed(rast), tri.contiguous())
        return out, out.new_empty(*out.shape[:3], 0)

    def texture(self, tex: Tensor, uv: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
        """See `Rasterizer.texture`."""
        _require(tex.ndim == 4 and tex.shape[0] in (1, uv.shape[0]), "tex", "[1 or B, Ht, Wt, C]", tex)
        _require(uv.ndim == 4 and uv.shape[3] == 2, "uv", "[B, H, W, 2]", uv)
        if filter_mode not in ("nearest", "linear") or boundary_mode not in ("wrap", "clamp"):
            raise InputError(
                "render_input",
                f"Texture modes {filter_mode!r} and {boundary_mode!r} are not supported.",
                "Use filter_mode nearest or linear and boundary_mode wrap or clamp.",
            )
        return _Texture.apply(_packed(tex), _packed(uv), filter_mode == "linear", int(boundary_mode == "wrap"))

    def antialias(self, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        """See `Rasterizer.antialias`."""
        _require(color.ndim == 4 and color.shape[:3] == rast.shape[:3], "color", "[B, H, W, C] as rast", color)
        _require_faces(tri)
        if tri.shape[0] == 0:
            return _packed(color)
        return _Antialias.apply(_packed(color), _packed(rast.detach()), _as_vectors(pos), tri.contiguous(), self._neighbours(tri))

    def _neighbours(self, tri: Tensor) -> Tensor:
        """The edge table of `tri`, made anew unless it is the very tensor of the call before, unchanged."""
        if self._known_faces is not None:
            known, version, table = self._known_faces
            if known() is tri and version == tri._version:
                return table
        table = edge_neighbours(tri.contiguous())
        self._known_faces = (weakref.ref(tri), tri._version, table)
        return table


def edge_neighbours(tri: Tensor) -> Tensor:
    """int32 [F, 3]: the face across the edge from corner k to corner k + 1; -1 where none, or more than one, lies there."""
    from engine.render.kernels import silhouettes as kernels

    faces = tri.shape[0]
    size = 1 << max(4, (4 * faces - 1).bit_length() if faces else 4)
    keys = torch.full((size,), -1, dtype=torch.int64, device=tri.device)
    counts = torch.zeros(size, dtype=torch.int32, device=tri.device)
    halves = torch.empty(size, 2, dtype=torch.int32, device=tri.device)
    slots = torch.empty_like(tri)
    neighbours = torch.empty_like(tri)
    launch(kernels.collect_edges, faces, [tri, keys, counts, halves, slots], tri.device)
    launch(kernels.find_neighbours, faces, [counts, halves, slots, neighbours], tri.device)
    return neighbours


class _Rasterize(Function):
    @staticmethod
    def forward(ctx: Any, pos: Tensor, tri: Tensor, height: int, width: int) -> Tensor:
        from engine.render.kernels import visibility as kernels

        wp = load_warp()
        views, vertices = pos.shape[:2]
        keys = torch.full((views, height, width), kernels.EMPTY_KEY, dtype=torch.int64, device=pos.device)
        screen = torch.empty(vertices, views, 2, dtype=torch.int32, device=pos.device)
        depth = torch.empty(vertices, views, device=pos.device)
        rast = torch.empty(views, height, width, 4, device=pos.device)
        share, groups = runs_of_views(views, pos.device)
        project = [(pos, wp.vec4), float(width), float(height), share, (screen, wp.vec2i), depth]
        launch(kernels.project_vertices, groups * vertices, project, pos.device)
        parts = parts_of_a_face(groups * tri.shape[0], height, pos.device)
        fill = [(pos, wp.vec4), (screen, wp.vec2i), depth, tri, share, parts, keys]
        launch(kernels.fill_keys, groups * tri.shape[0] * parts, fill, pos.device)
        run, chunks = runs_of_pixels(rast.shape, pos.device)
        launch(kernels.resolve, chunks, [(pos, wp.vec4), tri, keys, run, (rast, wp.vec4)], pos.device)
        ctx.save_for_backward(pos, tri, rast)
        return rast

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rast: Tensor) -> tuple[Tensor, None, None, None]:
        from engine.render.kernels import visibility as kernels

        wp = load_warp()
        pos, tri, rast = ctx.saved_tensors
        grad_pos = torch.zeros_like(pos)
        run, chunks = runs_of_pixels(rast.shape, pos.device)
        arguments = [(pos, wp.vec4), tri, (rast, wp.vec4), (_packed(grad_rast), wp.vec4), run, (grad_pos, wp.vec4)]
        launch(kernels.resolve_backward, chunks, arguments, pos.device)
        return grad_pos, None, None, None


class _Interpolate(Function):
    @staticmethod
    def forward(ctx: Any, attr: Tensor, rast: Tensor, tri: Tensor) -> Tensor:
        from engine.render.kernels import attributes as kernels

        out = torch.empty(*rast.shape[:3], attr.shape[2], device=attr.device)
        run, chunks = runs_of_pixels(rast.shape, attr.device)
        launch(kernels.interpolate, chunks, [attr, (rast, load_warp().vec4), tri, run, out], attr.device)
        ctx.save_for_backward(attr, rast, tri)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        from engine.render.kernels import attributes as kernels

        vec4 = load_warp().vec4
        attr, rast, tri = ctx.saved_tensors
        grad_attr = torch.zeros_like(attr)
        grad_rast = torch.zeros_like(rast)
        run, chunks = runs_of_pixels(rast.shape, attr.device)
        arguments = [attr, (rast, vec4), tri, _packed(grad_out), run, grad_attr, (grad_rast, vec4)]
        launch(kernels.interpolate_backward, chunks, arguments, attr.device)
        return grad_attr, grad_rast, None


class _Texture(Function):
    @staticmethod
    def forward(ctx: Any, tex: Tensor, uv: Tensor, linear: bool, wrap: int) -> Tensor:
        from engine.render.kernels import attributes as kernels

        out = torch.empty(*uv.shape[:3], tex.shape[3], device=tex.device)
        kernel = kernels.texture_linear if linear else kernels.texture_nearest
        launch(kernel, uv.shape[:3], [tex, uv, wrap, out], tex.device)
        ctx.save_for_backward(tex, uv)
        ctx.linear, ctx.wrap = linear, wrap
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None, None]:
        from engine.render.kernels import attributes as kernels

        tex, uv = ctx.saved_tensors
        grad_tex = torch.zeros_like(tex)
        grad_uv = torch.zeros_like(uv)
        arguments = [tex, uv, ctx.wrap, _packed(grad_out), grad_tex]
        if ctx.linear:
            launch(kernels.texture_linear_backward, uv.shape[:3], [*arguments, grad_uv], tex.device)
        else:
            launch(kernels.texture_nearest_backward, uv.shape[:3], arguments, tex.device)
        return grad_tex, grad_uv, None, None


class _Antialias(Function):
    @staticmethod
    def forward(ctx: Any, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, neighbours: Tensor) -> Tensor:
        from engine.render.kernels import silhouettes as kernels

        wp = load_warp()
        views, height, width, channels = color.shape
        screen = torch.empty(pos.shape[1], views, 2, device=pos.device)
        share, groups = runs_of_views(views, pos.device)
        project = [(pos, wp.vec4), float(width), float(height), share, (screen, wp.vec2)]
        launch(kernels.project_to_pixels, groups * pos.shape[1], project, pos.device)
        run, chunks = runs_of_pixels(rast.shape, pos.device)
        most = 2 * views * height * width
        found, room = most, min(most, max(USUAL_PAIRS, most // 16))  # few pixels lie at an outline
        while True:
            count = torch.zeros(1, dtype=torch.int32, device=pos.device)
            pairs = torch.empty(room, 4, dtype=torch.int32, device=pos.device)
            alongs = torch.empty(room, device=pos.device)
            search = [(rast, wp.vec4), tri, neighbours, (screen, wp.vec2), run, count, (pairs, wp.vec4i), alongs]
            launch(kernels.find_silhouettes, chunks, search, pos.device)
            found = int(count.item())
            if found <= room:
                break
            room = found
        pairs, alongs = pairs[:found].clone(), alongs[:found].clone()
        out = color.clone()
        flat = (-1, channels)
        launch(kernels.blend, found, [color.view(flat), (pairs, wp.vec4i), alongs, out.view(flat)], pos.device)
        ctx.save_for_backward(color, pos, pairs, alongs)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        from engine.render.kernels import silhouettes as kernels

        wp = load_warp()
        color, pos, pairs, alongs = ctx.saved_tensors
        _, height, width, channels = color.shape
        grad_out = _packed(grad_out)
        grad_color = grad_out.clone()
        grad_pos = torch.zeros_like(pos)
        flat = (-1, channels)
        arguments = [
            color.view(flat), (pairs, wp.vec4i), alongs, (pos, wp.vec4), height, width,
            grad_out.view(flat), grad_color.view(flat), (grad_pos, wp.vec4),
        ]  # fmt: skip
        launch(kernels.blend_backward, pairs.shape[0], arguments, pos.device)
        return grad_color, None, grad_pos, None, None


def _packed(tensor: Tensor) -> Tensor:
    """float32 and contiguous, as the kernels read it."""
    return tensor.float().contiguous()


def _as_vectors(pos: Tensor) -> Tensor:
    """float32 [B, V, 4] whose last axis is contiguous; the kernels read the others in any order."""
    pos = pos.float()
    return pos if pos.stride(2) == 1 else pos.contiguous()


def _require_faces(tri: Tensor) -> None:
    _require(tri.ndim == 2 and tri.shape[1] == 3 and tri.dtype == torch.int32, "tri", "int32 [F, 3]", tri)


def _require(holds: bool, name: str, expected: str, got: Tensor) -> None:
    if not holds:
        message = f"The rasterizer expected {name} {expected}, got {got.dtype} {list(got.shape)}."
        raise InputError("render_input", message, "Check the shapes that the caller passes.")
