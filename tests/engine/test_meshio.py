"""Reading and writing meshes: exact round trips, foreign files, and every way in which a file or folder can be bad."""

from __future__ import annotations

import base64
import errno
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from engine.conventions import gltf_from_world
from engine.errors import InputError, JobError
from engine.formats.files import write_atomically
from engine.formats.gltf_write import split_seams, vertex_normals
from engine.formats.meshio import load_mesh, save_glb
from engine.mesh import Mesh

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def tetrahedron(**extra: Any) -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0.25], [0, 2, 0], [0.1, 0.2, 3]], np.float32)
    return Mesh(vertices, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32), **extra)


def random_uvs(faces: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-0.5, 1.5, (faces, 3, 2)).astype(np.float32)


def write_gltf(path: Path, document: dict[str, Any], payload: bytes, *, binary: bool = False) -> Path:
    """A document whose buffer 0 is the payload: as .gltf with a data: URI, or as .glb."""
    document = {"asset": {"version": "2.0"}, **document}
    if not binary:
        uri = "data:application/octet-stream;base64," + base64.b64encode(payload).decode()
        path.write_text(json.dumps({**document, "buffers": [{"byteLength": len(payload), "uri": uri}]}))
        return path
    text = json.dumps({**document, "buffers": [{"byteLength": len(payload)}]}).encode()
    text += b" " * (-len(text) % 4)
    payload += b"\0" * (-len(payload) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(payload))
    path.write_bytes(head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(payload), b"BIN\0") + payload)
    return path


def triangle_document(**node: Any) -> tuple[dict[str, Any], bytes]:
    """One triangle without indices, positions (0 0 0) (1 0 0) (0 1 0) in glTF's axes."""
    payload = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    document = {
        "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, **node}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(payload)}],
    }  # fmt: skip
    return document, payload


# --- our own files ---------------------------------------------------------------------------------------------------


def test_round_trip_keeps_vertices_and_faces_exactly_and_uvs_to_rounding(tmp_path: Path) -> None:
    mesh = tetrahedron(uvs=random_uvs(4))
    save_glb(tmp_path / "a.glb", mesh)
    back = load_mesh(tmp_path / "a.glb")
    assert np.array_equal(back.vertices, mesh.vertices)
    assert np.array_equal(back.faces, mesh.faces)
    assert mesh.uvs is not None and back.uvs is not None
    assert np.abs(back.uvs - mesh.uvs).max() <= 1.2e-7  # v is written as 1 - v: one float32 rounding each way, values up to 1.5
    assert np.array_equal(back.uvs[..., 0], mesh.uvs[..., 0])
    assert back.colours is None and back.vertices.dtype == np.float32 and back.faces.dtype == np.int32


def test_colours_round_trip(tmp_path: Path) -> None:
    colours = np.array([[0, 1, 0.5], [0.02, 0.9, 0.1], [1, 1, 1], [0.3, 0.2, 0.7]], np.float32)
    save_glb(tmp_path / "a.glb", tetrahedron(colours=colours))
    back = load_mesh(tmp_path / "a.glb")
    assert back.colours is not None
    assert np.abs(back.colours - colours).max() < 2e-4  # 16 bits of linear light; the sRGB curve's slope is 12.92 at black


def test_texture_takes_the_place_of_vertex_colours(tmp_path: Path) -> None:
    """Texels under the vertices come back as colours; the file's own vertex colours would have darkened the texture."""
    albedo = np.zeros((4, 4, 3), np.uint8)
    albedo[0], albedo[3] = (255, 0, 0), (0, 0, 255)  # top row red, bottom row blue
    uvs = np.zeros((4, 3, 2), np.float32)
    uvs[..., 0] = 0.5
    uvs[..., 1] = np.where(tetrahedron().faces == 3, 0.875, 0.125)  # texel centres of the top and bottom row
    save_glb(tmp_path / "a.glb", tetrahedron(uvs=uvs, colours=np.full((4, 3), 0.5, np.float32)), {"albedo": albedo})
    back = load_mesh(tmp_path / "a.glb")
    assert back.colours is not None
    assert np.allclose(back.colours[3], (1, 0, 0), atol=1e-3)
    assert np.allclose(back.colours[:3], (0, 0, 1), atol=1e-3)


