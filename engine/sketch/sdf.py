"""Signed distance to a messy sketch.

1. Each connected stroke is taken alone (`engine.sketch.strokes`): inside is where its winding number exceeds 1/2 (Jacobson et al. 2013;
   fast evaluation: Barill et al. 2018), whichever way its faces are wound. The strokes are united by the minimum of their
   distances, so that what lies inside another stroke leaves no trace (`engine.sketch.union`).
2. A closing finds the bodies that the strokes stand for (`engine.sketch.closing`).
3. Ribbons are sheets without an inside: each gets a shell of the full thickness everywhere. Where it bounds a body the shell leans
   into it, so that the body's outline stays where it was drawn; the lean is smooth along the sheet, so that the shell never tears.
4. The strokes with these shells are closed again: shells leave no narrow gaps between each other either.

So the closing only ever adds: every stroke and every shell is inside of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from engine.errors import InputError
from engine.mesh import Mesh
from engine.sketch.closing import Body
from engine.sketch.strokes import Stroke, asked, split_strokes, subdivided
from engine.sketch.thin import growth, thin_walls
from engine.sketch.union import NEAR, SAMPLES, Sheets, StrokeUnion

LEAN_REACH = 0.05
"""Over which distance the lean of a shell is averaged (the deviation of a Gaussian), engine units."""

LEAN_NEIGHBOURS = 24
"""Samples in that average."""


def sketch_sdf(mesh: Mesh, points: np.ndarray, thickness: float, closing: float, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
    """Signed distance of a sketch at any points: float32 [N], negative inside. `SketchField` for a single question."""
    return SketchField.of(mesh, thickness, closing, cancelled).distance(points)


@dataclass(frozen=True)
class SketchField:
    """A sketch as a signed distance that can be asked at any points: union, the strokes with their shells; body, their closing.

    The gradient near the surface has length 1 except at creases; deep inside overlapping strokes the depth is that of one of them,
    at most the true one.
    """

    union: StrokeUnion
    body: Body | None

    @classmethod
    def of(cls, mesh: Mesh, thickness: float, closing: float, cancelled: Callable[[], bool] | None = None) -> SketchField:
        """mesh       the sketch in engine space; open, self-intersecting and inside-out strokes are fine, winding is ignored
        thickness  half the thickness given to ribbons, and the least radius of thin tubes
        closing    radius: gaps up to twice as wide (and up to a step of LATTICE_STEP more) are closed, cavities filled; 0 for neither
        cancelled  asked between strokes and every few thousand points; engine.errors.Cancelled is raised when it says so

        Raises InputError where no face has an area.
        """
        ask = cancelled or (lambda: False)
        strokes = split_strokes(mesh.vertices, mesh.faces, ask)
        if not strokes:
            raise InputError(
                "sketch_no_area",
                f"The sketch needs at least one face with an area; got {len(mesh.faces)} faces, none of which has one.",
                "Check that the object has faces and is not scaled to zero.",
            )
        sheets = sheets_of(strokes, thickness, ask)
        if closing <= 0:
            return cls(StrokeUnion(strokes, sheets, thickness, ask), None)
        if len(sheets.triangles) and thickness > 0:
            upright = StrokeUnion(strokes, sheets, thickness, ask)
            sheets = leaning(sheets, Body.of(upright, closing, coarse=True), thickness)
        union = StrokeUnion(strokes, sheets, thickness, ask)
        return cls(union, Body.of(union, closing))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """float32 [N]: signed distance at points [N, 3], engine space; negative inside."""
        return self.planes(points)[0]

    def planes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`distance`, and its gradient float32 [N, 3] where that is known (outward, of length 1), zero elsewhere.

        What is seen of the surface from a point is the plane of all x with distance + gradient . (x - point) = 0: so crisp edges are
        known between samples.
        """
        points = np.ascontiguousarray(points, dtype=np.float64)
        values, gradients = self.union.planes(points, NEAR)
        if self.body is not None:
            # where the closing adds nothing, the strokes' own exact distance counts
            closed, normals = self.body.planes(points)
            added = closed + self.body.uncertainty < values
            values, gradients = np.where(added, closed + self.body.uncertainty, values), np.where(added[:, None], normals, gradients)
        return values.astype(np.float32), gradients.astype(np.float32)


def sheets_of(strokes: list[Stroke], thickness: float, ask: Callable[[], bool] = lambda: False) -> Sheets:
    """What needs a shell, in triangles of at most SAMPLES: all faces that bound no volume, and the middles of walls of solid strokes
    that are thinner than twice the thickness, and than the stroke as a whole: what is thin everywhere is grown instead."""
    bare = [subdivided(stroke.vertices, stroke.sheet, SAMPLES)[0] for stroke in asked(strokes, ask)]
    solids = [stroke for stroke in strokes if len(stroke.solid)] if thickness > 0 else []
    walls = [thin_walls(stroke, thickness - growth(stroke, thickness), SAMPLES) for stroke in asked(solids, ask)]
    return Sheets(np.concatenate(bare + walls))


def leaning(sheets: Sheets, body: Body, thickness: float) -> Sheets:
    """The sheets moved by up to the thickness into the body that they bound, and not at all where they bound none or lie inside it.

    body  what the strokes stand for, with shells of the thickness on both sides of the sheets

    A sample bounds the body where, twice the thickness away from it, one side is deeper in the body than that and the other is not.
    The move is the average of what the samples around ask for, hence continuous along the sheet.
    """
    triangles = sheets.triangles
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    samples, step = sheets.samples, 2 * thickness * normals
    ahead, behind = (body.distance(samples + side * step) < -2 * thickness for side in (1, -1))
    wish = (ahead.astype(np.float64) - behind)[:, None] * normals
    corners, own = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    distance, sample = KDTree(samples).query(corners, k=min(LEAN_NEIGHBOURS, len(samples)))
    distance, sample = distance.reshape(len(corners), -1), sample.reshape(len(corners), -1)
    weight = np.exp(-((distance / LEAN_REACH) ** 2))[..., None]
    lean = (weight * wish[sample]).sum(axis=1) / weight.sum(axis=1)
    return Sheets((corners + thickness * lean)[own.reshape(-1, 3)])
