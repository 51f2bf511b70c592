"""Marching tetrahedra against analytic shapes and hand-computed numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine.isosurface import dmtet
from engine.isosurface.dmtet import DEFORM_RANGE, TET_EDGES, TRIANGLES, TetGrid, marching_tetrahedra

UNIT_TET = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)


def volumes(points: torch.Tensor, tets: torch.Tensor) -> torch.Tensor:
    a, b, c, d = points.double()[tets].unbind(1)
    return torch.linalg.cross(b - a, c - a).mul(d - a).sum(-1) / 6


def mesh_volume(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    a, b, c = vertices.double()[faces.long()].unbind(1)
    return float((torch.linalg.cross(a, b) * c).sum() / 6)


def edge_counts(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How often each directed and each undirected edge occurs."""
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()
    _, once = torch.unique(directed, dim=0, return_counts=True)
    _, twice = torch.unique(directed.sort(dim=1).values, dim=0, return_counts=True)
    return once, twice


def assert_watertight(faces: torch.Tensor) -> None:
    once, twice = edge_counts(faces)
    assert (once == 1).all(), "an edge is used twice in the same direction"
    assert (twice == 2).all(), "an edge without exactly two faces"


def euler(vertices: torch.Tensor, faces: torch.Tensor) -> int:
    return len(vertices) - len(edge_counts(faces)[1]) + len(faces)


def sphere(grid: TetGrid, radius: float = 0.6) -> torch.Tensor:
    return grid.points.norm(dim=1) - radius


def test_hand_computed_tetrahedron():
    sdf = torch.tensor([-1.0, 1, 3, 1], dtype=torch.float64)
    vertices, faces = marching_tetrahedra(UNIT_TET, sdf, torch.tensor([[0, 1, 2, 3]]))
    expected = torch.tensor([[0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.5]], dtype=torch.float64)
    assert torch.allclose(vertices[faces[0].long()], expected, atol=1e-12)
    assert faces.dtype == torch.int32 and faces.shape == (1, 3)


def test_hand_computed_quad():
    """Vertices 0 and 1 inside: the cut passes the middles of edges 02, 03, 12 and 13, and its normal points to (0, 1, 1)."""
    sdf = torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)
    vertices, faces = marching_tetrahedra(UNIT_TET, sdf, torch.tensor([[0, 1, 2, 3]]))
    assert len(faces) == 2 and len(vertices) == 4
    middles = {(0, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5)}
    assert {tuple(v) for v in vertices.tolist()} == middles
    a, b, c = vertices[faces.long()].unbind(1)
    area = torch.linalg.cross(b - a, c - a) / 2
    # the rectangle has sides 1/2 and sqrt(1/2)
    assert torch.allclose(area.sum(0), torch.tensor([0, 0.25, 0.25], dtype=torch.float64), atol=1e-12)
    assert (area @ torch.tensor([0.0, 1, 1], dtype=torch.float64) > 0).all()


@pytest.mark.parametrize("code", range(1, 15))
def test_every_case_crosses_the_right_edges_and_faces_outward(code: int):
    sign = torch.tensor([-1.0 if code >> k & 1 else 1.0 for k in range(4)], dtype=torch.float64)
    vertices, faces = marching_tetrahedra(UNIT_TET, sign, torch.tensor([[0, 1, 2, 3]]))
    differing = [edge for edge, (a, b) in enumerate(TET_EDGES) if sign[a] != sign[b]]
    assert sorted({e for t in TRIANGLES[code] for e in t}) == differing
    a, b, c = vertices[faces.long()].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    outward = UNIT_TET[sign > 0].mean(0) - UNIT_TET[sign < 0].mean(0)
    assert (normal @ outward > 0).all()


@pytest.mark.parametrize("resolution", [4, 8, 14])
def test_grid_is_complete_and_consistent(resolution: int):
    grid = TetGrid.make(resolution)
    n = resolution // 2
    assert len(grid.points) == (n + 1) ** 3 + n**3
    size = volumes(grid.points, grid.tets)
    assert torch.allclose(size, torch.full_like(size, (2 / n) ** 3 / 12), rtol=1e-4), "congruent, all of positive volume"
    for local, (a, b) in enumerate(TET_EDGES):
        own = grid.edges[grid.tet_edges[:, local]].sort(dim=1).values
        assert torch.equal(own, torch.stack([grid.tets[:, a], grid.tets[:, b]], 1).sort(dim=1).values)
    assert len(torch.unique(grid.edges.sort(dim=1).values, dim=0)) == len(grid.edges)
    # every triangle of the complex is shared by two tetrahedra, or lies on the hull, whose vertices are marked
    triangles = torch.cat([grid.tets[:, [i for i in range(4) if i != k]] for k in range(4)]).sort(dim=1).values
    unique, count = torch.unique(triangles, dim=0, return_counts=True)
    assert count.max() == 2
    assert set(unique[count == 1].unique().tolist()) == set(grid.boundary.nonzero().squeeze(1).tolist()) - unused(grid)


def unused(grid: TetGrid) -> set[int]:
    """The box's own edges and corners belong to no tetrahedron."""
    return set(range(len(grid.points))) - set(grid.tets.unique().tolist())


def test_grid_refuses_odd_resolution():
    with pytest.raises(ValueError, match="even"):
        TetGrid.make(9)


