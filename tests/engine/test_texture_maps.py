"""Maps that geometry decides, against closed forms; and what a look bakes."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.conventions import SceneNormalization, linear_to_srgb, srgb_to_linear
from engine.mesh import Mesh
from engine.render.rays import RayCaster
from engine.texture.bake import Places, bake_channels, fill_gaps
from engine.texture.coverage import Coverage, face_normals
from engine.texture.delight import delit
from engine.texture.field import ColourField
from engine.texture.geometry_maps import DIRECTIONS, HEIGHT_RANGE, TOGETHER, FineSurface, Occlusion, TangentFrames
from engine.texture.maps import KINDS, Look
from engine.texture.material_words import MATERIALS, UNSAID, MaterialsOfParts, material_of
from engine.view_batch import sample_cameras  # noqa: F401  the views below are drawn as a job's are

SAME = SceneNormalization((0.0, 0.0, 0.0), 1.0)


def plane(cells: int = 8, height: float = 0.0, side: float = 1.6) -> Mesh:
    """A square in the x-y plane, uvs along x and y, facing up."""
    ticks = np.arange(cells + 1) / cells
    u, v = np.meshgrid(ticks, ticks, indexing="ij")
    points = np.stack([(u - 0.5) * side, (v - 0.5) * side, np.full_like(u, height)], axis=-1).reshape(-1, 3)
    corner = np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)
    quad = np.stack([corner, corner + cells + 1, corner + cells + 2, corner + 1], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]).astype(np.int32)
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    return Mesh(points.astype(np.float32), faces, None, uv[faces].astype(np.float32))


def waves(cells: int = 160, slope: float = 0.3, length: float = 0.4) -> Mesh:
    flat = plane(cells)
    lifted = flat.vertices.copy()
    lifted[:, 2] = slope * length / (2 * np.pi) * np.sin(2 * np.pi / length * lifted[:, 0])
    return Mesh(lifted, flat.faces)


def test_the_sky_over_a_plane_is_open_and_a_floor_beside_a_wall_is_half_shut() -> None:
    flat = plane()
    caster = RayCaster(flat.vertices, flat.faces)
    open_sky = bake_channels(flat, {"o": Occlusion(flat, caster, 2000).channel(face_normals(flat.corner_vertices()))}, SAME, 16)["o"]
    assert open_sky.min() == 255
    wall = np.array([[0, -4, 0], [0, 4, 0], [0, 4, 8], [0, -4, 8]], np.float32)
    both = Mesh(np.concatenate([flat.vertices, wall]), np.concatenate([flat.faces, np.array([[0, 1, 2], [0, 2, 3]], np.int32) + 81]))
    caster = RayCaster(both.vertices, both.faces)
    beside = Occlusion(both, caster, 8000).channel(face_normals(flat.corner_vertices()))
    places = Places(np.array([[0.02, 0, 0], [-0.02, 0, 0], [0.78, 0, 0]], np.float32), np.zeros(3, int), np.zeros((3, 3)))
    near, behind, _ = beside(places)[:, 0]
    assert near == pytest.approx(0.5, abs=0.08) and behind == pytest.approx(0.5, abs=0.08)


def test_the_sky_is_asked_for_once_and_meanwhile_whether_to_go_on() -> None:
    flat, asked = plane(), []
    look = Look(ColourField(8), flat, ("occlusion",))
    first = look.channels(flat, SAME, lambda done, total, figures=None: asked.append(done))
    assert len(asked) > DIRECTIONS / TOGETHER
    asked.clear()
    again = look.channels(flat, SAME, lambda done, total, figures=None: asked.append(done))
    assert len(asked) == 1 and first.keys() == again.keys() == {"occlusion"}


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_normal_map_shows_the_slope_of_the_finer_surface(mirrored: bool) -> None:
    """A sine over a plane: x of the map is its slope's normal, z what is left; with mirrored uvs x turns, as MikkTSpace has it."""
    coarse = plane()
    if mirrored:
        assert coarse.uvs is not None
        coarse = Mesh(coarse.vertices, coarse.faces, None, coarse.uvs * np.float32([-1, 1]) + np.float32([1, 0]))
    fine = FineSurface(waves(), coarse)
    maps = bake_channels(coarse, {"normal": fine.normals, "height": fine.heights}, SAME, 64, dtype=np.float32)
    x = ((np.arange(64) + 0.5) / 64 - 0.5) * 1.6 * (-1 if mirrored else 1)
    slope = 0.3 * np.cos(2 * np.pi / 0.4 * x)
    expected = np.stack([-slope * (-1 if mirrored else 1), np.zeros(64), np.ones(64)], axis=1) / np.sqrt(1 + slope**2)[:, None]
    np.testing.assert_allclose(2 * maps["normal"][30] - 1, expected, atol=0.02)
    height = 0.3 * 0.4 / (2 * np.pi) * np.sin(2 * np.pi / 0.4 * x)
    np.testing.assert_allclose(maps["height"][30, :, 0], (0.5 + height / HEIGHT_RANGE).clip(0, 1), atol=0.03)


