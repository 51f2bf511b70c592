"""What rays meet on a mesh: visibility, ambient occlusion, and the fine surface before or behind a coarse one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.render.warp_runtime import load_warp

LIFT = 1e-4
"""Engine units by which a ray begins above the surface that it leaves."""


@dataclass(frozen=True)
class Hits:
    """The first thing that each of N rays meets.

    distance  float32 [N] along the unit direction, inf where it meets nothing
    face      int32 [N], -1 where it meets nothing
    weights   float32 [N, 3] of the face's corners
    """

    distance: np.ndarray
    face: np.ndarray
    weights: np.ndarray

    @property
    def any(self) -> np.ndarray:
        """bool [N]: whether the ray meets anything."""
        return self.face >= 0


class RayCaster:
    """A mesh to cast rays at, vertices [V, 3] and faces int32 [F, 3]; on the CPU."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        wp = load_warp()
        points = wp.array(np.ascontiguousarray(vertices, dtype=np.float32), dtype=wp.vec3, device="cpu")
        corners = wp.array(np.ascontiguousarray(faces, dtype=np.int32).reshape(-1), dtype=int, device="cpu")
        self._mesh = wp.Mesh(points, corners)

    def hits(self, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray | float = 100.0) -> Hits:
        """What rays from origins [N, 3] along unit directions [N, 3] meet first, no further away than `reach` ([N] or one for all)."""
        from engine.render.kernels.rays import first_hits

        wp = load_warp()
        count = len(origins)
        distance = np.full(count, np.inf, np.float32)
        face = np.full(count, -1, np.int32)
        weights = np.zeros((count, 3), np.float32)
        if count:
            far = np.ascontiguousarray(np.broadcast_to(np.asarray(reach, np.float32), (count,)))
            arrays = [_shared(wp, origins, wp.vec3), _shared(wp, directions, wp.vec3), _shared(wp, far, float)]
            arrays += [_shared(wp, distance, float), _shared(wp, face, int), _shared(wp, weights, wp.vec3)]
            wp.launch(first_hits, dim=count, inputs=[self._mesh.id, *arrays], device="cpu")
        return Hits(distance, face, weights)


def _shared(wp, array: np.ndarray, kind):
    """A Warp view of an array's memory (of a copy where it is not contiguous or of another type: such ones are only read)."""
    wanted = np.int32 if kind is int else np.float32
    return wp.array(np.ascontiguousarray(array, dtype=wanted), dtype=kind, device="cpu", copy=False)
