"""The colour field against closed forms, and its fast path against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.mesh import Mesh
from engine.texture.field import ColourField, sample_grids, surface_samples


def points_in_box(count: int, seed: int = 0, extent: float = 1.0) -> torch.Tensor:
    return (torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * extent


def random_field(resolution: int) -> ColourField:
    return ColourField(resolution, noise=1.0, generator=torch.Generator().manual_seed(3))


def test_levels_double_up_to_the_resolution() -> None:
    assert [grid.shape[0] for grid in ColourField(64).grids] == [8, 16, 32, 64]
    assert [grid.shape[0] for grid in ColourField(48).grids] == [8, 16, 32, 48]
    assert [grid.shape[0] for grid in ColourField(8).grids] == [8]
    with pytest.raises(ValueError, match="at least 2"):
        ColourField(1)


def test_trilinear_sampling_reproduces_a_linear_function() -> None:
    """Trilinear interpolation is exact for polynomials linear in each axis; only float32 rounding is left."""
    field = ColourField(16)
    ticks = torch.linspace(-1, 1, 16)
    x, y, z = torch.meshgrid(ticks, ticks, ticks, indexing="ij")
    with torch.no_grad():
        field.grids[-1].copy_(torch.stack([x, y - 2 * z, x * y * z], dim=-1))
    points = points_in_box(500)
    px, py, pz = points.unbind(1)
    expected = torch.stack([px, py - 2 * pz, px * py * pz], dim=-1)
    assert torch.allclose(field.raw(points), expected, atol=2e-6)
    assert torch.allclose(field(points), expected.sigmoid(), atol=1e-6)


def test_outside_the_box_is_the_border() -> None:
    field = random_field(16)
    outside = torch.tensor([[1.5, 0.2, -3.0], [0.1, 1.0001, 0.0]])
    assert torch.allclose(field(outside), field(outside.clamp(-1, 1)), atol=1e-6)


def test_fast_path_agrees_with_the_reference_in_values_and_gradients() -> None:
    field = random_field(32)
    points = points_in_box(2000, extent=1.05)
    weight = points_in_box(2000, seed=1)
    fast = field.raw(points)
    fast_gradients = torch.autograd.grad((fast * weight).sum(), list(field.grids))
    slow = sample_grids(points, list(field.grids))
    slow_gradients = torch.autograd.grad((slow * weight).sum(), list(field.grids))
    assert torch.allclose(fast, slow, atol=2e-5)  # float32 sums in another order
    for left, right in zip(fast_gradients, slow_gradients, strict=True):
        assert torch.allclose(left, right, atol=1e-4)


def test_gradients_match_finite_differences() -> None:
    field = ColourField(8, noise=1.0, generator=torch.Generator().manual_seed(5)).double()
    points = points_in_box(7, extent=0.9).double().requires_grad_()
    assert torch.autograd.gradcheck(field, (points,), eps=1e-6, atol=1e-5)
    moved = points_in_box(7, extent=0.9).requires_grad_()
    (gradient,) = torch.autograd.grad(random_field(16)(moved).sum(), moved)
    assert gradient.abs().max() > 0


def test_no_points_is_allowed() -> None:
    assert ColourField(16)(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("resolution", [32, 96])
def test_initialize_takes_the_nearest_colour_everywhere(resolution: int) -> None:
    """Two half spaces of one colour each: away from the border every place has its side's colour, near or far from a point."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    red, blue = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.1, 0.2, 0.9], np.float32)
    colours = np.where(points[:, :1] < 0, red, blue)
    field = ColourField(resolution)
    field.initialize(points, colours)
    probes = points_in_box(3000, seed=2)
    clear = probes[:, 0].abs() > 0.25
    expected = torch.from_numpy(np.where(probes.numpy()[:, :1] < 0, red, blue))
    # coarse levels are not nested in the finest grid, so between its vertices the sum is only nearly the target
    assert (field(probes) - expected)[clear].abs().max() < 0.03
    sharp = (field(torch.from_numpy(points)) - torch.from_numpy(colours)).abs().mean()
    assert sharp < 0.05


def test_initialize_holds_pure_black_and_white_off_the_ends() -> None:
    field = ColourField(16)
    field.initialize(np.zeros((1, 3), np.float32), np.array([[0.0, 1.0, 0.5]], np.float32))
    assert torch.allclose(field(torch.zeros(1, 3)), torch.tensor([[0.02, 0.98, 0.5]]), atol=1e-4)
    with pytest.raises(ValueError, match="as many points as colours"):
        field.initialize(np.zeros((2, 3)), np.zeros((1, 3)))


def test_fitting_known_colours_converges() -> None:
    """Adam with the suggested rates brings a smooth function below 1 % mean error in 150 steps."""
    field = ColourField(32)
    optimizer = torch.optim.Adam(field.parameter_groups(0.1))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1 * 2**-0.25, 0.1 * 2**-0.5])
    generator = torch.Generator().manual_seed(0)

    def truth(points: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.4 * torch.sin(points * 3)

    for _ in range(150):
        points = torch.rand(2000, 3, generator=generator) * 2 - 1
        optimizer.zero_grad()
        (field(points) - truth(points)).square().mean().backward()
        optimizer.step()
    probes = points_in_box(2000, seed=9)
    assert (field(probes) - truth(probes)).abs().mean() < 0.01


def test_state_round_trips() -> None:
    field, other = random_field(24), ColourField(24)
    other.load_state_dict(field.state_dict())
    points = points_in_box(50)
    assert torch.equal(field(points), other(points))


def test_surface_samples_are_even_by_area_and_lie_on_the_mesh() -> None:
    """A long thin and a small triangle in two planes: counts follow areas to one sample, colours are interpolated."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
    colours = np.clip(vertices / 10, 0, 1)
    mesh = Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32), colours)
    points, painted = surface_samples(mesh, 1100)
    assert np.array_equal(points[:6], vertices)
    sampled = points[6:]
    assert abs((sampled[:, 2] == 0).sum() - 1000) <= 1
    assert painted is not None and np.allclose(painted[6:], sampled / 10, atol=1e-6)
    low = sampled[sampled[:, 2] == 0]
    assert np.allclose(low.mean(axis=0), [10 / 3, 1 / 3, 0], atol=0.05)  # the centroid
    assert surface_samples(Mesh(vertices, mesh.faces), 10)[1] is None
