"""How solid and how true the surface of a sketch is before any prior has seen it.

    python -m scripts.bench.surface [--grid 80] [--thickness 0.025] [--closing 0.03] [NAME ...]

For the examples, the stroke sketches that the tests draw and solids with a known truth: handles (genus), components, volume, seconds
of processor time of the signed distance and of one extraction with its backward pass. Where the truth is known also the mean distance
both ways (Chamfer, % of the diagonal), the mean angle between normals near edges and elsewhere, and by how much faces away from edges
are uneven (root mean square, % of the diagonal). Peak memory of the whole process at the end.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.conventions import SceneNormalization
from engine.formats.meshio import load_mesh
from engine.job import sketch_surface
from engine.job_fields import PRESETS, Hyperparameters
from engine.mesh import Mesh
from engine.sketch.check import check_sketch
from engine.sketch.deviation import sample_surface
from engine.sketch.strokes import Triangles, face_components, face_normals
from scripts import ROOT
from tests.engine.shapes import box, lattice, merge, moved
from tests.engine.stroke_sketches import STROKE_SKETCHES, draw

EXAMPLES = ("flower", "mushroom", "apple", "mug", "chair", "house", "tree", "teapot")
SHARP = 30.0
"""An edge of the truth is one where its faces' normals differ by more degrees than this."""
NEAR_EDGE = 2.0
"""Places within so many grid steps of such an edge count as near it."""
SAMPLES = 20_000


@dataclass(frozen=True)
class Row:
    """One line of the table; the last four are None where the truth is not known."""

    name: str
    genus: int
    components: int
    volume: float
    sdf_seconds: float
    step_seconds: float
    faces: int
    chamfer: float | None = None
    edge_degrees: float | None = None
    face_degrees: float | None = None
    unevenness: float | None = None

    def cells(self) -> list[str]:
        """The row as text."""
        known = [self.chamfer, self.edge_degrees, self.face_degrees, self.unevenness]
        exact = [
            self.name,
            str(self.genus),
            str(self.components),
            f"{self.volume:.3f}",
            f"{self.sdf_seconds:.2f}",
            f"{self.step_seconds:.3f}",
        ]
        return exact + [str(self.faces)] + ["" if figure is None else f"{figure:.2f}" for figure in known]


HEAD = ("name", "genus", "parts", "volume", "sdf s", "extract + backward s", "faces", "Chamfer %", "edges °", "faces °", "uneven %")


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
        "lattice": merge(*posts, *bars),
    }
    askew = np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.2, 1.0, 0.4], [0.1, -0.5, 1.0]]))[0]  # nothing lies along the grid
    askew *= np.sign(np.linalg.det(askew))
    return {name: mesh.with_vertices((mesh.vertices @ askew.T).astype(np.float32)) for name, mesh in whole.items()}


def _roof() -> Mesh:
    """A closed gable roof over the house."""
    points = np.array([(x, y, z) for x in (-0.66, 0.66) for y, z in ((-0.6, 0.3), (0.6, 0.3), (0.0, 0.75))], dtype=np.float32)
    faces = [(0, 2, 1), (3, 4, 5), (0, 1, 4), (0, 4, 3), (1, 2, 5), (1, 5, 4), (2, 0, 3), (2, 3, 5)]
    return Mesh(points, np.array(faces, dtype=np.int32))


def sketch(name: str) -> Mesh:
    """One of the tests' stroke sketches or of the examples."""
    return draw(name) if name in STROKE_SKETCHES else load_mesh(ROOT / "examples" / f"{name}.glb")


def measure(name: str, mesh: Mesh, numbers: Hyperparameters, known: bool) -> Row:
    """One row of the table."""
    drawn, _ = check_sketch(mesh)
    drawn = drawn.with_vertices(SceneNormalization.of_bounds(drawn.vertices).to_engine(drawn.vertices))
    start = time.process_time()
    surface = sketch_surface(drawn, numbers, torch.device("cpu"))
    sdf_seconds, start = time.process_time() - start, time.process_time()
    vertices, faces = surface.extract()
    vertices.square().sum().backward()
    step_seconds = time.process_time() - start
    points, corners = vertices.detach().double().numpy(), faces.long().numpy()
    parts = int(face_components(corners).max()) + 1
    edges = len(np.unique(np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0))
    a, b, c = points[corners].transpose(1, 0, 2)
    volume = float(np.einsum("fi,fi->", np.cross(a, b), c)) / 6
    row = Row(name, parts - (len(points) - edges + len(corners)) // 2, parts, volume, sdf_seconds, step_seconds, len(corners))
    return replace(row, **against_truth(points, corners, drawn, 2 / numbers.grid)) if known else row


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="which; all where none is given")
    parser.add_argument("--grid", type=int, default=80)
    parser.add_argument("--thickness", type=float, default=0.025)
    parser.add_argument("--closing", type=float, default=0.03)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    numbers = replace(PRESETS["draft"], grid=options.grid, thickness=options.thickness, closing=options.closing)
    known = solids()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name in options.names or (*EXAMPLES, *STROKE_SKETCHES, *known):
        row = measure(name, known[name] if name in known else sketch(name), numbers, name in known)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, grid {options.grid}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