def test_file_is_valid_and_principled_for_another_reader(tmp_path: Path) -> None:
    flat = np.full((8, 8, 3), 128, np.uint8)
    maps = {"albedo": flat, "roughness": np.full((8, 8), 90, np.uint8), "normal": flat}
    extras = {"prompt": "a red tulip flower", "seed": 3, "deviation_mean_percent": 1.5}
    save_glb(tmp_path / "a.glb", tetrahedron(uvs=random_uvs(4)), maps, "tulip", extras)
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    (geometry,) = scene.geometry.values()
    assert geometry.faces.shape == (4, 3)
    material = geometry.visual.material
    assert material.baseColorTexture.size == (8, 8) and material.normalTexture.size == (8, 8)
    assert np.asarray(material.metallicRoughnessTexture)[0, 0].tolist()[:3] == [255, 90, 255]
    assert material.roughnessFactor == 1.0 and material.metallicFactor == 0.0
    data = (tmp_path / "a.glb").read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    assert document["nodes"][0]["extras"] == extras and document["nodes"][0]["name"] == "tulip"
    assert struct.unpack_from("<I", data, 8)[0] == len(data)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    expected = gltf_from_world(tetrahedron().vertices)
    assert np.allclose(position["min"], expected.min(0)) and np.allclose(position["max"], expected.max(0))


def test_seams_double_only_the_vertices_whose_uvs_differ() -> None:
    uvs = np.zeros((4, 3, 2), np.float32)
    assert len(split_seams(tetrahedron(uvs=uvs))[0]) == 4
    uvs[0, 0] = (0.5, 0.5)
    source, faces, split = split_seams(tetrahedron(uvs=uvs))
    assert sorted(source.tolist()) == [0, 0, 1, 2, 3]
    assert np.array_equal(source[faces], tetrahedron().faces)
    assert split is not None and np.array_equal(split[faces], uvs)


