"""UV layouts and decimation, both bounded in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.apart import run_apart
from engine.mesh import Mesh
from engine.reporting import OnStep, unwatched
from engine.texture.unwrap_worker import unwrap_apart

CHUNK_FACES = 20_000
"""xatlas' time grows with the square of a chart's faces: larger meshes are cut into compact pieces of this size."""
MANY_FACES, SMALL_CHUNK_FACES = 100_000, 4_000
"""Meshes of more faces are cut into smaller pieces, at the price of more seams: a million faces take about a minute, not ten."""
CAREFUL_FACES = 20_000
"""A reduction that takes care of more faces takes so long that whoever cancels would wait for it."""
QUIET_SECONDS = 60.0
"""xatlas may be quiet for this long, and 1 s more for every 500 faces that it cuts together: some fifteen times what it takes."""


def unwrap(mesh: Mesh, resolution: int = 1024, padding: int = 6, *, seconds: float | None = None,
           on_step: OnStep = unwatched, note: Callable[[str], None] | None = None) -> np.ndarray:  # fmt: skip
    """uvs float32 [F, 3, 2] in 0..1, charts that do not overlap, about `padding` texels apart at `resolution` texels a side.

    xatlas works in a process of its own, which may be quiet for at most `seconds` (default: QUIET_SECONDS). Should it be so for longer or
    fail, the faces are laid out in pairs on a grid instead, and `note` is told. `on_step` hears of each chunk of CHUNK_FACES; what
    it raises (Cancelled) ends the worker.
    """
    seconds = QUIET_SECONDS + len(mesh.faces) / 500 if seconds is None else seconds
    uvs = _unwrap_apart(mesh, resolution, padding, seconds, on_step)
    if uvs is None:
        if note is not None:
            note(f"Unwrapping {len(mesh.faces)} faces did not get on within {seconds:.0f} s; a plain grid of triangles is used.")
        return grid_layout(len(mesh.faces), resolution, padding)
    return uvs


def grid_layout(faces: int, resolution: int, padding: int) -> np.ndarray:
    """uvs float32 [F, 3, 2]: two faces a square cell, in rows; no distortion limits, no overlaps, no failure."""
    cells = (faces + 1) // 2
    side = max(1, int(np.ceil(np.sqrt(cells))))
    margin = min(padding / 2 / resolution, 0.15 / side)
    low, high = margin, 1 / side - margin
    gap = min(margin, (high - low) / 4)  # between the two triangles of a cell
    first = np.array([[low, low], [high - gap, low], [low, high - gap]])
    second = np.array([[high, high], [low + gap, high], [high, low + gap]])
    index = np.arange(faces)
    cell = index // 2
    origin = np.stack([cell % side, cell // side], axis=-1) / side
    return (origin[:, None] + np.where((index % 2 == 0)[:, None, None], first, second)).astype(np.float32)


def decimate(mesh: Mesh, faces: int, on_step: OnStep = unwatched) -> Mesh:
    """At most about `faces` triangles (quadric error, Garland & Heckbert 1997); uvs are dropped, colours follow the nearest vertex.

    A closed mesh stays closed and keeps its orientation: the quick reduction's result is checked, and where collapses folded it (as they
    do where two sheets run close together) libigl's takes its place, which is ten times slower and collapses no edge that would.
    Should that fail too, more faces than asked for are kept. on_step is asked meanwhile; what it raises (Cancelled) ends this.
    """
    if len(mesh.faces) <= faces:
        return mesh
    closed = is_closed(mesh.faces)
    count = int(faces)
    while count < len(mesh.faces):
        for reduce in (_reduce_quickly, _reduce_carefully):
            points, triangles = reduce(mesh, count, on_step)
            if len(triangles) and np.isfinite(points).all() and (not closed or is_closed(triangles)):
                return _with_colours(mesh, points.astype(np.float32), triangles.astype(np.int32))
        count = 2 * count
    return mesh


def _reduce_quickly(mesh: Mesh, count: int, on_step: OnStep) -> tuple[np.ndarray, np.ndarray]:
    """0.1 s for 80,000 faces."""
    import fast_simplification

    on_step(0, 1)
    reduced = fast_simplification.simplify(mesh.vertices.astype(np.float64), mesh.faces.astype(np.int32), target_count=count, agg=5.0)
    return np.asarray(reduced[0]), np.asarray(reduced[1])


def _reduce_carefully(mesh: Mesh, count: int, on_step: OnStep) -> tuple[np.ndarray, np.ndarray]:
    """1 s for 80,000 faces: of more than CAREFUL_FACES in a process of its own, which can be ended at any moment."""
    inputs = {"vertices": mesh.vertices, "faces": mesh.faces, "count": np.array(count)}
    found = run_apart(reduced_apart, inputs, on_step) if len(mesh.faces) > CAREFUL_FACES else None
    found = found or reduced_apart(inputs, on_step)
    return found["vertices"], found["faces"]


def reduced_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"vertices", "faces"} of vertices, faces and the count of faces that shall be left."""
    import igl

    on_step(0, 1)
    vertices, faces = np.asfortranarray(inputs["vertices"], dtype=np.float64), np.asfortranarray(inputs["faces"], dtype=np.int32)
    points, triangles, _, _ = igl.qslim(vertices, faces, int(inputs["count"]))
    return {"vertices": np.asarray(points), "faces": np.asarray(triangles)}


