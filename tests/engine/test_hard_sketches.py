"""Sketches that no grid holds as they are: each becomes a sound solid."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.formats.meshio import load_mesh
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.sketch.check import check_sketch
from engine.sketch.soundness import Soundness
from engine.sketch_surface import sketch_surface
from engine.surface import Surface
from scripts import ROOT
from tests.engine.shapes import box, flipped, merge, moved, ribbon, sphere, tube
from tests.engine.stroke_sketches import draw
from tests.engine.test_closing import loose_tubes

SMALL = dataclasses.replace(PRESETS["draft"], grid=56)


def surface_of(sketch: Mesh, closing: float = 0.03) -> Surface:
    return sketch_surface(sketch, dataclasses.replace(SMALL, closing=closing), torch.device("cpu"))


def soundness(surface: Surface) -> Soundness:
    vertices, faces = surface.extract()
    return Soundness.of(vertices.detach().numpy(), faces.numpy())


def turned(mesh: Mesh) -> Mesh:
    """Askew to the grid."""
    askew = np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.2, 1.0, 0.4], [0.1, -0.5, 1.0]]))[0]
    return mesh.with_vertices((mesh.vertices @ askew.T).astype(np.float32))


@pytest.mark.parametrize("askew", [False, True])
@pytest.mark.parametrize("closing", [0.0, 0.03])
@pytest.mark.parametrize("shape", ["card", "sheet of a two thousandth", "crossing cards"])
def test_what_is_flat_becomes_a_board_without_holes(shape: str, closing: float, askew: bool):
    """Also where it lies in one of the grid's planes, where a shell of exactly one step would be a sieve."""
    card = ribbon(0.8, 1.4, across=3, along=9)
    upright = Mesh(card.vertices[:, [0, 2, 1]], card.faces)
    sketch = {"card": card, "sheet of a two thousandth": box((0.7, 0.4, 0.00025)), "crossing cards": merge(card, upright)}[shape]
    found = soundness(surface_of(turned(sketch) if askew else sketch, closing))
    assert (found.genus, found.components) == (0, 1)
    board = 0.8 * 1.4 * 2 * 1.02 * 2 / SMALL.grid
    assert 0.75 * board < found.volume < (1.15 if "crossing" not in shape else 2.2) * board


def test_strokes_inside_strokes_leave_no_trace():
    around = sphere(0.7, 24, 48)
    inner = merge(flipped(sphere(0.4, 12, 24)), moved(ribbon(0.3, 0.6), 0, 0, 0.1), moved(flipped(tube(0.05, 0.8)), 0.1, 0, 0))
    alone, filled = soundness(surface_of(around)), soundness(surface_of(merge(around, inner)))
    assert (filled.genus, filled.components) == (0, 1)
    assert filled.volume == pytest.approx(alone.volume, rel=0.01)


@pytest.mark.long
def test_ten_thousand_strokes():
    """A ball of them, as dense as fur: one sound solid, without failing."""
    found = soundness(surface_of(loose_tubes(10_000)))
    assert found.components >= 1 and found.volume > 0.1


@pytest.mark.parametrize("name", ["flower", "ladder"])
def test_a_finished_solid_comes_out_of_a_second_refine_as_it_went_in(name: str):
    """A closed surface with walls as thin as the first one's shells: no hole, no loss, no growth."""
    drawn = check_sketch(load_mesh(ROOT / "examples" / "flower.glb"))[0] if name == "flower" else draw(name)
    drawn = drawn.with_vertices(SceneNormalization.of_bounds(drawn.vertices).to_engine(drawn.vertices))
    first = surface_of(drawn)
    vertices, faces = (part.detach().numpy() for part in first.extract())
    start, again = soundness(first), soundness(surface_of(Mesh(vertices, faces.astype(np.int32))))
    assert (again.genus, again.components) == (start.genus, start.components)
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    tenth_of_a_cell = float(0.1 * 2 * 1.02 / SMALL.grid * area)
    assert again.volume == pytest.approx(start.volume, rel=0.05, abs=tenth_of_a_cell)
