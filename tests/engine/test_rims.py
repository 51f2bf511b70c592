"""Ribbons keep their drawn width: boards with gaps between them stay apart, and skins of bodies stay closed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.isosurface.topology import without_small_holes
from engine.mesh import Mesh
from engine.sketch.rims import Rims
from engine.sketch.sdf import sheets_of, sketch_sdf
from engine.sketch.strokes import split_strokes
from engine.sketch_surface import UNHELD
from tests.engine.shapes import lattice, merge, moved, ribbon, tube
from tests.engine.stroke_sketches import ribbon_along
from tests.engine.test_closing import GRID, THICKNESS, handles

CLOSING = 0.03


def on_grid(sketch: Mesh, closing: float = CLOSING) -> torch.Tensor:
    """The field of a sketch as a job makes it."""
    values = torch.from_numpy(sketch_sdf(sketch, GRID.points.numpy(), THICKNESS, closing))
    return without_small_holes(GRID, values, min(closing, UNHELD * GRID.spacing))


def boards(gap: float, count: int = 4, width: float = 0.2) -> Mesh:
    """Ribbons side by side between two posts."""
    across = (np.arange(count) - (count - 1) / 2) * (width + gap)
    posts = [moved(tube(0.06, 1.7), x, 0, 0) for x in (-0.55, 0.55)]
    slats = [moved(ribbon(width, 1.1), 0, y, 0) for y in across]
    upright = [Mesh(mesh.vertices[:, [0, 2, 1]], mesh.faces) for mesh in slats]
    return merge(*posts, *upright)


@pytest.mark.parametrize(("gap", "holes"), [(0.15, 3), (0.10, 3), (0.03, 0)])
def test_slats_stay_apart_where_their_gaps_are_wider_than_the_closing(gap: float, holes: int):
    """Radius 0.03: gaps of 0.06 and less are closed; wider than a lattice step more, they stay though the shells are 0.07 thick."""
    assert handles(on_grid(boards(gap))) == holes


def test_a_narrow_ribbon_keeps_its_middle_line():
    """It becomes a round rod of the least radius, and its tips reach no further than that radius."""
    narrow = ribbon(0.5 * THICKNESS, 1.0)
    along = np.stack([np.linspace(-0.45, 0.45, 40), 0 * np.zeros(40), np.zeros(40)], axis=1)
    assert sketch_sdf(narrow, along, THICKNESS, 0.0).max() < -0.9 * THICKNESS
    assert handles(on_grid(narrow)) == 0


@pytest.mark.parametrize("closing", [0.0, 0.03])
def test_ribbons_drawn_edge_to_edge_are_one_sheet(closing: float):
    """No groove is left between them, though each alone would draw in its rim."""
    sketch = merge(moved(ribbon(0.3, 1.0), 0, -0.15, 0), moved(ribbon(0.3, 1.0), 0, 0.1501, 0))
    seam = np.stack([np.linspace(-0.4, 0.4, 30), np.zeros(30), np.zeros(30)], axis=1)
    assert sketch_sdf(sketch, seam, THICKNESS, closing).max() < -0.9 * THICKNESS


def test_rims_move_by_the_thickness_and_no_further_than_the_middle():
    """A strip that narrows to a tip, bent in space: no corner crosses the middle line, and wide places move by the thickness."""
    run = np.linspace(0, 1, 24)
    path = np.stack([run, 0.2 * np.sin(3 * run), 0.1 * run**2], axis=1)
    width = 0.3 * (1 - run) + 0.004
    strip = lattice(path[:, None] + np.linspace(-1, 1, 3)[None, :, None] * (width[:, None, None] / 2) * np.array([0, 0, 1.0]))
    strokes = split_strokes(strip.vertices, strip.faces)
    rims = Rims.of(strokes, 0.03, 0.003)
    assert rims is not None
    vertices = strokes[0].vertices
    moves = rims.moves(vertices, np.zeros(len(vertices), dtype=np.int64), 0.03)
    nearest = np.abs(vertices[:, None, 0] - path[None, :, 0]).argmin(axis=1)
    height = vertices[:, 2] - path[nearest, 2]
    left = height + moves[:, 2]
    rim = np.abs(height) > 1e-4
    assert (left * height >= -1e-4)[rim].all()
    wide = rim & (width[nearest] > 0.1) & (vertices[:, 0] > 0.1)
    assert np.abs(np.abs(moves[wide, 2]) - 0.03).max() < 0.004
    assert not moves[~rim].any() or np.abs(moves[~rim, 2]).max() < 0.01


def test_a_closed_stroke_has_no_rim_and_moves_nowhere():
    mesh = tube(0.1, 1.0)
    strokes = split_strokes(mesh.vertices, mesh.faces)
    assert Rims.of(strokes, 0.03, 0.003) is None
    assert not sheets_of(strokes, 0.03, 0.03).inset.any()


def dome(underside: bool) -> Mesh:
    """A half ball of eighteen ribbons that leave gaps of 0.07 at their widest, open below or closed by a disc of ribbons."""
    parts = []
    for azimuth in np.linspace(0, 2 * np.pi, 18, endpoint=False):
        across = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        out = np.array([np.cos(azimuth), np.sin(azimuth), 0])
        polar = np.linspace(0.02, np.pi / 2, 12)[:, None]
        path = 0.6 * (np.sin(polar) * out + np.cos(polar) * np.array([0, 0, 1.0]))
        parts.append(ribbon_along(path, (0.9 * 2 * np.pi * 0.6 / 18 * np.sin(polar)) * across, 1.0))
        if underside:
            reach = np.linspace(0.02, 0.6, 8)[:, None]
            parts.append(ribbon_along(reach * out, (1.3 * 2 * np.pi * reach / 18) * across, 1.0))
    return merge(*parts)


def test_a_cap_with_an_underside_is_a_body_and_an_open_dome_stays_a_shell():
    """What an artist covers on all sides is solid, as the mushroom's cap; what is open below keeps its hollow."""
    deep = np.array([[0.0, 0, 0.3], [0.2, 0.1, 0.25], [-0.2, 0, 0.2]])
    assert (sketch_sdf(dome(underside=True), deep, THICKNESS, 0.04) < -0.1).all()
    assert (sketch_sdf(dome(underside=False), deep, THICKNESS, 0.04) > 0.05).all()
