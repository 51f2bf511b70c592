"""Signed distance to a messy sketch.

1. Each connected stroke is taken alone (`engine.sketch.strokes`): inside is where its winding number exceeds 1/2 (Jacobson et al. 2013;
   fast evaluation: Barill et al. 2018), whichever way its faces are wound. The strokes are united by the minimum of their
   distances, so that what lies inside another stroke leaves no trace (`engine.sketch.union`).
2. A closing finds the bodies that the strokes stand for (`engine.sketch.closing`).
3. Ribbons are sheets without an inside: each gets a shell of the full thickness everywhere. Where it bounds a body the shell leans
   into it, so that the body's outline stays where it was drawn; the lean is smooth along the sheet, so that the shell never tears.
   Where it bounds none, its rims are drawn in, so that the ribbon stays as wide as it was drawn (`engine.sketch.rims`).
4. The strokes with these shells are closed again: shells leave no narrow gaps between each other either.

So the closing only ever adds: every stroke and every shell is inside of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from engine.apart import run_apart
from engine.errors import InputError
from engine.mesh import Mesh
from engine.reporting import OnStep, Portions, unwatched
from engine.sketch.closing import Body
from engine.sketch.crowd import crowds
from engine.sketch.rims import Rims
from engine.sketch.strokes import Stroke, counted, face_areas, split_strokes, subdivided
from engine.sketch.thin import find_growth, growth, thin_walls
from engine.sketch.union import NEAR, SAMPLES, Sheets, StrokeUnion, joined

APART_FACES = 100_000
"""From so many faces on a single call of libigl or of a tree may take longer than a user who cancels will wait."""

SHARES = {"strokes": 3.0, "shells": 1.0, "lean": 2.0, "body": 3.0, "distance": 3.0, "to body": 2.0}
"""What the parts of the work take, about."""

LEAN_REACH = 0.05
"""Over which distance the lean of a shell is averaged (the deviation of a Gaussian), engine units."""

LEAN_NEIGHBOURS = 24
"""Samples in that average."""

TOUCHING = 0.1
"""Ribbons whose rims are no further apart than this share of the thickness were drawn as one sheet, whatever the closing."""


def sketch_sdf(mesh: Mesh, points: np.ndarray, thickness: float, closing: float, on_step: OnStep = unwatched) -> np.ndarray:
    """Signed distance of a sketch at any points: float32 [N], negative inside. The first of `sketch_planes`."""
    return sketch_planes(mesh, points, thickness, closing, on_step)[0]


def sketch_planes(
    mesh: Mesh, points: np.ndarray, thickness: float, closing: float, on_step: OnStep = unwatched
) -> tuple[np.ndarray, np.ndarray]:
    """`SketchField.planes` of a sketch for a single question, with the arguments of `SketchField.of`.

    A sketch of more than APART_FACES is measured in a process of its own, which can be ended at any moment.
    """
    if len(mesh.faces) > APART_FACES:
        inputs = {"vertices": mesh.vertices, "faces": mesh.faces, "points": points, "thickness": thickness, "closing": closing}
        found = run_apart(planes_apart, inputs, on_step)
        if found is not None:
            return found["values"], found["gradients"]
    return SketchField.of(mesh, thickness, closing, on_step).planes(points)


def planes_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"values", "gradients"} of vertices, faces, points, thickness and closing."""
    mesh = Mesh(inputs["vertices"], inputs["faces"])
    field = SketchField.of(mesh, float(inputs["thickness"]), float(inputs["closing"]), on_step)
    values, gradients = field.planes(inputs["points"])
    return {"values": values, "gradients": gradients}


