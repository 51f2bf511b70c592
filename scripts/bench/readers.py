"""Mesh readers compared on the files of tests/cases: which give the right shape, the right colours, a UV layout, and the right refusal.

    python -m scripts.bench.readers

Compares this project's own reader with trimesh and assimp-py where they are installed (pip install trimesh assimp-py), each used as its
documentation says, and prints a table for docs/formats.md. pygltflib is a parser of the JSON alone and has nothing to compare.
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.conventions import linear_to_srgb, world_from_file
from engine.formats import UP_OF_TYPE
from engine.formats.meshio import load_mesh
from engine.formats.textures import sample_image
from engine.surface_samples import sample_surface
from scripts.setup.console import table
from tests.cases.expected import EXPECTED, Expected, files

SAMPLES = 20_000
SHADE, LENGTH, AREA = 0.03, 2e-3, 2e-4
"""How far a colour (sRGB 0..1), an extent (absolute) and an area (relative) may be off."""


@dataclass
class Read:
    """A file as a reader gives it: world space, sRGB colours [N, 3] at points [N, 3] or None, and whether it has uvs."""

    vertices: np.ndarray
    corners: np.ndarray
    points: np.ndarray
    colours: np.ndarray | None
    has_uvs: bool


@dataclass
class Piece:
    """A part of a file in the file's own axes; colours sRGB [V, 3] or an image [H, W, C] with uvs [V, 2], v up."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    image: np.ndarray | None = None
    uvs: np.ndarray | None = None


def ours(path: Path) -> Read:
    mesh = load_mesh(path, texture=True)
    if mesh.paint is not None:
        points, colours = mesh.paint.points, mesh.paint.colours
    else:
        face, weights = sample_surface(mesh.corner_vertices(), SAMPLES)
        points = np.einsum("nk,nkd->nd", weights, mesh.corner_vertices()[face])
        colours = None if mesh.colours is None else np.einsum("nk,nkd->nd", weights, mesh.colours[mesh.faces[face]])
    return Read(mesh.vertices, mesh.corner_vertices(), points, colours, mesh.uvs is not None)


def by_trimesh(path: Path) -> Read:
    import trimesh

    scene = trimesh.load_scene(path, process=False)
    pieces = []
    for name in scene.graph.nodes_geometry:
        matrix, geometry = scene.graph[name]
        mesh = scene.geometry[geometry]
        if not isinstance(mesh, trimesh.Trimesh):
            continue
        mesh = mesh.copy()
        mesh.apply_transform(matrix)
        piece = Piece(np.asarray(mesh.vertices), np.asarray(mesh.faces))
        visual: Any = mesh.visual
        material = getattr(visual, "material", None)
        piece.uvs = getattr(visual, "uv", None)
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        factor = getattr(material, "baseColorFactor", None)
        if visual.kind in ("vertex", "face"):
            colours = np.asarray(visual.vertex_colors)[:, :3] / 255
            piece.colours = linear_to_srgb(colours) if path.suffix in (".glb", ".gltf") else colours
        elif image is not None and piece.uvs is not None:
            piece.image = np.asarray(image.convert("RGB"))
        elif material is not None and (factor is not None or getattr(material, "diffuse", None) is not None):
            colour = np.asarray(factor if factor is not None else material.diffuse)[:3] / 255
            piece.colours = np.tile(linear_to_srgb(colour), (len(mesh.vertices), 1))
        pieces.append(piece)
    return joined(path, pieces)


def by_assimp(path: Path) -> Read:
    import assimp_py
    from PIL import Image

    flags = assimp_py.Process_Triangulate | assimp_py.Process_PreTransformVertices
    scene = assimp_py.import_file(str(path), flags)
    pieces = []
    for mesh in scene.meshes:
        vertices = np.asarray(mesh.vertices, dtype=np.float64).reshape(-1, 3)
        indices = np.asarray(mesh.indices, dtype=np.int64)
        if mesh.num_faces == 0 or len(indices) != 3 * mesh.num_faces:
            continue
        piece = Piece(vertices, indices.reshape(-1, 3))
        if mesh.texcoords:
            width = int(mesh.num_uv_components[0])
            piece.uvs = np.asarray(mesh.texcoords[0]).reshape(len(vertices), width)[:, :2]
        material = scene.materials[mesh.material_index]
        pictures = material["TEXTURES"].get(assimp_py.TextureType_DIFFUSE, [])
        if pictures and piece.uvs is not None and (path.parent / pictures[0]).is_file():  # embedded ones are not given
            piece.image = np.asarray(Image.open(path.parent / pictures[0]).convert("RGB"))
        elif mesh.colors:
            colours = np.asarray(mesh.colors[0]).reshape(len(vertices), -1)[:, :3]
            piece.colours = colours if path.suffix.lower() in (".obj", ".ply") else linear_to_srgb(colours)
        elif "COLOR_DIFFUSE" in material and not pictures:
            piece.colours = np.tile(linear_to_srgb(np.array(material["COLOR_DIFFUSE"][:3])), (len(vertices), 1))
        pieces.append(piece)
    return joined(path, pieces)


