"""Solids with a known truth for `scripts.bench.surface`, and how far a surface is from one."""

from __future__ import annotations

import numpy as np

from engine.mesh import Mesh
from engine.sketch.deviation import sample_surface
from engine.sketch.strokes import face_normals
from engine.sketch.triangles import Triangles
from tests.engine.shapes import box, lattice, merge, moved

SHARP = 30.0
"""An edge of the truth is one where its faces' normals differ by more degrees than this."""
NEAR_EDGE = 2.0
"""Places within so many grid steps of such an edge count as near it."""
SAMPLES = 20_000

GENUS = {"box": 0, "torus": 1, "chair of boards": 0, "gabled house": 0, "thin bowl": 0, "lattice": 6}


def solids() -> dict[str, Mesh]:
    """Solids with a known truth: the sketch is the solid itself."""
    turn, along = np.linspace(0, 2 * np.pi, 96, endpoint=False)[None], np.linspace(0, 2 * np.pi, 49)[:, None]
    ring = np.stack(
        np.broadcast_arrays((0.5 + 0.2 * np.cos(along)) * np.cos(turn), (0.5 + 0.2 * np.cos(along)) * np.sin(turn), 0.2 * np.sin(along)), -1
    )
    seat, back = moved(box((0.4, 0.4, 0.04)), 0, 0, 0), moved(box((0.4, 0.035, 0.35)), 0, 0.365, 0.37)
    legs = [moved(box((0.045, 0.045, 0.25)), x, y, -0.28) for x in (-0.34, 0.34) for y in (-0.34, 0.34)]
    posts = [moved(box((0.05, 0.05, 0.6)), x, y, 0) for x in (-0.5, 0, 0.5) for y in (-0.5, 0, 0.5)]
    bars = [moved(box((0.55, 0.045, 0.045)), 0, y, z) for y in (-0.5, 0, 0.5) for z in (-0.4, 0.4)]
    whole = {
        "box": box((0.8, 0.5, 0.3)),
        "torus": lattice(ring, closed=True),
        "chair of boards": merge(seat, back, *legs),
        "gabled house": merge(box((0.6, 0.5, 0.35)), _roof()),
        "thin bowl": _bowl(),
        "lattice": merge(*posts, *bars),
    }
    askew = np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.2, 1.0, 0.4], [0.1, -0.5, 1.0]]))[0]  # nothing lies along the grid
    askew *= np.sign(np.linalg.det(askew))
    return {name: mesh.with_vertices((mesh.vertices @ askew.T).astype(np.float32)) for name, mesh in whole.items()}


def _bowl() -> Mesh:
    """A closed bowl whose wall is 0.06 of its radius thick."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    polar = np.linspace(0, 0.5 * np.pi, 17)
    profile = np.concatenate([np.stack([r * np.sin(p), -r * np.cos(p)], axis=1) for r, p in ((0.9, polar), (0.84, polar[::-1]))])
    x, y = profile[:, :1] * np.cos(turn), profile[:, :1] * np.sin(turn)
    return lattice(np.stack(np.broadcast_arrays(x, y, profile[:, 1:]), axis=-1), closed=True)


def _roof() -> Mesh:
    """A closed gable roof over the house."""
    points = np.array([(x, y, z) for x in (-0.66, 0.66) for y, z in ((-0.6, 0.3), (0.6, 0.3), (0.0, 0.75))], dtype=np.float32)
    faces = [(0, 2, 1), (3, 4, 5), (0, 1, 4), (0, 4, 3), (1, 2, 5), (1, 5, 4), (2, 0, 3), (2, 3, 5)]
    return Mesh(points, np.array(faces, dtype=np.int32))


def against_truth(points: np.ndarray, corners: np.ndarray, truth: Mesh, spacing: float) -> dict[str, float]:
    """Chamfer distance, normal errors and unevenness of a surface against a closed truth in the same space."""
    vertices, faces = truth.vertices.astype(np.float64), truth.faces.astype(np.int64)
    generator = np.random.default_rng(0)
    there = Triangles(vertices, faces)
    visible = sample_surface(vertices, faces, SAMPLES, generator)
    lost = Triangles(points, corners).closest(visible)[0]
    middles, own = points[corners].mean(axis=1), face_normals(points, corners)
    area = np.linalg.norm(own, axis=1)
    distance, _, nearest = there.nearest(middles)
    normals = face_normals(vertices, faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cosine = np.einsum("fi,fi->f", own / np.maximum(area, 1e-30)[:, None], normals[nearest])
    degrees = np.degrees(np.arccos(np.abs(cosine).clip(0, 1)))
    near = _near_edges(middles, vertices, faces, normals, NEAR_EDGE * spacing)
    flat = ~near & (area > 0)
    percent = 100 / truth.diagonal
    exposed = lost < 4 * spacing  # what lies inside of other parts of the truth is no surface
    chamfer = (np.average(distance, weights=area) + lost[exposed].mean()) / 2 * percent
    near_mean, flat_mean, uneven = (
        float(np.average(figure[chosen], weights=area[chosen])) if area[chosen].any() else 0.0
        for figure, chosen in ((degrees, near), (degrees, flat), (distance**2, flat))
    )
    return {"chamfer": float(chamfer), "edge_degrees": near_mean, "face_degrees": flat_mean, "unevenness": np.sqrt(uneven) * percent}


def _near_edges(places: np.ndarray, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, reach: float) -> np.ndarray:
    """bool [N]: which places [N, 3] are within reach of a sharp edge."""
    sides = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort(sides.T)
    ordered, face = sides[order], order // 3
    pair = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    angle = np.degrees(np.arccos(np.einsum("ei,ei->e", normals[face[pair]], normals[face[pair + 1]]).clip(-1, 1)))
    sharp = ordered[pair[angle > SHARP]]
    if not len(sharp):
        return np.zeros(len(places), dtype=bool)
    start, end = vertices[sharp[:, 0]], vertices[sharp[:, 1]]
    near = np.zeros(len(places), dtype=bool)
    for first, last in zip(start, end, strict=True):
        along = ((places - first) @ (last - first) / ((last - first) @ (last - first))).clip(0, 1)
        near |= np.linalg.norm(places - first - along[:, None] * (last - first), axis=1) < reach
    return near


def crossings(vertices: np.ndarray, faces: np.ndarray) -> int:
    """How many pairs of faces without a common corner cross each other."""
    from engine.render.warp_runtime import load_warp
    from scripts.bench.surface_kernel import count_crossings

    wp = load_warp()
    points = wp.array(vertices.astype(np.float32), dtype=wp.vec3, device="cpu")
    mesh = wp.Mesh(points, wp.array(faces.reshape(-1).astype(np.int32), dtype=wp.int32, device="cpu"))
    found = wp.zeros(len(faces), dtype=wp.int32, device="cpu")
    wp.launch(count_crossings, dim=len(faces), inputs=[mesh.id, found], device="cpu")
    return int(found.numpy().sum())
