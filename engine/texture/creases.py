"""Hard edges: a mesh whose faces share a vertex only where the surface is smooth between them, so that smooth normals leave edges sharp."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SMOOTH = 40.0
"""Degrees between two faces up to which the edge between them is shaded smoothly."""


def parted_at_creases(vertices: np.ndarray, faces: np.ndarray, degrees: float = SMOOTH) -> tuple[np.ndarray, np.ndarray]:
    """(vertices [W, 3], faces int32 [F, 3]): the same triangles in the same order, their vertices doubled where edges are sharp.

    An edge is sharp where its faces' normals differ by more than `degrees`; also where faces are wound against each other, whose normals
    would cancel out.
    """
    if len(faces) == 0:
        return vertices, faces
    source, parted = crease_groups(vertices, faces, degrees)
    return np.ascontiguousarray(vertices[source]), parted


def crease_groups(vertices: np.ndarray, faces: np.ndarray, degrees: float = SMOOTH) -> tuple[np.ndarray, np.ndarray]:
    """(source [W], faces int32 [F, 3]): as `parted_at_creases`, with the vertex that each is a double of; those of one stand together, in
    the order of the vertices."""
    first, second = _smooth_pairs(vertices, faces, np.cos(np.radians(degrees)))
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(faces.size, faces.size))
    count, group = connected_components(links, directed=False)
    of_group = np.empty(count, np.int64)
    of_group[group] = faces.reshape(-1)
    order = np.argsort(of_group, kind="stable")
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    return of_group[order], rank[group].reshape(-1, 3)


def _smooth_pairs(vertices: np.ndarray, faces: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (numbered face by face) that are one vertex: those of two faces at both ends of the edge that they share smoothly."""
    corners = vertices.astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    start = np.arange(faces.size)
    end = start - start % 3 + (start + 1) % 3
    flat = faces.reshape(-1).astype(np.int64)
    swapped = flat[start] > flat[end]
    low, high = np.where(swapped, end, start), np.where(swapped, start, end)
    order = np.lexsort((flat[high], flat[low]))
    a, b = order[:-1], order[1:]
    same = (flat[low[a]] == flat[low[b]]) & (flat[high[a]] == flat[high[b]])
    a, b = a[same], b[same]
    smooth = np.einsum("ed,ed->e", normals[a // 3], normals[b // 3]) >= least
    a, b = a[smooth], b[smooth]
    return np.concatenate([low[a], high[a]]), np.concatenate([low[b], high[b]])
