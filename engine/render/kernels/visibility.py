"""Visibility and perspective-correct barycentrics: the kernels behind `rasterize`.

Vertices are snapped to 1/4096 of a pixel, so edge functions are exact integers: two triangles that share an edge evaluate
it to opposite values, and the top-left rule gives every pixel centre on it to exactly one of them. Triangles that cross
the near plane z = -w are clipped to one or two triangles that keep the face's id. Depth is decided by an atomic minimum
over (z/w, face) keys. Barycentrics come from the unsnapped clip-space positions (Laine et al. 2020, sec. 3.3), which
needs no special case for clipped triangles.
"""

# In Warp a literal is a constant; casting it makes a variable that can be changed.
# ruff: noqa: UP018

from __future__ import annotations

import warp as wp

from engine.render.kernels.runs import locate_run

wp.set_module_options({"enable_backward": False})

EMPTY_KEY = 1 << 62
"""What the key buffer is filled with: farther than every depth."""

SUBPIXEL = wp.constant(4096)
SUBPIXEL_WIDE = wp.constant(wp.int64(4096))
HALF_PIXEL = wp.constant(2048)
SUBPIXEL_SHIFT = wp.constant(12)
SNAP_LIMIT = wp.constant(float(1 << 29))
CLIPPED = wp.constant(-(1 << 30))
"""The screen column of a vertex that the near plane cuts off: left of all that `snap` gives."""
DEPTH_STEPS = wp.constant(536870000.0)


@wp.func
def snap(clip: wp.vec4, width: float, height: float) -> wp.vec2i:
    """Screen position in 1/4096 pixels, origin at the lower left corner of the image; clip w must be positive."""
    scale = 1.0 / clip[3]
    x = (clip[0] * scale * 0.5 + 0.5) * width * float(SUBPIXEL)
    y = (clip[1] * scale * 0.5 + 0.5) * height * float(SUBPIXEL)
    return wp.vec2i(
        int(wp.round(wp.clamp(x, -SNAP_LIMIT, SNAP_LIMIT))),
        int(wp.round(wp.clamp(y, -SNAP_LIMIT, SNAP_LIMIT))),
    )


@wp.kernel
def project_vertices(
    pos: wp.array2d(dtype=wp.vec4),
    width: float,
    height: float,
    run: int,
    screen: wp.array2d(dtype=wp.vec2i),
    depth: wp.array2d(dtype=float),
):
    """Snapped screen position and z/w of every vertex in a run of views, [V, B]; CLIPPED where the near plane cuts the vertex off."""
    thread = wp.tid()
    group = thread / pos.shape[1]
    vertex = thread - group * pos.shape[1]
    view = group * run
    last = wp.min(view + run, pos.shape[0])
    while view < last:
        clip = pos[view, vertex]
        if clip[3] <= 0.0 or clip[2] < -clip[3]:
            screen[vertex, view] = wp.vec2i(CLIPPED, 0)
        else:
            depth[vertex, view] = clip[2] / clip[3]
            screen[vertex, view] = snap(clip, width, height)
        view += 1


@wp.func
def edge(a: wp.vec2i, b: wp.vec2i, x: int, y: int) -> wp.int64:
    """Twice the signed area of (a, b, p): positive when p lies to the left of a -> b."""
    return wp.int64(b[0] - a[0]) * wp.int64(y - a[1]) - wp.int64(b[1] - a[1]) * wp.int64(x - a[0])


@wp.func
def edge_bias(a: wp.vec2i, b: wp.vec2i) -> wp.int64:
    """0 for the left and top edges of a counter-clockwise triangle (y up), which own their pixels; -1 for the others."""
    if b[1] < a[1] or (b[1] == a[1] and b[0] < a[0]):
        return wp.int64(0)
    return wp.int64(-1)


@wp.func
def first_centre(low: int) -> int:
    """The first pixel whose centre lies at or beyond a coordinate in 1/4096 pixels."""
    return (low - HALF_PIXEL + SUBPIXEL - 1) >> SUBPIXEL_SHIFT


@wp.func
def last_centre(high: int) -> int:
    """The last pixel whose centre lies at or before a coordinate in 1/4096 pixels."""
    return (high - HALF_PIXEL) >> SUBPIXEL_SHIFT


