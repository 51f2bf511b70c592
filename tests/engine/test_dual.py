"""The dual of marching tetrahedra: always a closed manifold, exact on flat faces, creases and corners, and differentiable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.dual import WAYS, Cells, corner_gradients, dual_vertices, rings
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.sketch.sdf import SketchField
from engine.sketch_surface import drawn_as, sketch_surface
from engine.surface import Surface
from tests.engine.shapes import box, flipped, merge, moved, ribbon, tube
from tests.engine.test_isosurface import assert_watertight, edge_counts, euler, mesh_volume

ASKEW = np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.2, 1.0, 0.4], [0.1, -0.5, 1.0]]))[0]
HALF = (0.6, 0.4, 0.25)


def askew_box(grid: TetGrid, half: tuple[float, float, float] = HALF) -> Surface:
    mesh = box(half)
    field = SketchField.of(mesh.with_vertices((mesh.vertices @ ASKEW.T).astype(np.float32)), 0.0, 0.0)
    return Surface.from_sdf(grid, *map(torch.from_numpy, field.planes(grid.points.numpy())))


def off_the_box(places: torch.Tensor, half: tuple[float, float, float] = HALF) -> torch.Tensor:
    """Distances [V] of places [V, 3] from the surface of the askew box."""
    own = (places.detach().double() @ torch.from_numpy(ASKEW)).abs() - torch.tensor(half, dtype=torch.float64)
    return (own.clamp(min=0).norm(dim=1) + own.amax(dim=1).clamp(max=0)).abs()


def normal_errors(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    """Mean angle in degrees, by area, between the faces' normals and the nearest of the box's own."""
    a, b, c = (vertices.detach().double() @ torch.from_numpy(ASKEW))[faces.long()].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    area = normal.norm(dim=1)
    cosine = normal.abs().amax(dim=1) / area.clamp(min=1e-30)
    return float((torch.rad2deg(cosine.clamp(max=1).acos()) * area).sum() / area.sum())


def test_rings_go_round_every_inner_edge():
    grid = TetGrid.make(8)
    ring = rings(grid.tet_edges, grid.kind, len(grid.edges))
    for edge in (~grid.boundary[grid.edges].any(dim=1)).nonzero().squeeze(1).tolist():
        around = [tet for tet in ring[edge].tolist() if tet >= 0]
        assert len(around) in (4, 6)
        start, end = grid.points[grid.edges[edge]]
        middles = grid.points[grid.tets[around]].mean(dim=1) - (start + end) / 2
        for own in range(len(around)):
            other = (own + 1) % len(around)
            assert len(set(grid.tets[around[own]].tolist()) & set(grid.tets[around[other]].tolist())) == 3
            assert torch.linalg.cross(middles[own], middles[other]) @ (end - start) > 0


def test_gradients_of_a_linear_field_are_exact():
    grid = TetGrid.make(8)
    field = grid.points @ torch.tensor([0.3, -1.2, 0.7]) + 0.4
    found = torch.einsum("tc,tck->tk", field[grid.tets], corner_gradients(grid)[grid.kind.long()])
    assert torch.allclose(found, torch.tensor([0.3, -1.2, 0.7]).expand_as(found), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_any_field_gives_the_closed_manifold_that_marching_tetrahedra_gives(seed: int):
    """Random signs and gradients, the worst that there can be: no ambiguity, no edge with more than two faces."""
    grid = TetGrid.make(14)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(grid.points), generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(len(values), 3, generator=generator), dim=1)
    crisp, rounded = Surface.from_sdf(grid, values, normals), Surface.from_sdf(grid, values)
    vertices, faces = crisp.extract()
    assert_watertight(faces)
    assert len(torch.unique(faces)) == len(vertices)
    assert euler(vertices, faces) == euler(*rounded.extract())
    assert vertices.isfinite().all()


def test_faces_are_flat_and_edges_sharp():
    grid = TetGrid.make(40)
    surface = askew_box(grid)
    vertices, faces = surface.extract()
    rounded = Surface.from_sdf(grid, surface.sdf.detach())
    assert off_the_box(vertices).quantile(0.99) < 0.1 * grid.spacing and off_the_box(vertices).median() < 1e-5
    assert normal_errors(vertices, faces) < 0.15 * normal_errors(*rounded.extract())
    assert mesh_volume(vertices.detach(), faces) == pytest.approx(8 * np.prod(HALF), rel=1e-3)
    corners = torch.from_numpy(((box(HALF).vertices) @ ASKEW.T).astype(np.float32))
    missed = torch.cdist(corners, vertices.detach()).amin(dim=1)
    assert missed.median() < 0.05 * grid.spacing and missed.max() < 0.7 * grid.spacing, "a corner may lie just outside of its tetrahedron"


def test_a_board_no_thicker_than_the_grid_holds_is_not_dented():
    """Corners inside of it see the far side: those planes do not count."""
    grid = TetGrid.make(40)
    half = (0.6, 0.4, 1.05 * grid.spacing)
    vertices, _ = askew_box(grid, half).extract()
    assert off_the_box(vertices, half).quantile(0.99) < 0.2 * grid.spacing


def test_edges_stay_sharp_while_the_field_moves():
    grid = TetGrid.make(40)
    surface = askew_box(grid)
    with torch.no_grad():
        surface.sdf += 0.6 * grid.spacing
        surface.sdf += 0.5 * grid.spacing * (grid.points @ torch.tensor([1.0, 0.0, 0.0]))
    vertices, faces = surface.extract()
    rounded = Surface.from_sdf(grid, surface.sdf.detach())
    assert normal_errors(vertices, faces) < 0.6 * normal_errors(*rounded.extract())


def test_gradients_are_those_of_a_plane_that_tilts_and_moves():
    """The field n . x + e (a . x + c) is zero where the vertex lies, for any e: at e = 0 the vertex moves along n by -(a . x + c)."""
    grid = TetGrid.make(8)
    generator = torch.Generator().manual_seed(0)
    tets, kind = grid.tets[::53], grid.kind[::53].long()
    positions = grid.points[tets].double()
    normal = torch.nn.functional.normalize(torch.randn(len(tets), 1, 3, generator=generator, dtype=torch.float64), dim=2)
    field = ((positions - positions.mean(dim=1, keepdim=True)) * normal).sum(-1)
    tilt, shift = torch.randn(len(tets), 1, 3, generator=generator, dtype=torch.float64), 0.3
    moved = torch.zeros_like(field, requires_grad=True)
    columns = (part.permute(2, 1, 0) for part in (positions, normal.expand(-1, 4, -1), corner_gradients(grid)[kind].double()))
    places, normals, gradients = columns
    cells = Cells(places, (field + moved).t(), moved.t(), normals, gradients)
    vertices, _, _ = dual_vertices(cells, grid.spacing)
    assert ((vertices - positions.mean(dim=1)) * normal[:, 0]).sum(1).abs().max() < 1e-6
    along = (vertices * normal[:, 0]).sum()
    change = (torch.autograd.grad(along, moved)[0] * ((positions * tilt).sum(-1) + shift)).sum(dim=1)
    expected = -(vertices.detach() * tilt[:, 0]).sum(1) - shift
    assert torch.allclose(change, expected, rtol=0.02, atol=0.02)


def test_the_band_is_not_seen():
    grid = TetGrid.make(16)
    values = ((grid.points[:, :2].norm(dim=1) - 0.5).hypot(grid.points[:, 2])) - 0.2
    normals = torch.nn.functional.normalize(grid.points, dim=1)
    surface = Surface.from_sdf(grid, values, normals)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        with torch.no_grad():
            surface.sdf += 0.03 * torch.randn(values.shape, generator=generator)
        fresh = Surface(grid, crisp=True)
        fresh.load_state_dict({**surface.state_dict(), "banded": torch.zeros_like(values)})  # all of the grid
        for own, whole in zip(surface.extract(), fresh.extract(), strict=True):
            assert torch.equal(own, whole)
    assert surface.refreshes > 1


def test_where_no_gradient_is_known_the_middle_of_the_crossings_is_taken():
    grid = TetGrid.make(24)
    sphere = grid.points.norm(dim=1) - 0.6
    vertices, faces = Surface.from_sdf(grid, sphere, torch.zeros_like(grid.points)).extract()
    assert (vertices.norm(dim=1) - 0.6).abs().max() < 0.4 * grid.spacing
    assert_watertight(faces)


def test_nothing_inside_gives_an_empty_mesh():
    vertices, faces = Surface(TetGrid.make(8), crisp=True).extract()
    assert vertices.shape == (0, 3) and faces.shape == (0, 3) and faces.dtype == torch.int32


@pytest.mark.parametrize("sides", [4, 6])
def test_both_ways_to_cut_a_polygon_cover_it(sides: int):
    ring = {(k, (k + 1) % sides) for k in range(sides)}
    for way in WAYS[sides]:
        once, _ = edge_counts(torch.tensor(way))
        assert (once == 1).all() and len(way) == sides - 2
        directed = {(three[k], three[(k + 1) % 3]) for three in way for k in range(3)}
        assert ring <= directed


@pytest.mark.parametrize(
    ("drawn", "crisp"),
    [
        (box((0.8, 0.5, 0.3)), True),
        (merge(box((0.5, 0.5, 0.3)), moved(flipped(box((0.3, 0.2, 0.4))), 0.6, 0, 0)), True),
        (tube(0.3, 1.5), False),
        (merge(box((0.5, 0.5, 0.3)), moved(ribbon(0.4, 0.8), 0, 0, 0.9)), False),
        (box((1.0, 1.0, 0.004)), False),
    ],
    ids=["box", "boxes", "tube", "box with a ribbon", "card"],
)
def test_the_surface_is_crisp_where_the_sketch_is_made_of_closed_solids(drawn: Mesh, crisp: bool) -> None:
    local = drawn.with_vertices(SceneNormalization.of_bounds(drawn.vertices).to_engine(drawn.vertices))
    numbers = dataclasses.replace(PRESETS["draft"], grid=24)
    surface = sketch_surface(local, numbers, torch.device("cpu"))
    assert surface.crisp is crisp
    assert Surface.of_state(surface.state_dict()).crisp is crisp
    assert ("crisp" if crisp else "rounded") in drawn_as(surface, numbers)[0]
    for wish in ("dual", "tetrahedra"):
        own = dataclasses.replace(numbers, isosurface=wish)
        surface = sketch_surface(local, own, torch.device("cpu"))
        assert surface.crisp is (wish == "dual") and not drawn_as(surface, own)
