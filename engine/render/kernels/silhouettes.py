"""Analytic antialiasing of silhouettes (Laine et al. 2020, sec. 3.6): adjacency, search, blending and its gradient.

Between two neighbouring pixels that show different faces the surface of the nearer one may end. The paper looks for a
silhouette edge among the three edges of the nearer pixel's face, which misses it where faces are smaller than a pixel.
Here the surface is followed instead: from the nearer pixel's centre towards the other one, across one shared edge after
the other, until a silhouette edge is crossed or the other pixel is reached. So the gradient does not fade as the mesh
becomes finer than the image.
"""

# In Warp a literal is a constant; casting it makes a variable that can be changed.
# ruff: noqa: UP018, RUF046, SIM109

from __future__ import annotations

import warp as wp

from engine.render.kernels.runs import locate_run

wp.set_module_options({"enable_backward": False})

BOUNDARY = wp.constant(-1)
PLACES = wp.constant(8)
"""Of the edge table, for the edges whose lower vertex is the same: a closed mesh has three of them on average."""
NO_EDGE = wp.constant(-1)
OCCLUDED = wp.constant(-2)
MAX_STEPS = wp.constant(64)
PATH_END = wp.constant(1.0 + 1.0 / 256.0)
BEHIND_EYE = wp.constant(1.0e30)


@wp.kernel
def collect_edges(
    tri: wp.array2d(dtype=wp.int32),
    keys: wp.array(dtype=wp.int64),
    counts: wp.array(dtype=wp.int32),
    halves: wp.array2d(dtype=wp.int32),
    slots: wp.array2d(dtype=wp.int32),
):
    """Enter every face's edges into an open-addressing hash table; edge k runs from corner k to corner k + 1.

    keys start at -1, counts at 0; the table's size is a power of two. halves keeps the first two faces of each edge. Edges are looked
    for beside those of their lower vertex first, so that what is near on the mesh is near in memory; where many meet in one vertex, the
    rest lies anywhere.
    """
    face = wp.tid()
    mask = keys.shape[0] - 1
    for k in range(3):
        i = tri[face, k]
        j = tri[face, (k + 1) % 3]
        low = wp.min(i, j)
        key = (wp.int64(low) << wp.int64(32)) | wp.int64(wp.max(i, j))
        slot = (low * PLACES) & mask
        tried = int(1)
        held = wp.atomic_cas(keys, slot, wp.int64(-1), key)
        while held != wp.int64(-1) and held != key:
            if tried == PLACES:
                slot = int(((key * wp.int64(-7046029254386353131)) >> wp.int64(33)) & wp.int64(0x7FFFFFFF)) & mask
            else:
                slot = (slot + 1) & mask
            tried += 1
            held = wp.atomic_cas(keys, slot, wp.int64(-1), key)
        order = wp.atomic_add(counts, slot, 1)
        if order < 2:
            halves[slot, order] = face
        slots[face, k] = slot


@wp.kernel
def find_neighbours(
    counts: wp.array(dtype=wp.int32),
    halves: wp.array2d(dtype=wp.int32),
    slots: wp.array2d(dtype=wp.int32),
    neighbours: wp.array2d(dtype=wp.int32),
):
    """The face across each edge; BOUNDARY where the edge has one face, or more than two."""
    face = wp.tid()
    for k in range(3):
        slot = slots[face, k]
        other = int(BOUNDARY)
        if counts[slot] == 2:
            other = halves[slot, 0] + halves[slot, 1] - face
        neighbours[face, k] = other


