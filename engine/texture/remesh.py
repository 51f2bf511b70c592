"""Even triangles instead of few: isotropic remeshing by PyMeshLab, where it is installed. Imported on first use.

Edges are split, collapsed and flipped until all are about equally long and vertices have about six of them, and vertices move along the
surface (Botsch & Kobbelt 2004); creases stay, and the surface is left by at most MAX_LEAVE edge lengths.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from engine.errors import JobError
from engine.mesh import Mesh
from engine.texture.atlas import is_closed

CREASE = 30.0
"""Edges that bend by more degrees stay where they are."""

ROUNDS = 6
MAX_LEAVE = 0.25
TRIES = 3
"""Meshes with many creases get more faces than their area tells; then the edges are made longer."""


def remesh(mesh: Mesh, faces: int) -> Mesh | None:
    """A mesh of about `faces` even triangles, at most a tenth more; None where that does not succeed: the result is always closed where
    the mesh is. JobError where PyMeshLab is not installed. Colours and uvs are dropped."""
    lab = _pymeshlab()
    a, b, c = mesh.corner_vertices().astype(np.float64).transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    count, closed = float(faces), is_closed(mesh.faces)
    for _ in range(TRIES):
        length = lab.PureValue(float(np.sqrt(4 / np.sqrt(3) * area / count)))
        work = lab.MeshSet(verbose=False)
        work.add_mesh(lab.Mesh(mesh.vertices.astype(np.float64), mesh.faces.astype(np.int32)))
        work.meshing_isotropic_explicit_remeshing(
            iterations=ROUNDS, targetlen=length, featuredeg=CREASE, checksurfdist=True,
            maxsurfdist=lab.PureValue(MAX_LEAVE * float(np.sqrt(4 / np.sqrt(3) * area / count))),
        )  # fmt: skip
        found = work.current_mesh()
        points, triangles = found.vertex_matrix().astype(np.float32), found.face_matrix().astype(np.int32)
        if not len(triangles) or not np.isfinite(points).all() or (closed and not is_closed(triangles)):
            return None
        if len(triangles) <= 1.1 * faces:
            return Mesh(np.ascontiguousarray(points), np.ascontiguousarray(triangles))
        count *= faces / len(triangles)
    return None


def refuse_without_pymeshlab(triangles: str) -> None:
    """JobError where the setting of that name asks for even triangles and PyMeshLab is not installed; it is not imported."""
    if triangles == "even" and importlib.util.find_spec("pymeshlab") is None:
        raise _missing("it is not installed")


def _pymeshlab() -> Any:
    try:
        import pymeshlab  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing(str(error)) from error
    return pymeshlab


def _missing(why: str) -> JobError:
    return JobError(
        "no_pymeshlab",
        f"Even triangles need PyMeshLab, which cannot be imported here ({why}).",
        "Install it into the engine's environment (pip install --no-deps pymeshlab, 280 MB), or choose the triangles 'few'.",
    )
