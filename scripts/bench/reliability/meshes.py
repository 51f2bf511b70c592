"""Mesh files of strangers: read harmlessly or refused with a fix; no file of the machine in the result, no hang, no flood of memory."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import resource
import signal
import struct
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SketchbridgeError
from engine.formats.meshio import load_mesh
from scripts.bench.reliability.tiny import Row

SECONDS = 120
"""Processor time of one file."""
MEMORY = 3 << 30
SECRET = b"the secret of another file: 0123456789 " * 20
FINE, REFUSED, CRASHED, LEAKED = 0, 2, 99, 98

Make = Callable[[Path], Path]


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """Each case once, whatever the share."""
    row, refused = Row("hostile meshes"), 0
    for number, (name, make) in enumerate(CASES.items()):
        place = folder / str(number) / "mesh"
        place.mkdir(parents=True)
        (place.parent / "secret.bin").write_bytes(SECRET)
        code, text = _apart(make(place))
        refused += code == REFUSED
        row.count(None if code in (FINE, REFUSED) else f"{name}: {code} {text[-400:]}")
    row.remark = f"{refused} refused with a fix, {row.tried - refused - len(row.faults)} read harmlessly: {', '.join(CASES)}"
    return [row]


def _apart(mesh: Path) -> tuple[int, str]:
    """Read a mesh in a forked process with limits: FINE, REFUSED, CRASHED, LEAKED or minus the signal that ended it; and what it said."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_size() + MEMORY, resource.RLIM_INFINITY))
        signal.alarm(10 * SECONDS)
        code, told = CRASHED, io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                code = _read(mesh, told)
            except BaseException:
                traceback.print_exc()
        with contextlib.suppress(BaseException), open(write, "w", errors="replace") as file:
            file.write(told.getvalue())
        os._exit(code)
    os.close(write)
    with open(read, errors="replace") as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def _size() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _read(mesh: Path, told: io.StringIO) -> int:
    notes: list[str] = []
    try:
        found = load_mesh(mesh, notes)
        held = b"".join(array.tobytes() for array in (found.vertices, found.faces, found.colours) if array is not None)
        code = FINE
    except SketchbridgeError as error:
        held, code = str(error).encode(), REFUSED if error.fix else CRASHED
        notes.append(str(error))
    print("\n".join(notes), file=told)
    held += told.getvalue().encode()
    if SECRET[:12] in held or b"root:" in held:
        return LEAKED
    return CRASHED if "\x1b" in told.getvalue() else code


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()


def data_uri(data: bytes, kind: str = "application/octet-stream") -> str:
    """Bytes inside a document."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def document(**changes: Any) -> dict[str, Any]:
    """A triangle."""
    return {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}], "buffers": [{"uri": data_uri(TRIANGLE), "byteLength": 36}],
        **changes,
    }  # fmt: skip


def gltf(**changes: Any) -> Make:
    """A document with other entries."""

    def make(folder: Path) -> Path:
        path = folder / "mesh.gltf"
        path.write_text(json.dumps(document(**changes)))
        return path

    return make


def buffer(uri: str, pipe: bool = False) -> Make:
    """A buffer from somewhere else."""

    def make(folder: Path) -> Path:
        if pipe:
            os.mkfifo(folder / uri)
        return gltf(buffers=[{"uri": uri, "byteLength": 36}])(folder)

    return make


def picture(uri: str, pipe: bool = False) -> Make:
    """A texture from somewhere else."""

    def make(folder: Path) -> Path:
        if pipe:
            os.mkfifo(folder / uri)
        attributes = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}
        return gltf(
            buffers=[{"uri": data_uri(TRIANGLE + bytes(24)), "byteLength": 60}], bufferViews=[{"buffer": 0, "byteLength": 60}],
            accessors=[{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                       {"bufferView": 0, "byteOffset": 36, "componentType": 5126, "count": 3, "type": "VEC2"}],
            meshes=[{"primitives": [attributes]}], images=[{"uri": uri}], textures=[{"source": 0}],
            materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        )(folder)  # fmt: skip

    return make


def png(side: int) -> str:
    """A grey picture that is small on the disk and large in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    line = bytes(side + 1)
    packed = b"".join([*(rows.compress(line) for _ in range(side)), rows.flush()])
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return data_uri(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b""), "image/png")


def text(name: str, content: str, pipe: str = "", library: str = "") -> Make:
    """A file of text, a pipe or a library beside it."""

    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        if pipe:
            os.mkfifo(folder / pipe)
        if library:
            (folder / "a.mtl").write_text(library)
        return folder / name

    return make


