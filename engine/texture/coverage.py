"""Which places of a surface the views of a job look at, how sharply, and what the others take from their neighbours.

Everything is worked out at points all over the surface and carried over to texels by the nearest of them that face the same way, so it
knows nothing of UV layouts. Visibility is exact: a ray to the eye (`engine.render.rays`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve
from scipy.spatial import KDTree

from engine.camera import Cameras
from engine.mesh import Mesh
from engine.render.rays import LIFT, RayCaster
from engine.surface_samples import sample_surface

NEIGHBOURS = 6
TURNED = 0.3
"""Cosine between normals below which two places lie on different sides of something and tell each other nothing."""
HELD = 1e-4
"""How strongly a place that no view reached is held to its own value beside its neighbours': only where nothing reaches it at all."""
GRAZING = 0.2
"""Cosine between normal and line of sight below which a place is not looked at, only past: its pixels are smears."""
FAR = 50.0
"""Engine units from which a direction of the sky looks."""
DIRECTIONS = 256
"""Of the sky, evenly spread, from which it is looked up what can be seen."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points all over a mesh, evenly by area, in engine space.

    points, normals  float32 [N, 3]; normals unit, of the faces
    faces            int64 [N]
    """

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    tree: KDTree

    @classmethod
    def of(cls, mesh: Mesh, count: int) -> SurfacePoints:
        """`count` points of a mesh in engine space; its vertices where it has no area."""
        corners = mesh.corner_vertices()
        faces, weights = sample_surface(corners, count)
        points = np.einsum("nk,nkd->nd", weights, corners[faces].astype(np.float64)).astype(np.float32)
        normals = face_normals(corners[faces])
        return cls(points, normals, faces, KDTree(points if len(points) else np.zeros((1, 3))))

    def __len__(self) -> int:
        return len(self.points)

    def spread(self, values: np.ndarray, points: np.ndarray, normals: np.ndarray, fallback: float = 1.0) -> np.ndarray:
        """Values [N, C] of the points, at other places [M, 3] with normals [M, 3]: the mean of the nearest that face the same way."""
        if not len(self):
            return np.full((len(points), values.shape[1]), fallback, np.float32)
        distance, near = self.tree.query(points, k=min(NEIGHBOURS, len(self)), workers=-1)
        distance, near = distance.reshape(len(points), -1), near.reshape(len(points), -1)
        facing = np.clip(np.einsum("mkd,md->mk", self.normals[near], normals), 0, None)
        share = np.where(facing > TURNED, facing, 1e-6) / (distance + 1e-3) ** 2
        return (np.einsum("mk,mkc->mc", share, values[near]) / share.sum(axis=1, keepdims=True)).astype(np.float32)


def face_normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals float32 [F, 3] of triangles [F, 3, 3]; 0 where they have no area."""
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).astype(np.float64)
    return (across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)).astype(np.float32)


def sphere(count: int) -> np.ndarray:
    """`count` unit vectors float32 [N, 3] spread evenly over the sphere (Fibonacci's lattice)."""
    index = np.arange(count) + 0.5
    height, turn = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1).astype(np.float32)