def test_extreme_deformation_turns_no_tetrahedron_inside_out():
    grid = TetGrid.make(8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        deform = 50 * torch.sign(torch.randn(grid.points.shape, generator=generator))
        moved = grid.deformed(deform)
        assert (moved - grid.points).abs().max() <= DEFORM_RANGE / 8 + 1e-6
        assert volumes(moved, grid.tets).min() > 0


def test_sphere_is_watertight_and_faces_outward():
    grid = TetGrid.make(24)
    vertices, faces = grid.surface(sphere(grid))
    assert_watertight(faces)
    assert euler(vertices, faces) == 2
    assert mesh_volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.02)  # inscribed: slightly less
    a, b, c = vertices[faces.long()].unbind(1)
    assert (torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(-1).min() > 0
    assert len(torch.unique(faces)) == len(vertices)


def test_sphere_radius_error_falls_with_the_square_of_the_step():
    errors = []
    for resolution in (12, 24, 48):
        vertices, _ = (grid := TetGrid.make(resolution)).surface(sphere(grid))
        errors.append(float((vertices.norm(dim=1) - 0.6).abs().max()))
    # linear interpolation of |x| over an edge of length l errs by at most l^2 / (8 r): with l = 2 steps, step^2 / 1.2
    assert errors[0] < (2 / 12) ** 2 / 1.2
    for coarse, fine in itertools.pairwise(errors):
        assert 3.0 < coarse / fine < 5.3


def test_torus_has_euler_characteristic_zero():
    grid = TetGrid.make(32)
    x, y, z = grid.points.unbind(1)
    vertices, faces = grid.surface(((x**2 + y**2).sqrt() - 0.5).hypot(z) - 0.2)
    assert_watertight(faces)
    assert euler(vertices, faces) == 0


def test_random_field_is_watertight_even_where_it_leaves_the_grid():
    grid = TetGrid.make(10)
    generator = torch.Generator().manual_seed(1)
    sdf = torch.randn(len(grid.points), generator=generator)
    vertices, faces = grid.surface(sdf, torch.randn(grid.points.shape, generator=generator))
    assert_watertight(faces)
    assert mesh_volume(vertices, faces) > 0


def test_field_exactly_zero_at_vertices_gives_no_degenerate_triangles():
    grid = TetGrid.make(8)
    vertices, faces = grid.surface(grid.points[:, 0].abs() - 0.5)  # layers of vertices lie on x = +-0.5
    assert_watertight(faces)
    assert torch.isfinite(vertices).all()


def test_sheets_as_thick_as_the_grid_asks_for_are_never_torn():
    grid = TetGrid.make(16)
    generator = torch.Generator().manual_seed(4)
    for _ in range(10):
        normal = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        slab = (grid.points @ normal).abs() - 1.001 * grid.spacing
        vertices, faces = grid.surface(torch.maximum(slab, grid.points.norm(dim=1) - 0.7))  # a disc
        assert_watertight(faces)
        assert euler(vertices, faces) == 2, "one piece without holes"


def test_empty_and_full_fields():
    grid = TetGrid.make(6)
    vertices, faces = grid.surface(torch.ones(len(grid.points)))
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)
    vertices, faces = grid.surface(-torch.ones(len(grid.points)))
    assert_watertight(faces)
    assert euler(vertices, faces) == 2


def test_gradients_match_finite_differences():
    grid = TetGrid.make(6)
    generator = torch.Generator().manual_seed(2)
    sdf = sphere(grid, 0.55).double() + 0.02 * torch.randn(len(grid.points), generator=generator, dtype=torch.float64)
    deform = 0.3 * torch.randn(grid.points.shape, generator=generator, dtype=torch.float64)
    weights = torch.randn(len(grid.surface(sdf, deform)[0]), 3, generator=generator, dtype=torch.float64)

    def measure(values: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        return (grid.surface(values, motion)[0] * weights).sum()

    sdf.requires_grad_(), deform.requires_grad_()
    by_sdf, by_deform = torch.autograd.grad(measure(sdf, deform), (sdf, deform))
    step = 1e-6
    for index in by_sdf.abs().topk(12).indices.tolist():
        moved = torch.zeros_like(sdf)
        moved[index] = step
        with torch.no_grad():
            slope = (measure(sdf + moved, deform) - measure(sdf - moved, deform)) / (2 * step)
        # the second-order term of a crossing's rational function at this step is below 1e-4 of its slope
        assert float(slope) == pytest.approx(float(by_sdf[index]), rel=1e-4)
    for index in by_deform.abs().flatten().topk(12).indices.tolist():
        moved = torch.zeros_like(deform)
        moved.view(-1)[index] = step
        with torch.no_grad():
            slope = (measure(sdf, deform + moved) - measure(sdf, deform - moved)) / (2 * step)
        assert float(slope) == pytest.approx(float(by_deform.flatten()[index]), rel=1e-4)


def test_gradient_of_a_hand_computed_crossing():
    """Crossing of edge 0-1 lies at a / (a - b) = 1/4 for a = -1, b = 3; d/da = -b / (a - b)^2 = -3/16, d/db = a / (a - b)^2 = -1/16."""
    sdf = torch.tensor([-1.0, 3, 3, 3], dtype=torch.float64, requires_grad=True)
    vertices, _ = marching_tetrahedra(UNIT_TET, sdf, torch.tensor([[0, 1, 2, 3]]))
    vertices[0, 0].backward()
    assert vertices[0, 0].item() == pytest.approx(0.25, abs=1e-12)
    assert sdf.grad.tolist() == pytest.approx([-3 / 16, -1 / 16, 0, 0], abs=1e-12)


def test_table_is_symmetric_under_complement():
    """Swapping inside and outside must cross the same edges."""
    for code in range(16):
        own = sorted({e for t in TRIANGLES[code] for e in t})
        assert own == sorted({e for t in TRIANGLES[15 - code] for e in t})


def test_dtype_follows_the_field():
    grid = TetGrid.make(6)
    assert grid.surface(sphere(grid))[0].dtype == torch.float32
    assert grid.surface(sphere(grid).double())[0].dtype == torch.float64
    assert dmtet.NEAREST > 0
