"""Kaolin's extractors behind the isosurface setting: against a stand-in of its import surface, and against itself where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import types

import kaolin_stub
import pytest
import torch
from test_isosurface import assert_watertight, euler, mesh_volume

from engine.doctor import Finding, examine
from engine.errors import JobError
from engine.isosurface.dmtet import TetGrid
from engine.isosurface.kaolin import NAMES, extractor
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.reporting import QuietReporter
from engine.sketch_surface import sketch_surface
from engine.surface import Surface
from scripts.bench.gpu.parity import kaolin_rows
from tests.engine.shapes import box

INSTALLED = importlib.util.find_spec("kaolin") is not None
needs_kaolin = pytest.mark.skipif(not INSTALLED, reason="kaolin is not installed (it has no wheel for this torch)")
BOX = box((0.5, 0.4, 0.6))


@pytest.fixture(params=["stub", pytest.param("kaolin", marks=needs_kaolin)])
def kaolin(request, monkeypatch):
    if request.param == "stub":
        put(monkeypatch, kaolin_stub.modules())


def put(monkeypatch: pytest.MonkeyPatch, modules: dict[str, types.ModuleType]) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def surfaces(isosurface: str) -> tuple[Surface, Surface]:
    """A box's surface drawn by our own code and by Kaolin's, on a part of a grid and deformed."""
    import dataclasses

    numbers = dataclasses.replace(PRESETS["draft"], grid=24, isosurface="tetrahedra")
    made = [sketch_surface(BOX, dataclasses.replace(numbers, isosurface=name), torch.device("cpu")) for name in ("tetrahedra", isosurface)]
    with torch.no_grad():
        for surface in made:
            surface.deform.copy_(0.3 * torch.randn(surface.deform.shape, generator=torch.Generator().manual_seed(0)))
    return made[0], made[1]


def test_the_worked_example_of_kaolins_own_documentation(kaolin):
    from kaolin.ops.conversions import marching_tetrahedra  # pyright: ignore[reportMissingImports]

    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    vertices, faces = marching_tetrahedra(points, torch.tensor([[0, 1, 2, 3]]), torch.tensor([[-1.0, -1, 0.5, 0.5]]))
    expected = {(0.0, 0.6667, 0.0), (0.0, 0.0, 0.6667), (0.3333, 0.6667, 0.0), (0.3333, 0.0, 0.6667)}
    assert {tuple(round(x, 4) for x in place) for place in vertices[0].tolist()} == expected and len(faces[0]) == 2
    for a, b, c in vertices[0][faces[0]]:
        assert float(torch.linalg.cross(b - a, c - a) @ torch.tensor([0.0, 1, 1])) > 0  # towards the positive values


def test_marching_tetrahedra_are_ours(kaolin):
    ours, theirs = surfaces("kaolin")
    (vertices, faces), (others, other_faces) = ours.extract(), theirs.extract()
    assert other_faces.dtype == torch.int32 and len(others) == len(vertices) and len(other_faces) == len(faces)
    assert torch.cdist(others.detach(), vertices.detach(), compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-6
    assert_watertight(other_faces)
    assert mesh_volume(others.detach(), other_faces) == pytest.approx(mesh_volume(vertices.detach(), faces), rel=1e-4)
    wanted = torch.tensor([0.3, -0.2, 0.5])
    for surface, found in ((ours, vertices), (theirs, others)):
        ((found - wanted) ** 2).sum().backward()
        assert surface.sdf.grad is not None and surface.deform.grad is not None
    torch.testing.assert_close(theirs.sdf.grad, ours.sdf.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(theirs.deform.grad, ours.deform.grad, rtol=1e-3, atol=1e-4)


def test_flexicubes_draw_the_same_solid(kaolin):
    ours, theirs = surfaces("flexicubes")
    (vertices, faces), (others, other_faces) = ours.extract(), theirs.extract()
    assert other_faces.dtype == torch.int32 and 0 < len(other_faces) < len(faces)
    assert_watertight(other_faces)
    assert euler(others.detach(), other_faces) == 2
    assert mesh_volume(others.detach(), other_faces) == pytest.approx(mesh_volume(vertices.detach(), faces), rel=0.1)
    others.square().sum().backward()
    assert theirs.sdf.grad.abs().max() > 0 and theirs.deform.grad.abs().max() > 0


def test_the_check_of_a_gpu_has_their_rows(kaolin):
    rows = kaolin_rows(torch.device("cpu"))
    assert len(rows) == 2 and all(row.passed for row in rows), [row.line() for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_field_gives_an_empty_mesh(kaolin, name):
    grid = TetGrid.make(8)
    draw = extractor(name, grid)
    assert draw is not None
    vertices, faces = draw(grid.points, torch.ones(len(grid.points)), grid.tets)
    assert len(vertices) == len(faces) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_job_is_drawn_by_it_from_a_checkpoint_too(kaolin, name, tmp_path):
    numbers = {"grid": 16, "colour_grid": 8, "views": 2, "fit_steps": 2, "stage1_steps": 2, "stage2_steps": 2, "texture_size": 32}
    settings = JobSettings("a cup", maps="albedo", faces=200, overrides={**numbers, "isosurface": name})
    first = run_job(BOX, settings, QuietReporter(), tmp_path / "job.checkpoint")
    assert first.report["surface"] == name and len(first.mesh.faces) > 50
    reporter = QuietReporter()
    again = run_job(BOX, settings, reporter, tmp_path / "job.checkpoint")
    assert any("Resumed" in note for note in reporter.notes)
    assert (again.mesh.vertices == first.mesh.vertices).all()


BROKEN = {
    "not installed": (dict.fromkeys(("kaolin", "kaolin.ops", "kaolin.ops.conversions")), "it is not installed|does not load"),
    "too old": (kaolin_stub.without("FlexiCubes"), "is older"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_missing_is_told_before_any_work(monkeypatch, fault):
    modules, words = BROKEN[fault]
    put(monkeypatch, modules)
    settings = JobSettings("a cup", overrides={"isosurface": "flexicubes"})
    with pytest.raises(JobError, match=words) as caught:
        run_job(BOX, settings, QuietReporter(), load=lambda *_, **__: pytest.fail("the model was loaded"))
    assert caught.value.code == "no_kaolin" and "0.18" in caught.value.message and "docs/gpu.md" in caught.value.fix


def test_a_kaolin_for_another_torch_is_told_and_the_doctor_goes_on(monkeypatch):
    class Loads(types.ModuleType):
        def __getattr__(self, name):
            raise OSError("libtorch_cuda.so: undefined symbol: _ZN2at") if name in NAMES.values() else AttributeError(name)

    put(monkeypatch, {**kaolin_stub.modules(), "kaolin.ops.conversions": Loads("kaolin.ops.conversions")})
    with pytest.raises(JobError, match=r"does not load beside torch .*undefined symbol"):
        extractor("kaolin", TetGrid.make(8))
    monkeypatch.setattr("engine.doctor._optional", lambda package, purpose: Finding(package, "works", purpose))
    (found,) = [finding for finding in examine() if finding.name == "kaolin"]
    assert found.state == "optional" and "undefined symbol" in found.detail and "engine's own surfaces" in found.detail and found.fix


def test_the_doctor_names_both_with_their_licences():
    found = {finding.name: finding.detail for finding in examine() if finding.name in ("kaolin", "nvdiffrast")}
    assert "Apache-2.0" in found["kaolin"] and "isosurface=flexicubes" in found["kaolin"]
    assert "research and evaluation only" in found["nvdiffrast"] and "--rasterizer nvdiffrast" in found["nvdiffrast"]