def joined(path: Path, pieces: list[Piece]) -> Read:
    """What a library gave, in world space."""
    if not any(len(piece.faces) for piece in pieces):
        raise ValueError("no triangles")
    vertices, corners, points, colours = [], [], [], []
    for piece in pieces:
        world = world_from_file(piece.vertices.astype(np.float64), UP_OF_TYPE[path.suffix.lower()])
        face, weights = sample_surface(world[piece.faces], SAMPLES // len(pieces))
        vertices.append(world)
        corners.append(world[piece.faces])
        points.append(np.einsum("nk,nkd->nd", weights, world[piece.faces[face]]))
        shades = np.full((len(face), 3), np.nan)
        if piece.image is not None and piece.uvs is not None:
            shades = sample_image(piece.image, np.einsum("nk,nkd->nd", weights, piece.uvs[piece.faces[face]])) / 255
        elif piece.colours is not None:
            shades = np.einsum("nk,nkd->nd", weights, piece.colours[piece.faces[face]])
        colours.append(shades)
    shades = np.concatenate(colours)
    has_uvs = all(piece.uvs is not None for piece in pieces)
    return Read(
        np.concatenate(vertices), np.concatenate(corners), np.concatenate(points), shades if np.isfinite(shades).any() else None, has_uvs
    )


def faults(read: Read, expected: Expected) -> list[str]:
    """What of a file came out wrong: "shape", "colours", "layout"."""
    found = []
    corners = read.corners
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    extents = np.ptp(read.vertices, axis=0)
    if abs(area - expected.area) > AREA * expected.area or np.abs(extents - expected.extents).max() > LENGTH:
        found.append("shape")
    for (axis, sign), colour in expected.seen:
        low, high = read.points[:, axis].min(), read.points[:, axis].max()
        reach = 0.3 * (high - low)
        outer = read.points[:, axis] >= high - reach if sign > 0 else read.points[:, axis] <= low + reach
        seen = np.full(3, np.nan) if read.colours is None else np.median(read.colours[outer], axis=0)
        if not np.abs(seen - colour).max() <= SHADE:
            found.append("colours")
            break
    if expected.layout == "kept" and not read.has_uvs:
        found.append("layout")
    return found


def judge(reader: Callable[[Path], Read], path: Path) -> list[str]:
    """The faults of a reader with one file; "refused" where it raises although it should not, "accepted" where it should."""
    expected = EXPECTED[path.name]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            read = reader(path)
    except Exception:  # each library has its own
        return [] if expected.error is not None else ["refused"]
    return ["accepted"] if expected.error is not None else faults(read, expected)


def readers() -> dict[str, Callable[[Path], Read]]:
    """The readers that are installed."""
    found = {"own": ours}
    for name, package, reader in (("trimesh", "trimesh", by_trimesh), ("assimp-py", "assimp_py", by_assimp)):
        try:
            found[f"{name} {importlib.metadata.version(package)}"] = reader
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is not installed and is left out", file=sys.stderr)
    return found


def main() -> int:
    """Print the table and, for each reader, the files that it does not read rightly."""
    rows = [["reader", "right", "wrong shape", "wrong colours", "no layout", "refused", "accepted"]]
    wrong: dict[str, dict[str, list[str]]] = {}
    for name, reader in readers().items():
        found = {path.name: judge(reader, path) for path in files()}
        wrong[name] = {file: faults for file, faults in found.items() if faults}
        counts = [sum(kind in faults for faults in found.values()) for kind in ("shape", "colours", "layout", "refused", "accepted")]
        rows.append([name, f"{len(found) - len(wrong[name])} of {len(found)}", *map(str, counts)])
    print(table(rows))
    for name, found in wrong.items():
        print(f"\n{name}: " + ("nothing" if not found else "; ".join(f"{file} ({', '.join(faults)})" for file, faults in found.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
