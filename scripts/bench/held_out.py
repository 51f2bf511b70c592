"""Assets of the project's own generator that no prior learnt from: their true shape and colours, and sketches made of them by rule."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from engine.camera import Cameras, fixed_ring
from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.render.base import Rasterizer
from engine.render.control import geometry_control
from engine.render.images import linear_to_srgb
from engine.render.shading import Light, render_views
from engine.sketch.sdf import sketch_sdf
from engine.surface_samples import sample_surface
from engine.texture.artist import painted_points
from scripts.prior.data import pairs
from scripts.prior.data.coarse import coarse_sketch
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.materials import albedo
from scripts.prior.data.part_words import named_looks, with_parts

STYLES = ("coloured strokes", "strokes", "blockout")
"""How an asset is sketched: ribbons along its surface with its colours, without them, or its parts as grey blocks."""

SEED, REFERENCE_SEED = 912, 913
"""Of the generator; no prior was trained on either."""
TOLD_PARTS = 2
"""Parts whose looks the prompt names."""
SAMPLES = 50_000
"""Of the truth, evenly by area."""
HIDDEN_DEPTH = 0.015
VIEWS = 6
ELEVATION, START = 20.0, 20.0
PICTURE = 96
LIGHT_ASIDE = (0.3, -0.2, 1.0)
AMBIENT = 0.55
BACKGROUND = (0.82, 0.82, 0.82)


@dataclass(frozen=True)
class Asset:
    """A subject as it truly is.

    prompt   what a user would type: kind, colour, looks of a few parts
    mesh     its triangles in engine space, and the part that each belongs to
    places   float32 [N, 3] samples of its surface, and their colours sRGB [N, 3]
    """

    name: str
    kind: str
    prompt: str
    mesh: Mesh
    part: np.ndarray
    places: np.ndarray
    colours: np.ndarray

    @functools.cached_property
    def tree(self) -> KDTree:
        """Of the places."""
        return KDTree(self.places)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """Those of the places that do not lie inside another part, float32 [N, 3]."""
        depth = sketch_sdf(self.mesh, self.places, thickness=0.0, closing=0.0)
        return self.places[depth > -HIDDEN_DEPTH]

    def colour(self, points: Tensor) -> Tensor:
        """The nearest place's colour at points [N, 3] in engine space: sRGB [N, 3]."""
        return torch.from_numpy(self.colours[self.tree.query(points.detach().cpu().numpy())[1]])

    def sketch(self, style: str) -> Mesh:
        """A sketch of it in one of STYLES, engine space; the same at every call."""
        rng = np.random.default_rng([int(part) for part in self.name.split("_")] + [STYLES.index(style)])
        made = coarse_sketch(self.mesh.vertices, self.mesh.faces, self.part, rng, ribbons="strokes" in style)
        if "coloured" not in style:
            return made
        return dataclasses.replace(made, colours=self.colours[self.tree.query(made.vertices)[1]])


def asset(name: str) -> Asset:
    """The asset of a subject's name."""
    kind, parts, subject = pairs.build_subject(name)
    v, f, part = pairs.triangles(parts)
    local = Mesh(SceneNormalization.of_bounds(v).to_engine(v), f)
    face, weights = sample_surface(local.corner_vertices(), SAMPLES)
    places = np.einsum("nk,nkd->nd", weights, local.corner_vertices()[face])
    world = SceneNormalization.of_bounds(v).to_world(places)
    linear = albedo(parts, part[face], world, int(name.replace("_", "")))[0]
    colours = linear_to_srgb(torch.from_numpy(linear).clamp(0, 1)).numpy().astype(np.float32)
    looks = named_looks(parts, subject.caption)
    prompt = with_parts(subject.caption, looks, list(looks)[:TOLD_PARTS])
    return Asset(name, kind, prompt, local, part, places.astype(np.float32), colours)


def held_out_names(kinds: tuple[str, ...], count: int, seed: int = SEED) -> list[str]:
    """`count` held-out subjects of these kinds, every kind in turn."""
    places = [index for index, kind in enumerate(KINDS) if kind in kinds]
    found: dict[int, list[str]] = {place: [] for place in places}
    wanted = -(-count // len(places))
    index = 0
    while min(len(names) for names in found.values()) < wanted:
        name = pairs.subject_name(seed, index)
        if index % len(KINDS) in found and pairs.is_held_out(name):
            found[index % len(KINDS)].append(name)
        index += 1
    return [found[place][turn] for turn in range(wanted) for place in places][:count]


def reference_names(kinds: tuple[str, ...], each: int) -> list[str]:
    """Subjects of these kinds to compare with, `each` of every kind: of another seed than those held out."""
    places = [index for index, kind in enumerate(KINDS) if kind in kinds]
    return [pairs.subject_name(REFERENCE_SEED, turn * len(KINDS) + place) for turn in range(each) for place in places]


@dataclass(frozen=True)
class Pictures:
    """Of a surface from V sides: lit uint8 [V, P, P, 3]; albedo (sRGB) and normals (eye space) float32 [V, P, P, 3]; mask [V, P, P]."""

    lit: np.ndarray
    albedo: np.ndarray
    normal: np.ndarray
    mask: np.ndarray


def cameras() -> Cameras:
    """All round."""
    return fixed_ring(VIEWS, elevation=ELEVATION, start_azimuth=START)


def pictures_of(rasterizer: Rasterizer, vertices: Tensor, faces: Tensor, colour) -> Pictures:
    """Pictures of a surface (engine space) with a colour function, under one light on white; the same for truth, sketch and result."""
    seen_by = cameras()
    light = Light(torch.nn.functional.normalize(seen_by.eye + torch.tensor(LIGHT_ASIDE), dim=1), AMBIENT)
    behind = torch.tensor(BACKGROUND).expand(VIEWS, 3)
    options = {"supersample": 2, "two_sided": True}
    with torch.no_grad():
        lit = render_views(rasterizer, vertices, faces, seen_by, PICTURE, colour, light, behind, want=("rgb",), **options).rgb
        flat = render_views(rasterizer, vertices, faces, seen_by, PICTURE, colour, want=("albedo",), **options).albedo
        control = geometry_control(rasterizer, vertices, faces, seen_by, PICTURE)
    lit, flat, control = (values.permute(0, 2, 3, 1).numpy() for values in (lit, flat, control))
    return Pictures((lit.clip(0, 1) * 255).round().astype(np.uint8), flat, control[..., :3], control[..., 3])


def pictures_of_asset(rasterizer: Rasterizer, made: Asset) -> Pictures:
    """Of the truth."""
    return pictures_of(rasterizer, torch.from_numpy(made.mesh.vertices), torch.from_numpy(made.mesh.faces), made.colour)


def pictures_of_sketch(rasterizer: Rasterizer, sketch: Mesh) -> Pictures:
    """Of a sketch as the artist sees it; grey where it has no colours."""

    def colour(points: Tensor) -> Tensor:
        if sketch.colours is None:
            return torch.full_like(points, 0.6)
        return torch.from_numpy(known[tree.query(points.numpy())[1]])

    places, known = painted_points(sketch)
    tree = KDTree(places)
    return pictures_of(rasterizer, torch.from_numpy(sketch.vertices), torch.from_numpy(sketch.faces), colour)
