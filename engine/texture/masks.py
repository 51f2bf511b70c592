"""Where a texture job paints: a mask over the surface, its feathered edge, and the look that stays everywhere else."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.conventions import linear_to_srgb
from engine.errors import InputError
from engine.formats.beside import read_regular
from engine.formats.textures import UnreadableImage, read_image, sample_image
from engine.mesh import Mask, Mesh
from engine.surface_samples import sample_surface
from engine.texture.artist import paint_between
from engine.texture.bake import Channel, Places
from engine.texture.field import GREY, ColourField
from engine.texture_sets import matching
from engine.user_path import user_path

SAMPLES = 200_000
"""Points of the surface at which a mask is looked at for its feathered edge and for the views of the optimization."""
VOLUME = 96
"""Cells along each axis of the volume in which the views see the mask."""
PAINTED = 0.5
"""Share of painting from which a place counts as painted where the edge is measured."""


def requested(mesh: Mesh, paint: str, name: str | None) -> Mesh:
    """The mesh with the mask that the settings `paint` and `paint_name` ask for; itself where all is painted or it has a mask already.

    InputError for what the mesh lacks, an unknown name, a picture that cannot be read, and a mask that paints nothing.
    """
    if paint == "all" or mesh.mask is not None:
        return mesh
    if paint in ("faces", "group"):
        raise InputError("bad_setting", f"A mesh file has no {'selected faces' if paint == 'faces' else 'vertex groups'} to paint.",
                         "Do that in Blender, or choose slots, colour or image here.")  # fmt: skip
    make = {"slots": _of_slots, "colour": _of_colours, "image": _of_image}[paint]
    masked = replace(mesh, mask=make(mesh, name or ""))
    faces, weights, _ = _everywhere(masked, SAMPLES)
    if not (raw_share(masked, faces, weights) > 0).any():
        raise InputError("nothing_to_paint", "The mask paints nothing: no slot, vertex or texel of it is chosen.",
                         "Choose some, or leave out --paint to paint everything.")  # fmt: skip
    return masked


def _of_slots(mesh: Mesh, names: str) -> Mask:
    """The faces of the pieces with these names, separated by commas."""
    pieces = mesh.parts.pieces if mesh.parts is not None else ()
    chosen = np.zeros(len(pieces), dtype=np.float32)
    for name in names.split(","):
        chosen[matching(pieces, name)] = 1
    of_face = chosen[mesh.parts.of_face] if mesh.parts is not None else np.zeros(len(mesh.faces), np.float32)
    return Mask(np.repeat(of_face[:, None], 3, axis=1))


def _of_colours(mesh: Mesh, name: str) -> Mask:
    """The brightness of the file's vertex colours."""
    del name  # a file has but one set
    corners = np.zeros((len(mesh.faces), 3), np.float32)
    known = False
    for index, one in enumerate(mesh.look.appearances if mesh.look is not None else ()):
        if one.vertex is not None and mesh.look is not None:
            here = mesh.look.of_face == index
            corners[here] = linear_to_srgb(np.nan_to_num(one.vertex[mesh.look.corners[here], :3])).mean(axis=-1)
            known = True
    if not known:
        raise InputError("no_mask", "The file has no vertex colours to take a mask from.", "Paint some, or choose slots or image.")
    return Mask(corners)


def _of_image(mesh: Mesh, name: str) -> Mask:
    """A picture's brightness x alpha, by the mesh's uvs."""
    if mesh.uvs is None or not np.isfinite(mesh.uvs).all():
        raise InputError("no_mask", "A mask image needs UVs on every part of the model.", "Unwrap it, or choose slots or colour.")
    return Mask(np.ones((len(mesh.faces), 3), np.float32), brightness(picture(name)), mesh.uvs)


def picture(name: str) -> np.ndarray:
    """uint8 [H, W, 4] of a picture file. InputError where it cannot be read."""
    try:
        return read_image(read_regular(user_path(name)))
    except UnreadableImage as error:
        raise InputError("cannot_read", f"The picture '{name}' cannot be read: {error}.", "Give a PNG or JPEG file.") from error


