"""Interpolation of vertex attributes and texture sampling, forward and backward."""

# In Warp a literal is a constant; casting it makes a variable that can be changed.
# ruff: noqa: UP018

from __future__ import annotations

import warp as wp

from engine.render.kernels.runs import locate_run

wp.set_module_options({"enable_backward": False})


@wp.kernel
def interpolate(
    attr: wp.array3d(dtype=float),
    rast: wp.array3d(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    run: int,
    out: wp.array4d(dtype=float),
):
    """out = u a0 + v a1 + (1 - u - v) a2, zeros where nothing is seen; attr [1 | B, V, C]."""
    width = rast.shape[2]
    channels = attr.shape[2]
    chunk = wp.tid()
    view, row, start = locate_run(chunk, run, rast.shape[1], width)
    source = wp.min(view, attr.shape[0] - 1)
    for column in range(start, wp.min(start + run, width)):
        hit = rast[view, row, column]
        if hit[3] < 0.5:
            for channel in range(channels):
                out[view, row, column, channel] = 0.0
        else:
            face = int(hit[3]) - 1
            i0 = tri[face, 0]
            i1 = tri[face, 1]
            i2 = tri[face, 2]
            u = hit[0]
            v = hit[1]
            w = 1.0 - u - v
            for channel in range(channels):
                out[view, row, column, channel] = (
                    u * attr[source, i0, channel] + v * attr[source, i1, channel] + w * attr[source, i2, channel]
                )


@wp.kernel
def interpolate_backward(
    attr: wp.array3d(dtype=float),
    rast: wp.array3d(dtype=wp.vec4),
    tri: wp.array2d(dtype=wp.int32),
    grad_out: wp.array4d(dtype=float),
    run: int,
    grad_attr: wp.array3d(dtype=float),
    grad_rast: wp.array3d(dtype=wp.vec4),
):
    """Gradients to the attributes (accumulated) and to u and v (written; grad_rast starts at 0)."""
    width = rast.shape[2]
    chunk = wp.tid()
    view, row, start = locate_run(chunk, run, rast.shape[1], width)
    source = wp.min(view, attr.shape[0] - 1)
    for column in range(start, wp.min(start + run, width)):
        hit = rast[view, row, column]
        if hit[3] > 0.5:
            face = int(hit[3]) - 1
            i0 = tri[face, 0]
            i1 = tri[face, 1]
            i2 = tri[face, 2]
            u = hit[0]
            v = hit[1]
            w = 1.0 - u - v
            gu = float(0.0)
            gv = float(0.0)
            for channel in range(attr.shape[2]):
                g = grad_out[view, row, column, channel]
                wp.atomic_add(grad_attr, source, i0, channel, u * g)
                wp.atomic_add(grad_attr, source, i1, channel, v * g)
                wp.atomic_add(grad_attr, source, i2, channel, w * g)
                last = attr[source, i2, channel]
                gu += g * (attr[source, i0, channel] - last)
                gv += g * (attr[source, i1, channel] - last)
            grad_rast[view, row, column] = wp.vec4(gu, gv, 0.0, 0.0)


@wp.func
def texel_index(index: int, size: int, wrap: int) -> int:
    """A texel index brought into range, by repeating (wrap = 1) or by clamping (wrap = 0)."""
    if wrap == 0:
        return wp.clamp(index, 0, size - 1)
    rest = index % size
    if rest < 0:
        rest += size
    return rest


@wp.kernel
def texture_nearest(
    tex: wp.array4d(dtype=float),
    uv: wp.array4d(dtype=float),
    wrap: int,
    out: wp.array4d(dtype=float),
):
    """out = the texel that holds uv."""
    view, row, column = wp.tid()
    source = wp.min(view, tex.shape[0] - 1)
    x = texel_index(int(wp.floor(uv[view, row, column, 0] * float(tex.shape[2]))), tex.shape[2], wrap)
    y = texel_index(int(wp.floor(uv[view, row, column, 1] * float(tex.shape[1]))), tex.shape[1], wrap)
    for channel in range(tex.shape[3]):
        out[view, row, column, channel] = tex[source, y, x, channel]


@wp.kernel
def texture_nearest_backward(
    tex: wp.array4d(dtype=float),
    uv: wp.array4d(dtype=float),
    wrap: int,
    grad_out: wp.array4d(dtype=float),
    grad_tex: wp.array4d(dtype=float),
):
    """Gradient to the texture; uv carries none."""
    view, row, column = wp.tid()
    source = wp.min(view, tex.shape[0] - 1)
    x = texel_index(int(wp.floor(uv[view, row, column, 0] * float(tex.shape[2]))), tex.shape[2], wrap)
    y = texel_index(int(wp.floor(uv[view, row, column, 1] * float(tex.shape[1]))), tex.shape[1], wrap)
    for channel in range(tex.shape[3]):
        wp.atomic_add(grad_tex, source, y, x, channel, grad_out[view, row, column, channel])


@wp.kernel
def texture_linear(
    tex: wp.array4d(dtype=float),
    uv: wp.array4d(dtype=float),
    wrap: int,
    out: wp.array4d(dtype=float),
):
    """Bilinear sampling; texel (x, y) has its centre at uv = ((x + 0.5) / width, (y + 0.5) / height)."""
    view, row, column = wp.tid()
    source = wp.min(view, tex.shape[0] - 1)
    x = uv[view, row, column, 0] * float(tex.shape[2]) - 0.5
    y = uv[view, row, column, 1] * float(tex.shape[1]) - 0.5
    fx = x - wp.floor(x)
    fy = y - wp.floor(y)
    x0 = texel_index(int(wp.floor(x)), tex.shape[2], wrap)
    x1 = texel_index(int(wp.floor(x)) + 1, tex.shape[2], wrap)
    y0 = texel_index(int(wp.floor(y)), tex.shape[1], wrap)
    y1 = texel_index(int(wp.floor(y)) + 1, tex.shape[1], wrap)
    for channel in range(tex.shape[3]):
        low = tex[source, y0, x0, channel] * (1.0 - fx) + tex[source, y0, x1, channel] * fx
        high = tex[source, y1, x0, channel] * (1.0 - fx) + tex[source, y1, x1, channel] * fx
        out[view, row, column, channel] = low * (1.0 - fy) + high * fy


@wp.kernel
def texture_linear_backward(
    tex: wp.array4d(dtype=float),
    uv: wp.array4d(dtype=float),
    wrap: int,
    grad_out: wp.array4d(dtype=float),
    grad_tex: wp.array4d(dtype=float),
    grad_uv: wp.array4d(dtype=float),
):
    """Gradients to the texture (accumulated) and to uv (overwritten)."""
    view, row, column = wp.tid()
    source = wp.min(view, tex.shape[0] - 1)
    x = uv[view, row, column, 0] * float(tex.shape[2]) - 0.5
    y = uv[view, row, column, 1] * float(tex.shape[1]) - 0.5
    fx = x - wp.floor(x)
    fy = y - wp.floor(y)
    x0 = texel_index(int(wp.floor(x)), tex.shape[2], wrap)
    x1 = texel_index(int(wp.floor(x)) + 1, tex.shape[2], wrap)
    y0 = texel_index(int(wp.floor(y)), tex.shape[1], wrap)
    y1 = texel_index(int(wp.floor(y)) + 1, tex.shape[1], wrap)
    gx = float(0.0)
    gy = float(0.0)
    for channel in range(tex.shape[3]):
        g = grad_out[view, row, column, channel]
        wp.atomic_add(grad_tex, source, y0, x0, channel, g * (1.0 - fx) * (1.0 - fy))
        wp.atomic_add(grad_tex, source, y0, x1, channel, g * fx * (1.0 - fy))
        wp.atomic_add(grad_tex, source, y1, x0, channel, g * (1.0 - fx) * fy)
        wp.atomic_add(grad_tex, source, y1, x1, channel, g * fx * fy)
        t00 = tex[source, y0, x0, channel]
        t01 = tex[source, y0, x1, channel]
        t10 = tex[source, y1, x0, channel]
        t11 = tex[source, y1, x1, channel]
        gx += g * ((t01 - t00) * (1.0 - fy) + (t11 - t10) * fy)
        gy += g * ((t10 - t00) * (1.0 - fx) + (t11 - t01) * fx)
    grad_uv[view, row, column, 0] = gx * float(tex.shape[2])
    grad_uv[view, row, column, 1] = gy * float(tex.shape[1])
