"""Smooth vertex normals, and points and normals at the covered pixels; forward and backward."""

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False})

TINY = wp.constant(1.0e-20)


@wp.func
def unit(vector: wp.vec3) -> wp.vec3:
    """The vector scaled to length 1; 0 stays 0."""
    return vector * (1.0 / wp.max(wp.length(vector), TINY))


@wp.func
def unit_backward(vector: wp.vec3, grad: wp.vec3) -> wp.vec3:
    """Gradient of `unit`; 0 for the zero vector."""
    length = wp.length(vector)
    if length <= TINY:
        return wp.vec3(0.0, 0.0, 0.0)
    direction = vector * (1.0 / length)
    return (grad - direction * wp.dot(direction, grad)) * (1.0 / length)


@wp.kernel
def sum_face_normals(
    vertices: wp.array(dtype=wp.vec3),
    tri: wp.array2d(dtype=wp.int32),
    summed: wp.array(dtype=wp.vec3),
):
    """Add each face's cross product (twice its area along its normal) to its vertices."""
    face = wp.tid()
    i0 = tri[face, 0]
    i1 = tri[face, 1]
    i2 = tri[face, 2]
    a = vertices[i0]
    across = wp.cross(vertices[i1] - a, vertices[i2] - a)
    wp.atomic_add(summed, i0, across)
    wp.atomic_add(summed, i1, across)
    wp.atomic_add(summed, i2, across)


@wp.kernel
def normalize(summed: wp.array(dtype=wp.vec3), normals: wp.array(dtype=wp.vec3)):
    """summed -> unit vectors."""
    i = wp.tid()
    normals[i] = unit(summed[i])


@wp.kernel
def normalize_backward(
    summed: wp.array(dtype=wp.vec3),
    grad_normals: wp.array(dtype=wp.vec3),
    grad_summed: wp.array(dtype=wp.vec3),
):
    """Gradient of `normalize`."""
    i = wp.tid()
    grad_summed[i] = unit_backward(summed[i], grad_normals[i])


@wp.kernel
def sum_face_normals_backward(
    vertices: wp.array(dtype=wp.vec3),
    tri: wp.array2d(dtype=wp.int32),
    grad_summed: wp.array(dtype=wp.vec3),
    grad_vertices: wp.array(dtype=wp.vec3),
):
    """Gradient of `sum_face_normals`, accumulated."""
    face = wp.tid()
    i0 = tri[face, 0]
    i1 = tri[face, 1]
    i2 = tri[face, 2]
    a = vertices[i0]
    e1 = vertices[i1] - a
    e2 = vertices[i2] - a
    g = grad_summed[i0] + grad_summed[i1] + grad_summed[i2]
    g1 = wp.cross(e2, g)
    g2 = wp.cross(g, e1)
    wp.atomic_add(grad_vertices, i0, -g1 - g2)
    wp.atomic_add(grad_vertices, i1, g1)
    wp.atomic_add(grad_vertices, i2, g2)


@wp.kernel
def surface_at(
    pixels: wp.array(dtype=wp.int64),
    rast: wp.array(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    vertices: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    points_out: wp.array(dtype=wp.vec3),
    normals_out: wp.array(dtype=wp.vec3),
):
    """Interpolated position and unit normal at each listed (covered) pixel; `normals` may be empty."""
    i = wp.tid()
    hit = rast[int(pixels[i])]
    face = int(hit[3]) - 1
    i0 = tri[face, 0]
    i1 = tri[face, 1]
    i2 = tri[face, 2]
    u = hit[0]
    v = hit[1]
    w = 1.0 - u - v
    points_out[i] = u * vertices[i0] + v * vertices[i1] + w * vertices[i2]
    if normals.shape[0] > 0:
        normals_out[i] = unit(u * normals[i0] + v * normals[i1] + w * normals[i2])


@wp.kernel
def surface_at_backward(
    pixels: wp.array(dtype=wp.int64),
    rast: wp.array(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    vertices: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    grad_points: wp.array(dtype=wp.vec3),
    grad_normals_out: wp.array(dtype=wp.vec3),
    grad_rast: wp.array(dtype=wp.vec4),
    grad_vertices: wp.array(dtype=wp.vec3),
    grad_normals: wp.array(dtype=wp.vec3),
):
    """Gradients of `surface_at` to vertices and normals (accumulated) and to u and v (written; grad_rast starts at 0)."""
    i = wp.tid()
    pixel = int(pixels[i])
    hit = rast[pixel]
    face = int(hit[3]) - 1
    i0 = tri[face, 0]
    i1 = tri[face, 1]
    i2 = tri[face, 2]
    u = hit[0]
    v = hit[1]
    w = 1.0 - u - v
    g = grad_points[i]
    wp.atomic_add(grad_vertices, i0, u * g)
    wp.atomic_add(grad_vertices, i1, v * g)
    wp.atomic_add(grad_vertices, i2, w * g)
    last = vertices[i2]
    gu = wp.dot(g, vertices[i0] - last)
    gv = wp.dot(g, vertices[i1] - last)
    if normals.shape[0] > 0:
        n0 = normals[i0]
        n1 = normals[i1]
        n2 = normals[i2]
        h = unit_backward(u * n0 + v * n1 + w * n2, grad_normals_out[i])
        wp.atomic_add(grad_normals, i0, u * h)
        wp.atomic_add(grad_normals, i1, v * h)
        wp.atomic_add(grad_normals, i2, w * h)
        gu += wp.dot(h, n0 - n2)
        gv += wp.dot(h, n1 - n2)
    grad_rast[pixel] = wp.vec4(gu, gv, 0.0, 0.0)
