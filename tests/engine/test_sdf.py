"""The sketch's signed distance against analytic shapes, under flipped strokes, and with gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.errors import Cancelled, InputError
from engine.formats.meshio import load_mesh
from engine.isosurface.dmtet import TetGrid
from engine.mesh import Mesh
from engine.sketch import sdf
from engine.sketch.nearest import NearestSamples
from engine.sketch.sdf import NEAR, sketch_sdf
from engine.sketch.strokes import split_strokes, surface_samples
from engine.sketch.triangles import closest
from tests.engine.shapes import box, flipped, lattice, merge, moved, ribbon, sphere, tube

EXAMPLES = Path(__file__).parents[2] / "examples"
GRID = TetGrid.make(32).points.numpy()
SHIFT = np.array([0.2, 0, 0])
CLOSE = 0.08
"""Where the distance must be exact; below NEAR."""


def box_distance(points: np.ndarray, half: tuple[float, float, float]) -> np.ndarray:
    beyond = np.abs(points) - np.array(half)
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def assert_exact(found: np.ndarray, truth: np.ndarray, tolerance: float) -> None:
    """Right within `tolerance` near the surface, and on the right side everywhere further out."""
    near = np.abs(truth) < CLOSE
    assert near.sum() > 100
    assert np.abs(found - truth)[near].max() < tolerance
    assert (np.sign(found) == np.sign(truth))[~near].all()
    assert np.abs(found[~near]).min() > CLOSE - tolerance


@pytest.mark.parametrize("closing", [0.0, 0.05])
def test_sphere(closing: float):
    found = sketch_sdf(sphere(0.5, 32, 96), GRID, 0.03, closing)
    assert found.dtype == np.float32 and found.shape == (len(GRID),)
    # facets of 96 and 64 a turn lie at most 0.5 (1 - cos(pi / 96)) + 0.5 (1 - cos(pi / 64)) = 9e-4 under the sphere
    assert_exact(found, np.linalg.norm(GRID, axis=1) - 0.5, 1.2e-3)


def test_box_is_exact():
    half = (0.5, 0.3, 0.2)
    assert_exact(sketch_sdf(box(half), GRID, 0.03, 0.0), box_distance(GRID, half), 1e-6)


def test_box_survives_a_closing():
    """A convex body is its own closing; only rounding and the lattice's tangent planes may show, 0.002 near edges."""
    half = (0.5, 0.3, 0.2)
    assert_exact(sketch_sdf(box(half), GRID, 0.03, 0.05), box_distance(GRID, half), 2e-3)


def test_open_tube_is_filled_up_to_its_ends():
    radius, length = 0.2, 1.2
    beyond = np.stack([np.linalg.norm(GRID[:, :2], axis=1) - radius, np.abs(GRID[:, 2]) - length / 2], axis=1)
    truth = np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)
    # 32 facets a turn: 0.2 (1 - cos(pi / 32)) = 1e-3
    assert_exact(sketch_sdf(tube(radius, length), GRID, 0.03, 0.0), truth, 1.2e-3)


@pytest.mark.parametrize("closing", [0.0, 0.04])
def test_ribbon_gets_a_shell_within_its_outline(closing: float):
    """Of the full thickness, and as wide as the ribbon was drawn: the rim is a half circle that ends where the ribbon does."""
    found = sketch_sdf(ribbon(0.4, 1.0), GRID, 0.06, closing)
    truth = box_distance(GRID, (0.5 - 0.06, 0.2 - 0.06, 0.0)) - 0.06
    near = np.abs(truth) < CLOSE
    assert np.abs(found - truth)[near & (np.abs(GRID[:, 0]) < 0.3)].max() < 0.07 * 0.06
    assert np.abs(found - truth)[near].max() < 0.2 * 0.06  # a corner moves a little less than its sides
    beyond = np.maximum(np.abs(GRID[:, 0]) - 0.5, np.abs(GRID[:, 1]) - 0.2)
    assert (found[beyond > 0.05 * 0.06] > 0).all()


def test_thin_tube_is_grown_to_the_thickness():
    found = sketch_sdf(tube(0.01, 1.0), GRID, 0.04, 0.0)
    truth = np.linalg.norm(np.concatenate([GRID[:, :2], np.maximum(np.abs(GRID[:, 2:]) - 0.5, 0)], axis=1), axis=1) - 0.04
    # the middle of the end caps is grown from a disc of 0.01, not from a point
    near = np.abs(truth) < CLOSE
    assert np.abs(found - truth)[near].max() < 0.011
    assert np.abs(found - truth)[near & (np.abs(GRID[:, 2]) < 0.5)].max() < 1e-3


