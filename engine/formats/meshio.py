"""Meshes and maps from and to files. Everything inside is world space (+Z up, metres).

Axes are those that Blender's importers assume by default: glTF and OBJ are +Y up, PLY and STL +Z up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.conventions import gltf_from_world, linear_to_srgb, srgb_to_linear, world_from_gltf
from engine.errors import InputError, JobError, writing
from engine.formats import SUFFIXES
from engine.formats.files import write_atomically
from engine.formats.gltf_read import Part, corrupt, read_gltf
from engine.formats.gltf_write import glb_bytes
from engine.formats.obj_read import read_obj
from engine.mesh import Mesh

LARGEST_FILE = 2**31  # bytes


def load_mesh(path: Path | str, notes: list[str] | None = None) -> Mesh:
    """All triangles of a .glb, .gltf, .obj, .ply or .stl file as one mesh in world space.

    Scenes are flattened with their transforms; a mirroring transform keeps faces looking outward. Vertices of one object at exactly the
    same place are joined (formats double them along uv seams and sharp edges), so that strokes stay connected; uvs stay one a corner.
    Colours: vertex colour x material base colour x base colour texture sampled at the vertex, sRGB-encoded; None where the file has none.
    What was left out is appended to `notes`. InputError for a missing, empty, broken or unsupported file and for one without triangles.
    """
    path = Path(path)
    notes = [] if notes is None else notes
    _check_file(path)
    try:
        if path.suffix.lower() in (".glb", ".gltf"):
            parts = read_gltf(path, notes)
        elif path.suffix.lower() == ".obj":
            parts = read_obj(path, notes)
        else:
            parts = _read_with_trimesh(path)
    except OSError as error:
        raise InputError("cannot_read", f"Cannot read '{path}': {error.strerror or error}.",
                         "Check the path and its permissions.") from error  # fmt: skip
    except MemoryError as error:
        raise JobError("out_of_memory", f"'{path.name}' does not fit into memory.", "Decimate the mesh first.") from error
    mesh = _merge(parts)
    if len(mesh.faces) == 0:
        raise InputError("no_faces", f"'{path.name}' holds no triangles.",
                         "Export a mesh with faces (convert curves and strokes to a mesh first).")  # fmt: skip
    return mesh


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        fix = "Open it in Blender and use the panel, or export a .glb." if path.suffix.lower() == ".blend" else "Export a .glb."
        known = ", ".join(SUFFIXES)
        raise InputError("unsupported_format", f"'{path.name}' is not a format that is read here; expected {known}.", fix)
    if not path.exists():
        raise InputError("missing_file", f"There is no file '{path}'.", "Check the path.")
    if not path.is_file():
        raise InputError("not_a_file", f"'{path}' is not a file.", "Give the path of a mesh file.")
    size = path.stat().st_size
    if size == 0:
        raise InputError("empty_file", f"'{path.name}' is empty.", "Export it again.")
    if size > LARGEST_FILE:
        raise InputError("file_too_large", f"'{path.name}' has {size / 1e9:.1f} GB; at most {LARGEST_FILE / 1e9:.1f} GB are read.",
                         "Decimate the mesh first.")  # fmt: skip


def _read_with_trimesh(path: Path) -> list[Part]:
    """PLY and STL in glTF's axes and linear colours."""
    import trimesh

    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            loaded = trimesh.load(file, file_type=suffix[1:], process=False)
    except OSError:
        raise
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise corrupt(path.name, f"it is not a valid {suffix[1:].upper()} file ({type(error).__name__}: {error})") from error
    geometries = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
    parts = []
    for owner, geometry in enumerate(geometries):
        if not isinstance(geometry, trimesh.Trimesh):
            continue
        vertices = np.asarray(geometry.vertices, dtype=np.float64).reshape(-1, 3)
        faces = np.asarray(geometry.faces, dtype=np.int64).reshape(-1, 3)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise corrupt(path.name, f"a face refers to vertex {faces.max() + 1} of {len(vertices)}")
        colours = None
        if geometry.visual.kind in ("vertex", "face"):
            colours = srgb_to_linear(np.asarray(geometry.visual.vertex_colors)[:, :3] / 255)
        parts.append(Part(owner, gltf_from_world(vertices), faces, colours, None))
    return parts


def _merge(parts: list[Part]) -> Mesh:
    """One world-space mesh; coincident vertices of one owner joined, first occurrence first, their colours averaged."""
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
    vertices = world_from_gltf(np.concatenate([part.vertices for part in parts])).astype(np.float32)
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=False)])
    owners = np.concatenate([np.full(len(part.vertices), part.owner) for part in parts])
    uvs = None
    if any(part.uvs is not None for part in parts):
        uvs = np.concatenate([np.zeros((len(part.vertices), 2)) if part.uvs is None else part.uvs for part in parts])[faces]
        uvs = np.stack([uvs[..., 0], 1 - uvs[..., 1]], axis=-1).astype(np.float32)
    colours = None
    if any(part.colours is not None for part in parts):
        colours = np.concatenate([np.ones((len(part.vertices), 3)) if part.colours is None else part.colours for part in parts])
    first, inverse = _coincident(vertices, owners)
    if colours is not None:
        count = np.bincount(inverse, minlength=len(first))[:, None]
        total = np.stack([np.bincount(inverse, weights=colours[:, channel], minlength=len(first)) for channel in range(3)], axis=-1)
        colours = linear_to_srgb(total / count).astype(np.float32)
    return Mesh(np.ascontiguousarray(vertices[first]), inverse[faces].astype(np.int32), colours, uvs)


def _coincident(vertices: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the first vertex at each place of each owner in their order, [V] which of those each vertex is)."""
    keys = np.empty(len(vertices), dtype=[("owner", np.int64), ("x", np.int32), ("y", np.int32), ("z", np.int32)])
    bits = np.ascontiguousarray(vertices + np.float32(0)).view(np.int32)  # + 0 makes -0 and 0 one
    keys["owner"], keys["x"], keys["y"], keys["z"] = owners, bits[:, 0], bits[:, 1], bits[:, 2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


def save_glb(path: Path | str, mesh: Mesh, maps: dict[str, np.ndarray] | None = None, name: str = "mesh",
             extras: dict[str, Any] | None = None, *, smooth: bool = True, factors: dict[str, float] | None = None) -> None:  # fmt: skip
    """Write a world-space mesh and its maps as binary glTF that Blender reads into a Principled BSDF.

    Faces keep their order and corners exactly; vertices are doubled where uvs split. Vertex colours are written only where there is no
    albedo map. `extras` (JSON-able: seed, prompt, versions ...) become the object's custom properties. `smooth` and `factors` as in
    `engine.formats.gltf_write.glb_bytes`. The file appears whole or not at all. InputError for a folder that cannot be written, JobError
    for a full disk.
    """
    data = glb_bytes(mesh, maps or {}, name, extras or {}, smooth=smooth, factors=factors or {})
    with writing(Path(path)):
        write_atomically(Path(path), data)
