"""Light by skies: energy, brightness, the split sum against sampling, and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.camera import fixed_ring, orbit
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.environment import HEIGHT, LEVELS, WIDTH, EnvironmentLight, sample_environment, sky_directions
from engine.render.shading import render_views

NORMALS = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(1)), dim=1)


def even_sky(value: float = 1.0) -> EnvironmentLight:
    return EnvironmentLight(torch.full((len(LEVELS) + 1, 3, HEIGHT, WIDTH), value), torch.zeros(1), torch.ones(1))


def shaded(light: EnvironmentLight, albedo: float, roughness: float, metallic: float) -> torch.Tensor:
    count = len(NORMALS)
    other = torch.nn.functional.normalize(NORMALS + 0.5 * NORMALS.roll(1, 0), dim=1)
    return light.shade(
        torch.full((count, 3), albedo), NORMALS, other, torch.zeros(count, dtype=torch.long), torch.tensor([[roughness, metallic]])
    )


@pytest.mark.parametrize("roughness", [0.0, 0.2, 0.5, 1.0])
def test_under_an_even_sky_nothing_gives_more_light_than_it_gets(roughness: float) -> None:
    """The furnace: a white metal gives back nearly all while it is smooth, loses what the single bounce loses where rough, never gains."""
    light = shaded(even_sky(), 1.0, roughness, 1.0)
    assert light.max() <= 1.01
    assert light.min() > (0.97 if roughness < 0.3 else 0.3)
    assert shaded(even_sky(), 0.0, roughness, 1.0).max() < 0.35  # a black metal shows its rim alone
    assert shaded(even_sky(), 0.5, roughness, 0.0).mean() == pytest.approx(0.54, abs=0.06)


def test_solid_angles_fill_the_sphere() -> None:
    directions, solid = sky_directions()
    assert solid.sum() == pytest.approx(4 * math.pi, rel=1e-9)
    assert np.abs(directions * solid[:, None]).sum(axis=0) == pytest.approx(2 * math.pi, rel=0.02)


def test_every_view_of_a_matt_white_surface_is_about_white_and_lights_differ() -> None:
    cameras = fixed_ring(8)
    facing = torch.nn.functional.normalize(cameras.eye, dim=1)
    seen = []
    for seed in range(6):
        light = sample_environment(torch.Generator().manual_seed(seed), cameras)
        seen.append(light.shade(torch.ones(8, 3), facing, facing, torch.arange(8), torch.tensor([[1.0, 0.0]])).mean(dim=1))
    brightness = torch.stack(seen)
    assert brightness.min() > 0.7 and brightness.max() < 1.15
    sideways = torch.linalg.cross(facing, torch.tensor([[0.0, 0.0, 1.0]]).expand(8, 3))
    light = [
        sample_environment(torch.Generator().manual_seed(seed), cameras).shade(
            torch.ones(8, 3), sideways, facing, torch.arange(8), torch.tensor([[1.0, 0.0]])
        )
        for seed in range(6)
    ]
    assert torch.stack(light).std(dim=0).mean() > 0.05  # what is not the same at every step cannot be baked in


def test_the_irradiance_of_a_sky_is_its_cosine_sum() -> None:
    light = sample_environment(torch.Generator().manual_seed(3), fixed_ring(1))
    sharp = light.blurred[0].double().reshape(3, -1).numpy()  # roughness 0.1: nearly the sky itself
    directions, solid = sky_directions()
    normal = np.array([0.3, -0.5, 0.81])
    normal /= np.linalg.norm(normal)
    expected = (sharp * (directions @ normal).clip(0) * solid).sum(axis=1) / math.pi
    still = EnvironmentLight(light.blurred, torch.zeros(1), torch.ones(1))
    towards = torch.tensor(normal, dtype=torch.float32)[None]
    matt = still.shade(torch.ones(1, 3), towards, towards, torch.zeros(1, dtype=torch.long), torch.tensor([[1.0, 0.0]]))
    none = still.shade(torch.zeros(1, 3), towards, towards, torch.zeros(1, dtype=torch.long), torch.tensor([[1.0, 0.0]]))
    np.testing.assert_allclose((matt - none)[0].numpy(), expected, rtol=0.03)


def test_rendered_metal_is_darker_matt_and_shows_lights_and_the_albedo_learns() -> None:
    import trimesh

    ball = trimesh.creation.icosphere(3, 0.8)
    mesh = Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32))
    cameras = orbit([0.0], [10.0], 3.0, 40.0)
    light = sample_environment(torch.Generator().manual_seed(5), cameras)
    albedo = torch.full((1, 3), 0.5, requires_grad=True)
    pictures = []
    for material in ([[0.15, 1.0]], [[1.0, 0.0]]):
        faces = torch.tensor(material).expand(len(mesh.faces), 2)  # one a face
        views = render_views(
            select_rasterizer("cpu"), torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces), cameras, 48,
            lambda points: albedo.expand(len(points), 3), light, want=("rgb", "mask"), material=faces,
        )  # fmt: skip
        pictures.append(views.rgb[views.mask.expand(-1, 3, -1, -1) > 0.99])
    mirror, matt = pictures
    assert mirror.std() > 1.5 * matt.std()
    matt.sum().backward()
    assert albedo.grad is not None and (albedo.grad > 0).all()


def test_skies_light_what_a_view_sees() -> None:
    """A surface that faces the camera gets more light than its back, in every view of every sky."""
    cameras = fixed_ring(6, elevation=0.0)
    facing = torch.nn.functional.normalize(cameras.eye, dim=1)
    white, matt = torch.ones(6, 3), torch.tensor([[1.0, 0.0]])
    ratios = []
    for seed in range(12):
        light = sample_environment(torch.Generator().manual_seed(seed), cameras)
        front, back = (light.shade(white, side, side, torch.arange(6), matt).mean(dim=1) for side in (facing, -facing))
        ratios.append(front / back)
    assert torch.stack(ratios).min() > 1.0
