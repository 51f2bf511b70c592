"""Files beside a mesh: found by whatever name, never outside of its folder, never a device; and all that a mesh is made of is listed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError, SketchbridgeError, printable
from engine.formats.beside import Beside, decoded, read_regular
from engine.formats.meshio import load_mesh
from engine.formats.mtl_read import texture_statement
from engine.formats.references import files_of
from tests.cases.expected import MESHES

ROOT = Path(__file__).resolve().parents[2]
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"


def gltf_with(folder: Path, buffer: str, image: str | None = None) -> Path:
    """A .gltf of one triangle whose buffer and image are these URIs."""
    document = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}], "textures": [{"source": 0}],
        "images": [{"uri": image or "none.png"}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}], "buffers": [{"byteLength": 36, "uri": buffer}],
    }  # fmt: skip
    path = folder / "a.gltf"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a buffer, beside one with a secret."""
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "b.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    (tmp_path / "secret.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    return inside


@pytest.mark.parametrize(
    "uri", ["b.bin", "B.BIN", "./b.bin", "sub/../b.bin", "C:\\art\\b.bin", "other\\b.bin", "%62.bin", "/elsewhere/b.bin"]
)
def test_a_buffer_is_found_by_whatever_name(folder: Path, uri: str) -> None:
    assert len(load_mesh(gltf_with(folder, uri)).faces) == 1


@pytest.mark.parametrize(
    "uri",
    ["../secret.bin", "%2e%2e/secret.bin", "sub/../../secret.bin", "..\\secret.bin", "{}/secret.bin", "link.bin", "file://{}/secret.bin"],
)
def test_nothing_outside_of_the_folder_is_read(folder: Path, uri: str) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    with pytest.raises(InputError) as caught:
        load_mesh(gltf_with(folder, uri.format(folder.parent)))
    assert caught.value.code in ("missing_file", "remote_file")


@pytest.mark.parametrize("name", ["/etc/passwd", "/proc/self/environ", "/dev/zero", "../../../etc/passwd"])
def test_files_of_the_system_are_not_read(folder: Path, name: str) -> None:
    with pytest.raises(InputError):
        load_mesh(gltf_with(folder, name))
    notes: list[str] = []
    (folder / "a.obj").write_text(f"mtllib {name}\n{TRIANGLE}")
    assert load_mesh(folder / "a.obj", notes).colours is None and "not in the mesh's folder" in notes[0]


@pytest.mark.parametrize("kind", ["buffer", "image", "library", "texture", "mesh"])
def test_a_pipe_is_never_waited_for(folder: Path, kind: str) -> None:
    os.mkfifo(folder / ("pipe.glb" if kind == "mesh" else "pipe"))
    if kind == "mesh":
        path = folder / "pipe.glb"
    elif kind in ("buffer", "image"):
        path = gltf_with(folder, "pipe" if kind == "buffer" else "b.bin", "pipe")
    else:
        (folder / "m.mtl").write_text("newmtl m\nmap_Kd pipe\n")
        path = folder / "a.obj"
        path.write_text(f"mtllib {'pipe' if kind == 'library' else 'm.mtl'}\n{TRIANGLE}")
    begun = time.monotonic()
    try:
        load_mesh(path)
    except InputError as error:
        assert kind in ("buffer", "mesh") and error.fix
    else:
        assert kind not in ("buffer", "mesh")
    assert time.monotonic() - begun < 5


def test_a_device_is_no_file() -> None:
    with pytest.raises(InputError) as caught:
        read_regular(Path("/dev/zero"))
    assert caught.value.code == "not_a_file"


def test_a_picture_that_announces_too_many_pixels_is_left_out_at_once(folder: Path) -> None:
    from PIL import Image

    Image.new("1", (13_000, 13_000)).save(folder / "bomb.png")
    notes: list[str] = []
    begun = time.monotonic()
    mesh = load_mesh(gltf_with(folder, "b.bin", "bomb.png"), notes)
    assert mesh.colours is None and "13000 x 13000" in notes[0] and time.monotonic() - begun < 5


