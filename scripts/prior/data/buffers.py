"""What the camera of every pair saw of the geometry: the coarse surface as a control, the true one as control and as buffers.

`NAME.buffers.npz` beside the pairs, for V views at `SIZE` pixels: `coarse` and `true` uint8 [V, 5, S, S] (`pack_control`),
and repainted pictures of both: `shaded` uint8 [V, K, 3, S, S], sRGB over black, the first half of the K of the coarse surface
(each place in the look of the true part next to it), the others of the true one; `owner` uint8 [V, 2, S, S], the number of the part
that is seen in the coarse and in the true one, `NO_PART` where none is; and `words`, V x K captions as JSON, with name and look of
every part.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from engine.camera import Cameras, orbit
from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.control import geometry_control
from engine.render.images import image_from_raster, linear_to_srgb
from engine.render.surface_ops import vertex_normals
from engine.sketch.strokes import surface_samples
from scripts.prior.data.coarse import coarse_surface
from scripts.prior.data.materials import shaded
from scripts.prior.data.pairs import LENS_MM, SENSOR_MM, Pair, build_subject, triangles
from scripts.prior.data.part_words import look_words, named_looks, repaint
from scripts.prior.data.workbench import Part

SIZE = 128
PAINTS = 6
SAMPLE_SPACING = 0.03
REPAINTED_SHARE = 0.8
NO_PART = 255
"""The owner of a place where nothing is seen; parts of higher numbers count as it."""


def pack_control(control: Tensor) -> np.ndarray:
    """[..., 5, S, S] with the mask in 0..1 and the rest in -1..1 -> uint8."""
    return ((control * 127).round() + 128).clamp(0, 255).byte().numpy()


def unpack_control(packed: Tensor) -> Tensor:
    """The inverse of `pack_control`, float32, exact for zeros."""
    return (packed.float() - 128) / 127


def cameras_of(pairs: list[Pair], normalization: SceneNormalization) -> Cameras:
    """The cameras that took the pairs, in the engine space of the subject."""
    world = torch.tensor([pair.world for pair in pairs], dtype=torch.float64)
    world[:, :3, 3] = (world[:, :3, 3] - torch.tensor(normalization.centre, dtype=torch.float64)) * normalization.scale
    field_of_view = 2 * np.degrees(np.arctan(SENSOR_MM / (2 * LENS_MM)))
    like = orbit([0.0] * len(pairs), 0.0, 3.0, float(field_of_view))
    eye = world[:, :3, 3]
    elevation = torch.rad2deg(torch.asin(eye[:, 2] / eye.norm(dim=1)))
    azimuth = torch.rad2deg(torch.atan2(eye[:, 0], -eye[:, 1]))
    return Cameras(torch.linalg.inv(world).float(), like.projection, eye.float(), azimuth.float(), elevation.float())


def make_buffers(name: str, pairs: list[Pair], folder: Path, paints: int = PAINTS) -> Path:
    """Write the buffers of a subject's pairs. InputError where its made-up sketch has no surface."""
    rng = np.random.default_rng(int(name.replace("_", "")))
    _, parts, subject = build_subject(name)
    v, f, part = triangles(parts)
    normalization = SceneNormalization.of_bounds(v)
    cameras = cameras_of(pairs, normalization)
    rasterizer = select_rasterizer("cpu")
    coarse = coarse_surface(v, f, part, normalization, rng)
    true = Mesh(normalization.to_engine(v), f)
    controls = [_control(rasterizer, mesh, cameras) for mesh in (coarse, true)]
    of_true = _attributes(rasterizer, true, v, part, parts, cameras)
    of_coarse = _coarse_attributes(rasterizer, coarse, true, part, cameras, normalization)
    pictures, words = [], []
    for view in range(len(pairs)):
        for paint in range(paints):
            owner, points, normals = of_coarse if paint < paints // 2 else of_true
            painted, caption, told = parts, subject.caption, []
            if rng.random() < REPAINTED_SHARE:
                painted, caption, told = repaint(parts, subject.caption, _python_rng(rng))
            light = torch.from_numpy(shaded(painted, owner[view], points[view], normals[view], rng)).float()
            pictures.append((linear_to_srgb(light) * 255).round().byte().permute(2, 0, 1).numpy())
            looks = [(one.name, look_words(one.material)) for one in painted]
            words.append({"caption": caption, "looks": named_looks(painted, caption), "told": told, "parts": looks})
    shape = (len(pairs), paints, 3, SIZE, SIZE)
    path = folder / f"{name}.buffers.npz"
    partial = folder / f"{name}.partial.npz"
    np.savez_compressed(
        partial,
        coarse=controls[0],
        true=controls[1],
        shaded=np.stack(pictures).reshape(shape),
        owner=np.stack([_packed_owner(of_coarse[0]), _packed_owner(of_true[0])], axis=1),
        words=np.array(json.dumps(words)),
    )
    partial.replace(path)
    return path