def test_hard_edges_stay_hard_where_they_are_wanted(tmp_path: Path) -> None:
    mesh = tetrahedron(uvs=random_uvs(4))
    corners = mesh.corner_vertices()
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    for creased in (True, False):
        save_glb(tmp_path / "a.glb", mesh, creased=creased)
        back = load_mesh(tmp_path / "a.glb")
        assert np.array_equal(back.vertices, mesh.vertices) and np.array_equal(back.faces, mesh.faces)
        (geometry,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
        written = geometry.vertex_normals[geometry.faces]
        assert np.allclose(written, gltf_from_world(flat)[:, None], atol=1e-5) == creased


def test_normals_of_a_sphere_point_outward() -> None:
    sphere = trimesh.creation.icosphere(3)
    normals = vertex_normals(sphere.vertices.astype(np.float32), sphere.faces)
    assert ((normals * sphere.vertices).sum(1) > 0.999).all()
    lone = vertex_normals(np.zeros((2, 3), np.float32), np.zeros((0, 3), np.int32))
    assert np.array_equal(lone, [[0, 0, 1], [0, 0, 1]])


# --- other people's files --------------------------------------------------------------------------------------------


def test_nodes_are_flattened_and_mirrors_keep_faces_outward(tmp_path: Path) -> None:
    document, payload = triangle_document(scale=[-2, 1, 1], translation=[10, 0, 0])
    document["nodes"].append({"children": [0], "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]})  # 90 degrees about glTF's z
    document["scenes"][0]["nodes"] = [1]
    mesh = load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))
    # (x y z) -> mirrored, moved (10-2x y z) -> turned (-y 10-2x z) -> world (x -z y)
    corners = mesh.corner_vertices()[0]
    expected = {(0.0, 0.0, 10.0), (0.0, 0.0, 8.0), (-1.0, 0.0, 10.0)}
    assert {tuple(np.round(corner, 5) + 0.0) for corner in corners} == expected
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    assert normal[1] < 0  # glTF +z before, world -y after; the mirror is undone by turning the face


def test_matrix_instances_and_missing_scene(tmp_path: Path) -> None:
    document, payload = triangle_document()
    matrix = np.eye(4)
    matrix[:3, 3] = (0, 5, 0)
    document["nodes"].append({"mesh": 0, "matrix": matrix.T.reshape(-1).tolist()})
    del document["scenes"]
    mesh = load_mesh(write_gltf(tmp_path / "a.glb", document, payload, binary=True))
    assert len(mesh.faces) == 2 and mesh.vertices[:, 2].max() == 6


def test_strided_normalized_sparse_and_strips(tmp_path: Path) -> None:
    """Two triangles as a strip; interleaved positions and byte colours; a sparse accessor lifts one vertex."""
    rows = b"".join(struct.pack("<3f4B", x, y, 0, shade, 255, 0, 255) for x, y, shade in ((0, 0, 0), (1, 0, 255), (0, 1, 255), (1, 1, 255)))
    payload = rows + struct.pack("<H2x", 3) + struct.pack("<3f", 1, 1, 7)
    document = {
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"mode": 5, "attributes": {"POSITION": 0, "COLOR_0": 1}}, {"mode": 1, "attributes": {"POSITION": 0}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3",
             "sparse": {"count": 1, "indices": {"bufferView": 1, "componentType": 5123}, "values": {"bufferView": 2}}},
            {"bufferView": 0, "byteOffset": 12, "componentType": 5121, "normalized": True, "count": 4, "type": "VEC4"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 64, "byteStride": 16}, {"buffer": 0, "byteOffset": 64, "byteLength": 2},
                        {"buffer": 0, "byteOffset": 68, "byteLength": 12}],
    }  # fmt: skip
    notes: list[str] = []
    mesh = load_mesh(write_gltf(tmp_path / "a.glb", document, payload, binary=True), notes)
    assert mesh.faces.tolist() == [[0, 1, 2], [2, 1, 3]]
    assert mesh.vertices[3].tolist() == [1, -7, 1]
    assert mesh.colours is not None and np.allclose(mesh.colours, [[0, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0]], atol=1e-6)
    assert len(notes) == 1 and "lines or points" in notes[0]


