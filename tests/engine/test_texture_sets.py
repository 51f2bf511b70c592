"""Every part its own image: which faces share one, tiles, layouts of their own, means of shared texels; and the very mesh comes back."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.conventions import SceneNormalization
from engine.formats.meshio import load_mesh, save_glb
from engine.formats.textures import sample_image
from engine.mesh import Mesh, Parts
from engine.reporting import QuietReporter
from engine.results import ImageSet
from engine.texture.atlas import grid_layout
from engine.texture.field import ColourField
from engine.texture.finish import finish_texture, planned_sets, told
from engine.texture.watcher import Watcher
from engine.texture_sets import FIRST_TILE, Piece, covered, folded, plan, shared_part, tiles_of, times_covered, usable
from tests.cases.expected import MESHES

SQUARE = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32)
HALF = SQUARE / 2
PLACEMENT = SceneNormalization((0, 0, 0), 0.25)
Model = Callable[[], Mesh]


def sheets(count: int, uvs: np.ndarray, pieces: tuple[Piece, ...], of_face: list[int]) -> Mesh:
    """Squares of side 1 side by side along x, two triangles each, all in one plane."""
    quad = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.float32)
    vertices = np.concatenate([np.add(quad, [2 * index - count + 0.5, 0, -0.5]) for index in range(count)]).astype(np.float32)
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * index for index in range(count)]).astype(np.int32)
    return Mesh(vertices, faces, None, uvs.astype(np.float32), parts=Parts(np.array(of_face, np.int32), pieces))


def multi_part() -> Mesh:
    """Three objects with the whole square each."""
    return sheets(3, np.tile(SQUARE, (3, 1, 1)), tuple(Piece(name, name.upper()) for name in "abc"), [0, 0, 1, 1, 2, 2])


def mirrored() -> Mesh:
    """Two halves of one object upon each other, the second mirrored."""
    return sheets(2, np.concatenate([SQUARE, np.add(SQUARE * [-1, 1], [1, 0])]), (Piece("body", "skin"),), [0, 0, 0, 0])


def udim() -> Mesh:
    return sheets(3, np.concatenate([SQUARE, np.add(SQUARE, [1, 0]), np.add(SQUARE, [0, 1])]), (Piece("body", "skin"),), [0] * 6)


def partly_without() -> Mesh:
    uvs = np.concatenate([SQUARE, np.full((2, 3, 2), np.nan), np.full((2, 3, 2), 0.25)])
    return sheets(3, uvs, (Piece("laid"), Piece("bare"), Piece("flat")), [0, 0, 1, 1, 2, 2])


def field_of_position() -> ColourField:
    """sigmoid(2 * position): different everywhere."""
    field = ColourField(16)
    ticks = torch.linspace(-1, 1, 16) * 2
    with torch.no_grad():
        field.grids[-1].copy_(torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1))
    return field


def truth(world: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * PLACEMENT.to_engine(world).astype(np.float64)))


def textured(mesh: Mesh, size: int = 64, **settings: str) -> tuple[Mesh, tuple[ImageSet, ...]]:
    return finish_texture(mesh, field_of_position(), PLACEMENT, size, sets=planned_sets(mesh, **settings))


def seen(mesh: Mesh, images: tuple[ImageSet, ...], inset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Places [N, 3] in every face and the colours [N, 3] that its own image shows there."""
    weights = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6], [1 / 3, 1 / 3, 1 / 3]])
    assert mesh.uvs is not None
    places, colours = [], []
    for one in images:
        for number, maps in one.tiles.items():
            faces = one.faces[one.of_face == number]
            places.append(np.einsum("kc,fcd->fkd", weights, mesh.corner_vertices()[faces]).reshape(-1, 3))
            uvs = np.einsum("kc,fcd->fkd", weights, mesh.uvs[faces].astype(np.float64)).reshape(-1, 2)
            colours.append(sample_image(maps["albedo"], uvs) / 255)
    return np.concatenate(places), np.concatenate(colours)


def as_bytes(mesh: Mesh) -> dict[str, bytes]:
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces, "colours": mesh.colours, "uvs": mesh.uvs}
    return {name: array.tobytes() for name, array in arrays.items() if array is not None}


