"""Files as other people's programs write them: each gives the right mesh, the right colours and the right words, or the right error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.formats.meshio import load_mesh, save_glb
from engine.mesh import Mesh
from engine.texture.artist import known_share, painted_points
from tests.cases.expected import EXPECTED, MESHES, Expected, files


def area(mesh: Mesh) -> float:
    corners = mesh.corner_vertices().astype(np.float64)
    return float(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2)


def seen_at(mesh: Mesh, axis: int, sign: int) -> np.ndarray:
    """The middle (median) of the colours on one side of the mesh, of the outer three tenths of its extent."""
    points, colours = painted_points(mesh)
    low, high = mesh.vertices[:, axis].min(), mesh.vertices[:, axis].max()
    outer = points[:, axis] >= high - 0.3 * (high - low) if sign > 0 else points[:, axis] <= low + 0.3 * (high - low)
    return np.median(colours[outer], axis=0)


def test_every_case_has_an_expectation() -> None:
    assert sorted(EXPECTED) == [path.name for path in files()] or {path.name for path in files()} == set(EXPECTED)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
@pytest.mark.parametrize("texture", [False, True], ids=["refine", "texture"])
def test_a_case_is_read_rightly(path: Path, texture: bool) -> None:
    expected: Expected = EXPECTED[path.name]
    notes: list[str] = []
    if expected.error is not None:
        with pytest.raises(InputError) as caught:
            load_mesh(path, notes, texture=texture)
        assert caught.value.code == expected.error[0] and expected.error[1] in f"{caught.value.message} {caught.value.fix}"
        return
    mesh = load_mesh(path, notes, texture=texture)
    assert area(mesh) == pytest.approx(expected.area, rel=2e-4)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx(expected.extents, abs=2e-3)
    assert known_share(mesh) == pytest.approx(expected.known, abs=0.02)
    for (axis, sign), colour in expected.seen:
        assert np.abs(seen_at(mesh, axis, sign) - colour).max() < 0.02, (axis, sign)
    if texture:
        assert (mesh.uvs is not None) == (expected.layout == "kept")
        assert all(any(words in note for note in notes) for words in expected.notes), notes
    if expected.known == 0:
        assert mesh.colours is None and mesh.paint is None


@pytest.mark.parametrize("name", ["utm_far.obj"])
def test_a_mesh_far_away_keeps_its_precision_there_and_back(name: str, tmp_path: Path) -> None:
    mesh = load_mesh(MESHES / name)
    assert mesh.origin == (412345.5, 4512345.25, 80.0)
    exact = [line.split()[1:4] for line in (MESHES / name).read_text().splitlines() if line.startswith("v ")]
    x, y, z = np.array(exact, dtype=np.float64).T
    world = np.stack([x, -z, y], axis=-1)
    distance = np.linalg.norm(world - mesh.origin, axis=1)
    assert np.abs(distance - 150).max() < 0.01 and np.abs(np.linalg.norm(mesh.vertices, axis=1) - 150).max() < 0.01
    save_glb(tmp_path / "a.glb", mesh)
    back = load_mesh(tmp_path / "a.glb")
    assert back.origin == pytest.approx(mesh.origin, abs=1e-3)
    assert np.allclose(back.vertices + (np.array(back.origin) - mesh.origin), mesh.vertices, atol=1e-4)