def test_factor_texture_transform_and_unreadable_texture(tmp_path: Path) -> None:
    import io

    from PIL import Image

    picture = Image.new("RGB", (2, 1), (255, 255, 255))
    picture.putpixel((1, 0), (0, 255, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    document, payload = triangle_document()
    payload += np.full((3, 2), 0.25, "<f4").tobytes()  # the left texel, moved to the right one by the transform
    document["accessors"].append({"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"})
    document["bufferViews"].append({"buffer": 0, "byteOffset": 36, "byteLength": 24})
    document["meshes"][0]["primitives"][0].update(attributes={"POSITION": 0, "TEXCOORD_0": 1}, material=0)
    texture = {"index": 0, "extensions": {"KHR_texture_transform": {"offset": [0.5, 0]}}}
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0.2158605, 1, 1], "baseColorTexture": texture}}]
    document["textures"] = [{"source": 0}]
    document["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()}]
    mesh = load_mesh(write_gltf(tmp_path / "a.gltf", document, payload))
    assert mesh.colours is not None and np.allclose(mesh.colours, [0, 0.5019608, 0], atol=1e-3)  # linear 0.2159 is sRGB 128
    document["images"] = [{"uri": "missing.png"}]
    notes: list[str] = []
    mesh = load_mesh(write_gltf(tmp_path / "b.gltf", document, payload), notes)
    assert mesh.colours is not None and np.allclose(mesh.colours[0], [1, 0.5019608, 1], atol=1e-3)
    assert "missing.png" in notes[0]


def test_doubled_vertices_are_joined_within_an_object(tmp_path: Path) -> None:
    """Flat-shaded exports double every vertex: joined again, in first-seen order, or strokes would fall into triangles."""
    cube = trimesh.creation.box()
    flat = Mesh(cube.vertices[cube.faces].reshape(-1, 3).astype(np.float32), np.arange(36, dtype=np.int32).reshape(-1, 3))
    save_glb(tmp_path / "a.glb", flat)
    back = load_mesh(tmp_path / "a.glb")
    assert len(back.vertices) == 8
    assert np.array_equal(back.corner_vertices(), flat.corner_vertices())


def test_ply_and_stl_are_z_up_and_obj_is_y_up(tmp_path: Path) -> None:
    mesh = tetrahedron()
    colours = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [10, 20, 30, 255]], np.uint8)
    trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False).export(tmp_path / "a.ply")
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / "a.stl")
    ply, stl = load_mesh(tmp_path / "a.ply"), load_mesh(tmp_path / "a.stl")
    assert np.array_equal(ply.vertices, mesh.vertices) and np.array_equal(ply.faces, mesh.faces)
    assert ply.colours is not None and np.allclose(ply.colours, colours[:, :3] / 255, atol=1e-6)
    assert len(stl.vertices) == 4 and np.array_equal(stl.corner_vertices(), mesh.corner_vertices())
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert load_mesh(tmp_path / "a.obj").vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_obj_polygons_uvs_materials_and_negative_indices(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl red paint\nKd 1 0 0\nnewmtl plain\nKd 0.2158605 0.2158605 0.2158605\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\no one\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 0.25\nusemtl red paint\nf 1/1 2/2 3/3 4/4\n"
        "o two\nv 5 0 0\nv 6 0 0\nv 5 1 0\nusemtl plain\nf -3 -2 -1\n"
    )
    mesh = load_mesh(tmp_path / "a.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]
    assert mesh.uvs is not None
    assert mesh.uvs[:2].tolist() == [[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 0.25]]]
    assert mesh.colours is not None
    assert np.allclose(mesh.colours[:4], [1, 0, 0], atol=1e-6) and np.allclose(mesh.colours[4:], 0.5019608, atol=1e-4)


def test_examples_load_with_their_colours() -> None:
    files = sorted(EXAMPLES.glob("*.glb"))
    assert len(files) >= 8
    for file in files:
        mesh = load_mesh(file)
        assert mesh.colours is not None and mesh.colours.std() > 0.02
        size = np.ptp(mesh.vertices, axis=0)
        assert 0.25 < size.max() < 2.2 and mesh.vertices[:, 2].min() > -0.1


# --- bad files and folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.glb", None, "missing_file"),
        ("a.glb", b"", "empty_file"),
        ("a.fbx", b"Kaydara", "unsupported_format"),
        ("a.blend", b"BLENDER", "unsupported_format"),
        ("a.glb", b"not a glb at all, but long enough", "corrupt_file"),
        ("a.glb", b"glTF\x02\0\0\0\xff\xff\0\0 cut off early", "corrupt_file"),
        ("a.gltf", b"{ broken", "corrupt_file"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "scene": ' + b"9" * 10_000 + b"}", "corrupt_file"),
        ("a.gltf", b'{"asset": {"version": "1.0"}}', "corrupt_file"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "scenes": [{"nodes": [3]}]}', "corrupt_file"),
        ("a.gltf", b'{"asset": {"version": "2.0"}}', "sketch_empty"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "nodes": [{"children": [0]}], "scenes": [{"nodes": [0]}]}', "corrupt_file"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "extensionsRequired": ["EXT_meshopt_compression"]}', "unsupported_format"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nf 1 2 9\n", "corrupt_file"),
        ("a.obj", b"v 0 zero 0\n", "corrupt_file"),
        ("a.obj", b"v 0 0\nv 1 0\nv 1 1\nf 1 2 3\n", "corrupt_file"),
        ("a.obj", b"# nothing\n", "sketch_empty"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "corrupt_file"),
        ("a.stl", b"\0" * 20, "corrupt_file"),
        ("a.stl", b"\0" * 84, "sketch_empty"),
    ],
)
def test_bad_files_are_refused_with_a_fix(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_mesh(path)
    assert caught.value.code == code
    assert caught.value.fix.endswith(".")


def test_many_materials_take_no_longer_each(tmp_path: Path) -> None:
    """Work that grows with the square of the names would grow sixteenfold here."""

    def work(count: int) -> float:
        path = tmp_path / f"{count}.obj"
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "".join(f"usemtl m{number}\nf 1 2 3\n" for number in range(count)))
        began = time.process_time()
        load_mesh(path)
        return time.process_time() - began

    work(100)
    assert work(8000) < 9 * work(2000)


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    save_glb(tmp_path / "a.glb", tetrahedron(uvs=random_uvs(4)))
    data = (tmp_path / "a.glb").read_bytes()
    for length in range(1, len(data), 37):
        (tmp_path / "b.glb").write_bytes(data[:length])
        with pytest.raises(InputError):
            load_mesh(tmp_path / "b.glb")