@wp.kernel
def project_to_pixels(
    pos: wp.array2d(dtype=wp.vec4),
    width: float,
    height: float,
    run: int,
    screen: wp.array2d(dtype=wp.vec2),
):
    """Clip space -> pixels [V, B] in a run of views, the centre of pixel (column, row) being at (column, row)."""
    thread = wp.tid()
    group = thread / pos.shape[1]
    vertex = thread - group * pos.shape[1]
    view = group * run
    last = wp.min(view + run, pos.shape[0])
    while view < last:
        clip = pos[view, vertex]
        if clip[3] <= 0.0:
            screen[vertex, view] = wp.vec2(BEHIND_EYE, BEHIND_EYE)
        else:
            scale = 0.5 / clip[3]
            screen[vertex, view] = wp.vec2(
                (clip[0] * scale + 0.5) * width - 0.5,
                (clip[1] * scale + 0.5) * height - 0.5,
            )
        view += 1


@wp.func
def to_path(point: wp.vec2, origin: wp.vec2, axis: int, sign: float) -> wp.vec2:
    """Pixel position -> (along, across) the path that starts at `origin` and runs along the axis by `sign`."""
    if axis == 0:
        return wp.vec2(sign * (point[0] - origin[0]), point[1] - origin[1])
    return wp.vec2(sign * (point[1] - origin[1]), point[0] - origin[0])


@wp.func
def crossing(a: wp.vec2, b: wp.vec2) -> float:
    """Where the line through a and b, which lie on different sides of the path, crosses it."""
    return a[0] + (b[0] - a[0]) * (a[1] / (a[1] - b[1]))