def test_nested_shells_leave_no_trace():
    outer = sketch_sdf(sphere(0.6), GRID, 0.03, 0.0)
    both = sketch_sdf(merge(sphere(0.6), flipped(sphere(0.3))), GRID, 0.03, 0.0)
    assert (np.sign(both) == np.sign(outer)).all()
    at_inner = np.abs(np.linalg.norm(GRID, axis=1) - 0.3) < 0.05
    assert both[at_inner].max() < -0.2, "the inner sphere must not show inside the outer one"


def test_overlapping_solids_are_united():
    found = sketch_sdf(merge(moved(sphere(0.4), -0.2, 0, 0), moved(sphere(0.4), 0.2, 0, 0)), GRID, 0.03, 0.0)
    truth = np.minimum(np.linalg.norm(GRID + SHIFT, axis=1), np.linalg.norm(GRID - SHIFT, axis=1)) - 0.4
    outside = (truth > 0) & (truth < CLOSE)
    assert np.abs(found - truth)[outside].max() < 4e-3
    assert (np.sign(found) == np.sign(truth))[np.abs(truth) > 4e-3].all()


def test_self_intersecting_stroke_has_no_inner_walls():
    """Two overlapping boxes that share one vertex pair are one stroke with a winding number of two in the overlap."""
    first = box((0.5, 0.2, 0.2))
    second = box((0.2, 0.5, 0.2))
    shared = second.vertices.copy()
    shared[:2] = first.vertices[:2]  # an edge in common joins them
    mesh = merge(first, Mesh(shared, second.faces))
    assert len(split_strokes(mesh.vertices, mesh.faces)) == 1
    centre = GRID[np.abs(GRID).max(axis=1) < 0.12]
    assert sketch_sdf(mesh, centre, 0.03, 0.0).max() < -0.05


def strokes() -> list[Mesh]:
    return [
        moved(tube(0.08, 0.8), -0.3, 0, 0),
        moved(tube(0.06, 0.7), 0.3, 0, 0.2),
        moved(ribbon(0.3, 0.9), 0, 0, -0.3),
        moved(ribbon(0.2, 0.5), 0, 0.3, 0.3),
        moved(sphere(0.25, 12, 24), 0, 0, 0.45),
    ]


@pytest.mark.parametrize("closing", [0.0, 0.06])
def test_flipping_any_stroke_changes_nothing(closing: float):
    reference = sketch_sdf(merge(*strokes()), GRID, 0.03, closing)
    for chosen in range(len(strokes())) if closing == 0 else (2,):
        parts = [flipped(part) if k == chosen else part for k, part in enumerate(strokes())]
        assert np.array_equal(sketch_sdf(merge(*parts), GRID, 0.03, closing), reference)
    everything = merge(*[flipped(part) for part in strokes()])
    assert np.array_equal(sketch_sdf(everything, GRID, 0.03, closing), reference)


def test_flipping_single_faces_changes_nothing():
    mesh = merge(*strokes())
    mixed = mesh.faces.copy()
    chosen = np.random.default_rng(0).random(len(mixed)) < 0.5
    mixed[chosen] = mixed[chosen][:, ::-1]
    assert np.array_equal(sketch_sdf(Mesh(mesh.vertices, mixed), GRID, 0.03, 0.0), sketch_sdf(mesh, GRID, 0.03, 0.0))


def test_stroke_drawn_with_both_sides_is_the_same_stroke():
    mesh = tube(0.1, 1.0)
    doubled = Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]))
    assert np.array_equal(sketch_sdf(doubled, GRID, 0.03, 0.0), sketch_sdf(mesh, GRID, 0.03, 0.0))


def test_split_vertices_are_one_stroke():
    mesh = tube(0.1, 1.0)
    soup = Mesh(mesh.corner_vertices().reshape(-1, 3), np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3))
    assert len(split_strokes(soup.vertices, soup.faces)) == 1
    assert np.allclose(sketch_sdf(soup, GRID, 0.03, 0.0), sketch_sdf(mesh, GRID, 0.03, 0.0), atol=1e-6)


def boxes_apart(gap: float) -> Mesh:
    return merge(moved(box((0.25, 0.3, 0.3)), -0.25 - gap / 2, 0, 0), moved(box((0.25, 0.3, 0.3)), 0.25 + gap / 2, 0, 0))


