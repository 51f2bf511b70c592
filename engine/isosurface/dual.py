"""The dual of marching tetrahedra: one vertex in each tetrahedron that the surface passes, free to lie on an edge or a corner of it.

Marching tetrahedra cut every crease off, because their vertices lie on the grid's edges. Here, as in dual contouring (Ju, Losasso, Schaefer
& Warren 2002), the vertex lies where the planes meet that are seen of the surface from the tetrahedron's corners, and a polygon joins the
vertices around each edge whose ends differ in sign. As in FlexiCubes (Shen et al. 2023) everything is differentiable, and the vertex may
take any place near its cell.

Corner v knows the field's value s_v and the gradient g_v that the sketch's own signed distance has there; where the field was moved
by d = s - s_start since, its plane carries the gradient of d, which is linear in the tetrahedron. The vertex is

    x = argmin  sum_v w_v (s_v + (g_v + grad d) . (x - p_v))^2  +  RIGID |x - m|^2

with m the mean of the crossings that marching tetrahedra would have. On a crease of a true distance all corners' planes meet, those of
the corners outside too, whose gradients fan out from the crease.

In a tetrahedron there are no ambiguous cases: it holds one piece of the surface, never two. The polygons are the dual of the closed
manifold that marching tetrahedra give, so they are one too: two tetrahedra share at most one face, hence each dual edge lies on exactly
two polygons, and a polygon's diagonals on no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from engine.isosurface.dmtet import TET_EDGES, TetGrid

RIGID = 2e-3
"""Weight of the pull to the crossings' mean beside the planes', which sum to one: it decides along flat faces and creases only."""

NEAR = 0.8
"""Planes count less the further from the crossings' mean they touch the surface: a Gaussian with this deviation, in grid steps."""

SLACK = 0.4
"""By so much of a tetrahedron's height may its vertex lie outside of it: creases graze many that would otherwise cut them off."""

POWER = 4
"""Where one plane is to count, the weights are raised to this."""

UNTANGLINGS = 2
"""Rounds in which vertices are called back whose faces look inwards."""

RING = 6
"""Tetrahedra around an edge: six around the short edges, four around the long ones."""


def corner_gradients(grid: TetGrid) -> Tensor:
    """float32 [12, 4, 3]: for each kind of tetrahedron, the gradients of the four functions that are one at a corner, zero at the others,
    and linear. The gradient of a linear field is the sum of its corners' values times these."""
    table, _ = _kinds()
    return torch.from_numpy((table / grid.spacing).astype(np.float32)).to(grid.points.device)


def rings(tet_edges: Tensor, kind: Tensor, edges: int) -> Tensor:
    """int32 [E, RING]: the tetrahedra around each edge, counter-clockwise seen from its end, in the order that leaves gaps of -1 where
    there are fewer. tet_edges [T, 6] index E edges, kind [T]."""
    slot = torch.from_numpy(_kinds()[1]).to(tet_edges.device)[kind.long()]
    ring = torch.full((edges * RING,), -1, dtype=torch.int32, device=tet_edges.device)
    number = torch.arange(len(tet_edges), dtype=torch.int32, device=tet_edges.device).unsqueeze(1).expand(-1, 6)
    ring[(tet_edges * RING + slot).reshape(-1)] = number.reshape(-1)
    return ring.view(edges, RING)


