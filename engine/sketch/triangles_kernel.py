"""The nearest place on a mesh, by Warp's bounding volume hierarchy. Importing this module imports Warp."""

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def on_edge(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d):
    """The nearest place to p between a and b."""
    way = b - a
    share = wp.dot(p - a, way) / wp.max(wp.dot(way, way), wp.float64(1e-300))
    return a + wp.clamp(share, wp.float64(0.0), wp.float64(1.0)) * way


@wp.func
def on_triangle(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d):
    """The nearest place to p on a triangle, which may have no area: over its inside the foot of the perpendicular, else on an edge."""
    normal = wp.cross(b - a, c - a)
    size = wp.dot(normal, normal)
    u = wp.dot(wp.cross(c - b, p - b), normal)
    v = wp.dot(wp.cross(a - c, p - c), normal)
    w = wp.dot(wp.cross(b - a, p - a), normal)
    if size > wp.float64(0.0) and u > wp.float64(0.0) and v > wp.float64(0.0) and w > wp.float64(0.0):
        return p - (wp.dot(p - a, normal) / size) * normal
    best = on_edge(p, a, b)
    other = on_edge(p, b, c)
    if wp.length_sq(other - p) < wp.length_sq(best - p):
        best = other
    other = on_edge(p, c, a)
    if wp.length_sq(other - p) < wp.length_sq(best - p):
        best = other
    return best


@wp.kernel
def nearest_places(
    mesh: wp.uint64,
    middle: wp.vec3d,
    vertices: wp.array(dtype=wp.vec3d),
    faces: wp.array2d(dtype=wp.int64),
    points: wp.array(dtype=wp.vec3d),
    reach: float,
    face: wp.array(dtype=wp.int64),
    places: wp.array(dtype=wp.vec3d),
    distances: wp.array(dtype=wp.float64),
):
    """The nearest face no further than reach from each point, in single precision; the place on it and how far it is, in double."""
    index = wp.tid()
    found = wp.mesh_query_point_no_sign(mesh, wp.vec3(points[index] - middle), reach)
    if found.result:
        own = found.face
        a = vertices[int(faces[own, 0])]
        b = vertices[int(faces[own, 1])]
        c = vertices[int(faces[own, 2])]
        place = on_triangle(points[index], a, b, c)
        face[index] = wp.int64(own)
        places[index] = place
        distances[index] = wp.length(place - points[index])
    else:
        face[index] = wp.int64(-1)
        places[index] = points[index]
        distances[index] = wp.float64(wp.inf)
