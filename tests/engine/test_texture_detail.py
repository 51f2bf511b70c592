"""Edges of the artist's colours come back; uneven tones, unknown colours and what closing filled stay the refined field's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engine.mesh import Mesh
from engine.texture.artist import ArtistColours, painted_points
from engine.texture.detail import CrispColours
from engine.texture.field import ColourField

SHELL = 0.025
RED, WHITE = (0.8, 0.1, 0.1), (0.9, 0.9, 0.9)


def board(colour_of, cells: int = 64) -> Mesh:
    """The square -0.8..0.8 in the plane z = 0, every cell with four corners of its own in the colour of its middle."""
    ticks = np.linspace(-0.8, 0.8, cells + 1)
    low = np.stack(np.meshgrid(ticks[:-1], ticks[:-1], indexing="ij"), axis=-1).reshape(-1, 2)
    step = ticks[1] - ticks[0]
    corners = low[:, None] + step * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    colours = np.repeat(np.array([colour_of(x, y) for x, y in low + step / 2], dtype=np.float32), 4, axis=0)
    vertices = np.concatenate([corners, np.zeros((*corners.shape[:2], 1))], axis=-1).reshape(-1, 3).astype(np.float32)
    first = 4 * np.arange(len(low))[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3).astype(np.int32)
    return Mesh(vertices, faces, colours)


def fitted(sketch: Mesh, resolution: int = 24) -> tuple[ColourField, ArtistColours]:
    field = ColourField(resolution)
    points, colours = painted_points(sketch)
    field.initialize(points, np.nan_to_num(colours, nan=0.6))
    artist = ArtistColours.of(field, sketch)
    assert artist is not None
    return field, artist


def above(x: float, height: float = SHELL) -> torch.Tensor:
    return torch.tensor([[x, 0.013, height]], dtype=torch.float32)


def halves(x: float, y: float) -> tuple[float, float, float]:
    return RED if x < 0 else WHITE


def test_an_edge_that_the_grid_smears_is_as_sharp_as_drawn() -> None:
    sketch = board(halves)
    field, artist = fitted(sketch)
    crisp = CrispColours(field, artist, sketch, SHELL)
    for x, drawn in ((-0.02, RED), (0.02, WHITE)):
        smeared = (field(above(x)) - torch.tensor(drawn)).abs().max().item()
        assert smeared > 0.15
        assert (crisp(above(x)) - torch.tensor(drawn)).abs().max().item() < 0.02


def test_guidance_s_changes_stay_beside_the_edges_and_far_from_them() -> None:
    sketch = board(halves)
    field, artist = fitted(sketch)
    with torch.no_grad():
        field.grids[0].sub_(0.5)  # everything darker
    crisp = CrispColours(field, artist, sketch, SHELL)
    far = above(-0.5)
    assert torch.equal(crisp(far), field(far))
    assert (crisp(above(0.02)) - field(above(0.02))).abs().max() > 0.1
    assert (crisp(above(0.02)) < torch.tensor(WHITE) - 0.03).all()


def test_uneven_tones_of_one_colour_stay_evened_out() -> None:
    sketch = board(lambda x, y: (0.5 + 0.02 * np.sign(np.sin(40 * x)), 0.5, 0.5))
    field, artist = fitted(sketch)
    crisp = CrispColours(field, artist, sketch, SHELL)
    places = torch.cat([above(x) for x in np.linspace(-0.7, 0.7, 57)])
    assert torch.equal(crisp(places), field(places))


def test_what_lies_further_from_the_sketch_than_its_sheets_are_thick_is_left_alone() -> None:
    sketch = board(halves)
    field, artist = fitted(sketch)
    crisp = CrispColours(field, artist, sketch, SHELL)
    assert torch.equal(crisp(above(0.02, 2 * SHELL)), field(above(0.02, 2 * SHELL)))


def test_unknown_colours_have_no_edges() -> None:
    sketch = board(halves)
    unknown = sketch.colours.copy()
    unknown[sketch.vertices[:, 0] > -0.1] = np.nan
    sketch = dataclasses.replace(sketch, colours=unknown)
    field, artist = fitted(sketch)
    crisp = CrispColours(field, artist, sketch, SHELL)
    assert torch.allclose(crisp(above(0.3)), field(above(0.3)), atol=1e-3)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_weight_says_how_much_comes_back(weight: float) -> None:
    sketch = board(halves)
    field, artist = fitted(sketch)
    whole = CrispColours(field, artist, sketch, SHELL)(above(0.02)) - field(above(0.02))
    part = CrispColours(field, artist, sketch, SHELL, weight)(above(0.02)) - field(above(0.02))
    assert torch.allclose(part, weight * whole, atol=0.02)