def test_too_many_instances_are_refused(folder: Path) -> None:
    path = gltf_with(folder, "b.bin")
    document = json.loads(path.read_text())
    document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}}
    document["accessors"].append({"componentType": 5126, "count": 200_000, "type": "VEC3"})
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        load_mesh(path)
    assert caught.value.code == "file_too_large" and "200000" in caught.value.message


def test_what_a_file_says_does_not_command_the_terminal(tmp_path: Path) -> None:
    """A line with an escape sequence that would clear the screen comes out as text; so does one in a name."""
    (tmp_path / "a.obj").write_bytes(b"v \x1b[2J\x07 0 0\n")
    command = [sys.executable, "-m", "engine", "refine", str(tmp_path / "a.obj"), "--prompt", "x", "--out", str(tmp_path / "o")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 2 and b"\x1b" not in done.stderr and b"\x07" not in done.stderr and b"\\x1b[2J" in done.stderr
    assert printable("ok\n\x1b[31m\u202e") == "ok\n\\x1b[31m\\u202e"
    assert "\x1b" not in str(SketchbridgeError("code", "a\x1bb", "c\x1bd"))
    notes: list[str] = []
    (tmp_path / "b.obj").write_text(f"mtllib \x1b[2J.mtl\n{TRIANGLE}")
    load_mesh(tmp_path / "b.obj", notes)
    assert notes and "\x1b" not in notes[0]


def test_text_of_any_encoding_is_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert decoded("grüne Wand 绿".encode(encoding)) == "grüne Wand 绿"
    assert decoded(b"gr\xfcn") == "gr\ufffdn"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("wood.png", ("wood.png", (1, 1), (0, 0))),
        ("red blue.png", ("red blue.png", (1, 1), (0, 0))),
        ("-s 2 3 1 -o 0.5 0.25 0 my wood.png", ("my wood.png", (2, 3), (0.5, 0.25))),
        ("-blendu off -clamp on -bm 0.5 wood.png", ("wood.png", (1, 1), (0, 0))),
        ("-s 2 wood.png", ("wood.png", (2, 2), (0, 0))),
        ("-o 0,5 0,25 C:\\art\\wood.png", ("C:\\art\\wood.png", (1, 1), (0.5, 0.25))),
    ],
)
def test_options_of_a_texture_statement(statement: str, expected: tuple) -> None:
    assert texture_statement(statement) == expected


def test_a_mesh_is_all_of_its_files(folder: Path) -> None:
    (folder / "m.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd -s 1 1 1 Wood.PNG\nmap_d gone.png\n")
    (folder / "wood.png").write_bytes(b"x")
    (folder / "a.obj").write_text(f"mtllib m.mtl\n{TRIANGLE}")
    assert [path.name for path in files_of(folder / "a.obj")] == ["a.obj", "m.mtl", "wood.png"]
    assert [path.name for path in files_of(gltf_with(folder, "b.bin", "wood.png"))] == ["a.gltf", "b.bin", "wood.png"]
    assert [path.name for path in files_of(MESHES / "ply_texturefile.ply")] == ["ply_texturefile.ply", "redblue.png"]
    assert [path.name for path in files_of(gltf_with(folder, "../secret.bin"))] == ["a.gltf"]
    for broken in (b"", b"{", b"glTF\x02", b"[1, 2]", struct.pack("<4sII", b"glTF", 2, 12)):
        (folder / "b.glb").write_bytes(broken)
        assert files_of(folder / "b.glb") == [folder / "b.glb"]
    assert files_of(folder / "missing.obj") == [folder / "missing.obj"]


def test_the_folder_of_a_mesh_may_be_a_link(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other").symlink_to(folder, target_is_directory=True)
    assert Beside(tmp_path / "other" / "a.gltf").find("b.bin").name == "b.bin"