def test_a_surface_is_its_own_fine_surface() -> None:
    """The map of a sphere onto itself is flat everywhere, seams and poles included."""
    made = trimesh.creation.icosphere(3, 0.7)
    angles = np.stack([np.arctan2(made.vertices[:, 1], made.vertices[:, 0]) / (2 * np.pi) + 0.5, made.vertices[:, 2] / 1.4 + 0.5], axis=1)
    mesh = Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32), None, angles[made.faces].astype(np.float32))
    normal = bake_channels(mesh, {"n": FineSurface(mesh, mesh).normals}, SAME, 128)["n"]
    off = np.abs(normal.astype(int) - [128, 128, 255]).max(axis=2)
    assert np.quantile(off, 0.95) <= 1 and off.max() <= 4  # padding runs on beyond a face, where the next one has turned by a little


def test_tangents_run_along_u_and_are_shared_by_corners() -> None:
    frames = TangentFrames.of(plane())
    np.testing.assert_allclose(frames.tangents, np.broadcast_to([1.0, 0, 0], frames.tangents.shape), atol=1e-6)
    assert (frames.signs == 1).all()


def test_gaps_take_the_nearest_colours_and_keep_them_on_every_mipmap() -> None:
    """A red and a green chart in one texture with wide gaps: no mipmap level has any colour but those two and mixtures of them."""
    image, known = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool)
    known[5:20, 5:20], known[40:60, 44:60] = True, True
    image[5:20, 5:20, 0], image[40:60, 44:60, 1] = 200, 200
    filled = fill_gaps(image.copy(), known)
    np.testing.assert_array_equal(filled[known], image[known])
    assert (filled[22, 22] == [200, 0, 0]).all() and (filled[38, 50] == [0, 200, 0]).all()
    level = filled.astype(float)
    while len(level) > 1:
        level = level.reshape(len(level) // 2, 2, len(level) // 2, 2, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(level.sum(axis=-1), 200, atol=2)


def test_maps_of_sixteen_bits_and_floats_hold_what_eight_cannot() -> None:
    channels = {"ramp": lambda places: 0.25 + 0.001 * places.points[:, :1]}
    deep = bake_channels(plane(), channels, SAME, 32, dtype=np.uint16)["ramp"]
    assert deep.dtype == np.uint16 and deep.shape == (32, 32, 1) and len(np.unique(deep)) == 32
    assert bake_channels(plane(), channels, SAME, 32, dtype=np.float32)["ramp"][0, 0, 0] == pytest.approx(0.25 - 0.001 * 0.775, abs=1e-6)


def test_a_look_bakes_what_it_is_asked_for() -> None:
    from engine.camera import fixed_ring

    mesh = plane()
    coverage = Coverage(mesh, fixed_ring(4, elevation=40.0, distance=3.2), 64, count=1500)
    look = Look(ColourField(8), mesh, KINDS["all"], MaterialsOfParts(material_of("brushed brass")), coverage, fine=waves())
    maps = look.bake(mesh, SAME, 32, 4)
    assert {name: image.shape[2] for name, image in maps.items()} == {
        "albedo": 3, "roughness": 1, "metallic": 1, "normal": 3, "occlusion": 1, "height": 1, "coverage": 1,
    }  # fmt: skip
    assert (maps["metallic"] == 255).all() and (maps["roughness"] == round(0.3 * 255)).all() and maps["coverage"].min() > 250
    assert set(Look(ColourField(8), mesh, KINDS["pbr"]).bake(mesh, SAME, 32, 4)) == {"albedo", "roughness", "metallic", "occlusion"}


def test_albedo_where_no_view_looked_is_that_of_the_neighbours_and_a_choice_is_kept() -> None:
    import torch

    mesh = plane()
    field = ColourField(32)
    ticks = np.linspace(-1, 1, 41)
    x, y = np.meshgrid(ticks, ticks, indexing="ij")
    places = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1).astype(np.float32)
    middle = np.abs(places[:, :2]).max(axis=1) < 0.4
    with torch.no_grad():
        field.initialize(places, np.where(middle[:, None], np.nan, [0.8, 0.3, 0.3]))
    coverage = Coverage(mesh, sample_cameras_above(), 64, count=4000)
    unseen = np.abs(coverage.places.points[:, :2]).max(axis=1) < 0.5
    coverage.density[unseen] = 0
    albedo = Look(field, mesh, coverage=coverage).bake(mesh, SAME, 32, 4)["albedo"]
    np.testing.assert_allclose(albedo[16, 16] / 255, [0.8, 0.3, 0.3], atol=0.03)
    kept = Look(field, mesh, coverage=coverage, keep=unseen).bake(mesh, SAME, 32, 4)["albedo"]
    np.testing.assert_allclose(kept[16, 16] / 255, [0.6, 0.6, 0.6], atol=0.03)