def raw(name: str, content: bytes) -> Make:
    """A file of bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def scattered(nodes: int, instances: bool) -> Make:
    """A strip of 100,000 triangles in many places."""
    count = 100_000
    data = np.random.default_rng(0).normal(size=(count, 3)).astype("<f4").tobytes()
    wish = {"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 0}}}} if instances else {}
    return gltf(
        buffers=[{"uri": data_uri(data), "byteLength": len(data)}], bufferViews=[{"buffer": 0, "byteLength": len(data)}],
        accessors=[{**ACCESSOR, "count": count}], meshes=[{"primitives": [{"mode": 5, "attributes": {"POSITION": 0}}]}],
        scenes=[{"nodes": list(range(nodes))}], nodes=[{"mesh": 0, **wish}] * nodes,
    )  # fmt: skip


def polygon(corners: int) -> Make:
    """A star of one face."""
    angles = np.arange(corners) / corners * 2 * np.pi
    lines = [f"v {np.cos(angle):.6f} {np.sin(angle) * (1 + 0.3 * (index % 2)):.6f} 0" for index, angle in enumerate(angles)]
    return text("mesh.obj", "\n".join([*lines, "f " + " ".join(str(index + 1) for index in range(corners)), ""]))


def linked(folder: Path) -> Path:
    """A buffer that is a link out of the folder."""
    (folder / "data.bin").symlink_to(folder.parent / "secret.bin")
    return buffer("data.bin")(folder)


def a_pipe(folder: Path) -> Path:
    """The mesh itself is one."""
    os.mkfifo(folder / "mesh.obj")
    return folder / "mesh.obj"


FACE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
ACCESSOR = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
CASES: dict[str, Make] = {
    "buffer /etc/passwd": buffer("/etc/passwd"),
    "buffer ../secret.bin": buffer("../secret.bin"),
    "buffer %2e%2e/secret.bin": buffer("%2e%2e/secret.bin"),
    "buffer of /proc": buffer("/proc/self/environ"),
    "buffer file://": buffer("file:///etc/passwd"),
    "buffer http://": buffer("http://127.0.0.1:9/x.bin"),
    "buffer through a link": linked,
    "buffer is a pipe": buffer("data.bin", pipe=True),
    "buffer /dev/zero": buffer("/dev/zero"),
    "picture is a pipe": picture("picture.png", pipe=True),
    "picture /dev/zero": picture("/dev/zero"),
    "picture of 30,000 pixels a side": picture(png(30_000)),
    "picture of 13,000 pixels a side": picture(png(13_000)),
    "library is a pipe": text("mesh.obj", "mtllib a.mtl\n" + FACE, pipe="a.mtl"),
    "library /dev/zero": text("mesh.obj", "mtllib /dev/zero\n" + FACE),
    "library ../secret.bin": text("mesh.obj", "mtllib ../secret.bin\nusemtl a\n" + FACE),
    "library with letters for colours": text("mesh.obj", "mtllib a.mtl\nusemtl a\n" + FACE, library="newmtl a\nKd x\x1b[2J y z\n"),
    "control characters": text("mesh.obj", "v 0 0 \x1b[31mred\n" + FACE),
    "40,000 materials": text("mesh.obj", FACE + "".join(f"usemtl m{number}\nf 1 2 3\n" for number in range(40_000))),
    "not a number": text("mesh.obj", "v nan inf 1e999\n" + FACE),
    "index beyond": text("mesh.obj", FACE + "f 1 2 999999999\nf -9 -8 -7\n"),
    "200,000 instances": gltf(scenes=[{"nodes": list(range(200_000))}], nodes=[{"mesh": 0}] * 200_000),
    "5,000 nodes of 100,000 faces": scattered(5000, instances=False),
    "100,000 instances of 100,000 faces": scattered(1, instances=True),
    "places of one number each": gltf(accessors=[{**ACCESSOR, "type": "SCALAR"}]),
    "2^28 corners without bytes": gltf(accessors=[{"componentType": 5126, "count": 2**28, "type": "VEC3"}]),
    "a polygon of 5,000 corners": polygon(5000),
    "a circle of nodes": gltf(nodes=[{"children": [0], "mesh": 0}]),
    "2^31 corners": gltf(accessors=[{**ACCESSOR, "count": 2**31 - 1}]),
    "negative count": gltf(accessors=[{**ACCESSOR, "count": -3}]),
    "sparse beyond": gltf(accessors=[{**ACCESSOR, "sparse": {"count": 9, "indices": {"bufferView": 0, "componentType": 5125},
                                                             "values": {"bufferView": 0}}}]),
    "nested 100,000 deep": text("mesh.gltf", "[" * 100_000),
    "numbers of 10,000 digits": text("mesh.gltf", json.dumps(document()).replace('"count": 3', '"count": ' + "9" * 10_000)),
    "a PLY of 2^31 corners": raw("mesh.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 2147483647\nproperty float x\n"
                                             b"property float y\nproperty float z\nend_header\n" + bytes(100)),
    "an STL of 2^32 faces": raw("mesh.stl", bytes(80) + b"\xff\xff\xff\xff" + bytes(100)),
    "a GLB that announces 4 GB": raw("mesh.glb", struct.pack("<4sIII4s", b"glTF", 2, 2**32 - 1, 2**32 - 16, b"JSON") + b"{}"),
    "a mesh that is a pipe": a_pipe,
}  # fmt: skip