def seen_from(caster: RayCaster, points: np.ndarray, normals: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """bool [N]: which points [N, 3], with unit normals, an eye [3] sees, from either side of their faces; engine space."""
    towards = eye - points
    far = np.linalg.norm(towards, axis=1)
    direction = towards / np.maximum(far, 1e-12)[:, None]
    side = np.where((direction * normals).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return ~caster.hits(points + LIFT * side * normals, direction, far).any


def in_picture(cameras: Cameras, points: np.ndarray) -> np.ndarray:
    """bool [B, N]: whether points [N, 3] lie within the pictures of the cameras, hidden or not."""
    import torch

    clip = cameras.clip(torch.from_numpy(points)).cpu().numpy()
    return (np.abs(clip[..., :2]) <= clip[..., 3:]).all(axis=2) & (clip[..., 3] > 0)


def looks(caster: RayCaster, points: np.ndarray, normals: np.ndarray, cameras: Cameras) -> np.ndarray:
    """float32 [B, N]: the cosine at which B cameras look at points [N, 3]; 0 where one is hidden, outside the picture or grazed."""
    eyes = cameras.eye.cpu().numpy()
    towards = eyes[:, None] - points
    slant = np.abs((towards * normals).sum(axis=2)) / np.maximum(np.linalg.norm(towards, axis=2), 1e-12)
    found = np.where((slant > GRAZING) & in_picture(cameras, points), slant, 0).astype(np.float32)
    for view, eye in enumerate(eyes):
        near = np.flatnonzero(found[view])
        found[view, near[~seen_from(caster, points[near], normals[near], eye)]] = 0
    return found


class Coverage:
    """What a set of views sees of a mesh (engine space), cameras' pictures `size` pixels a side.

    density     float32 [N] the finest sampling of each point by any view, pixels an engine unit across the surface; 0 where none looks
    sky         unit vectors [D, 3] towards the outside, evenly spread
    openings    bool [N, D]: from which of these directions each point is seen, and not grazed
    openness    float64 [N], the share of them; 0 for what nobody outside can see
    """

    def __init__(self, mesh: Mesh, cameras: Cameras, size: int, count: int = 12_000, directions: int = DIRECTIONS) -> None:
        self.places = SurfacePoints.of(mesh, count)
        self.caster = RayCaster(mesh.vertices, mesh.faces)
        self.density = np.zeros(len(self.places), np.float32)
        self.look(cameras, size)
        self.sky = sphere(directions)
        points, normals = self.places.points, self.places.normals
        self.openings = np.abs(normals @ self.sky.T) > GRAZING
        for direction, towards in enumerate(self.sky):
            asked = np.flatnonzero(self.openings[:, direction])
            self.openings[asked, direction] = seen_from(self.caster, points[asked], normals[asked], FAR * towards)
        self.openness = self.openings.mean(axis=1)

    def look(self, cameras: Cameras, size: int) -> None:
        """Further views."""
        slants = looks(self.caster, self.places.points, self.places.normals, cameras)
        scale = cameras.projection[:, 1, 1].cpu().numpy() * size / 2
        for view, eye in enumerate(cameras.eye.cpu().numpy()):
            far = np.linalg.norm(eye - self.places.points, axis=1)
            self.density = np.maximum(self.density, scale[view] / np.maximum(far, 1e-12) * np.sqrt(slants[view]))

    @property
    def share(self) -> float:
        """Share of what can be seen that some view looks at, 0..1: of the surface that a look from any of the sky's directions meets.

        A place counts by its openness, so that this does not depend on how many directions there are: where places count alike that any
        direction sees, each further direction finds some more behind slits.
        """
        return float(self.openness[self.density > 0].sum() / max(self.openness.sum(), 1e-9))

    @property
    def share_of_area(self) -> float:
        """The same with places counting alike, however little of the sky sees them."""
        return float((self.density[self.openness > 0] > 0).mean()) if self.openness.any() else 0.0

    def effective(self, mesh: Mesh, size: int, field_density: float = np.inf) -> float:
        """Side of the smallest texture that could hold what the views told, at most `size`: where a texel is finer than a view's pixel or
        than the colour field (`field_density`, an engine unit), it holds nothing of its own. Texels count by the area that they show."""
        texels = size * np.sqrt(texel_areas(mesh))[self.places.faces]
        told = np.minimum(self.density, field_density)
        backed = np.minimum(told / np.maximum(texels, 1e-9), 1) ** 2
        area = texels**2
        return float(size * np.sqrt((backed * area).sum() / max(area.sum(), 1e-9)))

    def filled(self, colours: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Colours [N, C] of the points, those of unknown ones taken from their neighbours on the surface (known bool [N]).

        Harmonic: each is the mean of the points around it that face the same way.
        """
        unknown = np.flatnonzero(~known)
        if not len(unknown) or not known.any():
            return colours
        _, near = self.places.tree.query(self.places.points[unknown], k=min(3 * NEIGHBOURS, len(self.places)))
        facing = np.einsum("ukd,ud->uk", self.places.normals[near], self.places.normals[unknown])
        share = np.where(facing > TURNED, facing, 0)
        share += HELD * (share.sum(axis=1, keepdims=True) <= 1)  # nothing around but itself: better any than none
        number = np.full(len(known), -1)
        number[unknown] = np.arange(len(unknown))
        row = np.repeat(np.arange(len(unknown)), near.shape[1])
        column, weight = number[near].reshape(-1), share.reshape(-1)
        inner = column >= 0
        linked = coo_matrix((weight[inner], (row[inner], column[inner])), shape=(len(unknown),) * 2).tocsr()
        system = (diags(share.sum(axis=1) + HELD) - linked).tocsc()
        right = np.einsum("uk,ukc->uc", share * known[near], colours[near]) + HELD * colours[unknown]
        result = colours.copy()
        result[unknown] = np.asarray(spsolve(system, right)).reshape(len(unknown), -1)
        return result


def texel_areas(mesh: Mesh) -> np.ndarray:
    """[F] uv area over area of each face (engine space): its square root is texels an engine unit for a texture of side 1."""
    from engine.texture.bake import signed_areas

    assert mesh.uvs is not None
    corners = mesh.corner_vertices().astype(np.float64)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return np.abs(signed_areas(np.nan_to_num(mesh.uvs.astype(np.float64)))) / np.maximum(area, 1e-12)
