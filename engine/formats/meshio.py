"""Meshes and maps from and to files. Everything inside is world space (+Z up, metres)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.conventions import linear_to_srgb, world_from_file
from engine.errors import InputError, printable, writing
from engine.formats import SUFFIXES, UP_OF_TYPE
from engine.formats.beside import LARGEST_FILE
from engine.formats.files import write_atomically
from engine.formats.gltf_read import read_gltf
from engine.formats.gltf_write import glb_bytes
from engine.formats.obj_read import read_obj
from engine.formats.parts import LARGEST_MESH, Look, Part, appearance_from, too_many
from engine.formats.ply_read import read_ply
from engine.formats.stl_read import read_stl
from engine.job_fields import COLOURS_OF_ALL
from engine.mesh import Mesh, Paint, Painted, Parts
from engine.surface_samples import sample_surface
from engine.texture_sets import Piece

_READERS = {".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj, ".ply": read_ply, ".stl": read_stl}
PAINT_POINTS = 200_000
"""Points at which textures are looked at: about two for each cell that a surface meets in the finest colour field."""
FAR = 100.0
"""A mesh this many times its own size away from the origin is centred: single precision would blur it."""
SAME_SHADE = 2 / 255
LYING = 2.0
"""A mesh that is this many times as deep as it is wide and high may lie on its side."""


def load_mesh(
    path: Path | str, notes: list[str] | None = None, *, up: str | None = None, texture: bool = False, colours: str = COLOURS_OF_ALL
) -> Mesh:
    """All triangles of a .glb, .gltf, .obj, .ply or .stl file as one mesh in world space.

    Scenes are flattened with their transforms; a mirroring transform keeps faces looking outward. Vertices of one object at exactly the
    same place are joined (formats double them along uv seams and sharp edges), so that strokes stay connected; uvs stay one a corner.
    Colours: vertex colour x material base colour x base colour texture, sRGB-encoded, at the vertices and, where they vary between them,
    as paint; unknown where nobody chose any. Faces that are wholly transparent are left out. A mesh far from the origin is centred on
    its own `origin`.

    notes    gets one line for everything that was left out, assumed or mended
    up       the axis that points up in the file, of `engine.formats.UP_AXES`; default: the format's own (UP_OF_TYPE)
    texture  the mesh itself is to be textured: transparent faces stay
    colours  whose colours count, of `engine.job_fields.KEEP_COLOURS`

    InputError for a missing, empty, broken or unsupported file and for one without triangles.
    """
    path = Path(path)
    found: list[str] = []
    kind = _checked_type(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond all bounds are refused by the check, in words
            mesh = _read(path, kind, up, texture, colours, found)
    except OSError as error:
        raise InputError("cannot_read", f"'{path}' cannot be read: {error.strerror or error}.",
                         "Check the path and its permissions.") from error  # fmt: skip
    if notes is not None:
        notes.extend(printable(note) for note in found)
    return mesh


def _read(path: Path, kind: str, up: str | None, texture: bool, colours: str, notes: list[str]) -> Mesh:
    parts = [part for part in _READERS[kind](path, notes) if len(part.faces)]
    if not texture:
        _leave_out_hidden(parts, notes)
    for part in parts:
        part.appearance = appearance_from(part.appearance, colours)
    return _joined(path, parts, up or UP_OF_TYPE[kind], texture, notes)


def lying_note(mesh: Mesh) -> str | None:
    """What to tell the user of a mesh that looks as if it lay on its side: exporters do not agree on the axis that points up."""
    wide, deep, high = np.ptp(mesh.vertices, axis=0)
    if not np.isfinite(deep) or high <= 0 or deep <= LYING * max(wide, high):
        return None
    return f"The sketch is {deep / high:.1f} times as deep as it is high: if it lies on its side, say which axis is up (--up)."


def _checked_type(path: Path) -> str:
    """The file's type by its name. InputError for a type that is not read, and for what is no file."""
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        through_blender = kind in (".blend", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".dae", ".abc", ".3ds", ".x3d")
        raise InputError("unsupported_format", f"'{path.name}' is not a format that is read here; expected {', '.join(SUFFIXES)}.",
                         "Open it in Blender and use the panel, or export a .glb." if through_blender else "Export a .glb.")  # fmt: skip
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except FileNotFoundError as error:
        raise InputError("missing_file", f"There is no file '{path}'.", "Check the path.") from error
    except OSError as error:
        raise InputError("cannot_read", f"'{path}' cannot be read: {error.strerror or error}.", "Check the path.") from error
    if not is_file:
        raise InputError("not_a_file", f"'{path}' is not a file.", "Give the path of a mesh file.")
    if size == 0:
        raise InputError("empty_file", f"'{path.name}' is empty.", "Export it again.")
    if size > LARGEST_FILE:
        raise InputError("file_too_large", f"'{path.name}' has {size / 1e9:.1f} GB; at most {LARGEST_FILE / 1e9:.1f} GB are read.",
                         "Decimate the mesh first.")  # fmt: skip
    return kind