def _packed_owner(owner: np.ndarray) -> np.ndarray:
    """Numbers of parts, -1 for none, as uint8."""
    return np.where((owner < 0) | (owner > NO_PART), NO_PART, owner).astype(np.uint8)


def _python_rng(rng: np.random.Generator) -> random.Random:
    return random.Random(int(rng.integers(2**63)))


def _control(rasterizer: Rasterizer, mesh: Mesh, cameras: Cameras) -> np.ndarray:
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces.astype(np.int32))
    return pack_control(geometry_control(rasterizer, vertices, faces, cameras, SIZE, supersample=1))


def _attributes(
    rasterizer: Rasterizer, true: Mesh, v: np.ndarray, part: np.ndarray, parts: list[Part], cameras: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """owner [V, S, S], points [V, S, S, 3] and eye-space normals [V, S, S, 3] of each view, as `shaded` takes them."""
    corners = torch.from_numpy(true.vertices[true.faces].reshape(-1, 3))
    faces = torch.arange(len(corners), dtype=torch.int32).reshape(-1, 3)
    attributes = torch.from_numpy(np.concatenate([v[true.faces].reshape(-1, 3), _corner_normals(true, part, parts)], axis=1)).float()
    rast, _ = rasterizer.rasterize(cameras.clip(corners), faces, (SIZE, SIZE))
    image = image_from_raster(rasterizer.interpolate(attributes.contiguous(), rast, faces)[0])
    face = image_from_raster(rast)[:, 3].long() - 1
    owner = torch.where(face >= 0, torch.from_numpy(part.astype(np.int64))[face.clamp(min=0)], -1)
    normal = torch.einsum("bij,bjhw->bihw", cameras.view[:, :3, :3], image[:, 3:])
    normal = torch.nn.functional.normalize(torch.where(normal[:, 2:] < 0, -normal, normal), dim=1)
    return owner.numpy(), image[:, :3].permute(0, 2, 3, 1).numpy(), normal.permute(0, 2, 3, 1).numpy()


def _coarse_attributes(
    rasterizer: Rasterizer, coarse: Mesh, true: Mesh, part: np.ndarray, cameras: Cameras, normalization: SceneNormalization
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_attributes` for the coarse surface: smooth normals, and the part whose true surface is nearest."""
    vertices, faces = torch.from_numpy(coarse.vertices), torch.from_numpy(coarse.faces.astype(np.int32))
    attributes = torch.cat([vertices, vertex_normals(vertices, faces)], dim=1).contiguous()
    rast, _ = rasterizer.rasterize(cameras.clip(vertices), faces, (SIZE, SIZE))
    image = image_from_raster(rasterizer.interpolate(attributes, rast, faces)[0])
    seen = image_from_raster(rast)[:, 3].numpy() > 0
    places = image[:, :3].permute(0, 2, 3, 1).numpy()
    samples, face = surface_samples(true.vertices, true.faces, SAMPLE_SPACING)
    owner = np.full(seen.shape, -1)
    owner[seen] = part[face[KDTree(samples).query(places[seen])[1]]]
    normal = torch.nn.functional.normalize(torch.einsum("bij,bjhw->bihw", cameras.view[:, :3, :3], image[:, 3:]), dim=1)
    points = normalization.to_world(places.reshape(-1, 3)).reshape(places.shape)
    return owner, points, normal.permute(0, 2, 3, 1).numpy()


def _corner_normals(mesh: Mesh, part: np.ndarray, parts: list[Part]) -> np.ndarray:
    """float32 [3 F, 3]: smooth normals where the part is shaded smoothly, the face's own elsewhere."""
    corners = mesh.vertices[mesh.faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(summed, mesh.faces[:, corner], face)
    smooth = np.array([entry.smooth for entry in parts])[part]
    normals = np.where(smooth[:, None, None], summed[mesh.faces], face[:, None, :])
    return (normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)).reshape(-1, 3).astype(np.float32)