@cache
def _kinds() -> tuple[np.ndarray, np.ndarray]:
    """For the twelve kinds of tetrahedra: gradients float64 [12, 4, 3] in grid steps, and the slots int64 [12, 6] that each takes in the
    rings of its edges."""
    grid = TetGrid.make(8)
    points = np.rint((grid.points.numpy().astype(np.float64) + 1) / grid.spacing)
    tets, tet_edges, kind = grid.tets.numpy(), grid.tet_edges.numpy(), grid.kind.numpy()
    first = np.array([np.flatnonzero(kind == own)[0] for own in range(12)])
    corners = points[tets[first]]
    system = np.concatenate([corners, np.ones((12, 4, 1))], axis=2)
    gradients = np.linalg.inv(system)[:, :3].transpose(0, 2, 1)
    slots = np.zeros((12, 6), dtype=np.int64)
    for own in range(12):
        for local, pair in enumerate(TET_EDGES):
            start, end = points[grid.edges.numpy()[tet_edges[first[own], local]]]
            axis = end - start
            across = np.cross(axis, [0.1, 0.23, 0.71])  # any fixed direction, the same for all edges of a family
            over = np.cross(axis, across) / np.linalg.norm(axis)
            other = [corner for corner in range(4) if corner not in pair]
            middle = corners[own, other].mean(axis=0) - (start + end) / 2
            angle = np.arctan2(middle @ over, middle @ across) % (2 * np.pi)
            slots[own, local] = int(angle // (2 * np.pi / (4 if np.count_nonzero(axis) == 1 else 6)))
    return gradients, slots


def dual_mesh(cells: Cells, ring: Tensor, outward: Tensor, number: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Vertices [P, 3], one in each cell, and faces int32 [F, 3] of the polygons around the crossed edges.

    ring [C, RING] as `rings` gives it for the crossed edges; outward bool [C]: whether each leads out of the solid; number int [T]: the
    cell of each tetrahedron. Where a face would look inwards, because facets smaller than the grid lead vertices past each other, its
    vertices stay in their own tetrahedra.
    """
    vertices, tame, slope = dual_vertices(cells, spacing)
    polygons = _polygons(ring, outward, number)
    faces = [_cut(polygon, vertices.detach()) for polygon in polygons]
    for _ in range(UNTANGLINGS):
        tangled = _tangled(faces, vertices.detach(), slope)
        vertices = torch.where(tangled.unsqueeze(1), tame, vertices)
        faces = [_cut(polygon, vertices.detach()) for polygon in polygons]
    return vertices, torch.cat([own.reshape(3, -1) for own in faces], dim=1).t().contiguous()


def _polygons(ring: Tensor, outward: Tensor, number: Tensor) -> list[Tensor]:
    """int32 [4, P'] and [RING, P"]: the corners of the polygons around the crossed edges, counter-clockwise from outside."""
    found = []
    for sides in (4, RING):
        own = ((ring[:, RING - 1] >= 0) == (sides == RING)).nonzero().squeeze(1)
        polygon = number.index_select(0, ring.index_select(0, own)[:, :sides].reshape(-1)).view(-1, sides)
        found.append(torch.where(outward.index_select(0, own).unsqueeze(1), polygon, polygon.flip(1)).t().contiguous())
    return found


@torch.no_grad()
def _tangled(faces: list[Tensor], vertices: Tensor, slope: Tensor) -> Tensor:
    """bool [P]: the corners of faces [3, ...] that look against the field's slope [P, 3] there."""
    tangled = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    for corners in faces:
        a, b, c = (_columns(vertices, corner) for corner in corners)
        x, y, z = (column.sum(0) for column in _columns(slope, corners))
        wrong = _volume(a, b, c, (x, y, z)) < 0
        tangled[corners[:, wrong].reshape(-1).long()] = True
    return tangled


Columns = tuple[Tensor, Tensor, Tensor]


def _columns(table: Tensor, index: Tensor) -> Columns:
    """The rows of a table [V, 3] at an index of any shape, by columns."""
    x, y, z = (column.index_select(0, index.reshape(-1)).view(index.shape) for column in table.unbind(1))
    return x, y, z


def _volume(a: Columns, b: Columns, c: Columns, up: Columns) -> Tensor:
    """How far the triangle's normal, twice as long as its area, reaches up: (b - a) x (c - a) . up."""
    (ux, uy, uz), (vx, vy, vz) = (tuple(end - start for end, start in zip(to, a, strict=True)) for to in (b, c))
    return (uy * vz - uz * vy) * up[0] + (uz * vx - ux * vz) * up[1] + (ux * vy - uy * vx) * up[2]


@dataclass(frozen=True)
class Cells:
    """P tetrahedra with corners inside and outside, by columns: positions [3, 4, P], sdf [4, P], moved [4, P] by how much the values differ
    from those that the normals [3, 4, P] (zero where unknown) belong to, gradients [3, 4, P] of the corners' linear functions."""

    positions: Tensor
    sdf: Tensor
    moved: Tensor
    normals: Tensor
    gradients: Tensor


def dual_vertices(cells: Cells, spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """For each cell its vertex [P, 3] by the equation above; the vertex where it may not leave the tetrahedron [P, 3]; and the direction
    [P, 3] in which the field grows. The vertices are differentiable in sdf and moved.

    Where the planes meet further out than SLACK, it is the tetrahedron next to it that holds the crease: the plane counts that comes
    nearest.
    """
    middle = _crossings(cells.positions, cells.sdf)
    planes = cells.normals + (cells.moved * cells.gradients).sum(1, keepdim=True)
    offset = cells.sdf + (planes * (middle.unsqueeze(1) - cells.positions)).sum(0)
    slope = torch.nn.functional.normalize((cells.sdf.detach() * cells.gradients).sum(1), dim=0)
    weight = _weights(cells, planes.detach(), middle.detach(), slope, spacing)
    step, room = _met(planes, offset, weight), _room(cells, middle.detach())
    share = _share(cells.gradients, room, step.detach())
    out = (share < 1).nonzero().squeeze(1)
    gradients, room = cells.gradients.index_select(2, out), room.index_select(1, out)
    lone = _met(planes.index_select(2, out), offset.index_select(1, out), _shared(weight.index_select(1, out) ** POWER))
    lone = lone * _share(gradients, room, lone.detach()).clamp(max=1)
    far = _share(gradients, room + SLACK, step.detach().index_select(1, out)) < 1
    tame = step.index_copy(1, out, lone)
    return (middle + step.index_copy(1, out[far], lone[:, far])).t(), (middle + tame).t(), slope.t()


def _met(planes: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    weighted = weight * planes
    matrix = {(row, column): (weighted[row] * planes[column]).sum(0) for row in range(3) for column in range(row, 3)}
    return -_solved(matrix, (weighted * offset).sum(1), RIGID)


def _room(cells: Cells, middle: Tensor) -> Tensor:
    """[4, P]: the corners' linear functions at the middles [3, P]; each is zero on the face across from its corner."""
    return 1 / 4 + (cells.gradients * (middle - cells.positions.mean(dim=1)).unsqueeze(1)).sum(0)


@torch.no_grad()
def _share(gradients: Tensor, room: Tensor, step: Tensor) -> Tensor:
    """[P]: which share of a step [3, P] uses up the room [4, P] to one of the tetrahedron's faces."""
    change = (gradients * step.unsqueeze(1)).sum(0)
    return torch.where(change < 0, room / (-change).clamp(min=1e-12), torch.full_like(change, 1e12)).amin(dim=0)


@torch.no_grad()
def _weights(cells: Cells, planes: Tensor, middle: Tensor, slope: Tensor, spacing: float) -> Tensor:
    """[4, P], summing to one or all zero: how much the surface that each corner sees is that which passes the tetrahedron. It is not
    where it touches far away, and where it faces the other way, as the far side of a board does."""
    touch = cells.positions - cells.sdf * planes
    distance = (touch - middle.unsqueeze(1)).square().sum(0) / (NEAR * spacing) ** 2
    facing = (cells.normals * slope.unsqueeze(1)).sum(0).clamp(min=0)
    return _shared(torch.exp(-distance) * facing)


def _shared(weight: Tensor) -> Tensor:
    return weight / weight.sum(0, keepdim=True).clamp(min=1e-12)


def _crossings(positions: Tensor, sdf: Tensor) -> Tensor:
    """[3, P]: mean of the places on the tetrahedra's edges where the linear field is zero."""
    weight: list[Tensor] = [torch.zeros_like(sdf[0])] * 4
    count = torch.zeros_like(sdf[0])
    for a, b in TET_EDGES:
        first, second = sdf[a], sdf[b]
        crossed = (first < 0) != (second < 0)
        there = crossed.to(sdf.dtype)
        share = first / torch.where(crossed, first - second, 1.0) * there
        weight[a], weight[b], count = weight[a] + there - share, weight[b] + share, count + there
    return (torch.stack(weight) * positions).sum(1) / count.clamp(min=1)


def _solved(matrix: dict[tuple[int, int], Tensor], right: Tensor, ridge: float) -> Tensor:
    """(matrix + ridge) x = right [3, P] for symmetric positive matrices, the upper triangle's entries [P], by Cramer's rule."""
    a, b, c = matrix[0, 0] + ridge, matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1] + ridge, matrix[1, 2], matrix[2, 2] + ridge
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    x, y, z = right.unbind(0)
    return torch.stack([aa * x + bb * y + cc * z, bb * x + dd * y + ee * z, cc * x + ee * y + ff * z]) / (a * aa + b * bb + c * cc)


WAYS = {
    4: (((0, 1, 2), (0, 2, 3)), ((0, 1, 3), (1, 2, 3))),
    6: (((0, 2, 4), (0, 1, 2), (2, 3, 4), (4, 5, 0)), ((1, 3, 5), (1, 2, 3), (3, 4, 5), (5, 0, 1))),
}
"""Two ways to cut a polygon into triangles, by its number of sides."""


@torch.no_grad()
def _cut(polygon: Tensor, vertices: Tensor) -> Tensor:
    """int32 [3, sides - 2, P]: that of the two ways to cut polygons [sides, P] whose worst triangle lies flatter and is less thin."""
    x, y, z = _columns(vertices, polygon)
    corners = [(x[k], y[k], z[k]) for k in range(len(polygon))]
    # the polygon's own normal, from its diagonals
    half = len(polygon) // 2
    (ax, ay, az), (bx, by, bz) = (tuple(t - o for t, o in zip(corners[k + half], corners[k], strict=True)) for k in (0, 1))
    up = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    worst = []
    for way in WAYS[len(polygon)]:
        scores = []
        for a, b, c in way:
            size = sum((corners[p][k] - corners[q][k]) ** 2 for p, q in ((a, b), (b, c), (c, a)) for k in range(3))
            scores.append(_volume(corners[a], corners[b], corners[c], up) / (size + 1e-20))
        worst.append(torch.stack(scores).amin(0))
    first, second = (torch.stack([polygon[list(triangle)] for triangle in way], dim=1) for way in WAYS[len(polygon)])
    return torch.where(worst[0] >= worst[1], first, second)