@dataclass(frozen=True)
class SketchField:
    """A sketch as a signed distance that can be asked at any points: union, the strokes with their shells; body, their closing.

    The gradient near the surface has length 1 except at creases; deep inside overlapping strokes the depth is that of one of them,
    at most the true one.

    strokes what the sketch is made of
    solid   how much of the strokes' area was drawn as closed solids that the thickness did not change, 0..1
    """

    strokes: list[Stroke]
    union: StrokeUnion
    body: Body | None
    solid: float
    watched: Portions

    @classmethod
    def of(cls, mesh: Mesh, thickness: float, closing: float, on_step: OnStep = unwatched) -> SketchField:
        """mesh       the sketch in engine space; open, self-intersecting and inside-out strokes are fine, winding is ignored
        thickness  half the thickness given to ribbons, and the least radius of thin tubes
        closing    radius: gaps up to twice as wide (and up to a step of LATTICE_STEP more) are closed, cavities filled; 0 for neither
        on_step    hears of strokes and of every few thousand points, also of those that are asked for later; what it raises (Cancelled)
                   ends the work

        Raises InputError where no face has an area.
        """
        watched = Portions(on_step, SHARES)
        watched.begin("strokes")
        strokes = split_strokes(mesh.vertices, mesh.faces, watched)
        if not strokes:
            raise InputError(
                "sketch_no_area",
                f"The sketch needs at least one face with an area; got {len(mesh.faces)} faces, none of which has one.",
                "Check that the object has faces and is not scaled to zero.",
            )
        return cls.of_strokes(strokes, thickness, closing, on_step)

    @classmethod
    def of_strokes(cls, strokes: list[Stroke], thickness: float, closing: float, on_step: OnStep = unwatched) -> SketchField:
        """`of` what `split_strokes` found, at least one."""
        watched = Portions(on_step, SHARES)
        watched.begin("shells")
        sheets, solid = sheets_of(strokes, thickness, closing, watched), solid_share(strokes, thickness)
        if closing <= 0:
            union = StrokeUnion(strokes, sheets.moved(sheets.triangles + sheets.inset), thickness, watched)
            return cls(strokes, union, None, solid, watched)
        if len(sheets.triangles) and thickness > 0:
            watched.begin("lean")
            upright = StrokeUnion(strokes, sheets, thickness, watched)
            sheets = leaning(sheets, Body.of(upright, closing, coarse=True), thickness)
        watched.begin("body")
        union = StrokeUnion(strokes, sheets, thickness, watched)
        return cls(strokes, union, Body.of(union, closing), solid, watched)

    def planes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [N], float32 [N, 3]): the signed distance at points [N, 3], engine space, negative inside; and its gradient where
        that is known (outward, of length 1), zero elsewhere.

        What is seen of the surface from a point is the plane of all x with distance + gradient . (x - point) = 0: so crisp edges are
        known between samples.
        """
        self.watched.begin("distance")
        points = np.ascontiguousarray(points, dtype=np.float64)
        values, gradients = self.union.planes(points, NEAR)
        if self.body is not None:
            self.watched.begin("to body")
            # where the closing adds nothing, the strokes' own exact distance counts
            closed, normals = self.body.planes(points)
            added = closed + self.body.uncertainty < values
            values, gradients = np.where(added, closed + self.body.uncertainty, values), np.where(added[:, None], normals, gradients)
        return values.astype(np.float32), gradients.astype(np.float32)


def sheets_of(strokes: list[Stroke], thickness: float, closing: float, on_step: OnStep = unwatched) -> Sheets:
    """What needs a shell, in triangles of at most SAMPLES: all faces that bound no volume, which may draw in their rims
    (`engine.sketch.rims`), and the middles of walls of solid strokes that are thinner than twice the thickness, and than the stroke as a
    whole: what is thin everywhere is grown instead."""
    on_step(0, 1)
    vertices, faces, owner = joined([(stroke.vertices, stroke.sheet) for stroke in strokes])
    bare, source = subdivided(vertices, faces, SAMPLES)
    by_stroke = np.argsort(owner[source], kind="stable")
    bare, own = bare[by_stroke], owner[source][by_stroke]
    solids = [stroke for stroke in strokes if len(stroke.solid)] if thickness > 0 else []
    walls = []
    for crowd in counted(list(crowds(solids)), on_step):
        find_growth(crowd, thickness)
        walls.append(thin_walls(crowd, np.array([thickness - growth(stroke, thickness) for stroke in crowd.strokes]), SAMPLES))
    triangles = np.concatenate([bare, *walls])
    inset = np.zeros_like(triangles)
    rims = Rims.of(strokes, thickness, max(2 * closing, TOUCHING * thickness)) if thickness > 0 else None
    if rims is not None:
        inset[: len(own)] = rims.moves(triangles[: len(own)].reshape(-1, 3), np.repeat(own, 3), thickness).reshape(-1, 3, 3)
    return Sheets(triangles, inset)


def solid_share(strokes: list[Stroke], thickness: float) -> float:
    """Which share of the area belongs to strokes that were drawn as closed solids, none of them thin as a whole."""
    vertices, faces, owner = joined([(stroke.vertices, stroke.solid if len(stroke.solid) else stroke.sheet) for stroke in strokes])
    area = np.bincount(owner, weights=face_areas(vertices, faces), minlength=len(strokes))
    solid = np.array([stroke.closed and growth(stroke, thickness) == 0 for stroke in strokes])
    return float(area[solid].sum() / area.sum())


def leaning(sheets: Sheets, body: Body, thickness: float) -> Sheets:
    """The sheets moved by up to the thickness into the body that they bound; where they bound none, their rims drawn in.

    body  what the strokes stand for, with shells of the thickness on both sides of the sheets

    A sample bounds the body where, twice the thickness away from it, one side is deeper in the body than that and the other is not.
    The move is the average of what the samples around ask for, hence continuous along the sheet. Rims stay where half of them ask: the
    skin of a body is closed by ribbons that nearly touch, and an outline that leans inwards has not grown.
    """
    triangles = sheets.triangles
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    samples, step = sheets.samples, 2 * thickness * normals
    ahead, behind = (body.distance(samples + side * step) < -2 * thickness for side in (1, -1))
    side = ahead.astype(np.float64) - behind
    wish = np.concatenate([side[:, None] * normals, np.abs(side)[:, None]], axis=1)
    corners, own = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    distance, sample = KDTree(samples).query(corners, k=min(LEAN_NEIGHBOURS, len(samples)))
    distance, sample = distance.reshape(len(corners), -1), sample.reshape(len(corners), -1)
    weight = np.exp(-((distance / LEAN_REACH) ** 2))[..., None]
    asked_for = (weight * wish[sample]).sum(axis=1) / weight.sum(axis=1)
    lean, free = asked_for[own, :3], np.maximum(0, 1 - 2 * asked_for[own, 3:])
    return sheets.moved(triangles + (thickness * lean).reshape(-1, 3, 3) + free.reshape(-1, 3, 1) * sheets.inset)
