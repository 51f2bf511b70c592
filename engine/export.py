"""From the optimized surface and colour field to a finished object: clean, smooth, decimate, unwrap, bake, back to world space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.reporting import OnStep
from engine.sketch.strokes import face_normals
from engine.texture.atlas import decimate, unwrap
from engine.texture.detail import Colours
from engine.texture.field import surface_samples
from engine.texture.maps import COLOURS_ALONE, MapWishes
from engine.texture.remesh import remesh
from engine.texture.watcher import NOBODY, PADDING, Watcher

LEAST_SHARE = 0.002
"""A loose component with less than this share of the whole surface's area is a floater and is removed."""
STRAY_SHARE, STRAY_DISTANCE = 0.05, 0.1
"""So is one of less than this share that nowhere comes nearer to the sketch than this (engine units)."""
SMOOTHING = 8  # rounds of Taubin smoothing, docs/benchmarks.md
IRONING = 5  # rounds of plain smoothing of what is unwrapped, docs/benchmarks.md
IRONED_FACES = 1500  # a mesh of fewer would lose its shape
CREASE = 30.0  # degrees between faces; edges that bend more are the artist's and stay


def planned_seconds(faces: int, texture_size: int, images: int = 1, keeps_layout: bool = False) -> dict[str, float]:
    """What the parts of the export take on two quiet cores; only their proportions matter.

    faces         of the result; images: how many of them are baked; keeps_layout: they have uvs already, and nothing is cleaned
    """
    bake = images * (0.3 + texture_size**2 / 1.5e6)
    cost = {"clean": 0.1 + faces / 1e6, "decimate": 0.1 + faces / 5e5, "unwrap": 0.5 + faces / 12e3, "bake": bake}
    return {part: seconds for part, seconds in cost.items() if not keeps_layout or part == "bake"}


def finish(vertices: Tensor, faces: Tensor, field: Colours, normalization: SceneNormalization, face_budget: int, texture_size: int,
           watcher: Watcher = NOBODY, *, smoothing: int = SMOOTHING, crisp: bool = False, even: bool = False, sketch: Mesh | None = None,
           wishes: MapWishes = COLOURS_ALONE) -> tuple[Mesh, dict[str, np.ndarray]]:  # fmt: skip
    """The finished mesh (world space, colours, per-corner uvs) and its maps [S, S, C] by name.

    vertices, faces   [V, 3], [F, 3] engine space, the isosurface
    face_budget       at most about this many triangles come out
    smoothing         rounds of Taubin smoothing against the grid's terraces; 0 leaves the surface as it is
    crisp             whether the surface's creases are meant: they are not smoothed
    even              whether triangles are to be about equally large (`engine.texture.remesh`)
    sketch            engine space; small loose parts far from it are removed
    wishes            which maps; normals and height show the surface before it was decimated
    Raises Cancelled where the watcher does.
    """
    watcher.part("clean")
    mesh = Mesh(vertices.detach().cpu().numpy().astype(np.float32), faces.detach().cpu().numpy().astype(np.int32))
    mesh = remove_loose_parts(mesh, sketch, watcher.note)
    mesh = mesh.with_vertices(smooth(mesh, smoothing, creased(mesh) if crisp else None))
    on_step, fine = watcher.part("decimate"), mesh
    mesh = _evened(mesh, face_budget, watcher, on_step) if even else decimate(mesh, face_budget, on_step)
    if len(mesh.faces) > 1.05 * face_budget:
        watcher.note(f"{len(mesh.faces)} faces were kept, over the budget of {face_budget}: with fewer the surface would not be closed.")
    colours = _field_colours(field, mesh.vertices)
    world = Mesh(normalization.to_world(mesh.vertices), mesh.faces, colours)
    uvs = unwrap(ironed(world), texture_size, PADDING, on_step=watcher.part("unwrap"), note=watcher.note)
    textured = Mesh(world.vertices, world.faces, world.colours, uvs)
    look = wishes.look(field, mesh, fine)
    return textured, look.bake(textured, normalization, texture_size, PADDING, on_step=watcher.part("bake"), dtype=wishes.dtype)


def remove_loose_parts(mesh: Mesh, sketch: Mesh | None = None, note: Callable[[str], None] = NOBODY.note) -> Mesh:
    """Without floaters (LEAST_SHARE, and STRAY_SHARE where a sketch is given) and without closed hollows inside, which nobody can see.

    The largest component always stays. Colours follow; uvs are dropped.
    """
    labels, count = _components(mesh)
    if count <= 1:
        return mesh
    of_face = labels[mesh.faces[:, 0]]
    area, volume = _areas_and_volumes(mesh, of_face, count)
    hollow = (volume < 0) & _closed_components(mesh.faces, of_face, count)
    if (area[~hollow] == 0).all():
        hollow[:] = False  # inside out as a whole
    share = area / max(area[~hollow].sum(), 1e-30)
    loose = ~hollow & (share < LEAST_SHARE)
    if sketch is not None:
        loose |= ~hollow & (share < STRAY_SHARE) & (_distances(mesh, labels, count, sketch) > STRAY_DISTANCE)
    keep = ~hollow & ~loose
    keep[np.argmax(np.where(hollow, 0, area))] = True
    removed = int((~keep & loose & (area > 0)).sum())
    if removed:
        note("A small loose part was removed." if removed == 1 else f"{removed} small loose parts were removed.")
    used, local = np.unique(mesh.faces[keep[of_face]], return_inverse=True)
    colours = None if mesh.colours is None else mesh.colours[used]
    return Mesh(np.ascontiguousarray(mesh.vertices[used]), local.reshape(-1, 3).astype(np.int32), colours)


