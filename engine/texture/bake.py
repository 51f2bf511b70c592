"""Baking: functions of the surface, such as the colour field, become textures over a UV layout.

Each texel takes the value of the surface point whose uv is the texel's centre. Texels outside of every chart but within `padding`
of one continue that chart's own triangle linearly, so that bilinear filtering across the chart's border reads what lies there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.reporting import OnStep, unwatched
from engine.texture.detail import Colours
from engine.texture_sets import covered, folded, repeats, times_covered

BAND_ROWS = 256  # rows rasterized at once
CHUNK_TEXELS = 1 << 17  # texels coloured at once
MOST_TILES = 6  # a face that repeats the texture more often than this along an axis covers every texel anyway
EXTRAPOLATION = 1.5  # texels by which padding continues a triangle before it holds its colour


@dataclass(frozen=True)
class Places:
    """Places of a surface that texels show.

    points   float32 [N, 3] engine space
    faces    int64 [N] of the mesh
    weights  float64 [N, 3] of the face's corners; they sum to 1 and leave 0..1 a little in the padding
    """

    points: np.ndarray
    faces: np.ndarray
    weights: np.ndarray


Channel = Callable[[Places], np.ndarray]
"""One map as a function of the surface: places -> float [N, C] in 0..1, encoded as the map's file holds it."""


def bake(
    mesh: Mesh, field: Colours, normalization: SceneNormalization, size: int, padding: int = 6, on_step: OnStep = unwatched
) -> np.ndarray:
    """Albedo texture uint8 [size, size, 3], sRGB-encoded, row 0 at the top; see `bake_channels`."""
    return bake_channels(mesh, {"albedo": colour_channel(field)}, normalization, size, padding, on_step)["albedo"]


def colour_channel(field: Colours) -> Channel:
    """The colours of a field, sRGB-encoded [N, 3]."""
    parameter = next(field.parameters())

    @torch.no_grad()
    def colours(places: Places) -> np.ndarray:
        return field(torch.from_numpy(places.points).to(parameter)).float().cpu().numpy()

    return colours