def brightness(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of a picture uint8 [H, W, 4]: the mean of its colours where it is opaque."""
    return np.rint(image[..., :3].mean(axis=-1) * (image[..., 3] / 255)).astype(np.uint8)


def raw_share(mesh: Mesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[N] how far places are painted, 0..1, before feathering: faces [N] of the mesh and weights [N, 3] of their corners."""
    mask = mesh.mask
    assert mask is not None
    share = np.einsum("nk,nk->n", weights, mask.corners[faces].astype(np.float64)).clip(0, 1)
    if mask.image is not None and mask.uvs is not None:
        places = np.einsum("nk,nkd->nd", weights, mask.uvs[faces].astype(np.float64))
        share = share * sample_image(mask.image[..., None], places)[:, 0] / 255
    return share


class Feather:
    """The edge of a mask (mesh in engine space): painting fades in over `width` from what is not painted, all of which stays as it is."""

    def __init__(self, local: Mesh, width: float) -> None:
        self._width = width
        self._tree: Any = None
        if width > 0:
            from scipy.spatial import KDTree

            faces, weights, points = _everywhere(local, SAMPLES)
            bare = points[raw_share(local, faces, weights) < PAINTED]
            self._tree = KDTree(bare) if len(bare) else None

    def __call__(self, points: np.ndarray, share: np.ndarray) -> np.ndarray:
        """The shares [N] at places [N, 3] with the edge faded."""
        if self._tree is None:
            return share
        step = (self._tree.query(points)[0] / self._width).clip(0, 1)
        return share * step * step * (3 - 2 * step)


def mask_channel(mesh: Mesh, feather: Feather) -> Channel:
    """How far each place of a mesh with a mask is painted, [N, 1]."""

    def shares(places: Places) -> np.ndarray:
        return feather(places.points, raw_share(mesh, places.faces, places.weights.clip(0, 1)))[:, None]

    return shares


def look_channel(mesh: Mesh) -> Channel:
    """The colours that a mesh (world space) came with, sRGB-encoded [N, 3]: its look, else paint or vertices; grey where nobody chose."""
    look = mesh.look

    def colours(places: Places) -> np.ndarray:
        found = np.full((len(places.faces), 3), np.nan)
        if look is not None:
            found = look.at(places.faces, places.weights)
        unknown = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(unknown) and mesh.paint is not None:
            corners = mesh.corner_vertices()[places.faces[unknown]].astype(np.float64)
            found[unknown] = paint_between(mesh, np.einsum("nk,nkd->nd", places.weights[unknown], corners))
        elif len(unknown) and mesh.colours is not None:
            corners = mesh.colours[mesh.faces[places.faces[unknown]]].astype(np.float64)
            found[unknown] = np.einsum("nk,nkd->nd", places.weights[unknown], corners)
        return np.where(np.isfinite(found), found, GREY)

    return colours


def composed(albedo: np.ndarray, base: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Painted texels [H, W, 3] over the base, by shares [H, W, 1] of the same integer type; where that is 0 the base's very bytes."""
    weight = share.astype(np.float32) / np.iinfo(share.dtype).max
    mixed = base + weight * (albedo.astype(np.float32) - base)
    return np.where(share == 0, base, np.rint(mixed).astype(albedo.dtype))


def base_image(mesh: Mesh) -> np.ndarray | None:
    """uint8 [S, S, 3]: the one square picture that all faces of a mesh show by its own uvs; None where there is no such."""
    image = None if mesh.look is None or mesh.uvs is None else mesh.look.only_image(mesh.uvs)
    return None if image is None or image.shape[0] != image.shape[1] else image


class MaskedColours(nn.Module):
    """A colour field as the views see it: painted where the mask says, the artist's colours elsewhere.

    field   what is optimized
    start   a frozen copy of what it was before any step: the artist's colours, grey where nobody chose one
    """

    painted: Tensor

    def __init__(self, field: ColourField, local: Mesh, feather: Feather) -> None:
        super().__init__()
        self.field = field
        self._start = [copy.deepcopy(field).requires_grad_(False)]  # in a list: no part of the state that a checkpoint holds
        self.register_buffer("painted", _mask_volume(local, feather).to(next(field.parameters()).device), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """points [N, 3] in engine space -> sRGB-encoded [N, 3] in 0..1."""
        where = points.flip(-1).view(1, 1, 1, -1, 3)
        share = F.grid_sample(self.painted, where, mode="bilinear", padding_mode="border", align_corners=True).view(-1, 1)
        return torch.lerp(self._start[0](points), self.field(points), share)

    def parameter_groups(self, base_rate: float) -> list[dict[str, Any]]:
        """The field's."""
        return self.field.parameter_groups(base_rate)


def _everywhere(mesh: Mesh, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(faces [N], weights [N, 3], points [N, 3]) spread over a mesh."""
    faces, weights = sample_surface(mesh.corner_vertices(), count)
    return faces, weights, np.einsum("nk,nkd->nd", weights, mesh.corner_vertices()[faces].astype(np.float64))


def _mask_volume(local: Mesh, feather: Feather) -> Tensor:
    """float32 [1, 1, R, R, R] over [-1, 1]^3, indexed x, y, z: how far the nearest place of the surface is painted."""
    from scipy.spatial import KDTree

    faces, weights, points = _everywhere(local, SAMPLES)
    share = feather(points, raw_share(local, faces, weights))
    axis = np.linspace(-1, 1, VOLUME)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return torch.from_numpy(share[KDTree(points).query(places)[1]].astype(np.float32)).view(1, 1, *[VOLUME] * 3)