def _areas_and_volumes(mesh: Mesh, of_face: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Area and signed volume of each component [count]; the volume means something for closed ones only."""
    corners = mesh.corner_vertices().astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.bincount(of_face, weights=0.5 * np.linalg.norm(normals, axis=1), minlength=count)
    return area, np.bincount(of_face, weights=(corners[:, 0] * normals).sum(axis=1) / 6, minlength=count)


def _distances(mesh: Mesh, labels: np.ndarray, count: int, sketch: Mesh) -> np.ndarray:
    """[count] how near each component comes to the sketch, by samples of its surface."""
    from scipy.spatial import KDTree

    nearest = KDTree(surface_samples(sketch)[0]).query(mesh.vertices)[0]
    result = np.full(count, np.inf)
    np.minimum.at(result, labels, nearest)
    return result


def _evened(mesh: Mesh, faces: int, watcher: Watcher, on_step: OnStep) -> Mesh:
    """Of even triangles; of few, and a note, where that does not succeed."""
    found = remesh(mesh, faces)
    if found is None:
        watcher.note(f"About {faces} even triangles would not have closed the surface; it is decimated instead.")
    return decimate(mesh, faces, on_step) if found is None else found


def ironed(mesh: Mesh) -> Mesh:
    """The mesh as it is unwrapped: without the small facets of its creases and bumps, each of which would become an island of its own."""
    return mesh.with_vertices(smooth(mesh, IRONING, shrink=0.5, grow=0.0)) if len(mesh.faces) >= IRONED_FACES else mesh


def creased(mesh: Mesh, degrees: float = CREASE) -> np.ndarray:
    """bool [V]: the ends of edges between faces whose normals differ by more than some degrees."""
    normals = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    sides = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort(sides.T)
    pair = np.flatnonzero((sides[order[1:]] == sides[order[:-1]]).all(axis=1))
    cosine = np.einsum("ei,ei->e", normals[order[pair] // 3], normals[order[pair + 1] // 3])
    found = np.zeros(len(mesh.vertices), dtype=bool)
    found[sides[order[pair[cosine < np.cos(np.radians(degrees))]]]] = True
    return found


def smooth(mesh: Mesh, rounds: int, held: np.ndarray | None = None, shrink: float = 0.5, grow: float = -0.53) -> np.ndarray:
    """Vertices float32 [V, 3] after Taubin's lambda | mu smoothing (1995): a step in, a larger step out, which keeps the volume. Vertices
    that are held, bool [V], stay where they are."""
    if rounds <= 0 or len(mesh.faces) == 0:
        return mesh.vertices
    from scipy.sparse import coo_matrix

    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    size = len(mesh.vertices)
    adjacency = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(size, size)).tocsr()
    adjacency.data[:] = 1  # inner edges were counted twice
    degree = np.asarray(adjacency.sum(axis=1)).reshape(-1, 1)
    points = mesh.vertices.astype(np.float64)
    free = degree > 0 if held is None else (degree > 0) & ~held[:, None]
    for _ in range(rounds):
        for factor in (shrink, grow):
            points = points + factor * np.where(free, adjacency @ points / np.maximum(degree, 1) - points, 0)
    return points.astype(np.float32)


def _components(mesh: Mesh) -> tuple[np.ndarray, int]:
    """[V] component of every vertex, and how many there are (lone vertices count)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    size = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    return labels, int(count)


def _closed_components(faces: np.ndarray, of_face: np.ndarray, count: int) -> np.ndarray:
    """bool [count]: no edge of the component lies on only one triangle."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64), axis=1)
    keys = edges[:, 0] * (int(faces.max(initial=0)) + 1) + edges[:, 1]
    _, first, times = np.unique(keys, return_index=True, return_counts=True)
    closed = np.ones(count, dtype=bool)
    closed[np.tile(of_face, 3)[first[times == 1]]] = False
    return closed


def _field_colours(field: Colours, points: np.ndarray) -> np.ndarray:
    """float32 [N, 3] of engine-space points."""
    with torch.no_grad():
        return field(torch.from_numpy(points).to(next(field.parameters()))).float().cpu().numpy()