def is_closed(faces: np.ndarray) -> bool:
    """Whether every edge is shared by exactly two triangles that run along it in opposite directions."""
    starts, ends = faces.reshape(-1).astype(np.int64), np.roll(faces, -1, axis=1).reshape(-1).astype(np.int64)
    span = int(faces.max(initial=0)) + 1
    forward, backward = np.sort(starts * span + ends), np.sort(ends * span + starts)
    return len(forward) > 0 and bool((forward[1:] != forward[:-1]).all()) and bool((forward == backward).all())


def _with_colours(source: Mesh, vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    used, local = np.unique(faces, return_inverse=True)
    vertices, faces = np.ascontiguousarray(vertices[used]), local.reshape(-1, 3).astype(np.int32)
    if source.colours is None:
        return Mesh(vertices, faces)
    from scipy.spatial import KDTree

    return Mesh(vertices, faces, source.colours[KDTree(source.vertices).query(vertices)[1]])


def _unwrap_apart(mesh: Mesh, resolution: int, padding: int, seconds: float, on_step: OnStep) -> np.ndarray | None:
    """uvs by the worker process; None where it was quiet for too long, failed, or left faces out of the square."""
    inputs = {"vertices": mesh.vertices, "faces": mesh.faces, "chunk": _chunks(mesh), "resolution": resolution, "padding": padding}
    found = run_apart(unwrap_apart, inputs, on_step, seconds)
    if found is None:
        return None
    uvs = found["uvs"]
    sound = uvs.shape == (len(mesh.faces), 3, 2) and np.isfinite(uvs).all() and uvs.min() >= 0 and uvs.max() <= 1
    return uvs if sound else None


def _chunks(mesh: Mesh) -> np.ndarray:
    """[F] piece of each face: halved along the longest axis at the median until none has more than CHUNK_FACES (or SMALL_CHUNK_FACES)."""
    largest = CHUNK_FACES if len(mesh.faces) <= MANY_FACES else SMALL_CHUNK_FACES
    centres = mesh.corner_vertices().mean(axis=1)
    chunk = np.zeros(len(centres), dtype=np.int32)
    todo, done = [np.arange(len(centres))], 0
    while todo:
        piece = todo.pop()
        if len(piece) <= largest:
            chunk[piece] = done
            done += 1
            continue
        axis = int(np.argmax(np.ptp(centres[piece], axis=0)))
        order = piece[np.argsort(centres[piece, axis], kind="stable")]
        todo.extend([order[: len(order) // 2], order[len(order) // 2 :]])
    return chunk
