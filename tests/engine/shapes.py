"""Analytic meshes for the geometry tests: vertices float32, faces int32, wound counter-clockwise from outside where closed."""

from __future__ import annotations

import numpy as np

from engine.mesh import Mesh


def merge(*meshes: Mesh) -> Mesh:
    """All meshes as one."""
    first = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + start for mesh, start in zip(meshes, first, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces).astype(np.int32))


def flipped(mesh: Mesh) -> Mesh:
    """Inside out."""
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]))


def moved(mesh: Mesh, *offset: float) -> Mesh:
    return Mesh((mesh.vertices + np.array(offset)).astype(np.float32), mesh.faces)


def lattice(points: np.ndarray, closed: bool = False) -> Mesh:
    """Quads between neighbouring points [N, M, 3], split into triangles; closed: the last column meets the first."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    left, right = (index, np.roll(index, -1, axis=1)) if closed else (index[:, :-1], index[:, 1:])
    a, b, c, d = left[:-1], right[:-1], right[1:], left[1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32))


def box(half: tuple[float, float, float]) -> Mesh:
    """Axis-aligned box around the origin."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    return Mesh(corners.astype(np.float32), np.array(faces, dtype=np.int32))


def sphere(radius: float = 0.5, rows: int = 24, columns: int = 48) -> Mesh:
    """Latitude-longitude sphere around the origin, closed."""
    polar = np.linspace(np.pi, 0, rows + 1)[1:-1, None]
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    ring = np.stack([np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.broadcast_to(np.cos(polar), (rows - 1, columns))], -1)
    body = lattice(ring * radius, closed=True)
    south, north = len(body.vertices), len(body.vertices) + 1
    first, last = np.arange(columns), np.arange(columns) + (rows - 2) * columns
    caps = np.concatenate(
        [
            np.stack([np.full(columns, south), np.roll(first, -1), first], 1),
            np.stack([np.full(columns, north), last, np.roll(last, -1)], 1),
        ]
    )
    poles = np.array([[0, 0, -radius], [0, 0, radius]])
    return Mesh(np.concatenate([body.vertices, poles]).astype(np.float32), np.concatenate([body.faces, caps]).astype(np.int32))


def tube(radius: float, length: float, columns: int = 32, rows: int = 12) -> Mesh:
    """Open cylinder along z around the origin, without ends."""
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    z = np.linspace(-length / 2, length / 2, rows)[:, None]
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return lattice(np.stack(np.broadcast_arrays(x, y, z), axis=-1), closed=True)


def ribbon(width: float, length: float, across: int = 3, along: int = 12) -> Mesh:
    """Flat strip in the xy plane around the origin, along x."""
    x, y = np.linspace(-length / 2, length / 2, along)[:, None], np.linspace(-width / 2, width / 2, across)[None]
    return lattice(np.stack(np.broadcast_arrays(x, y, np.zeros((1, 1))), axis=-1))
