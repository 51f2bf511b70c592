"""Rays against a triangle mesh, by Warp's tree of bounding boxes: exact, so that no tolerance stands between a place and what it sees."""

from __future__ import annotations

import warp as wp


@wp.kernel(enable_backward=False)
def first_hits(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    reach: wp.array(dtype=float),
    distance: wp.array(dtype=float),
    face: wp.array(dtype=int),
    weights: wp.array(dtype=wp.vec3),
):
    n = wp.tid()
    found = wp.mesh_query_ray(mesh, origins[n], directions[n], reach[n])
    if found.result:
        distance[n] = found.t
        face[n] = found.face
        weights[n] = wp.vec3(found.u, found.v, 1.0 - found.u - found.v)
