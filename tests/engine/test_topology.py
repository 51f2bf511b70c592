"""Small holes are closed by membranes: nothing else changes, and the count of handles is that of a surface a little further out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine.isosurface import topology
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.topology import NEIGHBOURS, without_small_holes

GRID = TetGrid.make(40)


def euler(sdf: torch.Tensor) -> int:
    vertices, faces = GRID.surface(sdf)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long().sort(dim=1).values
    return len(vertices) - len(torch.unique(edges, dim=0)) + len(faces)


def plate_with_hole(radius: float, thickness: float = 0.12) -> torch.Tensor:
    x, y, z = GRID.points.unbind(1)
    plate = torch.stack([x.abs() - 0.6, y.abs() - 0.6, z.abs() - thickness]).amax(dim=0)
    return torch.maximum(plate, radius - x.hypot(y))


def test_the_link_is_a_sphere():
    """14 neighbours, 36 links and 24 triangles: Euler characteristic 2, and each neighbour of a set is judged in it."""
    assert topology._linked().sum() == 2 * 36
    assert topology._link_euler()[-1] == 2 and topology._link_euler()[0] == 0
    assert (topology._link_euler()[1 << np.arange(14)] == 1).all()


def test_simple_points_by_hand():
    simple, linked = topology._simple(), topology._linked()
    assert not simple[0] and not simple[-1], "an isolated vertex and one inside a solid are none"
    assert simple[1 << np.arange(14)].all(), "the tip of a thread is one"
    for first, second in itertools.combinations(range(14), 2):
        assert simple[(1 << first) + (1 << second)] == linked[first, second], "between two parts a vertex holds them together"
    half = (1 << np.flatnonzero(NEIGHBOURS[:, 2] < 0)).sum()
    assert simple[half], "a vertex on a flat surface"


@pytest.mark.parametrize(("radius", "closed"), [(0.06, True), (0.11, True), (0.3, False)])
def test_a_hole_narrower_than_twice_the_reach_is_closed(radius: float, closed: bool):
    sdf = plate_with_hole(radius)
    result = without_small_holes(GRID, sdf, 0.13)
    assert euler(sdf) == 0
    assert euler(result) == (2 if closed else 0)
    changed = result != sdf
    assert (result <= sdf).all() and changed.any() == closed
    at = GRID.points[changed]
    assert (at[:, :2].norm(dim=1) < radius).all(), "the membrane is in the hole and nowhere else"
    assert changed.sum() < 40


def test_a_slit_with_bars_becomes_one_slit_or_none():
    """What the grid makes of a web that it cannot hold: bars across a slit, each pair with a hole between."""
    x, y, z = GRID.points.unbind(1)
    boards = torch.maximum(torch.maximum(x.abs() - 0.7, z.abs() - 0.1), torch.maximum(y.abs() - 0.5, 0.07 - y.abs()))
    frame = torch.maximum((x.abs() - 0.7).abs() - 0.1, torch.maximum(y.abs() - 0.5, z.abs() - 0.1))
    bars = torch.minimum(boards, frame)
    bars = torch.minimum(bars, torch.maximum(torch.maximum((torch.remainder(x, 0.2) - 0.1).abs() - 0.051, z.abs() - 0.051), y.abs() - 0.2))
    assert (2 - euler(bars)) // 2 > 3
    assert euler(without_small_holes(GRID, bars, 0.1)) == 2


def test_parts_that_only_come_near_are_not_tied_together():
    x, y, z = GRID.points.unbind(1)
    two = torch.minimum((x - 0.45).hypot(y).hypot(z) - 0.4, (x + 0.45).hypot(y).hypot(z) - 0.4)
    assert torch.equal(without_small_holes(GRID, two, 0.12), two)


def test_a_cavity_that_is_sealed_is_filled():
    x, y, z = GRID.points.unbind(1)
    radius = x.hypot(y).hypot(z)
    bottle = torch.maximum((radius - 0.5).abs() - 0.1, torch.where(z > 0, 0.07 - x.hypot(y), torch.tensor(-1.0)))
    assert euler(bottle) == 2 and bottle[radius < 0.3].min() > 0
    result = without_small_holes(GRID, bottle, 0.12)
    assert euler(result) == 2 and (result[radius < 0.35] < 0).all()


def test_nothing_to_do_changes_nothing():
    ball = GRID.points.norm(dim=1) - 0.6
    assert torch.equal(without_small_holes(GRID, ball, 0.1), ball)
    assert torch.equal(without_small_holes(GRID, ball, 0.0), ball)


def test_noise_never_gains_handles():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        sdf = GRID.points.norm(dim=1) - 0.5 + torch.randn(len(GRID.points), generator=generator) * 0.04
        enclosed = topology._filled(GRID, ((sdf < 0) & ~GRID.boundary).numpy())
        whole = torch.where(torch.from_numpy(enclosed) & (sdf >= 0), -0.01, sdf)
        result = without_small_holes(GRID, whole, 0.05)
        assert euler(result) > euler(whole), "there are holes, and they become fewer"
