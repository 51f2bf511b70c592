"""From a file to the result: the artist's colours arrive where they were painted, notes reach the user, places keep their precision."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.contact_sheet import contact_sheet
from engine.formats.meshio import load_mesh, lying_note
from engine.formats.textures import sample_image
from engine.job import run_job
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter
from engine.results import JobResult
from tests.cases.expected import MESHES, RED

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"grid": 32, "colour_grid": 64, "fit_steps": 30, "stage1_steps": 0, "stage2_steps": 0, "supersample": 1, "views": 1}


def result_of(name: str, mode: str, **more: object) -> tuple[JobResult, list[str]]:
    """A job without any step of guidance: what comes out is what was read, through field, fit and texture."""
    reporter = QuietReporter()
    notes: list[str] = []
    mesh = load_mesh(MESHES / name, notes, texture=mode == "texture")
    values = {"prompt": "a thing", "mode": mode, "adherence": 1.0, "faces": 2000, "texture_size": 512, "device": "cpu", "overrides": SMALL}
    return run_job(mesh, JobSettings.from_dict({**values, **more}), reporter), notes + reporter.notes


def seen(result: JobResult) -> tuple[np.ndarray, np.ndarray]:
    """(centres [F, 3], colours sRGB [F, 3]) of the result's faces, by its texture."""
    assert result.mesh.uvs is not None
    colours = sample_image(result.maps["albedo"], result.mesh.uvs.mean(axis=1).astype(np.float64)) / 255
    return result.mesh.corner_vertices().mean(axis=1), colours


@pytest.mark.slow
def test_a_low_poly_box_keeps_the_colour_inside_of_its_faces() -> None:
    """Its corners lie on a white margin of the texture; what is painted is red."""
    result, _ = result_of("lowpoly_textured_box.glb", "refine")
    centres, colours = seen(result)
    inner = (np.sort(np.abs(centres), axis=1)[:, 1] < 0.3) & (np.abs(centres).max(axis=1) > 0.4)  # away from the edges
    assert inner.sum() > 100
    assert np.abs(np.median(colours[inner], axis=0) - RED).max() < 0.06


@pytest.mark.slow
def test_a_leaf_is_green_and_not_the_black_of_its_transparent_texels() -> None:
    result, _ = result_of("alpha_card.glb", "refine")
    _, colours = seen(result)
    assert np.abs(np.median(colours, axis=0) - (0.235, 0.667, 0.157)).max() < 0.06


@pytest.mark.slow
def test_a_sketch_without_chosen_colours_leaves_them_to_the_prompt() -> None:
    """Blender's untouched grey and no material at all are one and the same job: nothing is held against the prompt."""
    plain, notes = result_of("no_material.glb", "texture", overrides={**SMALL, "stage1_steps": 3})
    assert any("the prompt decides" in note for note in notes)
    document = (MESHES / "no_material.glb").read_bytes()
    assert b"materials" not in document
    grey, _ = result_of("image_without_source.glb", "texture", overrides={**SMALL, "stage1_steps": 3})
    assert np.array_equal(plain.maps["albedo"], grey.maps["albedo"])


@pytest.mark.parametrize("grey", [0.8, 1.0, 0.5])
def test_the_grey_of_an_untouched_material_is_no_colour(tmp_path: Path, grey: float) -> None:
    notes: list[str] = []
    (tmp_path / "a.mtl").write_text(f"newmtl Material\nKd {grey} {grey} {grey}\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl Material\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert load_mesh(tmp_path / "a.obj", notes).colours is None and "'Material'" in notes[0] and "default" in notes[0]
    (tmp_path / "a.mtl").write_text("newmtl Material\nKd 0.8 0.79 0.8\n")
    assert load_mesh(tmp_path / "a.obj").colours is not None


@pytest.mark.slow
def test_notes_of_a_reader_reach_the_terminal_and_the_report_and_a_far_place_the_result(tmp_path: Path) -> None:
    lines = (MESHES / "utm_far.obj").read_text().splitlines()
    (tmp_path / "far.obj").write_text("\n".join(["mtllib lost.mtl", *lines]))
    options = [word for name, value in {**SMALL, "fit_steps": 2}.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "engine", "refine", str(tmp_path / "far.obj"), "--prompt", "a ball", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *options, "--faces", "500", "--texture-size", "64", "--device", "cpu"], cwd=ROOT, capture_output=True,
                          text=True, timeout=500)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lost.mtl" in done.stderr and "the prompt decides" in done.stderr
    report = json.loads((tmp_path / "out" / "far.json").read_text())
    assert any("lost.mtl" in note for note in report["notes"]) and any("the prompt decides" in note for note in report["notes"])
    data = (tmp_path / "out" / "far.glb").read_bytes()
    node = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])["nodes"][0]
    assert node["translation"] == [412345.5, 80.0, -4512345.25]
    back = load_mesh(tmp_path / "out" / "far.glb")
    distance = np.linalg.norm(back.vertices.astype(np.float64) + back.origin - np.array([412345.5, 4512345.25, 80.0]), axis=1)
    assert abs(np.median(distance) - 150) < 5


