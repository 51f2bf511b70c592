"""Surfaces of few faces, each asked for itself: every face of the one that is asked is looked at. Importing this module imports Warp."""

from __future__ import annotations

import warp as wp

from engine.sketch.triangles_kernel import on_triangle

wp.set_module_options({"enable_backward": False})


@wp.kernel
def nearest_own(
    vertices: wp.array(dtype=wp.vec3d),
    faces: wp.array2d(dtype=wp.int64),
    first: wp.array(dtype=wp.int64),
    points: wp.array(dtype=wp.vec3d),
    owner: wp.array(dtype=wp.int64),
    middles: wp.array(dtype=wp.vec3d),
    reach: wp.array(dtype=wp.float64),
    face: wp.array(dtype=wp.int64),
    places: wp.array(dtype=wp.vec3d),
    distances: wp.array(dtype=wp.float64),
):
    """The nearest of the faces first[owner] .. first[owner + 1] to each point (the first of equally near ones), the place on it, and how
    far it is. Nothing of a face is further from its middle than its reach: most need no closer look."""
    index = wp.tid()
    p = points[index]
    least = wp.float64(wp.inf)
    for number in range(int(first[int(owner[index])]), int(first[int(owner[index]) + 1])):
        far = wp.sqrt(least) + reach[number]
        if wp.length_sq(p - middles[number]) > far * far:
            continue
        place = on_triangle(p, vertices[int(faces[number, 0])], vertices[int(faces[number, 1])], vertices[int(faces[number, 2])])
        distance = wp.length_sq(place - p)
        if distance < least:
            least = distance
            face[index] = wp.int64(number)
            places[index] = place
    distances[index] = wp.sqrt(least)


@wp.kernel
def winding_own(
    vertices: wp.array(dtype=wp.vec3d),
    faces: wp.array2d(dtype=wp.int64),
    first: wp.array(dtype=wp.int64),
    points: wp.array(dtype=wp.vec3d),
    owner: wp.array(dtype=wp.int64),
    turns: wp.array(dtype=wp.float64),
):
    """The winding number of the faces first[owner] .. first[owner + 1] around each point: the sum of their solid angles (van Oosterom and
    Strackee 1983). Half of each is the angle of a complex number, and that of a product is the sum of the angles, but for whole turns."""
    index = wp.tid()
    none = wp.float64(0.0)
    re = wp.float64(1.0)
    im = wp.float64(0.0)
    whole = wp.float64(0.0)
    for number in range(int(first[int(owner[index])]), int(first[int(owner[index]) + 1])):
        a = vertices[int(faces[number, 0])] - points[index]
        b = vertices[int(faces[number, 1])] - points[index]
        c = vertices[int(faces[number, 2])] - points[index]
        x = wp.length(a)
        y = wp.length(b)
        z = wp.length(c)
        along = x * y * z + wp.dot(a, b) * z + wp.dot(b, c) * x + wp.dot(c, a) * y
        across = wp.dot(a, wp.cross(b, c))
        size = wp.abs(along) + wp.abs(across)
        if size > none:  # otherwise the point is a corner
            before = im
            im = (re * across + im * along) / size
            re = (re * along - before * across) / size
            if before >= none and across >= none and im < none:
                whole += wp.float64(1.0)
            if before < none and across < none and im >= none:
                whole -= wp.float64(1.0)
    turns[index] = whole + wp.atan2(im, re) / wp.float64(6.283185307179586)
