"""On CUDA: Warp beside Warp on the CPU, nvdiffrast beside Warp, and steps of a job beside those on the CPU."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import torch

from engine.diffusion.diffusers_prior import DiffusersPrior
from engine.diffusion.load import load_prior
from engine.distillation import Distillation, PromptPair
from engine.guidance.step import ConditionPair, GuidanceSettings, distill
from engine.guidance.vsd import LoraParticles, LoraSettings
from engine.job import texture_subject
from engine.job_fields import PRESETS
from engine.render.base import select_rasterizer
from scripts.bench.gpu.parity import CPU, rasterizer_rows, sphere, surface_rows
from tests.engine.shapes import box
from tests.engine.tiny_model import make_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
needs_nvdiffrast = pytest.mark.skipif(importlib.util.find_spec("nvdiffrast") is None, reason="the package nvdiffrast is not installed")
NUMBERS = dataclasses.replace(PRESETS["draft"], colour_grid=8, views=2, stage1_steps=4, stage2_steps=2)


def test_warp_on_cuda_matches_warp_on_the_cpu() -> None:
    rows = rasterizer_rows("warp", select_rasterizer("cuda"), torch.device("cuda"), select_rasterizer("cpu"), CPU)
    assert all(row.passed for row in rows), [row.line() for row in rows if not row.passed]


@needs_nvdiffrast
def test_nvdiffrast_matches_warp() -> None:
    """Buffers at any size, texture and interpolation with their gradients, and pictures of few large faces with theirs; on fine meshes
    nvdiffrast finds only a part of the outline's pixels, so that pictures of those are not compared. It snaps vertices to 1/16 of a
    pixel, Warp to 1/4096."""
    cuda = torch.device("cuda")
    rows = rasterizer_rows("nvdiffrast", select_rasterizer(cuda, "nvdiffrast"), cuda, select_rasterizer(cuda, "warp"), cuda)
    assert all(row.passed for row in rows), [row.line() for row in rows if not row.passed]


@pytest.mark.parametrize("name", ["warp", pytest.param("nvdiffrast", marks=needs_nvdiffrast)])
def test_faces_that_change_between_calls(name: str) -> None:
    """Other faces, the same tensor changed in place, and none at all: the outlines' table follows."""
    rasterizer, cuda = select_rasterizer("cuda", name), torch.device("cuda")
    vertices, faces = sphere(cuda, 8)
    pos = torch.nn.functional.pad(vertices, (0, 1), value=1.0)[None]
    gradients = []
    for change in (lambda: faces, lambda: faces.copy_(faces.flip(0)), lambda: faces[: len(faces) // 2].contiguous(), lambda: faces[:0]):
        tri, moved = change(), pos.clone().requires_grad_()
        rast, _ = rasterizer.rasterize(moved, tri, (61, 60))
        shown = rasterizer.antialias(torch.ones(1, 61, 60, 3, device=cuda) * (rast[..., 3:] > 0), rast, moved, tri)
        if len(tri):
            gradients.append(torch.autograd.grad(shown.sum(), moved)[0])
        assert torch.isfinite(shown).all()
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-3, rtol=1e-3)  # the same faces in another order
    assert not torch.allclose(gradients[0], gradients[2])


def test_both_isosurfaces() -> None:
    assert all(row.passed for row in surface_rows(torch.device("cuda")))


def job_on(device: str, prior: DiffusersPrior) -> Distillation:
    subject = texture_subject(box((0.5, 0.4, 0.6)), NUMBERS, torch.device(device))
    return Distillation(
        subject, prior, select_rasterizer(device), NUMBERS, PromptPair("a cup"), 0.5, torch.Generator().manual_seed(0), device
    )


def test_a_step_in_float16_follows_the_cpus_and_a_job_goes_on_elsewhere(tmp_path) -> None:
    """Its figures within two per cent of float32's on the CPU; what one device has saved, the other loads."""
    folder = str(make_tiny_model(tmp_path / "model"))
    cpu, cuda = load_prior(folder, "cpu", torch.float32), load_prior(folder, "cuda")
    assert isinstance(cpu, DiffusersPrior) and isinstance(cuda, DiffusersPrior) and cuda.dtype == cuda.vae.dtype == torch.float16
    ours, theirs = job_on("cuda", cuda), job_on("cpu", cpu)
    for _ in range(2):
        ours.step()
        theirs.step()
    found, expected = ours.step().figures, theirs.step().figures
    assert found["t"] == expected["t"] and found["gradient"] == pytest.approx(expected["gradient"], rel=0.02)
    ours.step()
    theirs.step()
    state = theirs.state_dict()
    again = job_on("cuda", cuda)
    again.load_state_dict(state)
    assert torch.isfinite(again.step().rgb).all() and again.subject.state_dict().keys() == state["subject"].keys()


def test_vsd_learns_in_float16(tmp_path) -> None:
    prior, generator = load_prior(str(make_tiny_model(tmp_path / "model")), "cuda"), torch.Generator().manual_seed(0)
    particles = LoraParticles(prior, LoraSettings(), generator)
    images = torch.rand(2, 3, 16, 16, generator=generator).cuda().requires_grad_()
    pair = ConditionPair(prior.embed(["a cup"] * 2))
    loss, figures = distill(prior, images, pair, GuidanceSettings("vsd"), generator, particles=particles)
    (gradient,) = torch.autograd.grad(loss, images)
    particles.close()
    assert torch.isfinite(gradient).all() and gradient.any() and figures["particle_loss"] > 0


def test_the_device_is_one_however_it_is_named() -> None:
    assert select_rasterizer("cuda") is select_rasterizer(torch.device("cuda", torch.cuda.current_device()))