def _joined(path: Path, parts: list[Part], up: str, texture: bool, notes: list[str]) -> Mesh:
    """One world-space mesh of the parts; coincident vertices of one owner joined, first occurrence first."""
    if not parts:
        raise InputError("sketch_empty", f"'{path.name}' holds no triangles.",
                         "Export a mesh with faces (convert curves and strokes to a mesh first).")  # fmt: skip
    count = sum(len(part.faces) for part in parts)
    if count > LARGEST_MESH:
        raise too_many(path.name, count)
    places, origin = _centred(world_from_file(np.concatenate([part.vertices for part in parts]), up))
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
    corners = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=False)])
    uvs = _uvs(parts)
    vertices = places.astype(np.float32)
    first, inverse = _coincident(vertices, np.concatenate([np.full(len(part.vertices), part.owner) for part in parts]))
    colours, agree = _vertex_colours(parts, inverse, len(first))
    paint = None
    if colours is not None and not (agree and all(part.appearance is None or part.appearance.image is None for part in parts)):
        paint = _Samples.of(parts, places, offsets).paint()
    faces = inverse[corners].astype(np.int32)
    look = _look(parts) if texture else None
    return Mesh(np.ascontiguousarray(vertices[first]), faces, colours, uvs, paint, _pieces(parts, path.stem), look, origin=origin)


def _leave_out_hidden(parts: list[Part], notes: list[str]) -> None:
    """Drop wholly transparent faces, unless nothing would be left."""
    hidden = [np.zeros(len(part.faces), bool) if part.appearance is None else part.appearance.hidden(part.faces) for part in parts]
    count = sum(int(one.sum()) for one in hidden)
    if count == 0 or all(one.all() for one in hidden):
        return
    for part, one in zip(parts, hidden, strict=True):
        part.faces = part.faces[~one]
    parts[:] = [part for part in parts if len(part.faces)]
    notes.append(f"{count} faces that are wholly transparent were left out.")