@wp.func
def side(a: wp.vec2, b: wp.vec2, c: wp.vec2) -> float:
    """Positive when c lies to the left of a -> b."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@wp.func
def leave_face(p0: wp.vec2, p1: wp.vec2, p2: wp.vec2):
    """Which edge the path leaves the face by, and where. Returns (edge, along), or (NO_EDGE, -BEHIND_EYE) where it misses the face."""
    exit_edge = int(NO_EDGE)
    along = float(-BEHIND_EYE)
    above0 = p0[1] >= 0.0
    above1 = p1[1] >= 0.0
    above2 = p2[1] >= 0.0
    if above0 != above1:
        exit_edge = 0
        along = crossing(p0, p1)
    if above1 != above2:
        here = crossing(p1, p2)
        if here > along:
            exit_edge = 1
            along = here
    if above2 != above0:
        here = crossing(p2, p0)
        if here > along:
            exit_edge = 2
            along = here
    return exit_edge, along


@wp.func
def vertex_beyond(tri: wp.array2d(dtype=wp.int32), face: int, ia: int, ib: int) -> int:
    """The vertex of a face that is neither of the two."""
    j = tri[face, 0]
    if j == ia or j == ib:
        j = tri[face, 1]
        if j == ia or j == ib:
            j = tri[face, 2]
    return j


@wp.func
def parts_pixels_along(a: wp.vec2, b: wp.vec2, axis: int) -> bool:
    """Whether the edge is one that this axis blends: each edge is blended along the axis that it stands more across."""
    lean = wp.abs(b[1] - a[1]) - wp.abs(b[0] - a[0])
    return lean > 0.0 or (lean == 0.0 and axis == 0)


@wp.func
def follow_surface(
    view: int,
    start: int,
    goal: int,
    origin: wp.vec2,
    axis: int,
    sign: float,
    tri: wp.array2d(dtype=wp.int32),
    neighbours: wp.array2d(dtype=wp.int32),
    screen: wp.array2d(dtype=wp.vec2),
):
    """Follow the surface for one pixel. Returns (3 * face + edge, position 0..1) of the silhouette, or NO_EDGE or OCCLUDED."""
    face = int(start)
    for _ in range(MAX_STEPS):
        p0 = to_path(screen[tri[face, 0], view], origin, axis, sign)
        p1 = to_path(screen[tri[face, 1], view], origin, axis, sign)
        p2 = to_path(screen[tri[face, 2], view], origin, axis, sign)
        if wp.max(wp.max(wp.abs(p0[0]), wp.abs(p1[0])), wp.abs(p2[0])) > 0.5 * BEHIND_EYE:
            return int(NO_EDGE), 0.0
        exit_edge, along = leave_face(p0, p1, p2)
        if exit_edge == NO_EDGE:
            return int(NO_EDGE), 0.0
        if along >= PATH_END:
            return int(OCCLUDED), 0.0
        a = p0
        b = p1
        c = p2
        if exit_edge == 1:
            a = p1
            b = p2
            c = p0
        if exit_edge == 2:
            a = p2
            b = p0
            c = p1
        beyond = neighbours[face, exit_edge]
        ends = beyond == BOUNDARY
        if not ends:
            j = vertex_beyond(tri, beyond, tri[face, exit_edge], tri[face, (exit_edge + 1) % 3])
            ends = side(a, b, c) * side(a, b, to_path(screen[j, view], origin, axis, sign)) > 0.0
        if ends:
            if parts_pixels_along(a, b, axis):
                return 3 * face + exit_edge, wp.clamp(along, 0.0, 1.0)
            return int(NO_EDGE), 0.0
        if beyond == goal:
            return int(NO_EDGE), 0.0
        face = beyond
    return int(NO_EDGE), 0.0


@wp.func
def part_pixels(
    here: wp.vec4,
    there: wp.vec4,
    view: int,
    row: int,
    column: int,
    axis: int,
    pixel: int,
    other: int,
    tri: wp.array2d(dtype=wp.int32),
    neighbours: wp.array2d(dtype=wp.int32),
    screen: wp.array2d(dtype=wp.vec2),
    count: wp.array(dtype=wp.int32),
    pairs: wp.array(dtype=wp.vec4i),
    alongs: wp.array(dtype=float),
):
    """Look for the silhouette between a pixel and the next one along the axis, count it, and list it where there is room."""
    face_here = int(here[3]) - 1
    face_there = int(there[3]) - 1
    starts_here = face_there < 0 or (face_here >= 0 and here[2] <= there[2])
    tries = int(1)
    if face_here >= 0 and face_there >= 0:
        tries = 2
    while tries > 0:
        near = other
        far = pixel
        start = face_there
        goal = face_here
        origin = wp.vec2(float(column + 1 - axis), float(row + axis))
        sign = float(-1.0)
        if starts_here:
            near = pixel
            far = other
            start = face_here
            goal = face_there
            origin = wp.vec2(float(column), float(row))
            sign = 1.0
        edge, along = follow_surface(view, start, goal, origin, axis, sign, tri, neighbours, screen)
        if edge >= 0:
            slot = wp.atomic_add(count, 0, 1)
            if slot < pairs.shape[0]:
                face = edge / 3
                k = edge - 3 * face
                pairs[slot] = wp.vec4i(near, far, tri[face, k], tri[face, (k + 1) % 3])
                alongs[slot] = along
        # Where the nearer surface goes on underneath the other pixel's, that one is in front and may end on the way here.
        tries -= 1
        if edge != OCCLUDED:
            tries = 0
        starts_here = not starts_here


@wp.kernel
def find_silhouettes(
    rast: wp.array3d(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    neighbours: wp.array2d(dtype=wp.int32),
    screen: wp.array2d(dtype=wp.vec2),
    run: int,
    count: wp.array(dtype=wp.int32),
    pairs: wp.array(dtype=wp.vec4i),
    alongs: wp.array(dtype=float),
):
    """List the pixel pairs that a silhouette parts: (near pixel, far pixel, edge's vertices) and where it crosses, 0..1."""
    height = rast.shape[1]
    width = rast.shape[2]
    chunk = wp.tid()
    view, row, start = locate_run(chunk, run, height, width)
    pixel = (view * height + row) * width + start
    for column in range(start, wp.min(start + run, width)):
        here = rast[view, row, column]
        if column + 1 < width:
            there = rast[view, row, column + 1]
            if there[3] != here[3]:
                part_pixels(here, there, view, row, column, 0, pixel, pixel + 1, tri, neighbours, screen, count, pairs, alongs)
        if row + 1 < height:
            there = rast[view, row + 1, column]
            if there[3] != here[3]:
                part_pixels(here, there, view, row, column, 1, pixel, pixel + width, tri, neighbours, screen, count, pairs, alongs)
        pixel += 1


@wp.kernel
def blend(
    color: wp.array2d(dtype=float),
    pairs: wp.array(dtype=wp.vec4i),
    alongs: wp.array(dtype=float),
    out: wp.array2d(dtype=float),
):
    """Mix the two pixels' colours by how far beyond (or short of) the middle between them the silhouette lies."""
    index = wp.tid()
    near = pairs[index][0]
    far = pairs[index][1]
    share = alongs[index] - 0.5
    target = near
    if share > 0.0:
        target = far
    for channel in range(color.shape[1]):
        wp.atomic_add(out, target, channel, share * (color[near, channel] - color[far, channel]))


@wp.kernel
def blend_backward(
    color: wp.array2d(dtype=float),
    pairs: wp.array(dtype=wp.vec4i),
    alongs: wp.array(dtype=float),
    pos: wp.array2d(dtype=wp.vec4),
    height: int,
    width: int,
    grad_out: wp.array2d(dtype=float),
    grad_color: wp.array2d(dtype=float),
    grad_pos: wp.array2d(dtype=wp.vec4),
):
    """Gradients of the blend to the colours (accumulated) and, through where the edge crosses, to its two vertices."""
    index = wp.tid()
    pair = pairs[index]
    near = pair[0]
    far = pair[1]
    share = alongs[index] - 0.5
    target = near
    if share > 0.0:
        target = far
    slope = float(0.0)
    for channel in range(color.shape[1]):
        g = grad_out[target, channel]
        slope += g * (color[near, channel] - color[far, channel])
        wp.atomic_add(grad_color, near, channel, share * g)
        wp.atomic_add(grad_color, far, channel, -share * g)
    if slope == 0.0:
        return
    axis = int(0)
    sign = float(far - near)
    if far - near == width or near - far == width:
        axis = 1
        sign = sign / float(width)
    view = near / (height * width)
    rest = near - view * height * width
    origin = wp.vec2(float(rest % width), float(rest / width))
    clip_a = pos[view, pair[2]]
    clip_b = pos[view, pair[3]]
    size = wp.vec2(float(width), float(height))
    a = to_path(to_pixels(clip_a, size), origin, axis, sign)
    b = to_path(to_pixels(clip_b, size), origin, axis, sign)
    part_b = a[1] / (a[1] - b[1])
    tilt = (b[0] - a[0]) / (b[1] - a[1])
    grad_a = slope * (1.0 - part_b)
    grad_b = slope * part_b
    wp.atomic_add(grad_pos, view, pair[2], pull_to_clip(clip_a, size, grad_a * sign, -grad_a * tilt, axis))
    wp.atomic_add(grad_pos, view, pair[3], pull_to_clip(clip_b, size, grad_b * sign, -grad_b * tilt, axis))


@wp.func
def to_pixels(clip: wp.vec4, size: wp.vec2) -> wp.vec2:
    """As `project_to_pixels`, for a point in front of the eye."""
    scale = 0.5 / clip[3]
    return wp.vec2((clip[0] * scale + 0.5) * size[0] - 0.5, (clip[1] * scale + 0.5) * size[1] - 0.5)


@wp.func
def pull_to_clip(clip: wp.vec4, size: wp.vec2, along: float, across: float, axis: int) -> wp.vec4:
    """Gradient to a pixel position, given along and across the axis -> gradient to the clip-space position."""
    gx = along
    gy = across
    if axis == 1:
        gx = across
        gy = along
    scale = 0.5 / clip[3]
    gx = gx * size[0] * scale
    gy = gy * size[1] * scale
    return wp.vec4(gx, gy, 0.0, -(gx * clip[0] + gy * clip[1]) / clip[3])
