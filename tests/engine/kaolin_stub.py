"""A stand-in with Kaolin's import surface, written for this project after Kaolin's documentation: it checks what Kaolin checks.

marching_tetrahedra follows the worked example of Kaolin's own docstring: triangles look towards positive values. FlexiCubes is a plain
dual contouring by means of edge crossings (surface nets), which has FlexiCubes' arguments, answers and winding, not its weights.
"""

from __future__ import annotations

import types

import torch
from torch import Tensor

from engine.isosurface.dmtet import marching_tetrahedra as reference

CORNERS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
EDGES = [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]


def marching_tetrahedra(vertices: Tensor, tets: Tensor, sdf: Tensor, return_tet_idx: bool = False) -> list[tuple[Tensor, ...]]:
    """Batched vertices [B, V, 3] and sdf [B, V] over int64 tets [T, 4] -> lists of vertices and int64 faces."""
    assert vertices.dim() == 3 and sdf.shape == vertices.shape[:2] and tets.shape[1] == 4 and tets.dtype == torch.int64
    assert not return_tet_idx
    found = [reference(vertices[b], sdf[b], tets) for b in range(len(vertices))]
    return list(zip(*[(places, faces.long()) for places, faces in found], strict=True))


class FlexiCubes:
    """See Kaolin's."""

    def __init__(self, device: str = "cuda") -> None:
        assert isinstance(device, str)
        self.device = device

    def construct_voxel_grid(self, resolution: int) -> tuple[Tensor, Tensor]:
        """Corners [(n + 1)^3, 3] in -0.5..0.5, sorted by x, y, z, and cubes [n^3, 8]."""
        side = resolution + 1
        axis = torch.arange(side)
        lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
        first = lattice[:-1, :-1, :-1].reshape(-1, 3)
        cubes = ((first[:, None] + CORNERS) * torch.tensor([side * side, side, 1])).sum(-1)
        return lattice.reshape(-1, 3) / resolution - 0.5, cubes

    def __call__(self, voxelgrid_vertices: Tensor, scalar_field: Tensor, cube_idx: Tensor, resolution: int, training: bool = False):
        """Vertices [V, 3], int64 faces [F, 3] that look towards positive values, and a regularizer a vertex [V]."""
        count = len(voxelgrid_vertices)
        assert voxelgrid_vertices.shape == (count, 3) and scalar_field.shape == (count,)
        assert cube_idx.shape == (resolution**3, 8), "the cubes of the whole grid, in order"
        inside = scalar_field < 0
        assert bool((scalar_field != 0).all())
        total, share = voxelgrid_vertices.new_zeros(len(cube_idx), 3), voxelgrid_vertices.new_zeros(len(cube_idx), 1)
        for a, b in EDGES:
            start, end = cube_idx[:, a], cube_idx[:, b]
            crossed = (inside[start] != inside[end])[:, None]
            way = (scalar_field[start] / (scalar_field[start] - scalar_field[end]).where(crossed[:, 0], scalar_field.new_ones(())))[:, None]
            place = voxelgrid_vertices[start] + way * (voxelgrid_vertices[end] - voxelgrid_vertices[start])
            total, share = total + place.where(crossed, total.new_zeros(())), share + crossed
        used = share[:, 0] > 0
        number = used.cumsum(0) - 1
        vertices = (total / share.clamp(min=1))[used]
        return vertices, self._faces(inside, cube_idx, resolution, number), vertices.new_zeros(len(vertices))

    def _faces(self, inside: Tensor, cubes: Tensor, n: int, number: Tensor) -> Tensor:
        """Two triangles around each crossed edge between four cubes."""
        place = torch.arange(n**3).view(n, n, n)
        found = []
        for axis in range(3):
            along, across = (axis + 1) % 3, (axis + 2) % 3
            own = place.movedim((axis, along, across), (0, 1, 2))
            around = [own[:, 1:, 1:], own[:, :-1, 1:], own[:, :-1, :-1], own[:, 1:, :-1]]
            quads = torch.stack([cube.reshape(-1) for cube in around], -1)
            step = 1 << axis  # of corner 0's neighbour along the axis
            first, second = inside[cubes[quads[:, 0], 0]], inside[cubes[quads[:, 0], step]]
            outward = quads[first & ~second]
            inward = quads[~first & second].flip(1)
            found.append(number[torch.cat([outward, inward])])
        quads = torch.cat(found)
        return torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def modules() -> dict[str, types.ModuleType]:
    """What `import kaolin` brings, for sys.modules."""
    names = ("kaolin", "kaolin.ops", "kaolin.ops.conversions")
    made = {name: types.ModuleType(name) for name in names}
    for name in names:
        made[name].__path__ = []  # type: ignore[attr-defined]
    made["kaolin.ops.conversions"].FlexiCubes = FlexiCubes  # type: ignore[attr-defined]
    made["kaolin.ops.conversions"].marching_tetrahedra = marching_tetrahedra  # type: ignore[attr-defined]
    return made


def without(name: str) -> dict[str, types.ModuleType]:
    """As `modules`, of a Kaolin that is too old to have that name."""
    made = modules()
    delattr(made["kaolin.ops.conversions"], name)
    return made
