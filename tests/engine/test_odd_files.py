"""Files that nobody reported and somebody will have: arrays of the wrong width, a small file that asks for millions of faces, what is
neither read nor told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.formats.meshio import load_mesh
from engine.formats.parts import LARGEST_MESH
from engine.formats.triangulate import triangulate
from engine.mesh import Mesh
from tests.engine.test_meshio import triangle_document, write_gltf

FACE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
STL_TRIANGLE = (0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0)


def read(path: Path) -> tuple[Mesh, list[str]]:
    notes: list[str] = []
    return load_mesh(path, notes), notes


@pytest.mark.parametrize("width", ["SCALAR", "VEC2", "VEC4"])
def test_positions_that_are_no_places_are_refused(width: str, tmp_path: Path) -> None:
    document, payload = triangle_document()
    document["accessors"][0].update(type=width, count=2)
    with pytest.raises(InputError, match="POSITION is"):
        load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))


@pytest.mark.parametrize("attribute", ["TEXCOORD_0", "COLOR_0"])
@pytest.mark.parametrize("accessor", [{"type": "SCALAR"}, {"count": 2}, {"bufferView": 7}, {"componentType": 1}], ids=str)
def test_a_damaged_layout_or_colour_is_left_out_and_said(attribute: str, accessor: dict[str, object], tmp_path: Path) -> None:
    document, payload = triangle_document()
    document["accessors"].append({**document["accessors"][0], "type": "VEC3", **accessor})
    document["meshes"][0]["primitives"][0]["attributes"][attribute] = 1
    notes: list[str] = []
    mesh = load_mesh(write_gltf(tmp_path / "a.gltf", document, payload), notes)
    assert len(mesh.faces) == 1 and mesh.colours is None and mesh.uvs is None
    assert len(notes) == 1 and attribute in notes[0]


@pytest.mark.parametrize("scattered", [False, True], ids=["nodes", "instances"])
def test_a_small_file_that_asks_for_more_faces_than_fit_is_refused_before_they_are_made(scattered: bool, tmp_path: Path) -> None:
    corners = 30_000
    document, _ = triangle_document()
    payload = np.random.default_rng(0).normal(size=(corners, 3)).astype("<f4").tobytes()
    document["accessors"][0]["count"], document["bufferViews"][0]["byteLength"] = corners, len(payload)
    document["meshes"][0]["primitives"][0]["mode"] = 5
    if scattered:
        document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 0}}}
    else:
        document["nodes"] = [{"mesh": 0}] * 700
        document["scenes"][0]["nodes"] = list(range(700))
    with pytest.raises(InputError, match=f"at most {LARGEST_MESH}") as caught:
        load_mesh(write_gltf(tmp_path / "a.glb", document, payload, binary=True))
    assert caught.value.code == "file_too_large"


def test_an_array_of_nothing_is_bounded(tmp_path: Path) -> None:
    document, payload = triangle_document()
    document["accessors"][0] = {"componentType": 5126, "type": "VEC3", "count": 1 << 26}
    with pytest.raises(InputError, match="67108864 elements"):
        load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))


def test_a_primitive_of_a_mode_that_there_is_not(tmp_path: Path) -> None:
    document, payload = triangle_document()
    document["meshes"][0]["primitives"][0]["mode"] = 99
    with pytest.raises(InputError, match="mode 99"):
        load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))


def test_a_rotation_that_was_rounded_does_not_shear(tmp_path: Path) -> None:
    """Half a turn about z and a bit, as bytes: its length is not one."""
    document, payload = triangle_document(rotation=[0, 0, 0.7, 0.7])
    mesh = load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))
    lengths = np.linalg.norm(mesh.vertices, axis=1)
    assert sorted(lengths.tolist()) == pytest.approx([0, 1, 1], abs=1e-6)


@pytest.mark.parametrize("statement", ["l 1 2 3", "p 1 2", "surf 0 1 0 1 1 2 3", "curv 0 1 1 2 3"])
def test_what_is_no_polygon_in_an_obj_is_told(statement: str, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(FACE + statement + "\n")
    mesh, notes = read(tmp_path / "a.obj")
    assert len(mesh.faces) == 1 and "left out" in notes[0]


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        (((1.0000001, 0.2, 0.2),) * 3, (1, 0.2, 0.2)),  # rounded
        (((1.5, 0.2, 0.2),) * 3, (1, 0.2, 0.2)),  # brighter than white
        (((200, 30, 30), (0, 0, 0), (1, 1, 1)), (200 / 255, 30 / 255, 30 / 255)),
        (((200.5, 30, 30),) * 3, (200.5 / 255, 30 / 255, 30 / 255)),  # bytes that were averaged
    ],
)
def test_obj_colours_are_bytes_or_shares(colours: tuple[tuple[float, ...], ...], expected: tuple[float, ...], tmp_path: Path) -> None:
    places = ("0 0 0", "1 0 0", "0 1 0")
    lines = [f"v {place} {' '.join(map(str, colour))}" for place, colour in zip(places, colours, strict=True)]
    (tmp_path / "a.obj").write_text("\n".join([*lines, "f 1 2 3"]))
    mesh, _ = read(tmp_path / "a.obj")
    assert mesh.colours is not None and np.allclose(mesh.colours[0].clip(0, 1), expected, atol=1e-3)


def stl(header: bytes, attribute: int = 0) -> bytes:
    return header.ljust(80, b" ") + struct.pack("<I12fH", 1, *STL_TRIANGLE, attribute)


def test_a_binary_stl_may_speak_of_solids_and_facets(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_bytes(stl(b"solid part, facets exported as binary"))
    mesh, notes = read(tmp_path / "a.stl")
    assert len(mesh.faces) == 1 and not notes


@pytest.mark.parametrize("data", [stl(b"part", 0x8000 | 31), stl(b"COLOR=\xff\0\0\xff", 31)], ids=["viscam", "magics"])
def test_colours_of_an_stl_are_told_to_be_left_out(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_bytes(data)
    assert "colours" in read(tmp_path / "a.stl")[1][0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", ["nan", "inf", "1e39", "1e400", "-1e300"])
def test_numbers_beyond_all_bounds_warn_in_words_alone(number: str, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(FACE.replace("1 0 0", f"{number} 0 0"))
    mesh, _ = read(tmp_path / "a.obj")
    assert not np.isfinite(mesh.vertices).all()  # which the check refuses


@pytest.mark.parametrize("kind", ["star", "spiral", "comb"])
def test_a_polygon_of_thousands_of_corners(kind: str) -> None:
    count = 3000
    number = np.arange(count)
    angle = number / count * 2 * np.pi
    if kind == "comb":
        flat = np.stack([(number + 1) // 2 * 2.0, np.where(number % 4 < 2, 1.0, 0.0)], axis=-1)
        flat[-1] = (0, -1)
    else:
        radius = 1 + 0.3 * (number % 2) if kind == "star" else 1 + angle
        flat = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    triangles = np.array(triangulate(np.concatenate([flat, np.zeros((count, 1))], axis=1)))
    assert triangles.shape == (count - 2, 3)
    a, b, c = (flat[triangles[:, corner]] for corner in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    following = np.roll(flat, -1, axis=0)
    whole = (flat[:, 0] * following[:, 1] - flat[:, 1] * following[:, 0]).sum() / 2
    assert areas.sum() == pytest.approx(whole, rel=1e-9) and np.abs(areas).sum() == pytest.approx(abs(whole), rel=1e-9)