def test_damaged_tables_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    """Hyperparameters inside the JSON part replaced at random: whatever happens is an InputError or a mesh."""
    save_glb(tmp_path / "a.glb", tetrahedron(uvs=random_uvs(4)))
    data = bytearray((tmp_path / "a.glb").read_bytes())
    digits = [at for at in range(20, len(data)) if 48 <= data[at] <= 57 and at < 20 + struct.unpack_from("<I", data, 12)[0]]
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.choice(digits, 2):
            broken[at] = 48 + int(rng.integers(10))
        (tmp_path / "b.glb").write_bytes(broken)
        try:
            load_mesh(tmp_path / "b.glb")
        except InputError:
            refused += 1
    assert refused > 20


def test_a_folder_is_not_a_mesh(tmp_path: Path) -> None:
    (tmp_path / "a.glb").mkdir()
    with pytest.raises(InputError) as caught:
        load_mesh(tmp_path / "a.glb")
    assert caught.value.code == "not_a_file"


def test_references_to_a_network_are_not_followed(tmp_path: Path) -> None:
    document, _ = triangle_document()
    (tmp_path / "a.gltf").write_text(
        json.dumps({"asset": {"version": "2.0"}, **document, "buffers": [{"byteLength": 36, "uri": "http://x/y.bin"}]})
    )
    with pytest.raises(InputError) as caught:
        load_mesh(tmp_path / "a.gltf")
    assert caught.value.code == "remote_file"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError) as caught:
        save_glb(tmp_path / "out" / "a.glb", tetrahedron())
    assert caught.value.code == "cannot_write"


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/sys"), reason="root may write everywhere here")
def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = Path("/proc/sys") if os.geteuid() == 0 else tmp_path / "locked"  # root may write anywhere but here
    if os.geteuid() != 0:
        folder.mkdir(mode=0o500)
    with pytest.raises(InputError) as caught:
        save_glb(folder / "a.glb", tetrahedron())
    assert caught.value.code == "cannot_write" and "Nothing was written" in caught.value.message


@pytest.mark.parametrize(("number", "kind", "code"), [(errno.ENOSPC, JobError, "disk_full"), (errno.EIO, JobError, "cannot_write")])
def test_a_failure_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type, code: str
) -> None:
    save_glb(tmp_path / "a.glb", tetrahedron())
    before = (tmp_path / "a.glb").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)  # where a full disk is noticed at the latest
    with pytest.raises(kind) as caught:
        save_glb(tmp_path / "a.glb", tetrahedron(uvs=random_uvs(4)))
    assert caught.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]
    assert (tmp_path / "a.glb").read_bytes() == before


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.bin", b"x")
    (tmp_path / "b.bin").write_bytes(b"x")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode
