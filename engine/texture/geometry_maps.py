"""Maps that the geometry alone decides: ambient occlusion, the tangent-space normals and the height of a finer surface.

Tangents follow MikkTSpace (Mikkelsen 2008), which Blender and glTF expect: corners that share a vertex, a uv and the handedness of their
face share the mean of their faces' tangents, weighted by angle; the bitangent is made of the interpolated normal and tangent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.formats.gltf_write import vertex_normals
from engine.mesh import Mesh
from engine.render.rays import LIFT, RayCaster
from engine.reporting import OnStep, unwatched
from engine.texture.bake import Channel, Places, signed_areas
from engine.texture.coverage import FAR, SurfacePoints, sphere

DIRECTIONS = 128
"""Of the sky, from which ambient occlusion is looked up."""
TOGETHER = 16
"""Of them between two questions whether to go on."""
OCCLUSION_POINTS = 24_000
REACH = 0.05
"""Engine units before and behind a coarse surface within which the fine one is looked for."""
HEIGHT_RANGE = 0.02
"""Engine units of height from black to white; middle grey is the surface itself."""


class Occlusion:
    """Ambient occlusion of a mesh in engine space: 1 open, 0 shut in; the share of the sky above a place, weighted by its cosine.

    Looked up at points all over the surface, on the side that the faces' normals show.
    """

    def __init__(self, mesh: Mesh, caster: RayCaster, count: int = OCCLUSION_POINTS, on_step: OnStep = unwatched) -> None:
        self._places = SurfacePoints.of(mesh, count)
        points, normals = self._places.points, self._places.normals
        open_sky, whole = np.zeros(len(points)), np.full(len(points), 1e-9)
        for number, direction in enumerate(sphere(DIRECTIONS)):
            if number % TOGETHER == 0:
                on_step(0, 1)
            cosine = normals @ direction
            above = np.flatnonzero(cosine > 0)
            rays = np.broadcast_to(direction, (len(above), 3))
            blocked = caster.hits(points[above] + LIFT * normals[above], rays, FAR).any
            whole[above] += cosine[above]
            open_sky[above] += np.where(blocked, 0, cosine[above])
        self._values = (open_sky / whole)[:, None]

    def channel(self, normals: np.ndarray) -> Channel:
        """Of a mesh whose faces have these unit normals [F, 3]: [N, 1]."""
        return lambda places: self.at(places.points, normals[places.faces])

    def at(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """float32 [N, 1] at places [N, 3] that face unit normals [N, 3]."""
        return self._places.spread(self._values, points, normals)


@dataclass(frozen=True)
class TangentFrames:
    """Per-corner frames of a mesh with uvs: normal and tangent float64 [F, 3, 3], handedness [F] of +1 or -1."""

    normals: np.ndarray
    tangents: np.ndarray
    signs: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh) -> TangentFrames:
        """Of smooth vertex normals and the mesh's uvs."""
        assert mesh.uvs is not None
        corners, uvs = mesh.corner_vertices().astype(np.float64), np.nan_to_num(mesh.uvs.astype(np.float64))
        normals = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces].astype(np.float64)
        edges = corners[:, 1:] - corners[:, :1]
        steps = uvs[:, 1:] - uvs[:, :1]
        doubled = 2 * signed_areas(uvs)
        signs = np.where(doubled < 0, -1.0, 1.0)
        along = signs[:, None] * (steps[:, 1, 1:] * edges[:, 0] - steps[:, 0, 1:] * edges[:, 1])
        flat = np.broadcast_to(along[:, None], corners.shape)
        tangents = _unit(flat - (flat * normals).sum(axis=2, keepdims=True) * normals)
        tangents = tangents * _angles(corners)[..., None] * (np.abs(doubled) > 1e-18)[:, None, None]
        return cls(normals, _unit_or(_shared_sum(mesh, signs, tangents), normals), signs)

    def at(self, places: Places) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(normal, tangent, bitangent) float64 [N, 3] each, interpolated; not of unit length, as MikkTSpace has them."""
        normal = np.einsum("nk,nkd->nd", places.weights, self.normals[places.faces])
        tangent = np.einsum("nk,nkd->nd", places.weights, self.tangents[places.faces])
        return normal, tangent, self.signs[places.faces][:, None] * np.cross(normal, tangent)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


def _unit_or(vectors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Unit vectors; where one is 0, any that is perpendicular to the normal."""
    other = np.where(np.abs(normals[..., :1]) > 0.9, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-12, vectors / np.maximum(length, 1e-30), _unit(np.cross(normals, other)))