@wp.func
def spans_a_centre(x0: int, x1: int, x2: int) -> bool:
    """Whether a pixel's centre lies between the least and the largest of three coordinates along one axis."""
    return first_centre(wp.min(wp.min(x0, x1), x2)) <= last_centre(wp.max(wp.max(x0, x1), x2))


@wp.func
def fill_row(
    e0: wp.int64,
    e1: wp.int64,
    e2: wp.int64,
    right0: wp.int64,
    right1: wp.int64,
    right2: wp.int64,
    z_left: float,
    z_step: float,
    left: int,
    right: int,
    row: int,
    face: int,
    view: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """Lower the depth keys of the pixels from `left` to `right` of a row that lie on the inner side of all three edges.

    e0 .. e2          edge functions at the centre of the pixel `left`; they grow by right0 .. right2 from pixel to pixel
    z_left, z_step    depth there, and its growth
    """
    inside0 = e0
    inside1 = e1
    inside2 = e2
    entered = bool(False)
    column = int(left)
    while column <= right:
        if (inside0 | inside1 | inside2) >= wp.int64(0):
            entered = True
            z = z_left + float(column - left) * z_step
            if z <= 1.0:
                key = (wp.int64((z + 1.0) * DEPTH_STEPS) << wp.int64(32)) | wp.int64(face + 1)
                wp.atomic_min(keys, view, row, column, key)
        elif entered:
            break
        inside0 += right0
        inside1 += right1
        inside2 += right2
        column += 1


@wp.func
def fill_triangle(
    p0: wp.vec2i,
    p1: wp.vec2i,
    p2: wp.vec2i,
    z0: float,
    z1: float,
    z2: float,
    face: int,
    view: int,
    part: int,
    parts: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """Lower the depth keys of the pixels whose centres the screen triangle owns: of every `parts`-th row from row `part` on."""
    width = keys.shape[2]
    height = keys.shape[1]
    left = wp.max(first_centre(wp.min(wp.min(p0[0], p1[0]), p2[0])), 0)
    right = wp.min(last_centre(wp.max(wp.max(p0[0], p1[0]), p2[0])), width - 1)
    bottom = wp.max(first_centre(wp.min(wp.min(p0[1], p1[1]), p2[1])), 0) + part
    top = wp.min(last_centre(wp.max(wp.max(p0[1], p1[1]), p2[1])), height - 1)
    if left > right or bottom > top:
        return
    area = edge(p0, p1, p2[0], p2[1])
    if area == wp.int64(0):
        return
    a = p1
    b = p2
    za = z1
    zb = z2
    if area < wp.int64(0):
        a = p2
        b = p1
        za = z2
        zb = z1
        area = -area
    x = left * SUBPIXEL + HALF_PIXEL
    y = bottom * SUBPIXEL + HALF_PIXEL
    row0 = edge(a, b, x, y) + edge_bias(a, b)
    row1 = edge(b, p0, x, y) + edge_bias(b, p0)
    row2 = edge(p0, a, x, y) + edge_bias(p0, a)
    right0 = wp.int64(a[1] - b[1]) * SUBPIXEL_WIDE
    right1 = wp.int64(b[1] - p0[1]) * SUBPIXEL_WIDE
    right2 = wp.int64(p0[1] - a[1]) * SUBPIXEL_WIDE
    up = wp.int64(parts) * SUBPIXEL_WIDE
    up0 = wp.int64(b[0] - a[0]) * up
    up1 = wp.int64(p0[0] - b[0]) * up
    up2 = wp.int64(a[0] - p0[0]) * up
    scale = 1.0 / float(area)
    slope1 = (za - z0) * scale
    slope2 = (zb - z0) * scale
    z_step = float(right1) * slope1 + float(right2) * slope2
    row = int(bottom)
    while row <= top:  # `while` compiles to about half the instructions of Warp's `range`
        z = z0 + float(row1) * slope1 + float(row2) * slope2
        fill_row(row0, row1, row2, right0, right1, right2, z, z_step, left, right, row, face, view, keys)
        row0 += up0
        row1 += up1
        row2 += up2
        row += parts


@wp.func
def cut(inside: wp.vec4, outside: wp.vec4) -> wp.vec4:
    """Where the edge crosses the near plane. Always computed from inside to outside, so neighbours get the same point."""
    kept = inside[2] + inside[3]
    lost = outside[2] + outside[3]
    return inside + (outside - inside) * (kept / (kept - lost))


@wp.func
def fill_clipped(
    clip0: wp.vec4,
    clip1: wp.vec4,
    clip2: wp.vec4,
    face: int,
    view: int,
    part: int,
    parts: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """Clip a triangle against z = -w and fill what is left; the vertices come in order."""
    in0 = clip0[2] >= -clip0[3]
    in1 = clip1[2] >= -clip1[3]
    in2 = clip2[2] >= -clip2[3]
    width = float(keys.shape[2])
    height = float(keys.shape[1])
    count = int(in0) + int(in1) + int(in2)
    if count == 0:
        return
    # Turn the triangle so that it begins with the vertex that differs from the other two.
    first = clip0
    second = clip1
    third = clip2
    if (count == 1 and in1) or (count == 2 and not in1):
        first = clip1
        second = clip2
        third = clip0
    if (count == 1 and in2) or (count == 2 and not in2):
        first = clip2
        second = clip0
        third = clip1
    if count == 1:
        second = cut(first, second)
        third = cut(first, third)
    fourth = third
    if count == 2:
        fourth = cut(third, first)
        first = cut(second, first)
    if first[3] <= 0.0 or second[3] <= 0.0 or third[3] <= 0.0 or fourth[3] <= 0.0:
        return
    s0 = snap(first, width, height)
    s1 = snap(second, width, height)
    s2 = snap(third, width, height)
    z0 = first[2] / first[3]
    z2 = third[2] / third[3]
    fill_triangle(s0, s1, s2, z0, second[2] / second[3], z2, face, view, part, parts, keys)
    if count == 2:
        fill_triangle(s0, s2, snap(fourth, width, height), z0, z2, fourth[2] / fourth[3], face, view, part, parts, keys)


@wp.kernel
def fill_keys(
    pos: wp.array2d(dtype=wp.vec4),
    screen: wp.array2d(dtype=wp.vec2i),
    depth: wp.array2d(dtype=float),
    tri: wp.array2d(dtype=wp.int32),
    run: int,
    parts: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """For each face, a run of views and a part of the face's rows: lower the keys (z/w, face + 1) of the pixels that it covers.

    Most faces of a fine mesh cover no pixel's centre: they are known by their corners on the screen [V, B] alone.
    """
    thread = wp.tid()
    part = 0
    if parts > 1:
        whole = thread / parts
        part = thread - whole * parts
        thread = whole
    group = thread / tri.shape[0]
    face = thread - group * tri.shape[0]
    i0 = tri[face, 0]
    i1 = tri[face, 1]
    i2 = tri[face, 2]
    view = group * run
    last = wp.min(view + run, keys.shape[0])
    while view < last:
        p0 = screen[i0, view]
        p1 = screen[i1, view]
        p2 = screen[i2, view]
        if wp.min(wp.min(p0[0], p1[0]), p2[0]) == CLIPPED:
            fill_clipped(pos[view, i0], pos[view, i1], pos[view, i2], face, view, part, parts, keys)
        elif spans_a_centre(p0[0], p1[0], p2[0]) and spans_a_centre(p0[1], p1[1], p2[1]):
            fill_triangle(p0, p1, p2, depth[i0, view], depth[i1, view], depth[i2, view], face, view, part, parts, keys)
        view += 1


@wp.func
def pixel_centre(index: int, size: int) -> float:
    """Clip-space coordinate (after division) of a pixel's centre."""
    return (2.0 * float(index) + 1.0) / float(size) - 1.0


@wp.func
def barycentric_areas(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, fx: float, fy: float) -> wp.vec3:
    """Unnormalized perspective-correct weights of the three vertices at clip-space point (fx, fy)."""
    x0 = p0[0] - fx * p0[3]
    y0 = p0[1] - fy * p0[3]
    x1 = p1[0] - fx * p1[3]
    y1 = p1[1] - fy * p1[3]
    x2 = p2[0] - fx * p2[3]
    y2 = p2[1] - fy * p2[3]
    return wp.vec3(x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1)


@wp.func
def area_gradient(after: wp.vec4, before: wp.vec4, g_after: float, g_before: float, fx: float, fy: float) -> wp.vec4:
    """Gradient to a vertex, of the areas in which it comes first (with the vertex after it: g_after) and second (g_before)."""
    gx = g_after * (after[1] - fy * after[3]) - g_before * (before[1] - fy * before[3])
    gy = g_before * (before[0] - fx * before[3]) - g_after * (after[0] - fx * after[3])
    return wp.vec4(gx, gy, 0.0, -fx * gx - fy * gy)


@wp.kernel
def resolve(
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.int64),
    run: int,
    rast: wp.array3d(dtype=wp.vec4),
):
    """Keys -> (u, v, z/w, face + 1), zeros where nothing is seen; u and v weigh vertices 0 and 1."""
    height = keys.shape[1]
    width = keys.shape[2]
    chunk = wp.tid()
    view, row, start = locate_run(chunk, run, height, width)
    fy = pixel_centre(row, height)
    for column in range(start, wp.min(start + run, width)):
        key = keys[view, row, column]
        if (key >> wp.int64(62)) != wp.int64(0):
            rast[view, row, column] = wp.vec4(0.0, 0.0, 0.0, 0.0)
        else:
            face = int(key & wp.int64(0x7FFFFFFF)) - 1
            p0 = pos[view, tri[face, 0]]
            p1 = pos[view, tri[face, 1]]
            p2 = pos[view, tri[face, 2]]
            areas = barycentric_areas(p0, p1, p2, pixel_centre(column, width), fy)
            total = areas[0] + areas[1] + areas[2]
            scale = float(0.0)
            if total != 0.0:
                scale = 1.0 / total
            u = wp.clamp(areas[0] * scale, 0.0, 1.0)
            v = wp.clamp(areas[1] * scale, 0.0, 1.0 - u)
            z = p0[2] * u + p1[2] * v + p2[2] * (1.0 - u - v)
            w = p0[3] * u + p1[3] * v + p2[3] * (1.0 - u - v)
            rast[view, row, column] = wp.vec4(u, v, wp.clamp(z / w, -1.0, 1.0), float(face + 1))


@wp.kernel
def resolve_backward(
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    rast: wp.array3d(dtype=wp.vec4),
    grad_rast: wp.array3d(dtype=wp.vec4),
    run: int,
    grad_pos: wp.array2d(dtype=wp.vec4),
):
    """Gradients of u and v to the clip-space positions; z/w and the id carry none (as nvdiffrast's)."""
    height = rast.shape[1]
    width = rast.shape[2]
    chunk = wp.tid()
    view, row, start = locate_run(chunk, run, height, width)
    fy = pixel_centre(row, height)
    for column in range(start, wp.min(start + run, width)):
        hit = rast[view, row, column]
        grad = grad_rast[view, row, column]
        if hit[3] > 0.5 and (grad[0] != 0.0 or grad[1] != 0.0):
            face = int(hit[3]) - 1
            fx = pixel_centre(column, width)
            i0 = tri[face, 0]
            i1 = tri[face, 1]
            i2 = tri[face, 2]
            p0 = pos[view, i0]
            p1 = pos[view, i1]
            p2 = pos[view, i2]
            areas = barycentric_areas(p0, p1, p2, fx, fy)
            total = areas[0] + areas[1] + areas[2]
            if total != 0.0:
                mean = grad[0] * hit[0] + grad[1] * hit[1]
                g = wp.vec3(grad[0] - mean, grad[1] - mean, -mean) / total
                wp.atomic_add(grad_pos, view, i0, area_gradient(p1, p2, g[2], g[1], fx, fy))
                wp.atomic_add(grad_pos, view, i1, area_gradient(p2, p0, g[0], g[2], fx, fy))
                wp.atomic_add(grad_pos, view, i2, area_gradient(p0, p1, g[1], g[0], fx, fy))