def test_the_axis_that_points_up_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 5\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n")
    expected = {"y": (1, 5, 2), "z": (1, 2, 5), "x": (2, 5, 1), "negative-y": (1, 5, 2), "negative-z": (1, 2, 5), "negative-x": (5, 2, 1)}
    for up, extents in expected.items():
        mesh = load_mesh(tmp_path / "a.obj", up=up)
        assert np.ptp(mesh.vertices, axis=0).tolist() == list(extents), up
        corners = mesh.corner_vertices().astype(np.float64)
        volume = np.einsum("fd,fd->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert volume == pytest.approx(10 / 6)  # turned, never mirrored
        tip = mesh.vertices[3] if up in ("z", "negative-z") else mesh.vertices[2] if up in ("y", "negative-y") else mesh.vertices[1]
        assert np.sign(tip[2]) == (-1 if up.startswith("negative") else 1)
    assert np.array_equal(load_mesh(tmp_path / "a.obj").vertices, load_mesh(tmp_path / "a.obj", up="y").vertices)


def test_a_sketch_that_seems_to_lie_on_its_side_is_told() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    assert "--up" in str(lying_note(Mesh(corners * (1, 3, 0.5), faces)))
    assert lying_note(Mesh(corners * (1, 0.5, 3), faces)) is None and lying_note(Mesh(corners, faces)) is None


def test_per_face_colours_keep_their_borders(tmp_path: Path) -> None:
    """Two triangles of a square, one red, one blue, sharing two vertices: paint shows either colour and no mixture."""
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 2\n"
    head += "property list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    (tmp_path / "a.ply").write_text(head + "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n")
    mesh = load_mesh(tmp_path / "a.ply")
    assert len(mesh.vertices) == 4 and mesh.paint is not None
    side = mesh.paint.points[:, 0] - mesh.paint.points[:, 1]
    assert np.allclose(mesh.paint.colours[side > 1e-6], [1, 0, 0]) and np.allclose(mesh.paint.colours[side < -1e-6], [0, 0, 1])


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_polygons_of_different_sizes_in_a_ply(tmp_path: Path, form: str) -> None:
    """A concave pentagon and a triangle, each with a colour: lists of two lengths beside single values."""
    points = [(0, 0, 0), (2, 0, 0), (2, 2, 0), (1, 0.5, 0), (0, 2, 0), (4, 0, 0), (4, 2, 0)]
    polygons = [([0, 1, 2, 3, 4], (255, 0, 0)), ([1, 5, 6], (0, 255, 0))]
    head = f"ply\nformat {form} 1.0\nelement vertex 7\nproperty double x\nproperty double y\nproperty double z\nelement face 2\n"
    head += "property list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    order = ">" if form.endswith("big_endian") else "<"
    if form == "ascii":
        rows = [" ".join(map(str, point)) for point in points]
        rows += [" ".join(map(str, [len(corners), *corners, *colour])) for corners, colour in polygons]
        body = ("\n".join(rows) + "\n").encode()
    else:
        body = b"".join(struct.pack(f"{order}3d", *point) for point in points)
        body += b"".join(struct.pack(f"{order}B{len(corners)}i3B", len(corners), *corners, *colour) for corners, colour in polygons)
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    mesh = load_mesh(tmp_path / "a.ply")
    corners = mesh.corner_vertices()[..., :2].astype(np.float64)
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    assert len(mesh.faces) == 4 and (area > 0).all()
    assert area.sum() == pytest.approx(4 - 1.5 + 2)


def test_the_contact_sheet_shows_paint_and_is_quick_about_it() -> None:
    """A painted ball: its middle is as far from all of its points, which a search for the nearest must never be asked for."""
    mesh = load_mesh(MESHES / "webp_required.glb")
    assert mesh.paint is not None
    begun = time.monotonic()
    sheet = contact_sheet(mesh, mesh, tile=48)
    assert time.monotonic() - begun < 60
    view = sheet[22:70, :48].astype(int)
    assert (view[12, 24] - view[12, 24][::-1])[0] > 80 and (view[40, 24] - view[40, 24][::-1])[0] < -40  # red above, blue below
    assert (view[2, 2] > 250).all()