def sample_cameras_above():
    from engine.camera import fixed_ring

    return fixed_ring(4, elevation=60.0, distance=3.2)


@pytest.mark.parametrize(
    ("prompt", "roughness", "metallic", "word"),
    [
        ("an oak chair", 0.5, 0, "oak"),
        ("a green velvet seat", 0.9, 0, "velvet"),
        ("a brass lamp", 0.3, 1, "brass"),
        ("a polished brass lamp", 0.18, 1, "brass"),
        ("rough iron", 0.73, 1, "iron"),
        ("a rusty iron gate", 0.9, 0, "rusty"),
        ("a painted steel box", 0.35, 0, "painted"),
        ("a wooden table with brass legs", 0.5, 0, "wooden"),
        ("a green apple tree", 0.35, 0, "apple"),
        ("something", UNSAID.roughness, 0, ""),
        ("something shiny", 0.36, 0, ""),
    ],
)
def test_materials_by_their_words(prompt: str, roughness: float, metallic: float, word: str) -> None:
    found = material_of(prompt)
    assert (found.roughness, found.metallic, found.word) == (pytest.approx(roughness, abs=0.005), metallic, word)


def test_the_table_of_materials_is_sound() -> None:
    assert all(0 <= entry.roughness <= 1 and entry.metallic in (0, 1) for entry in MATERIALS.values())


def test_light_painted_into_colours_is_taken_out_and_what_is_painted_dark_stays_dark() -> None:
    """A red ball with a dark band, lit from one side: without its light it is red and dark again, by less than a third of the error."""
    made = trimesh.creation.icosphere(5, 0.8)
    points = made.vertices.astype(np.float32)
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    albedo = np.where((np.abs(points[:, 2] - 0.2) < 0.06)[:, None], [0.08, 0.05, 0.05], [0.6, 0.2, 0.2])
    light = 0.35 + 0.65 * (normals @ np.array([0.6, -0.5, 0.62])).clip(0)
    lit = Mesh(points, made.faces.astype(np.int32), linear_to_srgb(albedo * light[:, None]).astype(np.float32))
    bright = albedo / albedo.mean()

    def error(mesh: Mesh) -> float:
        assert mesh.colours is not None
        linear = srgb_to_linear(mesh.colours)
        return float(np.abs(linear / linear.mean() - bright).mean())

    assert error(delit(lit, 1.0)) < 0.33 * error(lit)
    assert delit(lit, 0.0) is lit
    unknown = Mesh(points, lit.faces, np.full_like(points, np.nan))
    assert np.isnan(delit(unknown, 1.0).colours).all()  # pyright: ignore[reportCallIssue, reportArgumentType]