@pytest.mark.parametrize(("gap", "joined"), [(0.04, True), (0.085, True), (0.135, False), (0.16, False)])
def test_closing_joins_gaps_narrower_than_twice_its_radius(gap: float, joined: bool):
    """Radius 0.05: gaps up to 0.1 are closed; from one lattice step (0.025) more on, a ball of that radius is seen to pass."""
    middle = np.array([[0.0, 0, 0], [0, 0.15, 0.1]])
    assert (sketch_sdf(boxes_apart(gap), middle, 0.02, 0.05) < 0).all() == joined
    assert (sketch_sdf(boxes_apart(gap), middle, 0.02, 0.0) > 0).all(), "without closing every gap stays"


def test_closing_stays_near_the_strokes():
    """It fills the gap's middle but adds nothing outside of the hull, and leaves the faces away from the gap where they are."""
    points = GRID[np.abs(GRID[:, 0]) > 0.2]
    truth = np.linalg.norm(np.maximum(np.abs(points) - [0.53, 0.3, 0.3], 0), axis=1)
    outside = (truth > 0) & (truth < CLOSE) & (np.abs(points[:, 0]) > 0.25)
    found = sketch_sdf(boxes_apart(0.06), points, 0.02, 0.05)
    assert np.abs(found - truth)[outside].max() < 4e-3


def ribbon_ball(radius: float, ribbons: int = 14, gap: float = 0.8) -> Mesh:
    """A ball drawn as meridian ribbons that leave gaps, each wound at random."""
    generator = np.random.default_rng(0)
    parts = []
    for k in range(ribbons):
        angle = (2 * np.pi * k + np.linspace(-np.pi, np.pi, 4) * gap)[None] / ribbons
        polar = np.linspace(0.06, np.pi - 0.06, 20)[:, None]
        x, y, z = np.broadcast_arrays(np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar))
        part = lattice(radius * np.stack([x, y, z], axis=-1))
        parts.append(flipped(part) if generator.random() < 0.5 else part)
    return merge(*parts)


def test_skin_of_ribbons_becomes_the_body_that_it_stands_for():
    """Gaps of 0.2 * 2 pi 0.5 / 14 = 0.045 are closed by 0.05; the hollow inside is filled, and no shell is added outside."""
    found = sketch_sdf(ribbon_ball(0.5), GRID, 0.03, 0.05)
    distance = np.linalg.norm(GRID, axis=1)
    assert (found[distance < 0.45] < 0).all()
    near = np.abs(distance - 0.5) < CLOSE
    # a closing sags in a gap of width g by 0.05 - sqrt(0.05^2 - g^2 / 4): 0.0054 between ribbons, 0.01 in the holes of 0.06 at the
    # poles; half as much again for the lattice on which it is found
    assert np.abs(found - (distance - 0.5))[near].max() < 0.015
    assert np.abs(found - (distance - 0.5))[near].mean() < 0.002
    open_shell = sketch_sdf(ribbon_ball(0.5), GRID, 0.03, 0.0)
    assert (open_shell[distance < 0.4] > 0).all(), "without a closing the ball stays hollow"


def test_slope_is_one_near_the_surface():
    points = GRID[np.abs(sketch_sdf(merge(*strokes()), GRID, 0.03, 0.06)) < 0.06].astype(np.float64)
    step = 1e-3
    moves = np.concatenate([sign * step * np.eye(3) for sign in (1, -1)])
    values = sketch_sdf(merge(*strokes()), (points + moves[:, None]).reshape(-1, 3), 0.03, 0.06).reshape(2, 3, -1)
    slope = np.linalg.norm((values[0] - values[1]) / (2 * step), axis=0)
    # creases, where two strokes are equally near, and patches of the closing differ; float32 adds 1e-4
    assert np.median(np.abs(slope - 1)) < 2e-3
    assert (np.abs(slope - 1) < 0.05).mean() > 0.9


def test_surface_of_a_closed_sketch_has_the_right_size():
    grid = TetGrid.make(32)
    values = torch.from_numpy(sketch_sdf(ribbon_ball(0.5), grid.points.numpy(), 0.03, 0.05))
    vertices, faces = grid.surface(values)
    a, b, c = vertices[faces.long()].unbind(1)
    volume = float((torch.linalg.cross(a, b) * c).sum() / 6)
    assert volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.03)


