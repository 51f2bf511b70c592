"""From a surface and a field to a finished object: nothing lost, nothing shrunk, everything where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from engine.contact_sheet import contact_sheet, write_contact_sheet
from engine.conventions import SceneNormalization
from engine.errors import Cancelled
from engine.export import creased, finish, ironed, planned_seconds, remove_loose_parts, smooth
from engine.formats.meshio import load_mesh, save_glb
from engine.formats.textures import sample_image
from engine.mesh import Mesh, Painted
from engine.reporting import QuietReporter, StageTimer
from engine.stages import Stage
from engine.texture.atlas import grid_layout, is_closed, unwrap
from engine.texture.bake import signed_areas
from engine.texture.field import ColourField
from engine.texture.watcher import Watcher

PLACEMENT = SceneNormalization((10.0, -4.0, 2.0), 0.05)


def ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0), subdivisions: int = 3, inward: bool = False) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions, radius)
    faces = shape.faces[:, ::-1] if inward else shape.faces
    return Mesh((shape.vertices + centre).astype(np.float32), faces.astype(np.int32))


def together(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces).astype(np.int32))


def painted_field() -> ColourField:
    field = ColourField(16)
    ticks = torch.linspace(-1, 1, 16)
    with torch.no_grad():
        field.grids[-1].copy_(torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1) * 2)
    return field


def truth(world: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * PLACEMENT.to_engine(world)))


class Watching(QuietReporter):
    """Keeps the progress; cancels at the given share of the export."""

    def __init__(self, stop_at: int = 1000) -> None:
        super().__init__()
        self.steps: list[int] = []
        self._stop_at = stop_at

    def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
        assert stage == "export" and total == 100
        assert seconds_left is not None and seconds_left > 0
        self.steps.append(step)

    def cancelled(self) -> bool:
        return bool(self.steps) and self.steps[-1] >= self._stop_at

    def watcher(self) -> Watcher:
        timer = StageTimer(self, {Stage.EXPORT: planned_seconds(500, 256)})
        timer.start(Stage.EXPORT)
        return Watcher(timer.part, self.note)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices.astype(np.float64)[faces]
    return float((corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def test_finish_gives_a_closed_textured_mesh_in_its_place() -> None:
    source = ball(0.7, subdivisions=4)
    reporter = Watching()
    mesh, maps = finish(
        torch.from_numpy(source.vertices), torch.from_numpy(source.faces), painted_field(), PLACEMENT, 1500, 256, reporter.watcher()
    )
    assert len(mesh.faces) <= 1500 and is_closed(mesh.faces)
    assert np.allclose(mesh.vertices.mean(axis=0), PLACEMENT.centre, atol=0.5)  # radius 14 in the world
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(4 / 3 * np.pi * (0.7 / 0.05) ** 3, rel=0.02)  # chords and smoothing
    assert maps["albedo"].shape == (256, 256, 3)
    assert mesh.uvs is not None and mesh.colours is not None
    assert np.abs(mesh.colours - truth(mesh.vertices)).max() < 1e-5
    middle = sample_image(maps["albedo"], mesh.uvs.mean(axis=1).astype(np.float64)) / 255
    assert np.abs(middle - truth(mesh.corner_vertices().mean(axis=1))).max() < 0.01  # a byte, and curvature over a texel
    assert reporter.steps == sorted(reporter.steps) and reporter.steps[-1] <= 100 and len(reporter.steps) >= 4


@pytest.mark.parametrize("share", [0, 5, 10, 45, 60])
def test_cancel_is_heard_at_every_step(share: int) -> None:
    source = ball(0.7, subdivisions=2)
    with pytest.raises(Cancelled):
        finish(
            torch.from_numpy(source.vertices),
            torch.from_numpy(source.faces),
            painted_field(),
            PLACEMENT,
            500,
            128,
            Watching(share).watcher(),
        )


def test_floaters_and_hollows_go_and_parts_stay() -> None:
    """A ball with a hollow inside, a small part that belongs there (4 % of the area), and two specks."""
    big, part = ball(0.6), ball(0.13, (0.8, 0, 0), 2)
    hollow = ball(0.4, inward=True)
    specks = ball(0.01, (0, 0.9, 0), 1), ball(0.008, (0, -0.9, 0), 1)
    reporter = QuietReporter()
    kept = remove_loose_parts(together(hollow, specks[0], big, part, specks[1]), note=reporter.note)
    assert len(kept.faces) == len(big.faces) + len(part.faces)
    assert volume(kept.vertices, kept.faces) == pytest.approx(volume(big.vertices, big.faces) + volume(part.vertices, part.faces), rel=1e-6)
    assert reporter.notes == ["2 small loose parts were removed."]


def test_small_parts_far_from_the_sketch_go() -> None:
    """1.6 % of the area each: the one that the sketch does not know goes, the one beside a stroke stays."""
    big, stray, eye = ball(0.6), ball(0.08, (0.85, 0, 0), 2), ball(0.08, (-0.72, 0, 0), 2)
    reporter = QuietReporter()
    kept = remove_loose_parts(together(big, stray, eye), together(ball(0.58), ball(0.05, (-0.72, 0, 0))), reporter.note)
    assert len(kept.faces) == len(big.faces) + len(eye.faces) and kept.vertices[:, 0].max() < 0.7
    assert reporter.notes == ["A small loose part was removed."]


def test_open_and_inverted_surfaces_are_kept() -> None:
    """An inside-out mesh is not taken for a hollow when it is all there is, nor an open shell of negative volume."""
    inverted = ball(0.5, inward=True)
    assert len(remove_loose_parts(together(inverted, ball(0.001, (0.9, 0, 0), 1, inward=True))).faces) == len(inverted.faces)
    shell = Mesh(inverted.vertices, inverted.faces[:-40])
    both = together(ball(0.3, (0.6, 0, 0)), shell)
    assert len(remove_loose_parts(both).faces) == len(both.faces)


def test_smoothing_takes_noise_away_and_leaves_the_volume() -> None:
    mesh = ball(0.7, subdivisions=4)
    rng = np.random.default_rng(0)
    noisy = mesh.with_vertices(mesh.vertices + 0.006 * rng.standard_normal(mesh.vertices.shape))
    smoothed = smooth(noisy, 3)

    def roughness(vertices: np.ndarray) -> float:
        return float(np.std(np.linalg.norm(vertices, axis=1)))

    assert roughness(smoothed) < 0.6 * roughness(noisy.vertices)
    assert volume(smoothed, mesh.faces) == pytest.approx(volume(mesh.vertices, mesh.faces), rel=0.003)
    long_run = smooth(mesh, 50)
    assert volume(long_run, mesh.faces) == pytest.approx(volume(mesh.vertices, mesh.faces), rel=0.02)  # shrinking steps alone: -19 %
    assert smooth(mesh, 0) is mesh.vertices


def test_the_written_file_shows_the_texture(tmp_path) -> None:
    """finish -> GLB -> read again: colours sampled from the file's own texture at its own uvs are the field's."""
    source = ball(0.7, subdivisions=3)
    vertices, faces = torch.from_numpy(source.vertices), torch.from_numpy(source.faces)
    mesh, maps = finish(vertices, faces, painted_field(), PLACEMENT, 800, 256)
    save_glb(tmp_path / "a.glb", mesh, maps, "ball", {"seed": 1})
    back = load_mesh(tmp_path / "a.glb")
    assert np.array_equal(back.faces, mesh.faces) and np.array_equal(back.vertices, mesh.vertices)
    assert back.colours is not None
    assert np.abs(back.colours - truth(back.vertices)).max() < 0.01


def test_contact_sheet_shows_both_in_their_colours(tmp_path) -> None:
    """Upper row: vertex colours (green); lower row: the texture (red), although its vertex colours are blue."""
    shape = ball(1.0, (5, 5, 5), 2)
    green, blue = (np.tile(np.array(colour, np.float32), (len(shape.vertices), 1)) for colour in ((0, 1, 0), (0, 0, 1)))
    result = Mesh(shape.vertices * np.float32(1.01), shape.faces, blue, grid_layout(len(shape.faces), 64, 1))
    red = {"albedo": np.full((64, 64, 3), (255, 0, 0), np.uint8)}
    sheet = contact_sheet(Mesh(shape.vertices, shape.faces, green), result, [Painted("red", np.arange(len(shape.faces)), red)], tile=64)
    assert sheet.shape == (2 * (64 + 22), 6 * 64, 3) and sheet.dtype == np.uint8
    for view in range(6):
        above, below = sheet[22 + 32, 64 * view + 32].astype(int), sheet[86 + 22 + 32, 64 * view + 32].astype(int)
        assert above[1] > 150 and max(above[0], above[2]) < 30
        assert below[0] > 150 and max(below[1], below[2]) < 30
        assert (sheet[24, 64 * view + 62] == 255).all()
    write_contact_sheet(tmp_path / "a.png", shape, shape)
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (6 * 256, 2 * 278)


def test_creases_are_not_smoothed_where_they_are_meant() -> None:
    cube = trimesh.creation.box((1.0, 0.8, 0.6)).subdivide().subdivide().subdivide()
    mesh = Mesh(cube.vertices.astype(np.float32), cube.faces.astype(np.int32))
    held = creased(mesh)
    on_edges = (np.abs(mesh.vertices) > np.array([0.5, 0.4, 0.3]) - 1e-6).sum(axis=1) >= 2
    assert np.array_equal(held, on_edges)
    assert np.abs(smooth(mesh, 3, held) - mesh.vertices)[on_edges].max() == 0
    assert np.abs(smooth(mesh, 3) - mesh.vertices)[on_edges].max() > 0.005


def islands(uvs: np.ndarray) -> int:
    """How many connected parts a layout [F, 3, 2] has."""
    from engine.sketch.strokes import face_components

    _, corner = np.unique(uvs.reshape(-1, 2), axis=0, return_inverse=True)
    return int(face_components(corner.reshape(-1, 3)).max()) + 1


def test_facets_do_not_become_islands_of_their_own() -> None:
    """A bumpy ball: hundreds of islands as it is, few where it is ironed before it is unwrapped; every face keeps its place."""
    round_one = ball(0.7, subdivisions=4)
    bumps = 0.015 * np.random.default_rng(0).standard_normal(round_one.vertices.shape)
    bumpy = Mesh((round_one.vertices + bumps).astype(np.float32), round_one.faces)
    before, after = unwrap(bumpy, 512), unwrap(ironed(bumpy), 512)
    assert islands(after) < 0.25 * islands(before)
    assert np.abs(signed_areas(after.astype(np.float64))).sum() > 0.3
    few = ball(0.7, subdivisions=2)
    assert ironed(few) is few