def _centred(places: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Vertices [V, 3] and the origin that was taken off them: none unless they lie far away from it for their size."""
    low, high = places.min(axis=0), places.max(axis=0)
    if not np.isfinite([low, high]).all() or np.abs([low, high]).max() <= FAR * (high - low).max():
        return places, (0.0, 0.0, 0.0)
    centre = (low + high) / 2
    return places - centre, (float(centre[0]), float(centre[1]), float(centre[2]))


@dataclass(frozen=True)
class _Samples:
    """Points all over the parts: positions [N, 3], which part each is on, its corners (that part's vertices) and weights [N, 3]."""

    parts: list[Part]
    points: np.ndarray
    owners: np.ndarray
    corners: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, parts: list[Part], places: np.ndarray, offsets: np.ndarray) -> _Samples:
        local = np.concatenate([part.faces for part in parts])
        of_part = np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
        world = places[local + offsets[of_part][:, None]]
        face, weights = sample_surface(np.nan_to_num(world), PAINT_POINTS)
        return cls(parts, np.einsum("nk,nkd->nd", weights, world[face]), of_part[face], local[face], weights)

    def paint(self) -> Paint:
        """What is to be seen at the points, NaN where nobody chose a colour; transparent ones are left out."""
        colours = np.full((len(self.points), 4), np.nan)
        colours[:, 3] = 1
        cutoff = np.zeros(len(self.points))
        for index, part in enumerate(self.parts):
            here = self.owners == index
            if part.appearance is not None and here.any():
                colours[here] = part.appearance.at(self.corners[here], self.weights[here])
                cutoff[here] = part.appearance.cutoff
        seen = ~(colours[:, 3] < cutoff)
        return Paint(self.points[seen].astype(np.float32), linear_to_srgb(colours[seen, :3]).astype(np.float32))


def _uvs(parts: list[Part]) -> np.ndarray | None:
    """One pair a face corner, float32 [F, 3, 2], NaN in parts without; None without any layout."""
    if all(part.uvs is None for part in parts):
        return None
    laid = [np.full((len(part.faces), 3, 2), np.nan) if part.uvs is None else part.uvs[part.faces] for part in parts]
    return np.concatenate(laid).astype(np.float32)


def _look(parts: list[Part]) -> Look | None:
    """The parts' colours at any place; None where nobody chose any."""
    chosen = [part.appearance for part in parts if part.appearance is not None]
    if not chosen:
        return None
    numbers = np.cumsum([part.appearance is not None for part in parts]) - 1
    of_part = [number if part.appearance is not None else -1 for part, number in zip(parts, numbers, strict=True)]
    of_face = np.repeat(of_part, [len(part.faces) for part in parts])
    return Look(of_face, np.concatenate([part.faces for part in parts]), tuple(chosen))


def _pieces(parts: list[Part], stem: str) -> Parts:
    """What each face belongs to: names are the file's, made different where the file has one twice, the file's own where it has none."""
    objects = _distinct({part.owner: part.object_name or stem for part in parts})
    materials = _distinct({part.material: part.material_name for part in parts if part.material_name})
    pieces = [Piece(objects[part.owner], materials.get(part.material, "")) for part in parts]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    of_face = np.repeat([numbers[piece] for piece in pieces], [len(part.faces) for part in parts])
    return Parts(of_face.astype(np.int32), tuple(numbers))


def _distinct(names: dict[int, str]) -> dict[int, str]:
    """The names without repetitions: 'Ball', 'Ball.001'."""
    taken: set[str] = set()
    latest: dict[str, int] = {}
    found = {}
    for key, name in names.items():
        own = name
        while own in taken:
            latest[name] = latest.get(name, 0) + 1
            own = f"{name}.{latest[name]:03d}"
        taken.add(own)
        found[key] = own
    return found


def _vertex_colours(parts: list[Part], inverse: np.ndarray, count: int) -> tuple[np.ndarray | None, bool]:
    """(sRGB-encoded float32 [V, 3] of joined vertices, NaN where nobody chose a colour; whether all that were joined agree)."""
    if all(part.appearance is None for part in parts):
        return None, True
    linear = np.full((len(inverse), 3), np.nan)
    start = 0
    for part in parts:
        if part.appearance is not None:
            rgba = part.appearance.at_vertices(len(part.vertices))
            linear[start : start + len(rgba)] = np.where(rgba[:, 3:] < part.appearance.cutoff, np.nan, rgba[:, :3])
        start += len(part.vertices)
    known = np.isfinite(linear).all(axis=1)
    number = np.bincount(inverse[known], minlength=count)[:, None]
    total = np.stack([np.bincount(inverse[known], weights=linear[known, channel], minlength=count) for channel in range(3)], axis=-1)
    with np.errstate(invalid="ignore"):
        mean = linear_to_srgb(total / number)
    agree = bool(np.abs(linear_to_srgb(linear[known]) - mean[inverse[known]]).max(initial=0) < SAME_SHADE)
    mixed = bool((number[inverse, 0] > 0)[~known].any())  # an unknown vertex was joined with a known one
    return mean.astype(np.float32), agree and not mixed


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


def save_glb(path: Path | str, mesh: Mesh, maps: dict[str, np.ndarray] | Sequence[Painted] | None = None, name: str = "mesh",
             extras: dict[str, Any] | None = None, *, smooth: bool = True, factors: dict[str, float] | None = None,
             creased: bool = False) -> None:  # fmt: skip
    """Write a world-space mesh and its maps as binary glTF that Blender reads into a Principled BSDF.

    maps: of all faces, or materials each with its own. Faces of one material keep their order and corners exactly; vertices are doubled
    where uvs split. Vertex colours are written only where there is no albedo map. `extras` (JSON-able: seed, prompt, versions ...) become
    the objects' custom properties. `smooth`, `factors` and `creased` as in `engine.formats.gltf_write.glb_bytes`. The file appears whole
    or not at all. InputError for a folder that cannot be written, JobError for a full disk.
    """
    painted = [Painted(name, np.arange(len(mesh.faces)), maps or {})] if maps is None or isinstance(maps, dict) else maps
    data = glb_bytes(mesh, painted, name, extras or {}, smooth=smooth, factors=factors or {}, creased=creased)
    with writing(Path(path)):
        write_atomically(Path(path), data)
