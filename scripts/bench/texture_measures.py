"""What the texture bench measures of a finished texture: seams, wrong faces, disagreement of views, light baked in, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from engine.camera import Cameras, fixed_ring
from engine.diffusion.prior import ControlledPrior, Prior
from engine.distillation import Distillation
from engine.formats.textures import sample_image
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.control import control_of
from engine.render.images import image_from_raster
from engine.render.shading import render_views
from engine.results import ImageSet
from engine.texture.bake import rasterize_layout
from engine.texture.coverage import SurfacePoints, looks
from engine.texture.creases import parted_at_creases
from engine.texture_sets import in_tile, repeats
from engine.view_batch import sample_view_batch

PICTURE = 160
WRONG = 1e-3
"""Texels; the rasterizer works in single precision."""
APART = 1.0
"""Texels between the two places whose colours are compared within a chart."""


@dataclass(frozen=True)
class Textures:
    """The colours of a textured mesh, of as many images as its sets and tiles are.

    images   uint8 [S, S, 3] each, row 0 at the top, all of one side
    of_face  int [F], the image of each face
    uvs      float64 [F, 3, 2] in that image's own square
    """

    images: list[np.ndarray]
    of_face: np.ndarray
    uvs: np.ndarray

    @cached_property
    def repeated(self) -> list[bool]:
        """Whether each image goes on across its border, as results have it."""
        return [repeats(self.uvs[self.of_face == index]) for index in range(len(self.images))]

    @classmethod
    def of(cls, mesh: Mesh, sets: Sequence[ImageSet]) -> Textures:
        """Of a finished mesh."""
        assert mesh.uvs is not None
        images: list[np.ndarray] = []
        of_face, uvs = np.zeros(len(mesh.faces), np.int64), mesh.uvs.astype(np.float64)
        for one in sets:
            for tile, maps in one.tiles.items():
                faces = one.faces[one.of_face == tile]
                of_face[faces] = len(images)
                if len(one.tiles) > 1:
                    uvs[faces] = in_tile(uvs[faces], tile)
                images.append(maps["albedo"])
        return cls(images, of_face, uvs)

    @classmethod
    def whole(cls, mesh: Mesh, albedo: np.ndarray) -> Textures:
        """One image for all faces of a mesh with uvs."""
        assert mesh.uvs is not None
        return cls([albedo], np.zeros(len(mesh.faces), np.int64), mesh.uvs.astype(np.float64))

    def at(self, faces: np.ndarray, places: np.ndarray) -> np.ndarray:
        """float64 [N, 3] at uvs [N, 2] of faces [N]."""
        found = np.zeros((len(faces), 3))
        for index, image in enumerate(self.images):
            own = self.of_face[faces] == index
            edge = 0 if self.repeated[index] else 0.5 / len(image)
            found[own] = sample_image(image, places[own].clip(edge, 1 - edge) if edge else places[own])
        return found


def seam_contrast(mesh: Mesh, textures: Textures, count: int = 4000) -> float:
    """How much more a texture jumps at a seam, seen from both of its sides at one place, than from one texel to the next within a chart.

    Up to about 1 a seam cannot be told from the texture's own changes; a quarter of a byte's step is added to both, for rounding. An edge
    between faces of two images is a seam too. nan where there are none.
    """
    sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face, corners in enumerate(mesh.faces.tolist()):
        for corner in range(3):
            start, end = corners[corner], corners[(corner + 1) % 3]
            sides.setdefault((min(start, end), max(start, end)), []).append((face, corner))
    pairs = np.array([(*a, *b) for both in sides.values() if len(both) == 2 for a, b in [both]])
    if len(pairs) == 0:
        return float("nan")
    uv = textures.uvs
    first = uv[pairs[:, 0, None], np.stack([pairs[:, 1], (pairs[:, 1] + 1) % 3], 1)]
    second = uv[pairs[:, 2, None], np.stack([(pairs[:, 3] + 1) % 3, pairs[:, 3]], 1)]
    second_same = uv[pairs[:, 2, None], np.stack([pairs[:, 3], (pairs[:, 3] + 1) % 3], 1)]
    along = mesh.faces[pairs[:, 0], pairs[:, 1]] == mesh.faces[pairs[:, 2], (pairs[:, 3] + 1) % 3]
    second = np.where(along[:, None, None], second, second_same)
    seam = (np.abs(first - second).max(axis=(1, 2)) > 1e-6) | (textures.of_face[pairs[:, 0]] != textures.of_face[pairs[:, 2]])
    rng = np.random.default_rng(0)
    contrast = []
    chosen = np.flatnonzero(seam)
    if len(chosen) == 0:
        return float("nan")
    chosen, share = chosen[rng.integers(0, len(chosen), count)], rng.random((count, 1))
    for aside in (0.0, APART):
        colours = []
        for edge, face, corner in ((first, pairs[:, 0], pairs[:, 1]), (second, pairs[:, 2], pairs[:, 3])):
            place = share * edge[chosen, 0] + (1 - share) * edge[chosen, 1]
            inwards = uv[face[chosen], (corner[chosen] + 2) % 3] - place
            length = np.linalg.norm(inwards, axis=1, keepdims=True)
            step = inwards * np.minimum(1 / len(textures.images[0]) / np.maximum(length, 1e-12), 0.25)
            own = textures.at(face[chosen], place + (0.0 if aside == 0 else 1.0) * step)
            colours.append(own if aside == 0 else np.abs(own - textures.at(face[chosen], place + (1 + aside) * step)))
        contrast.append(np.abs(colours[0] - colours[1]).mean() if aside == 0 else np.mean(colours))
    return float((contrast[0] + 0.25) / (contrast[1] + 0.25))


def wrong_texels(uvs: np.ndarray, size: int) -> tuple[int, int]:
    """(texels whose centre lies outside of the face that they show by more than WRONG, texels that show one), before padding.

    Faces too thin to hold a centre are left out: they are given the texel that they touch.
    """
    layout = rasterize_layout(uvs, size)
    row, column = np.nonzero(layout.owners >= 0)
    owner = layout.owners[row, column]
    a, b, c = (layout.corners[owner, corner] for corner in range(3))
    centre = (np.stack([column, row], axis=1) + 0.5) / size

    def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]

    doubled = cross(b - a, c - a)
    sign = np.where(doubled < 0, -1.0, 1.0)
    beyond = np.zeros(len(owner))
    for start, end in ((a, b), (b, c), (c, a)):
        length = np.maximum(np.linalg.norm(end - start, axis=1), 1e-12)
        beyond = np.maximum(beyond, -sign * cross(end - start, centre - start) / length)
    outside = beyond * size > WRONG
    holds = np.bincount(owner[~outside], minlength=len(layout.corners)) > 0
    return int((outside & holds[owner]).sum()), len(owner)


@torch.no_grad()
def disagreement(job: Distillation, local: Mesh, seed: int = 0, views: int = 12, count: int = 6000, level: float = 0.5) -> float:
    """How far apart the prior's clean pictures of views put the same places: root mean square deviation, sRGB 0..1.

    Views around the subject, noised to `level` of the schedule with the job's kind of noise; lit by nothing.
    """
    cameras = fixed_ring(views, elevation=15.0, distance=3.2)
    batch = sample_view_batch(job.hyperparameters, torch.Generator().manual_seed(seed), torch.device("cpu"))
    words = [", on a white background"] * views
    view_batch = type(batch)(cameras, None, batch.background[:1].expand(views, 3), words)
    vertices, faces = job.subject.geometry()
    job._seen = vertices, faces
    images = job.render(vertices, faces, job.subject.colour, view_batch)
    latents = job.prior.encode(images.rgb, torch.Generator().manual_seed(seed))
    if job.hyperparameters.view_noise == "surface":
        noise = job.noise_of_the_surface(cameras, latents, 0)
    else:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    schedule = job.prior.schedule
    t = torch.full((views,), int(level * len(schedule)))
    x_t = schedule.add_noise(latents, noise, t)
    target = job.prior.embed([job.prompts.target_for(word) for word in words], cameras)
    control = control_of(images, cameras) if isinstance(job.prior, ControlledPrior) else None
    alpha, sigma = schedule.levels(t, latents)
    clean = (x_t - sigma * job.prior.predict_noise(x_t, t, target.under(control))) / alpha
    return _spread(job.prior, clean, cameras, local, count)


def _spread(prior: Prior, latents: Tensor, cameras: Cameras, local: Mesh, count: int) -> float:
    """Root mean square deviation of pictures [B, C, h, h] at places that several cameras see well."""
    from engine.render.rays import RayCaster

    pictures = prior.decode(latents)
    places = SurfacePoints.of(local, count)
    seen = looks(RayCaster(local.vertices, local.faces), places.points, places.normals, cameras) > 0.5
    clip = cameras.clip(torch.from_numpy(places.points))
    where = clip[..., :2] / clip[..., 3:] * torch.tensor([1.0, -1.0])
    colours = torch.nn.functional.grid_sample(pictures, where[:, None], align_corners=False)[:, :, 0].numpy()  # [B, 3, N]
    several = seen.sum(axis=0) >= 2
    known = np.where(seen[:, None, several], colours[:, :, several], np.nan)
    return float(np.sqrt(np.nanmean(np.nanvar(known, axis=0))))


def textured_views(mesh: Mesh, textures: Textures, cameras: Cameras, size: int = PICTURE) -> np.ndarray:
    """uint8 [B, size, size, 3]: a mesh (engine space) as its textures show it, softly lit, before grey."""
    rasterizer = select_rasterizer(torch.device("cpu"))
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    big = 2 * size
    rast, _ = rasterizer.rasterize(cameras.clip(vertices), faces, (big, big))
    corners = torch.arange(3 * len(faces), dtype=torch.int32).view(-1, 3)
    uv, _ = rasterizer.interpolate(torch.from_numpy(textures.uvs.reshape(-1, 2)).float().contiguous(), rast, corners)
    face = rast[..., 3].reshape(-1).long().numpy() - 1
    seen = np.flatnonzero(face >= 0)
    shown = np.zeros((len(face), 3), np.float32)
    shown[seen] = textures.at(face[seen], uv.reshape(-1, 2).numpy()[seen]) / 255
    colour = image_from_raster(torch.from_numpy(shown).view(*rast.shape[:3], 3))
    places, triangles = map(torch.from_numpy, parted_at_creases(mesh.vertices, mesh.faces))
    shape = render_views(rasterizer, places, triangles, cameras, big, None, want=("normal", "mask"), two_sided=True)
    light = 0.55 + 0.45 * (shape.normal * torch.nn.functional.normalize(cameras.eye, dim=1)[:, :, None, None]).sum(1, keepdim=True).clamp(0)
    picture = colour * light * shape.mask + 0.85 * (1 - shape.mask)
    small = torch.nn.functional.avg_pool2d(picture, 2)
    return (small.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
