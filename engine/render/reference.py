"""The reference back end in plain torch: slow, gradients by autograd, written independently of the Warp kernels for parity tests.

Visibility is decided by homogeneous edge functions in float64 (Olano & Greer 1997), without snapping or clipping, over all
pixels and faces at once: for small meshes and images only.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_STEPS = 64
PATH_END = 1.0 + 1.0 / 256.0


class ReferenceRasterizer:
    """See `engine.render.base.Rasterizer`. Memory grows with views * faces * pixels."""

    name = "reference"

    def rasterize(self, pos: Tensor, tri: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.rasterize`. A pixel centre exactly on an edge goes to the face with the lower index."""
        height, width = resolution
        faces = tri.long()
        rows = torch.stack([_seen_faces(view.detach().double(), faces, height, width) for view in pos])
        covered = rows >= 0
        corners = _gather_corners(pos, faces, rows)
        weights = _weights(corners, height, width)
        u = weights[..., 0].clamp(0.0, 1.0)
        v = torch.minimum(weights[..., 1].clamp(min=0.0), 1.0 - u.detach())
        third = 1.0 - u - v
        zw = (torch.stack([u, v, third], dim=-1)[..., None] * corners).sum(dim=-2).detach()
        depth = (zw[..., 2] / torch.where(covered, zw[..., 3], 1.0)).clamp(-1.0, 1.0)
        rast = torch.stack([u, v, depth, (rows + 1).to(pos.dtype)], dim=-1) * covered[..., None]
        return rast, rast.new_empty(*rast.shape[:3], 0)

    def interpolate(self, attr: Tensor, rast: Tensor, tri: Tensor) -> tuple[Tensor, Tensor]:
        """See `Rasterizer.interpolate`."""
        rows = rast[..., 3].detach().long() - 1
        batched = (attr if attr.ndim == 3 else attr[None]).expand(rast.shape[0], -1, -1)
        weights = torch.stack([rast[..., 0], rast[..., 1], 1.0 - rast[..., 0] - rast[..., 1]], dim=-1)
        out = (weights[..., None] * _gather_corners(batched, tri.long(), rows)).sum(dim=-2) * (rows >= 0)[..., None]
        return out, out.new_empty(*out.shape[:3], 0)

    def texture(self, tex: Tensor, uv: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
        """See `Rasterizer.texture`."""
        height, width = tex.shape[1:3]
        source = torch.arange(uv.shape[0], device=uv.device).clamp(max=tex.shape[0] - 1)[:, None, None]

        def fetch(x: Tensor, y: Tensor) -> Tensor:
            if boundary_mode == "wrap":
                return tex[source, y % height, x % width]
            return tex[source, y.clamp(0, height - 1), x.clamp(0, width - 1)]

        if filter_mode == "nearest":
            return fetch((uv[..., 0] * width).floor().long(), (uv[..., 1] * height).floor().long())
        x, y = uv[..., 0] * width - 0.5, uv[..., 1] * height - 0.5
        x0, y0 = x.detach().floor(), y.detach().floor()
        fx, fy = (x - x0)[..., None], (y - y0)[..., None]
        left, low = x0.long(), y0.long()
        below = fetch(left, low) * (1 - fx) + fetch(left + 1, low) * fx
        above = fetch(left, low + 1) * (1 - fx) + fetch(left + 1, low + 1) * fx
        return below * (1 - fy) + above * fy

    def antialias(self, color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        """See `Rasterizer.antialias`. Follows the surface as the Warp back end does, for all pixel pairs at once."""
        rast = rast.detach()
        neighbours = edge_neighbours(tri)
        out = color
        for axis in (0, 1):
            out = out + _blended(color, rast, pos, tri.long(), neighbours, axis)
        return out


def edge_neighbours(tri: Tensor) -> Tensor:
    """int64 [F, 3]: the face across the edge from corner k to corner k + 1; -1 where none, or more than one, lies there."""
    faces = tri.long()
    ends = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1).sort(dim=-1).values.view(-1, 2)
    _, edge_of, count = torch.unique(ends, dim=0, return_inverse=True, return_counts=True)
    owner = torch.arange(faces.shape[0], device=tri.device).repeat_interleave(3)
    total = torch.zeros(count.shape[0], dtype=torch.long, device=tri.device).index_add(0, edge_of, owner)
    return torch.where(count[edge_of] == 2, total[edge_of] - owner, -1).view(-1, 3)


def _pixel_centres(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Clip-space coordinates [H, W] (after division) of the pixels' centres."""
    x = (2 * torch.arange(width, device=like.device) + 1).to(like) / width - 1
    y = (2 * torch.arange(height, device=like.device) + 1).to(like) / height - 1
    return x[None, :].expand(height, width), y[:, None].expand(height, width)


def _seen_faces(pos: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
    """The nearest face [H, W] at each pixel of one view [V, 4] float64, -1 where none."""
    fx, fy = _pixel_centres(height, width, pos)
    x, y, z, w = pos[faces].unbind(dim=-1)
    x = x[:, :, None, None] - fx * w[:, :, None, None]
    y = y[:, :, None, None] - fy * w[:, :, None, None]
    areas = x.roll(-1, dims=1) * y.roll(-2, dims=1) - y.roll(-1, dims=1) * x.roll(-2, dims=1)
    total = areas.sum(dim=1, keepdim=True)
    weights = areas / torch.where(total == 0, torch.inf, total)
    depth = (weights * z[:, :, None, None]).sum(dim=1)
    scale = (weights * w[:, :, None, None]).sum(dim=1)
    inside = (weights >= 0).all(dim=1) & (total[:, 0] != 0) & (scale > 0) & (depth.abs() <= scale)
    ratio = torch.where(inside, depth / scale.clamp(min=1e-30), torch.inf)
    nearest, face = ratio.min(dim=0)
    return torch.where(nearest < torch.inf, face, -1)


def _gather_corners(values: Tensor, faces: Tensor, rows: Tensor) -> Tensor:
    """[B, V, C] at the corners of the faces `rows` [B, H, W]: [B, H, W, 3, C]."""
    batch = torch.arange(values.shape[0], device=values.device)[:, None, None, None]
    return values[batch, faces[rows.clamp(min=0)]]


def _weights(corners: Tensor, height: int, width: int) -> Tensor:
    """Perspective-correct barycentric weights [B, H, W, 3] at the pixels' centres; corners [B, H, W, 3, 4] in clip space."""
    fx, fy = _pixel_centres(height, width, corners)
    x = corners[..., 0] - fx[..., None] * corners[..., 3]
    y = corners[..., 1] - fy[..., None] * corners[..., 3]
    areas = x.roll(-1, dims=-1) * y.roll(-2, dims=-1) - y.roll(-1, dims=-1) * x.roll(-2, dims=-1)
    total = areas.sum(dim=-1, keepdim=True)
    return areas / torch.where(total == 0, torch.inf, total)


def _blended(color: Tensor, rast: Tensor, pos: Tensor, faces: Tensor, neighbours: Tensor, axis: int) -> Tensor:
    """What antialiasing adds to the colours for the pixel pairs along one axis (0: columns, 1: rows)."""
    batch, height, width, channels = color.shape
    step = width if axis else 1
    first = torch.arange(batch * height * width, device=color.device).view(batch, height, width)
    first = (first[:, :-1] if axis else first[:, :, :-1]).reshape(-1)
    flat = rast.reshape(-1, 4)
    first = first[flat[first, 3] != flat[first + step, 3]]
    here, there = flat[first], flat[first + step]
    forward = (there[:, 3] == 0) | ((here[:, 3] > 0) & (here[:, 2] <= there[:, 2]))
    edge, occluded = _follow(first, forward, flat, pos, faces, neighbours, axis, (height, width))
    retry = occluded & (here[:, 3] > 0) & (there[:, 3] > 0)
    again, _ = _follow(first[retry], ~forward[retry], flat, pos, faces, neighbours, axis, (height, width))
    edge[retry], forward[retry] = again, ~forward[retry]
    found = edge[:, 0] >= 0
    first, forward, edge = first[found], forward[found], edge[found]
    near = torch.where(forward, first, first + step)
    far = torch.where(forward, first + step, first)
    path = _on_path(_to_pixels(pos, height, width)[(near // (height * width))[:, None], edge], near, forward, axis, height, width)
    crossed = _crossing(path[:, 0], path[:, 1])
    share = (crossed + (crossed.clamp(0.0, 1.0) - crossed).detach() - 0.5)[:, None]
    pixels = color.reshape(-1, channels)
    target = torch.where(share[:, 0] > 0, far, near)
    return torch.zeros_like(pixels).index_add(0, target, share * (pixels[near] - pixels[far])).view_as(color)


def _follow(
    first: Tensor,
    forward: Tensor,
    flat: Tensor,
    pos: Tensor,
    faces: Tensor,
    neighbours: Tensor,
    axis: int,
    resolution: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Silhouette edges (vertex pairs [N, 2], -1 where none) met from the near pixels, and where the surface goes on [N]."""
    height, width = resolution
    second = first + (width if axis else 1)
    near, far = torch.where(forward, first, second), torch.where(forward, second, first)
    view = near // (height * width)
    face, goal = flat[near, 3].long() - 1, flat[far, 3].long() - 1
    screen = _to_pixels(pos.detach(), height, width)
    edge = torch.full((first.shape[0], 2), -1, dtype=torch.long, device=first.device)
    occluded = torch.zeros_like(forward)
    active = torch.ones_like(forward)
    for _ in range(MAX_STEPS):
        if not active.any():
            break
        corner = faces[face]
        path = _on_path(screen[view[:, None], corner], near, forward, axis, height, width)
        after = path.roll(-1, dims=1)
        crossed = (path[..., 1] >= 0) != (after[..., 1] >= 0)
        along, k = torch.where(crossed, _crossing(path, after), -torch.inf).max(dim=1)
        a, b, c = (path[torch.arange(len(k)), (k + i) % 3] for i in range(3))
        ends = torch.stack([corner[torch.arange(len(k)), (k + i) % 3] for i in range(2)], dim=1)
        beyond = neighbours[face, k]
        others = faces[beyond.clamp(min=0)]
        opposite = others[torch.arange(len(k)), (~(others[..., None] == ends[:, None]).any(dim=-1)).float().argmax(dim=1)]
        d = _on_path(screen[view, opposite][:, None], near, forward, axis, height, width)[:, 0]
        silhouette = (beyond < 0) | (_side(a, b, c) * _side(a, b, d) > 0)
        lean = (b[:, 1] - a[:, 1]).abs() - (b[:, 0] - a[:, 0]).abs()
        upright = (lean > 0) | ((lean == 0) & (axis == 0))
        misses = ~crossed.any(dim=1) | (path.abs().amax(dim=(1, 2)) > 1e29)
        passes = ~misses & (along >= PATH_END)
        occluded |= active & passes
        here = active & ~misses & ~passes & silhouette
        edge = torch.where((here & upright)[:, None], ends, edge)
        active = active & ~misses & ~passes & ~silhouette & (beyond != goal)
        face = torch.where(active, beyond, face)
    return edge, occluded


def _to_pixels(pos: Tensor, height: int, width: int) -> Tensor:
    """Clip space [B, V, 4] -> pixels [B, V, 2], the centre of pixel (column, row) at (column, row); 1e30 behind the eye."""
    seen = pos[..., 3:] > 0
    ratio = pos[..., :2] / torch.where(seen, pos[..., 3:], 1.0)
    size = torch.tensor([width, height], dtype=pos.dtype, device=pos.device)
    return torch.where(seen, (ratio * 0.5 + 0.5) * size - 0.5, 1e30)


def _on_path(points: Tensor, near: Tensor, forward: Tensor, axis: int, height: int, width: int) -> Tensor:
    """Pixel positions [N, K, 2] -> (along, across) the paths that start at the near pixels [N]."""
    rest = near % (height * width)
    local = points - torch.stack([rest % width, rest // width], dim=-1).to(points)[:, None]
    sign = torch.where(forward, 1.0, -1.0).to(points)[:, None]
    return torch.stack([local[..., axis] * sign, local[..., 1 - axis]], dim=-1)


def _crossing(a: Tensor, b: Tensor) -> Tensor:
    """Where the lines through a and b [..., 2] cross their paths."""
    height = a[..., 1] - b[..., 1]
    return a[..., 0] + (b[..., 0] - a[..., 0]) * a[..., 1] / torch.where(height == 0, 1.0, height)


def _side(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Positive where c lies to the left of a -> b."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
