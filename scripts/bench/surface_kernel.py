"""Faces that cross, by Warp's bounding volume hierarchy. Importing this module imports Warp."""

# In Warp a literal is a constant; casting it makes a variable that can be changed.
# ruff: noqa: UP018, RUF046

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def pierced(p: wp.vec3d, q: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d):
    """Whether the line from p to q passes through the triangle, its rim excluded."""
    normal = wp.cross(b - a, c - a)
    first = wp.dot(normal, p - a)
    second = wp.dot(normal, q - a)
    if first * second >= wp.float64(0.0):
        return False
    way = q - p
    u = wp.dot(way, wp.cross(a - p, b - p))
    v = wp.dot(way, wp.cross(b - p, c - p))
    w = wp.dot(way, wp.cross(c - p, a - p))
    least = wp.min(u, wp.min(v, w))
    most = wp.max(u, wp.max(v, w))
    slack = wp.float64(1e-6) * wp.max(most, -least)
    return least > slack or most < -slack


@wp.func
def corner(points: wp.array(dtype=wp.vec3), index: int):
    return wp.vec3d(points[index])


@wp.kernel
def count_crossings(mesh: wp.uint64, found: wp.array(dtype=wp.int32)):
    """How many later faces each face crosses that share no corner with it."""
    face = wp.tid()
    shape = wp.mesh_get(mesh)
    i = shape.indices[3 * face]
    j = shape.indices[3 * face + 1]
    k = shape.indices[3 * face + 2]
    a = shape.points[i]
    b = shape.points[j]
    c = shape.points[k]
    query = wp.mesh_query_aabb(mesh, wp.min(a, wp.min(b, c)), wp.max(a, wp.max(b, c)))
    other = int(0)
    count = int(0)
    while wp.mesh_query_aabb_next(query, other):
        if other > face:
            u = shape.indices[3 * other]
            v = shape.indices[3 * other + 1]
            w = shape.indices[3 * other + 2]
            apart = u != i and u != j and u != k and v != i and v != j and v != k and w != i and w != j and w != k
            if apart:
                d = corner(shape.points, i)
                e = corner(shape.points, j)
                f = corner(shape.points, k)
                x = corner(shape.points, u)
                y = corner(shape.points, v)
                z = corner(shape.points, w)
                through = pierced(d, e, x, y, z) or pierced(e, f, x, y, z) or pierced(f, d, x, y, z)
                if through or pierced(x, y, d, e, f) or pierced(y, z, d, e, f) or pierced(z, x, d, e, f):
                    count += 1
    found[face] = count