def test_a_face_covers_exactly_the_centres_inside() -> None:
    """Against barycentric weights of every centre; neighbours never share one."""
    rng = np.random.default_rng(0)
    uvs = rng.random((40, 3, 2))
    size = 31
    found = np.zeros((40, size * size), bool)
    for face, row, column in covered(uvs, size):
        found[face, folded(row, column, size)] = True
    y, x = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    centre = np.stack([x.ravel(), y.ravel()], axis=-1)
    a, b, c = (uvs[:, None, corner] for corner in range(3))

    def side(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (q - p)[..., 0] * (centre[None] - p)[..., 1] - (q - p)[..., 1] * (centre[None] - p)[..., 0]

    sides = np.stack([side(a, b), side(b, c), side(c, a)])
    assert np.array_equal(found, (sides > 0).all(axis=0) | (sides < 0).all(axis=0))
    assert (times_covered(grid_layout(200, 64, 0), 64) <= 1).all()
    assert (times_covered(SQUARE, 64) == 1).all() and (times_covered(SQUARE * 2, 64) == 4).all()


def test_what_lies_upon_other_faces_is_measured() -> None:
    assert shared_part(SQUARE) == 0
    assert shared_part(np.concatenate([SQUARE, SQUARE])) == 0.5
    assert shared_part(np.concatenate([SQUARE, np.add(SQUARE, [3, 0])])) == 0.5
    assert shared_part(np.concatenate([HALF, HALF + 0.25])) == pytest.approx(0.125, abs=0.01)


def test_tiles_are_told_from_repeats() -> None:
    assert tiles_of(np.concatenate([SQUARE, np.add(SQUARE, [1, 0]), np.add(SQUARE, [0, 2])])).tolist() == [
        1001,
        1001,
        1002,
        1002,
        1021,
        1021,
    ]
    assert set(tiles_of(SQUARE * 2)) == set(tiles_of(np.add(SQUARE, [4, 0]))) == {FIRST_TILE}  # a repeat, and one tile alone
    assert set(tiles_of(np.concatenate([SQUARE, SQUARE - [1, 0]]))) == {FIRST_TILE}  # left of the first
    assert set(tiles_of(np.concatenate([SQUARE, np.add(SQUARE, [10, 0])]))) == {FIRST_TILE}
    assert set(tiles_of(np.concatenate([SQUARE, np.add(SQUARE * 0.5, [1.8, 0])]))) == {FIRST_TILE}  # across a border


def test_a_layout_is_usable_or_not() -> None:
    assert usable(SQUARE)
    assert not usable(np.zeros((3, 3, 2), np.float32)) and not usable(np.where(SQUARE > 0.5, np.nan, SQUARE))


OWN, SHARED = (Piece("a", "m"), Piece("b", "n")), (Piece("a", "m"), Piece("b", "m"))
ONE_OBJECT = (Piece("a", "m"), Piece("a", "n"))


@pytest.mark.parametrize(
    ("pieces", "second", "grouping", "expected"),
    [
        (OWN, SQUARE, "auto", [("m", (0,)), ("n", (1,))]),
        (OWN, HALF + 0.5, "auto", [("m", (0,)), ("n", (1,))]),  # two objects, two materials: two images, as the artist has it
        (SHARED, HALF + 0.5, "auto", [("m", (0, 1))]),  # one material whose objects fit together
        (SHARED, HALF, "auto", [("m", (0,)), ("m 2", (1,))]),  # and one whose objects do not
        (SHARED, HALF, "material", [("m", (0, 1))]),
        (SHARED, HALF + 0.5, "object", [("m", (0,)), ("m 2", (1,))]),
        (ONE_OBJECT, HALF + 0.5, "auto", [("a", (0, 1))]),  # one layout, cut into slots
        (ONE_OBJECT, HALF + 0.5, "material", [("m", (0,)), ("n", (1,))]),
        (ONE_OBJECT, HALF, "auto", [("m", (0,)), ("n", (1,))]),  # a square for each slot
        (ONE_OBJECT, HALF, "object", [("a", (0, 1))]),
        (SHARED, np.full_like(HALF, np.nan), "auto", [("m", (0,)), ("m 2", (1,))]),  # without a layout never with others
    ],
)
def test_texture_sets(pieces: tuple[Piece, ...], second: np.ndarray, grouping: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    sets = plan(pieces, np.array([0, 0, 1, 1]), np.concatenate([HALF, second]), grouping)
    assert [(one.name, one.pieces) for one in sets] == expected


def test_a_material_whose_objects_have_a_tile_each_is_one_set() -> None:
    (one,) = plan(SHARED, np.array([0, 0, 1, 1]), np.concatenate([SQUARE, np.add(SQUARE, [1, 0])]))
    assert one.tiles == (1001, 1002) and one.shared == 0


@pytest.mark.parametrize("model", [multi_part, mirrored, udim])
def test_the_very_mesh_comes_back(model: Model) -> None:
    sketch = model()
    before = as_bytes(sketch)
    mesh, images = textured(sketch)
    assert as_bytes(mesh) == before == as_bytes(sketch)
    assert sorted(np.concatenate([one.faces for one in images]).tolist()) == list(range(len(sketch.faces)))


@pytest.mark.parametrize(("model", "count"), [(multi_part, 3), (udim, 3), (partly_without, 3)])
def test_every_face_shows_what_lies_there(model: Model, count: int) -> None:
    """Three sheets at different places: folded into one image two of them would show another's colours."""
    mesh, images = textured(model())
    assert sum(len(one.tiles) for one in images) == count
    places, colours = seen(mesh, images)
    assert np.abs(colours - truth(places)).max() < 0.02


def test_texels_of_mirrored_halves_show_the_mean_of_both_and_their_padding_too() -> None:
    sketch = mirrored()
    uvs = sketch.uvs * np.float32(0.5) + np.float32(0.25)  # room for padding
    sketch = Mesh(sketch.vertices, sketch.faces, None, uvs, parts=sketch.parts)
    (one,) = planned_sets(sketch)
    assert one.shared == pytest.approx(0.5, abs=0.01)
    (note,) = told(sketch, [one])
    assert "50 %" in note and "mean" in note and "new UV layer" in note
    _, (images,) = textured(sketch)
    albedo = images.tiles[FIRST_TILE]["albedo"].astype(float) / 255
    x = np.linspace(-1.5 + 1 / 64, -0.5 - 1 / 64, 32)  # of the first half's texels; the second's are its mirror image
    first, second = (truth(np.stack([where, 0 * x, 0 * x], axis=-1))[:, 0] for where in (x, -x))
    assert np.abs(albedo[32, 16:48, 0] - (first + second) / 2).max() < 0.01
    assert np.abs(albedo[32, 11:16, 0] - albedo[32, 16, 0]).max() < 0.02  # not one half's alone


def test_a_new_layout_gives_each_half_its_own_colours() -> None:
    sketch = mirrored()
    mesh, images = textured(sketch, layout="apart")
    assert mesh.uvs is not None and not np.array_equal(mesh.uvs, sketch.uvs) and shared_part(mesh.uvs) < 0.01
    assert mesh.vertices is sketch.vertices and mesh.faces is sketch.faces
    places, colours = seen(mesh, images)
    assert np.abs(colours - truth(places)).max() < 0.02
    kept, _ = textured(udim(), layout="apart")
    assert np.array_equal(kept.uvs, udim().uvs)  # nothing is shared there
    anew, images = textured(udim(), layout="new")
    assert anew.uvs is not None and anew.uvs.max() <= 1 and [list(one.tiles) for one in images] == [[FIRST_TILE]]


def test_only_parts_without_a_layout_get_one() -> None:
    sketch = partly_without()
    sets = planned_sets(sketch)
    assert [one.laid for one in sets] == [True, False, False]
    notes = told(sketch, sets)
    assert "'bare' has no UV layout" in notes[0] and "others keep theirs" in notes[0] and "'flat'" in notes[1]
    mesh, _ = textured(sketch)
    assert mesh.uvs is not None and sketch.uvs is not None
    assert mesh.uvs[:2].tobytes() == sketch.uvs[:2].tobytes() and usable(mesh.uvs[2:4]) and usable(mesh.uvs[4:])


def test_a_layout_beyond_the_square_is_told_to_repeat() -> None:
    sketch = sheets(1, SQUARE * 3, (Piece("floor"),), [0, 0])
    notes = told(sketch, planned_sets(sketch))
    assert "89 %" in notes[0] and "repeats there" in notes[1]


def test_a_file_has_a_material_for_each_image_and_an_object_for_each_object(tmp_path: Path) -> None:
    tiles = ["skin 1001", "skin 1002", "skin 1011"]
    for model, materials, objects in ((multi_part, ["A", "B", "C"], ["a", "b", "c"]), (udim, tiles, ["x"])):
        sketch = model()
        mesh, images = textured(sketch)
        save_glb(tmp_path / "x.glb", mesh, [one for each in images for one in each.painted()], "x", {"seed": 1})
        data = (tmp_path / "x.glb").read_bytes()
        document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
        assert [entry["name"] for entry in document["materials"]] == materials and len(document["images"]) == 3
        assert [entry["name"] for entry in document["nodes"]] == objects
        back = load_mesh(tmp_path / "x.glb", texture=True)
        assert back.uvs is not None and mesh.uvs is not None
        np.testing.assert_array_equal(back.corner_vertices(), mesh.corner_vertices())
        np.testing.assert_allclose(back.uvs, mesh.uvs, atol=1e-6)  # v is written as 1 - v
        assert back.paint is not None
        assert np.quantile(np.abs(back.paint.colours - truth(back.paint.points)), 0.9) < 0.02  # but for the borders, where textures wrap


def test_three_balls_keep_their_colours_and_their_layout() -> None:
    """Each has the whole square and a material of its own: in one image all would come out in one colour."""
    sketch = load_mesh(MESHES / "three_full_uv_parts.glb", texture=True)
    assert sketch.parts is not None and len(sketch.parts.pieces) == 3
    field = ColourField(32)
    placement = SceneNormalization.of_bounds(sketch.vertices)
    assert sketch.colours is not None
    field.initialize(placement.to_engine(sketch.vertices), sketch.colours)
    reporter = QuietReporter()
    mesh, images = finish_texture(sketch, field, placement, 64, Watcher(note=reporter.note), planned_sets(sketch))
    assert mesh is sketch and len(images) == 3
    for one, channel in zip(images, range(3), strict=True):
        colour = one.tiles[FIRST_TILE]["albedo"].reshape(-1, 3)
        colour = np.median(colour, axis=0) / 255
        assert colour[channel] > 2 * np.delete(colour, channel).max(), colour


def test_names_of_objects_and_materials_come_from_the_file(tmp_path: Path) -> None:
    lines = ["o Seat", "v 0 0 0", "v 1 0 0", "v 0 1 0", "usemtl Velvet", "f 1 2 3", "o Legs", "v 0 0 1", "v 1 0 1", "v 0 1 1", "usemtl Oak",
             "f 4 5 6", "usemtl Velvet", "f 4 6 5"]  # fmt: skip
    (tmp_path / "chair.obj").write_text("\n".join(lines))
    mesh = load_mesh(tmp_path / "chair.obj", texture=True)
    assert mesh.parts is not None
    assert mesh.parts.pieces == (Piece("Seat", "Velvet"), Piece("Legs", "Oak"), Piece("Legs", "Velvet"))
    assert mesh.parts.of_face.tolist() == [0, 1, 2] and mesh.parts.pieces[1].label == "Legs/Oak"
    (tmp_path / "plain.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    plain = load_mesh(tmp_path / "plain.obj", texture=True)
    assert plain.parts is not None and plain.parts.pieces == (Piece("plain"),)


def test_a_sheet_with_two_sides_has_one_colour_for_both() -> None:
    """The colours are a function of place: its other side, with faces and UVs of its own, shows the same."""
    uvs = np.concatenate([HALF, np.add(HALF[:, ::-1], 0.5)])
    one = sheets(1, SQUARE, (Piece("sheet"),), [0, 0])
    both = Mesh(one.vertices, np.concatenate([one.faces, one.faces[:, ::-1]]), None, uvs.astype(np.float32))
    finished, (only,) = textured(both, 128)
    assert finished.uvs is not None
    weights = np.random.default_rng(0).dirichlet((3, 3, 3), 200)
    image = only.tiles[1001]["albedo"]
    front, back = (sample_image(image, np.concatenate([w @ own for own in finished.uvs[faces]])) for w, faces in
                   ((weights, slice(0, 2)), (weights[:, ::-1], slice(2, 4))))  # fmt: skip
    assert np.abs(front - back).max() <= 1