def _angles(corners: np.ndarray) -> np.ndarray:
    """[F, 3] the angle of each corner, radians."""
    after, before = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    return np.arccos((_unit(after) * _unit(before)).sum(axis=2).clip(-1, 1))


def _shared_sum(mesh: Mesh, signs: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """[F, 3, 3]: the sum over corners of the same vertex, uv and handedness."""
    assert mesh.uvs is not None
    bits = np.ascontiguousarray(mesh.uvs.reshape(-1, 2), dtype=np.float32).view(np.int32)
    keys = np.stack([mesh.faces.reshape(-1), bits[:, 0], bits[:, 1], np.repeat(signs, 3).astype(np.int32)], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    flat = tangents.reshape(-1, 3)
    total = np.stack([np.bincount(group, weights=flat[:, axis]) for axis in range(3)], axis=1)
    return total[group].reshape(-1, 3, 3)


class FineSurface:
    """A finer surface over a coarse mesh with uvs, both in engine space: what a normal and a height map of the coarse one show.

    A place looks along its smooth normal for the fine surface, before and behind it, and takes the nearer; where there is none within
    REACH, itself.
    """

    def __init__(self, fine: Mesh, coarse: Mesh) -> None:
        self._caster = RayCaster(fine.vertices, fine.faces)
        self._faces = fine.faces
        self._normals = vertex_normals(fine.vertices, fine.faces)
        self._frames = TangentFrames.of(coarse)

    def normals(self, places: Places) -> np.ndarray:
        """The fine surface's normal in the coarse one's tangent space, as a map holds it: float [N, 3], 0.5 + 0.5 n; x right, y up."""
        normal, tangent, bitangent = self._frames.at(places)
        _, shown = self._look(places, _unit(normal))
        basis = np.stack([tangent, bitangent, normal], axis=2)
        flat = np.abs(np.linalg.det(basis)) < 1e-9
        basis[flat] = np.eye(3)
        local = _unit(np.linalg.solve(basis, shown[..., None])[..., 0])
        local[flat | (local[:, 2] <= 0)] = (0, 0, 1)
        return 0.5 + 0.5 * local

    def heights(self, places: Places) -> np.ndarray:
        """How far the fine surface lies before the coarse one, [N, 1]: 0.5 on it, 0 and 1 half of HEIGHT_RANGE behind and before it."""
        normal, _, _ = self._frames.at(places)
        height, _ = self._look(places, _unit(normal))
        return (0.5 + height / HEIGHT_RANGE).clip(0, 1)[:, None]

    def _look(self, places: Places, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(signed distance [N] along the normal, fine unit normal [N, 3]) of the nearest fine surface; 0 and the normal itself without."""
        height, shown = np.zeros(len(normal)), normal.copy()
        nearest = np.full(len(normal), np.inf)
        for side in (1.0, -1.0):
            hits = self._caster.hits(places.points - side * LIFT * normal, side * normal, REACH)
            there = np.einsum("nk,nkd->nd", hits.weights, self._normals[self._faces[np.maximum(hits.face, 0)]].astype(np.float64))
            taken = hits.any & (hits.distance < nearest) & ((there * normal).sum(axis=1) > 0)
            height[taken] = side * (hits.distance[taken] - LIFT)
            shown[taken] = there[taken]
            nearest[taken] = hits.distance[taken]
        return height, _unit(shown)