def bake_channels(
    mesh: Mesh, channels: Mapping[str, Channel], normalization: SceneNormalization, size: int, padding: int = 6,
    on_step: OnStep = unwatched, dtype: type[np.generic] = np.uint8, shared: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Maps [size, size, C] by name, row 0 at the top.

    mesh       world space, with uvs; uvs outside of 0..1 wrap; where faces overlap in uv space the last one wins, unless `shared`
    channels   what each map shows
    normalization  takes the mesh into the channels' engine space
    padding    texels that continue every chart; beyond them the charts' colours run on (`fill_gaps`), so that no mipmap mixes in another
    on_step    told of the rows that are done
    dtype      np.uint8 or np.uint16, scaled to the whole range, or np.float32
    shared     texels that several faces cover get the mean of what each of them shows
    Memory: about 30 bytes a texel and what the maps themselves take.
    """
    if mesh.uvs is None:
        raise ValueError("A mesh without uvs cannot be baked.")
    if size < 1:
        raise ValueError(f"A texture needs at least one texel a side, got {size}.")
    layout = rasterize_layout(mesh.uvs, size, on_step)
    means = _means(mesh, channels, normalization, size) if shared else _Means(np.zeros(0, np.int64), {})
    rows, columns = _pad(layout.owners, padding, repeats(mesh.uvs))
    return _paint(mesh, layout, rows, columns, channels, normalization, on_step, dtype, means)


@dataclass(frozen=True)
class Layout:
    """Which uv triangle holds each texel's centre.

    owners   int32 [size, size], row 0 at the BOTTOM: index into corners, -1 where there is none
    corners  float64 [N, 3, 2]: every face's uvs moved by whole tiles into view, once for each tile of the texture that it touches
    faces    [N] the face that each of these is
    """

    owners: np.ndarray
    corners: np.ndarray
    faces: np.ndarray


def rasterize_layout(uvs: np.ndarray, size: int, on_step: OnStep = unwatched) -> Layout:
    """The owners of a texture's texels; uvs [F, 3, 2] wrap outside of 0..1, the last face wins.

    Faces too thin to hold any centre get the texels under their corners and middle where those are free, so that no face is
    left without colour.
    """
    from engine.render.base import select_rasterizer

    corners, faces = _wrapped(uvs)
    rasterizer = select_rasterizer(torch.device("cpu"))
    order = (np.arange(len(corners), dtype=np.float64) + 1) / (len(corners) + 1)
    depth = np.repeat(1 - 2 * order, 3)  # later is nearer
    triangles = torch.arange(3 * len(corners), dtype=torch.int32).view(-1, 3)
    owners = np.full((size, size), -1, dtype=np.int32)
    for first in range(0, size, BAND_ROWS):
        on_step(first, 2 * size)
        rows = min(BAND_ROWS, size - first)
        low, high = first / size, (first + rows) / size
        inside = np.flatnonzero((corners[:, :, 1].max(1) >= low) & (corners[:, :, 1].min(1) <= high))
        if len(inside) == 0:
            continue
        flat = corners.reshape(-1, 2)
        clip = np.stack([2 * flat[:, 0] - 1, (flat[:, 1] - low) / (high - low) * 2 - 1, depth, np.ones(len(flat))], axis=-1)
        rast, _ = rasterizer.rasterize(torch.from_numpy(clip.astype(np.float32))[None], triangles[inside], (rows, size))
        ids = rast[0, :, :, 3].to(torch.int64).numpy() - 1
        owners[first : first + rows] = np.where(ids >= 0, inside[ids], -1)
    layout = Layout(owners, corners, faces)
    _claim_free_texels(layout)
    return layout


def _wrapped(uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(corners float64 [N, 3, 2], face [N]): every face moved by whole tiles into 0..1, once for each tile that it touches."""
    corners = np.nan_to_num(uvs.astype(np.float64))
    corners = corners - np.floor(corners.min(axis=1, keepdims=True))
    faces = np.arange(len(corners))
    reach = np.minimum(np.ceil(corners.max(axis=1)).astype(np.int64), MOST_TILES).clip(min=1)
    spread = np.flatnonzero((reach > 1).any(axis=1))
    if len(spread) == 0:
        return corners, faces
    copies, owners = [corners], [faces]
    for column in range(MOST_TILES):
        for row in range(MOST_TILES):
            touching = spread[(reach[spread, 0] > column) & (reach[spread, 1] > row)]
            if (column or row) and len(touching):
                copies.append(corners[touching] - np.array([column, row]))
                owners.append(touching)
    every = np.concatenate(owners)
    order = np.argsort(every, kind="stable")  # the last face still wins
    return np.concatenate(copies)[order], every[order]


def _claim_free_texels(layout: Layout) -> None:
    """Give faces that own no texel the free ones under their middle and corners."""
    owners, size = layout.owners, len(layout.owners)
    without = np.ones(int(layout.faces.max(initial=-1)) + 1, dtype=bool)
    without[layout.faces[owners[owners >= 0]]] = False
    missing = np.flatnonzero(without[layout.faces])
    corners = layout.corners[missing]
    for places in (corners.mean(axis=1), *(corners[:, corner] for corner in range(3))):
        texels = np.floor(np.mod(places, 1) * size).astype(np.int64).clip(0, size - 1)
        free = owners[texels[:, 1], texels[:, 0]] < 0
        owners[texels[free, 1], texels[free, 0]] = missing[free]


def _pad(owners: np.ndarray, padding: int, wraps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Grow the owners in place by `padding` texels, nearest first, across the texture's border where it wraps.

    Returns the row and column int16 of the chart's own texel that each texel continues; a texel of a chart continues itself.
    """
    size = len(owners)
    rows, columns = np.meshgrid(np.arange(size, dtype=np.int16), np.arange(size, dtype=np.int16), indexing="ij")
    rows, columns = rows.copy(), columns.copy()
    for ring in range(padding):
        grown = owners.copy()
        shifts = ((1, 0), (-1, 0), (0, 1), (0, -1)) + (((1, 1), (1, -1), (-1, 1), (-1, -1)) if ring % 2 else ())
        for shift in shifts:
            moved = np.roll(owners, shift, axis=(0, 1))
            if not wraps:
                moved[_rolled(shift[0])] = -1
                moved[:, _rolled(shift[1])] = -1
            take = (grown < 0) & (moved >= 0)
            grown[take] = moved[take]
            rows[take] = np.roll(rows, shift, axis=(0, 1))[take]
            columns[take] = np.roll(columns, shift, axis=(0, 1))[take]
        if not (grown >= 0).any() or (owners >= 0).all():
            break
        owners[:] = grown
    return rows, columns


def _rolled(step: int) -> slice:
    """The lines that come from across the border where everything moves by a step of -1, 0 or 1."""
    return slice(-1, None) if step < 0 else slice(0, step)


def _paint(mesh: Mesh, layout: Layout, rows: np.ndarray, columns: np.ndarray, channels: Mapping[str, Channel],
           normalization: SceneNormalization, on_step: OnStep, dtype: type[np.generic],
           means: _Means) -> dict[str, np.ndarray]:  # fmt: skip
    """Fill every owned texel of every map, then the gaps between charts; flips to row 0 at the top."""
    owners, size = layout.owners, len(layout.owners)
    maps: dict[str, np.ndarray] = {}
    texels = np.flatnonzero(owners.reshape(-1) >= 0)
    corners = normalization.to_engine(mesh.corner_vertices().reshape(-1, 3)).reshape(-1, 3, 3)
    for start in range(0, len(texels), CHUNK_TEXELS):
        on_step(size + start * size // max(len(texels), 1), 2 * size)
        chunk = texels[start : start + CHUNK_TEXELS]
        places = _places(layout, chunk, rows, columns, corners)
        source = rows.reshape(-1)[chunk].astype(np.int64) * size + columns.reshape(-1)[chunk]
        for name, channel in channels.items():
            values = encoded(means.instead(name, source, channel(places)), dtype)
            maps.setdefault(name, np.zeros((size * size, values.shape[1]), dtype))[chunk] = values
    return {name: np.ascontiguousarray(fill_gaps(image.reshape(size, size, -1), owners >= 0)[::-1]) for name, image in maps.items()}


@dataclass(frozen=True)
class _Means:
    """What texels show that several faces cover: texels int64 [T], ascending, row by row from the bottom, and each map's means [T, C]."""

    texels: np.ndarray
    of: Mapping[str, np.ndarray]

    def instead(self, name: str, source: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A map's values [N, C] with the means in place of those of texels that show or continue such a one: source [N]."""
        if len(self.texels) == 0:
            return values
        at = np.searchsorted(self.texels, source).clip(max=len(self.texels) - 1)
        shared = self.texels[at] == source
        values = np.array(values)
        values[shared] = self.of[name][at[shared]]
        return values


def _means(mesh: Mesh, channels: Mapping[str, Channel], normalization: SceneNormalization, size: int) -> _Means:
    """The means of all texels of a layout that more than one face covers."""
    assert mesh.uvs is not None
    uvs, times = mesh.uvs.astype(np.float64), times_covered(mesh.uvs, size)
    texels = np.flatnonzero(times > 1)
    corners = normalization.to_engine(mesh.corner_vertices().reshape(-1, 3)).reshape(-1, 3, 3)
    sums: dict[str, np.ndarray] = {}
    for face, row, column in covered(mesh.uvs, size):
        texel = folded(row, column, size)
        several = np.flatnonzero(times[texel] > 1)
        for part in np.array_split(several, len(several) // CHUNK_TEXELS + 1) if len(several) else ():
            centre = (np.stack([column[part], row[part]], axis=-1) + 0.5) / size
            weights = _barycentric(uvs[face[part]], centre, EXTRAPOLATION / size)
            points = np.einsum("nk,nkd->nd", weights, corners[face[part]])
            places = Places(points.astype(np.float32), face[part], weights)
            at = np.searchsorted(texels, texel[part])
            for name, channel in channels.items():
                values = channel(places)
                np.add.at(sums.setdefault(name, np.zeros((len(texels), values.shape[1]))), at, values)
    return _Means(texels, {name: total / times[texels, None] for name, total in sums.items()})


def _places(layout: Layout, chunk: np.ndarray, rows: np.ndarray, columns: np.ndarray, corners: np.ndarray) -> Places:
    """What the texels of these flat indices show; corners [F, 3, 3] engine space."""
    owners, size = layout.owners, len(layout.owners)
    owner = owners.reshape(-1)[chunk]
    source = np.stack([columns.reshape(-1)[chunk], rows.reshape(-1)[chunk]], axis=-1).astype(np.float64)
    offset = np.stack([chunk % size, chunk // size], axis=-1) - source
    offset -= size * np.rint(offset / size)  # padding wraps around the texture's border
    centre = (source + 0.5 + offset.clip(-EXTRAPOLATION, EXTRAPOLATION)) / size
    weights = _barycentric(layout.corners[owner], centre, EXTRAPOLATION / size)
    points = np.einsum("nk,nkd->nd", weights, corners[layout.faces[owner]])
    return Places(points.astype(np.float32), layout.faces[owner], weights)


def encoded(values: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """Values in 0..1 as a map of this type holds them: uint8 and uint16 over their whole range, rounded; floats as they are."""
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    return np.rint(values.clip(0, 1) * np.iinfo(np.dtype(dtype)).max).astype(dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]


def fill_gaps(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """image [S, S, C] with the texels that are not known [S, S] filled from the known ones around them, in place where nothing is missing.

    Pull and push (Gortler et al. 1996, the Lumigraph): known texels are averaged down a pyramid until none is missing, and each
    gap takes the next coarser level's value. So a mipmap of any level mixes charts with what continues them, never with a background.
    """
    if known.all() or not known.any():
        return image
    height, width, depth = image.shape
    if max(height, width) == 1:
        return image
    padded = ((0, height % 2), (0, width % 2))
    share = np.pad(known.astype(np.float32), padded)
    total = np.pad(np.where(known[..., None], image, 0).astype(np.float32), (*padded, (0, 0)))
    count = share.reshape(share.shape[0] // 2, 2, -1, 2).sum(axis=(1, 3))
    coarse = total.reshape(total.shape[0] // 2, 2, -1, 2, depth).sum(axis=(1, 3)) / np.maximum(count, 1)[..., None]
    coarse = fill_gaps(coarse, count > 0)
    row, column = np.nonzero(~known)
    filled = coarse[row // 2, column // 2]
    image[row, column] = filled if np.issubdtype(image.dtype, np.floating) else np.rint(filled)
    return image


def _barycentric(triangles: np.ndarray, points: np.ndarray, reach: float) -> np.ndarray:
    """Weights float64 [N, 3] of uv triangles [N, 3, 2] at uv points [N, 2], which may lie outside by a texel or two.

    Weights are held where they would continue a triangle by more than about
    `reach` (uv units) beyond its edges, as happens for slivers; a triangle without area gets equal weights.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    doubled = 2 * signed_areas(triangles)
    safe = np.where(np.abs(doubled) < 1e-18, 1.0, doubled)
    weights = np.empty((len(points), 3))
    weights[:, 0] = ((b[:, 0] - points[:, 0]) * (c[:, 1] - points[:, 1]) - (b[:, 1] - points[:, 1]) * (c[:, 0] - points[:, 0])) / safe
    weights[:, 1] = ((c[:, 0] - points[:, 0]) * (a[:, 1] - points[:, 1]) - (c[:, 1] - points[:, 1]) * (a[:, 0] - points[:, 0])) / safe
    weights[:, 2] = 1 - weights[:, 0] - weights[:, 1]
    weights[np.abs(doubled) < 1e-18] = 1 / 3
    # height of the triangle over each edge: how far a step of `reach` moves the opposite corner's weight
    edges = np.linalg.norm(np.stack([c - b, a - c, b - a], axis=1), axis=2)
    allowance = np.minimum(2 * reach * edges / np.maximum(np.abs(doubled)[:, None], 1e-18), 0.5)
    weights = weights.clip(-allowance, 1 + allowance.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def signed_areas(uvs: np.ndarray) -> np.ndarray:
    """[F] signed areas of uv triangles."""
    first, second = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
