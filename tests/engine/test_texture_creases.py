"""Hard edges stay hard for a texture job, and faces that look inwards are lit like the others."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from shapes import box, flipped, merge, sphere

from engine.camera import fixed_ring
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.distillation import Distillation, PromptPair
from engine.job import texture_subject
from engine.job_fields import PRESETS
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.fusing import see_surface
from engine.render.shading import Light
from engine.render.surface_ops import vertex_normals
from engine.texture.creases import parted_at_creases
from engine.view_batch import ViewBatch

CPU = torch.device("cpu")
CUBE = box((0.5, 0.4, 0.6))


def test_a_box_gets_its_sides_normals_and_a_sphere_stays_as_it_is() -> None:
    for mesh, count in ((CUBE, 24), (sphere(), len(sphere().vertices))):
        vertices, faces = parted_at_creases(mesh.vertices, mesh.faces)
        assert len(vertices) == count and faces.dtype == np.int32
        np.testing.assert_array_equal(vertices[faces], mesh.corner_vertices())
    vertices, faces = parted_at_creases(CUBE.vertices, CUBE.faces)
    normals = vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(np.abs(normals).max(axis=1), 1, atol=1e-6)


def test_faces_wound_against_each_other_do_not_cancel_their_normals() -> None:
    sheet = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    vertices, faces = parted_at_creases(sheet, np.array([[0, 1, 2], [0, 3, 2]], np.int32))
    assert len(vertices) == 6
    assert np.abs(vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()[:, 2]).min() > 0.99
    assert len(parted_at_creases(sheet, np.array([[0, 1, 2], [0, 2, 3]], np.int32))[0]) == 4
    assert parted_at_creases(sheet, np.zeros((0, 3), np.int32))[0] is sheet


def job_of(mesh: Mesh) -> Distillation:
    numbers = dataclasses.replace(PRESETS["draft"], colour_grid=8, views=2, stage1_steps=1, stage2_steps=0)
    board = EmpiricalPrior(torch.rand(2, 3, 16, 16), [ImageLabel("a box")] * 2, spread=0.3)
    subject = texture_subject(mesh, numbers, CPU)
    return Distillation(subject, board, select_rasterizer(CPU), numbers, PromptPair("a box"), 0.5, torch.Generator().manual_seed(0), CPU)


def test_faces_that_look_inwards_are_lit_like_the_others() -> None:
    """Half of the model inside out: the same pictures, and the same directions for the finishing bridge."""
    other = Mesh((0.4 * CUBE.vertices + [0.0, 0.0, 0.9]).astype(np.float32), CUBE.faces)
    cameras = fixed_ring(2, elevation=20.0)
    light = Light(torch.nn.functional.normalize(cameras.eye, dim=1), 0.3)
    batch = ViewBatch(cameras, light, torch.zeros(2, 3), [""] * 2)
    seen = []
    for mesh in (merge(CUBE, other), merge(CUBE, flipped(other))):
        job = job_of(mesh)
        vertices, faces = job.subject.geometry()
        facing = see_surface(job.rasterizer, vertices, faces, cameras, 32, job.two_sided).facing()
        seen.append((job.render(vertices, faces, job.subject.colour, batch).rgb, facing))
    torch.testing.assert_close(seen[0][0], seen[1][0], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0][1], seen[1][1], atol=1e-3, rtol=0)
    assert seen[0][0].amax() > 0.4 and seen[0][1].amax() > 0.5