@pytest.mark.parametrize("name", ["flower", "chair"])
def test_nothing_floats_around_a_sketch(name: str):
    """Far from all strokes and outside of what they enclose the field is positive, whichever way the offset surface faces there."""
    mesh = load_mesh(EXAMPLES / f"{name}.glb")
    mesh = mesh.with_vertices(SceneNormalization.of_bounds(mesh.vertices).to_engine(mesh.vertices))
    points = TetGrid.make(48).points.numpy().astype(np.float64)
    found = sketch_sdf(mesh, points, 0.03, 0.03)
    distance = closest(mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64), points)[0]
    # no part of these two is as thick as 0.24, so nothing encloses a point that is 0.12 from all strokes
    assert (found[distance > 0.12] > 0.05).all()


def test_no_area_is_refused():
    line = Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))
    with pytest.raises(InputError) as error:
        sketch_sdf(line, GRID, 0.03, 0.05)
    assert error.value.fix


@pytest.mark.parametrize("closing", [0.0, 0.05])
def test_cancel_is_heard(closing: float):
    with pytest.raises(Cancelled):
        sketch_sdf(merge(*strokes()), GRID, 0.03, closing, _cancelling)


def _cancelling(done: int, total: int, figures: object = None, /) -> None:
    raise Cancelled


@pytest.mark.parametrize("closing", [0.0, 0.05])
def test_progress_grows_from_nothing_to_nearly_all(closing: float):
    told: list[tuple[int, int]] = []
    sketch_sdf(merge(*strokes()), GRID, 0.03, closing, lambda done, total, figures=None, /: told.append((done, total)))
    done = [first for first, _ in told]
    assert done == sorted(done) and done[0] == 0 and 700 < done[-1] <= 1000 and len(set(done)) > 8
    assert {total for _, total in told} == {1000}


def test_a_large_sketch_is_measured_apart_with_the_same_result(monkeypatch: pytest.MonkeyPatch):
    """A call of libigl on a million faces takes seconds in which nothing else of this process runs."""
    mesh, told = merge(*strokes()), []
    here = sketch_sdf(mesh, GRID, 0.03, 0.05)
    monkeypatch.setattr(sdf, "APART_FACES", len(mesh.faces) - 1)
    apart = sketch_sdf(mesh, GRID, 0.03, 0.05, lambda done, total, figures=None, /: told.append((done, total)))
    assert np.array_equal(here, apart) and told
    with pytest.raises(Cancelled):
        sketch_sdf(mesh, GRID, 0.03, 0.05, _cancelling)
    with pytest.raises(InputError, match="none of which has one"):  # what cannot be done there is told as here
        sketch_sdf(Mesh(np.zeros((3, 3), np.float32), np.zeros((len(mesh.faces), 3), np.int32)), GRID, 0.03, 0.05)


def test_one_triangle_gets_a_body():
    triangle = Mesh(np.array([[-0.5, -0.4, 0], [0.5, -0.4, 0], [0, 0.5, 0]], dtype=np.float32), np.array([[0, 1, 2]], dtype=np.int32))
    found = sketch_sdf(triangle, np.array([[0.0, 0, 0], [0, 0, 0.05], [0, 0, 0.5]]), 0.04, 0.05)
    assert found == pytest.approx([-0.04, 0.01, 0.46], abs=0.02)


def test_samples_reach_everywhere():
    mesh = merge(*strokes())
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    samples, face = surface_samples(vertices, faces, 0.05)
    assert set(face.tolist()) == set(range(len(faces)))
    corners = vertices[faces].reshape(-1, 3)
    assert NearestSamples(samples).query(corners, 1.0)[0].max() <= 0.58 * 0.05


def test_far_samples_are_near_enough():
    generator = np.random.default_rng(1)
    samples = generator.normal(size=(500, 3)) * 0.3
    points = generator.uniform(-1.2, 1.2, (400, 3))
    truth = np.linalg.norm(points[:, None] - samples[None], axis=2)
    distance, index = NearestSamples(samples).query(points, 0.2)
    assert np.allclose(distance, truth[np.arange(400), index])
    near = truth.min(axis=1) < 0.2
    assert near.sum() > 50 and (~near).sum() > 50
    assert np.allclose(distance[near], truth.min(axis=1)[near])
    assert (distance[~near] - truth.min(axis=1)[~near]).max() < 0.2 and distance[~near].min() >= 0.2
    assert NEAR > CLOSE
