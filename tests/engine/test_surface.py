"""The narrow band must be invisible: whatever happens to the parameters, extraction equals that of the whole grid."""

from __future__ import annotations

import pytest
import torch

from engine.isosurface.dmtet import TetGrid
from engine.surface import Surface


def torus(grid: TetGrid) -> torch.Tensor:
    x, y, z = grid.points.unbind(1)
    return ((x**2 + y**2).sqrt() - 0.5).hypot(z) - 0.2


def assert_same_as_whole_grid(surface: Surface) -> None:
    vertices, faces = surface.extract()
    whole_vertices, whole_faces = surface.grid.surface(surface.sdf, surface.deform)
    assert torch.equal(vertices, whole_vertices)
    # the triangles come in the same order: both list the tetrahedra in the grid's order
    assert torch.equal(faces, whole_faces)


def test_band_is_a_small_part_of_the_grid():
    grid = TetGrid.make(32)
    surface = Surface.from_sdf(grid, torus(grid))
    assert_same_as_whole_grid(surface)
    assert len(surface._whole_band().tets) < 0.15 * len(grid.tets)
    assert surface.refreshes == 1


def test_random_optimization_always_equals_full_extraction():
    grid = TetGrid.make(16)
    surface = Surface.from_sdf(grid, torus(grid))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(surface.parameters(), lr=0.02)
    for _ in range(60):
        assert_same_as_whole_grid(surface)
        vertices, _ = surface.extract()
        pull = torch.randn(vertices.shape, generator=generator) + 2 * vertices.detach()
        optimizer.zero_grad()
        ((vertices * pull).sum() + surface.sdf.square().sum()).backward()
        optimizer.step()
    assert 2 <= surface.refreshes < 60, "the band must be refreshed when it is left, and not at every step"


def test_jumps_of_single_far_vertices_are_noticed():
    grid = TetGrid.make(16)
    surface = Surface.from_sdf(grid, torus(grid))
    surface.extract()
    outside_band = torch.ones(len(grid.points), dtype=torch.bool)
    outside_band[surface._whole_band().tets.unique()] = False
    for vertex in outside_band.nonzero().squeeze(1)[::37].tolist():
        with torch.no_grad():
            surface.sdf[vertex] *= -1
        assert_same_as_whole_grid(surface)


def test_small_changes_keep_the_band():
    grid = TetGrid.make(16)
    surface = Surface.from_sdf(grid, torus(grid))
    surface.extract()
    for _ in range(10):
        with torch.no_grad():
            surface.sdf += 0.005  # ten times a twenty-fifth of the band's half-width of 2 / 16
        assert_same_as_whole_grid(surface)
    assert surface.refreshes == 1


def test_gradients_equal_those_of_the_whole_grid():
    grid = TetGrid.make(12)
    surface = Surface.from_sdf(grid, torus(grid))
    with torch.no_grad():
        surface.deform += 0.3
    loss = surface.extract()[0].square().sum()
    own = torch.autograd.grad(loss, list(surface.parameters()))
    whole = torch.autograd.grad(grid.surface(surface.sdf, surface.deform)[0].square().sum(), list(surface.parameters()))
    for mine, theirs in zip(own, whole, strict=True):
        assert mine.abs().max() > 0
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7)  # sums in another order


def test_field_that_leaves_the_grid_is_closed():
    grid = TetGrid.make(10)
    surface = Surface.from_sdf(grid, grid.points.norm(dim=1) - 1.4)
    assert_same_as_whole_grid(surface)
    vertices, faces = surface.extract()
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values
    assert (torch.unique(edges, dim=0, return_counts=True)[1] == 2).all()
    assert vertices.abs().max() <= 1 + 1e-6 + 0.8 / 10


def test_empty_field_gives_an_empty_mesh():
    surface = Surface(TetGrid.make(6))
    vertices, faces = surface.extract()
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)
    assert faces.dtype == torch.int32


def test_state_dict_round_trip():
    grid = TetGrid.make(12)
    surface = Surface.from_sdf(grid, torus(grid))
    with torch.no_grad():
        surface.deform += torch.randn(surface.deform.shape, generator=torch.Generator().manual_seed(3))
    vertices, faces = surface.extract()
    other = Surface(TetGrid.make(12))
    other.extract()  # its band belongs to another field
    other.load_state_dict(surface.state_dict())
    again, faces_again = other.extract()
    assert torch.equal(vertices, again) and torch.equal(faces, faces_again)


def test_state_of_another_resolution_is_refused():
    surface = Surface(TetGrid.make(12))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Surface(TetGrid.make(14)).load_state_dict(surface.state_dict())


def test_band_edges_are_those_of_the_band():
    grid = TetGrid.make(10)
    surface = Surface.from_sdf(grid, torus(grid))
    edges = {tuple(sorted(edge)) for edge in surface._whole_band().edges.tolist()}
    assert len(edges) == len(surface._whole_band().edges)
    own = {tuple(sorted((tet[a], tet[b]))) for tet in surface._whole_band().tets.tolist() for a in range(4) for b in range(a)}
    assert edges == own
    assert surface.band_vertices().tolist() == sorted({corner for tet in surface._whole_band().tets.tolist() for corner in tet})


@pytest.mark.parametrize("crisp", [False, True])
def test_the_membranes_energy_and_gradient_are_those_of_the_bands_edges(crisp):
    grid = TetGrid.make(10)
    field = torus(grid)
    surface = Surface.from_sdf(grid, field, torch.zeros_like(grid.points) if crisp else None)
    surface.extract()
    assert surface.membrane(field) == 0
    with torch.no_grad():
        for parameter in surface.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    start, end = surface._whole_band().edges.unbind(1)
    moved = ((surface.sdf - field) / grid.spacing).unsqueeze(1)
    moved = moved if crisp else torch.cat([moved, surface.deform], dim=1)
    expected = (moved[start] - moved[end]).square().sum()
    torch.testing.assert_close(surface.membrane(field), expected)
    for parameter in (surface.sdf,) if crisp else surface.parameters():
        (own,) = torch.autograd.grad(3 * surface.membrane(field), parameter)
        torch.testing.assert_close(own, torch.autograd.grad(3 * expected, parameter, retain_graph=True)[0])
        assert own.abs().max() > 0


def test_a_loaded_surface_goes_on_with_the_band_of_the_one_that_was_saved():
    """The regularization sums over the band, so another band is another result: a resumed job once differed by that."""
    grid = TetGrid.make(16)
    surface = Surface.from_sdf(grid, grid.points.norm(dim=1) - 0.5)
    surface.extract()
    with torch.no_grad():
        surface.sdf.add_(0.4 * grid.spacing)  # no corner of a left-out tetrahedron changes its sign: the band stays
    surface.extract()
    assert surface.refreshes == 1
    loaded = Surface(grid)
    loaded.extract()
    loaded.load_state_dict(surface.state_dict())
    assert torch.equal(loaded._whole_band().edges, surface._whole_band().edges)
    fresh = Surface.from_sdf(grid, surface.sdf.detach())
    assert len(fresh._whole_band().edges) != len(surface._whole_band().edges), "else this test shows nothing"
    assert torch.equal(loaded.extract()[0], surface.extract()[0])
