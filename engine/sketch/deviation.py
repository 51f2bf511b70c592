"""How far a result is from the sketch: distances between samples of the two surfaces, both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.apart import run_apart
from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.reporting import OnStep, Portions, unwatched
from engine.sketch.sdf import APART_FACES, sketch_sdf
from engine.sketch.strokes import face_normals
from engine.sketch.triangles import closest

SAMPLES = 10_000
"""Samples on each surface."""

SHARES = {"hidden": 3.0, "distances": 1.0}
"""What finding out what can show, and the distances, take."""

HIDDEN_CLOSING, HIDDEN_DEPTH = 0.05, 0.015
"""Parts of the sketch deeper than this inside the sketch closed by that radius cannot be seen; engine units."""


@dataclass(frozen=True)
class Deviation:
    """Distances in per cent of the sketch's bounding-box diagonal.

    mean_percent, p95_percent        over the samples of both surfaces together (each surface counts half)
    max_percent                      the largest of all samples
    result_mean, result_p95          from the result to the sketch: what was added
    sketch_mean, sketch_p95          from the sketch to the result: what was lost
    """

    mean_percent: float
    p95_percent: float
    max_percent: float
    result_mean: float
    result_p95: float
    sketch_mean: float
    sketch_p95: float


NOTHING_MOVED = Deviation(0, 0, 0, 0, 0, 0, 0)
"""Of a mesh whose vertices and faces come back as they were."""


def deviation(
    vertices: np.ndarray,
    faces: np.ndarray,
    sketch: Mesh,
    generator: np.random.Generator,
    samples: int = SAMPLES,
    on_step: OnStep = unwatched,
) -> Deviation:
    """Deviation of a result from a sketch in the same space and unit.

    vertices [V, 3], faces int [F, 3] of the result. Samples are spread by area, equally many on each surface. Of the sketch only what
    can show counts: what lies inside the bodies that it draws (ends of strokes inside others, overlapping blobs) is left out.
    on_step is told how far it is. Raises ValueError for a surface without area.
    """
    watched = Portions(on_step, SHARES)
    watched.begin("hidden")
    own_vertices, own_faces = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    sketch_vertices, sketch_faces = sketch.vertices.astype(np.float64), sketch.faces.astype(np.int64)
    on_result = sample_surface(own_vertices, own_faces, samples, generator)
    on_sketch = _visible(sample_surface(sketch_vertices, sketch_faces, samples, generator), sketch, watched)
    watched.begin("distances")
    added = _distances(sketch_vertices, sketch_faces, on_result, watched) / sketch.diagonal * 100
    lost = _distances(own_vertices, own_faces, on_sketch, watched) / sketch.diagonal * 100
    both, weight = np.concatenate([added, lost]), np.repeat([0.5 / len(added), 0.5 / len(lost)], [len(added), len(lost)])
    of_both = (both @ weight, _percentile(both, weight), both.max())
    figures = (*of_both, added.mean(), np.percentile(added, 95), lost.mean(), np.percentile(lost, 95))
    return Deviation(*(float(figure) for figure in figures))


def sample_surface(vertices: np.ndarray, faces: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """float64 [count, 3]: random places on a surface, spread evenly by area. Raises ValueError where it has none."""
    area = np.linalg.norm(face_normals(vertices, faces), axis=1)
    if not area.sum() > 0:
        raise ValueError("the surface has no area to sample")
    # stratified along the cumulated area: less noise than independent draws
    share = (np.arange(count) + generator.random(count)) / count
    chosen = np.searchsorted(np.cumsum(area) / area.sum(), share).clip(max=len(faces) - 1)
    u, v = generator.random((2, count))
    over = u + v > 1
    u[over], v[over] = 1 - u[over], 1 - v[over]
    a, b, c = vertices[faces[chosen]].transpose(1, 0, 2)
    return a + u[:, None] * (b - a) + v[:, None] * (c - a)


def _visible(points: np.ndarray, sketch: Mesh, on_step: OnStep) -> np.ndarray:
    """Those points on the sketch that do not lie inside the bodies that it draws (or all, where that leaves none)."""
    normalization = SceneNormalization.of_bounds(sketch.vertices)
    local = sketch.with_vertices(normalization.to_engine(sketch.vertices))
    depth = sketch_sdf(local, normalization.to_engine(points), thickness=0.0, closing=HIDDEN_CLOSING, on_step=on_step)
    shown = depth > -HIDDEN_DEPTH
    return points[shown] if shown.any() else points


def _distances(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, on_step: OnStep) -> np.ndarray:
    """float64 [N] of points [N, 3] to a surface; of a large one in a process that can be ended at any moment."""
    if len(faces) > APART_FACES:
        inputs = {"vertices": vertices, "faces": faces, "points": points}
        found = run_apart(distances_apart, inputs, on_step)
        if found is not None:
            return found["distances"]
    on_step(0, 1)
    return closest(vertices, faces, points)[0]


def distances_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"distances"} of vertices, faces and points."""
    return {"distances": closest(inputs["vertices"], inputs["faces"], inputs["points"])[0]}


def _percentile(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weight[order]), 0.95 * weight.sum())])
