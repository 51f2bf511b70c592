"""Even triangles: closed, near the surface, creases kept; and a sentence where the library is missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import trimesh

from engine.errors import JobError
from engine.mesh import Mesh
from engine.texture.atlas import decimate, is_closed
from engine.texture.remesh import refuse_without_pymeshlab, remesh


def fine_box() -> Mesh:
    shape = trimesh.creation.box((1.0, 0.8, 0.6))
    for _ in range(5):
        shape = shape.subdivide()
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32))


def quality(mesh: Mesh) -> float:
    """Mean of 4 sqrt(3) area / (sum of squared sides): 1 for an equilateral triangle."""
    a, b, c = mesh.corner_vertices().astype(np.float64).transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    sides = ((b - a) ** 2).sum(1) + ((c - b) ** 2).sum(1) + ((a - c) ** 2).sum(1)
    return float((2 * np.sqrt(3) * area / sides.clip(min=1e-30)).mean())


def test_triangles_are_even_and_edges_stay() -> None:
    pytest.importorskip("pymeshlab", reason="PyMeshLab is not installed; it is optional")
    box = fine_box()
    mesh = remesh(box, 3000)
    assert mesh is not None and is_closed(mesh.faces)
    assert 1500 < len(mesh.faces) <= 3300
    assert quality(mesh) > 0.85 > quality(decimate(box, 3000))
    half = np.array([0.5, 0.4, 0.3])
    assert np.abs((np.abs(mesh.vertices) - half).max(axis=1)).max() < 1e-3, "every vertex lies on the box"
    corners = np.abs(mesh.vertices - half[None]).sum(axis=1)
    assert corners.min() < 1e-3
    again = remesh(box, 3000)
    assert again is not None and np.array_equal(again.vertices, mesh.vertices) and np.array_equal(again.faces, mesh.faces)


def test_without_the_library_it_says_what_to_do() -> None:
    if importlib.util.find_spec("pymeshlab") is not None:
        pytest.skip("pymeshlab is installed here")
    with pytest.raises(JobError, match="PyMeshLab") as caught:
        remesh(fine_box(), 3000)
    assert "pip install" in caught.value.fix
    with pytest.raises(JobError, match="PyMeshLab"):
        refuse_without_pymeshlab("even")  # as a job asks before it begins
    refuse_without_pymeshlab("few")
