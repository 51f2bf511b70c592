"""Guidance cannot pierce: whatever pulls at the field, the middle of every stroke, shell and thin wall stays inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.isosurface.bounds import field_bounds, local_thickness
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.topology import without_small_holes
from engine.mesh import Mesh
from engine.sketch.crowd import Crowd
from engine.sketch.sdf import sketch_sdf
from engine.sketch.strokes import split_strokes
from engine.sketch.thin import growth, thin_walls
from engine.subject import RefineSubject
from engine.surface import Surface
from engine.texture.field import ColourField
from tests.engine.shapes import box, flipped, lattice, tube
from tests.engine.stroke_sketches import draw
from tests.engine.test_closing import handles, in_engine_space

GRID = TetGrid.make(56)
POINTS = GRID.points


def plate(half: float) -> torch.Tensor:
    return torch.stack([POINTS[:, 0].abs() - 0.6, POINTS[:, 1].abs() - 0.6, POINTS[:, 2].abs() - half]).amax(dim=0)


def test_thickness_of_a_ball_on_a_plate():
    """The plate's is its half-thickness, the ball's its radius, each to about a step of the grid."""
    ball = (POINTS - torch.tensor([0.0, 0, 0.3])).norm(dim=1) - 0.35
    sdf = torch.minimum(plate(0.08), ball)
    thickness = torch.from_numpy(local_thickness(GRID, sdf, np.linspace(0.03, 0.33, 31)))
    middle_of_plate = (POINTS[:, 2].abs() < 1e-3) & (POINTS[:, 0].abs() > 0.4) & (POINTS[:, :2].abs().amax(dim=1) < 0.5)
    assert (thickness[middle_of_plate] - 0.08).abs().max() < GRID.spacing
    assert thickness[ball < -0.08].min() > 0.25
    assert (thickness[sdf >= 0] == 0).all()


@pytest.mark.parametrize("half", [1.05 * GRID.spacing, 2 * GRID.spacing, 0.2])
def test_a_plate_keeps_its_middle_and_gives_the_rest(half: float):
    least, largest = field_bounds(GRID, plate(half), 0.25)
    middle = (POINTS[:, 2].abs() < 1e-3) & (POINTS[:, :2].abs().amax(dim=1) < 0.4)
    assert middle.any() and (largest[middle] < 0).all()
    assert (least <= plate(half) - 0.25 + 1e-6).all()
    if half < 0.1:
        assert handles(largest, GRID) == 0
    else:
        skin = (plate(half) < 0) & (plate(half) > -0.05) & (POINTS[:, :2].abs().amax(dim=1) < 0.3)
        assert (largest[skin] > 0.05).all(), "a thick body may be carved"


def subject_of(sketch: Mesh, adherence: float) -> RefineSubject:
    values = torch.from_numpy(sketch_sdf(sketch, POINTS.numpy(), GRID.spacing, 0.04))
    return RefineSubject(Surface.from_sdf(GRID, without_small_holes(GRID, values, 0.04)), ColourField(16), adherence, None)


@pytest.mark.parametrize("pull", ["outwards", "inwards", "noise"])
@pytest.mark.parametrize("name", ["cup", "sunflower"])
def test_an_adversarial_prior_does_not_pierce(name: str, pull: str):
    """Adam follows a gradient that shrinks, swells or shreds everything, at almost no adherence."""
    subject = subject_of(in_engine_space(draw(name)), 0.01)
    before, start = handles(subject.fitted, GRID), subject.fitted
    middle = start < -0.5 * GRID.spacing  # all of these sketches is as thin as the grid can hold
    assert middle.sum() > 50
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([subject.surface.sdf], lr=0.02)
    for _ in range(40):
        field = subject.surface.sdf
        noise = torch.randn(field.shape, generator=generator)
        loss = {"outwards": field.sum(), "inwards": -field.sum(), "noise": (field * noise).sum()}[pull]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        subject.project()
    end = subject.surface.sdf.detach()
    assert (end[middle] < 0).all()
    assert (end - start).abs().max() > 0.1, "the prior did move something"
    if pull == "inwards":
        assert handles(end, GRID) <= before


def thin_bowl() -> Mesh:
    """A closed bowl with a foot as a finished result has them: the wall a third of a grid step thick, the foot a body."""
    angle = np.linspace(0, 2 * np.pi, 65)[None, :-1]
    outside = np.array([[0.0, -0.5], [0.25, -0.5], [0.25, -0.3], [0.55, -0.1], [0.7, 0.2], [0.75, 0.5]])
    inside = np.array([[0.745, 0.5], [0.695, 0.2], [0.54, -0.08], [0.2, -0.28], [0.0, -0.28]])
    profile = np.concatenate([outside, inside])
    x, y = profile[:, :1] * np.cos(angle), profile[:, :1] * np.sin(angle)
    return lattice(np.stack(np.broadcast_arrays(x, y, profile[:, 1:]), axis=-1), closed=True)


@pytest.mark.parametrize("inside_out", [False, True])
def test_a_finished_result_is_not_shredded(inside_out: bool):
    """A wall much thinner than the grid gets the least thickness and no hole, and what is thick does not grow."""
    bowl = flipped(thin_bowl()) if inside_out else thin_bowl()
    sdf = torch.from_numpy(sketch_sdf(bowl, POINTS.numpy(), GRID.spacing, 0.0))
    assert handles(sdf, GRID) == 0
    height = np.linspace(-0.07, 0.48, 30)
    along = np.stack([np.interp(height, [-0.09, 0.2, 0.5], [0.545, 0.6975, 0.7475]), 0 * height, height], axis=1)
    assert sketch_sdf(bowl, along, GRID.spacing, 0.0).max() < -0.8 * GRID.spacing
    below = np.array([[0.0, 0, -0.51], [0.1, 0, -0.51], [0.1, 0.1, -0.51]])
    assert (sketch_sdf(bowl, below, GRID.spacing, 0.0) > 0.005).all()


def test_walls_are_found_and_edges_are_not():
    block = split_strokes(box((0.5, 0.4, 0.3)).vertices, box((0.5, 0.4, 0.3)).faces)[0]
    assert len(thin_walls(Crowd([block]), np.array([0.05]), 0.04)) == 0
    board = split_strokes(box((0.5, 0.4, 0.02)).vertices, box((0.5, 0.4, 0.02)).faces)[0]
    walls = thin_walls(Crowd([board]), np.array([0.05]), 0.04)
    assert np.abs(walls[..., 2]).max() < 1e-6
    area = np.linalg.norm(np.cross(walls[:, 1] - walls[:, 0], walls[:, 2] - walls[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(2 * 0.8, rel=0.1), "the middle, once from either side"


def test_what_is_thin_as_a_whole_grows_to_the_thickness_exactly():
    """A tube a little too thin gains what it lacks; a closed mesh with a body gains nothing."""
    mesh = tube(0.0235, 1.0)
    stroke = split_strokes(mesh.vertices, mesh.faces)[0]
    assert stroke.radius + growth(stroke, 0.025) == pytest.approx(0.025)
    whole = split_strokes(thin_bowl().vertices, thin_bowl().faces)[0]
    assert whole.radius < 0.03 and growth(whole, 0.03) == 0
