"""What every reader answers with: parts of a mesh, and what the file says about their colours. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from engine.conventions import linear_to_srgb, srgb_to_linear
from engine.errors import InputError
from engine.formats.textures import sample_image
from engine.job_fields import COLOURS_OF_ALL, COLOURS_OF_ATTRIBUTES, COLOURS_OF_NONE

DEFAULT_GREYS = (1.0, 0.8, 0.64, 0.6, 0.588, 0.5, 0.4)
"""Base colours (equal red, green and blue, linear) that applications write where nobody chose one: glTF itself and most OBJ exporters,
Blender, Blender before 2.8, Assimp, 3ds Max, Maya, trimesh."""


SAME_PLACE = 1e-6
"""UV units within which two layouts are the same."""
LARGEST_MESH = 20_000_000
"""Faces, at most."""


@dataclass
class Appearance:
    """What a file says about the colour of one part: vertex colour x factor x texture, in linear light. One that nobody chose is no
    appearance: then a part has None.

    factor     [4], RGBA
    vertex     float64 [V, 4] RGBA of the part's vertices, or None
    image      uint8 [H, W, 4], sRGB-encoded with linear alpha, or None; None also for `uvs`, [V, 2], v up, which say where it lies
    wrap       "repeat", "clamp" or "mirror": what lies beyond 0..1 of u and of v
    cutoff     alpha below which nothing is to be seen; 0 where alpha means nothing
    """

    factor: np.ndarray = field(default_factory=lambda: np.ones(4))
    vertex: np.ndarray | None = None
    image: np.ndarray | None = None
    uvs: np.ndarray | None = None
    wrap: tuple[str, str] = ("repeat", "repeat")
    cutoff: float = 0.0

    def at(self, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Linear RGBA [N, 4] at points inside triangles: corners int [N, K] are the part's vertices, weights [N, K] barycentric."""
        colours = np.tile(self.factor, (len(corners), 1))
        if self.vertex is not None:
            colours *= np.einsum("nk,nkc->nc", weights, self.vertex[corners])
        if self.image is not None and self.uvs is not None:
            u, v = np.einsum("nk,nkc->nc", weights, self.uvs[corners]).T
            places = np.stack([_wrapped(u, self.wrap[0]), 1 - _wrapped(1 - v, self.wrap[1])], axis=-1)
            colours *= _texels(self.image, places)
        return colours

    def at_vertices(self, count: int) -> np.ndarray:
        """Linear RGBA [V, 4] at the part's own vertices."""
        return self.at(np.arange(count)[:, None], np.ones((count, 1)))

    def hidden(self, faces: np.ndarray) -> np.ndarray:
        """bool [F]: faces [F, 3] of which nothing is to be seen, by the alpha of all texels that they can touch."""
        if self.cutoff <= 0:
            return np.zeros(len(faces), dtype=bool)
        most = np.full(len(faces), self.factor[3])
        if self.vertex is not None:
            most = most * self.vertex[faces, 3].max(axis=1)
        if self.image is not None and self.uvs is not None:
            least = self.cutoff / np.maximum(most, 1e-9)
            return ~_any_texel_above(self.image[..., 3], np.rint(255 * least), self.uvs[faces])
        return most < self.cutoff


def appearance_from(appearance: Appearance | None, source: str) -> Appearance | None:
    """What is left of an appearance where the user wants the colours of one source alone (`engine.job_fields.KEEP_COLOURS`)."""
    if appearance is None or source in (COLOURS_OF_ALL, COLOURS_OF_NONE):
        return appearance
    if source == COLOURS_OF_ATTRIBUTES:
        return None if appearance.vertex is None else replace(appearance, factor=np.ones(4), image=None, uvs=None)
    bare = replace(appearance, vertex=None)
    return None if appearance.vertex is not None and bare.image is None and is_default(bare.factor[:3]) else bare


@dataclass(frozen=True)
class Look:
    """The colours that a model comes with, at any place of it.

    of_face      int [F], the appearance of each face, -1 where nobody chose a colour
    corners      int [F, 3], each corner's vertex in that appearance's own arrays
    """

    of_face: np.ndarray
    corners: np.ndarray
    appearances: tuple[Appearance, ...]

    def at(self, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """sRGB-encoded [N, 3] at faces [N] by weights [N, 3] of their corners; NaN where nobody chose a colour."""
        found = np.full((len(faces), 3), np.nan)
        for index in np.unique(self.of_face[faces]):
            if index >= 0:
                here = self.of_face[faces] == index
                found[here] = linear_to_srgb(self.appearances[index].at(self.corners[faces[here]], weights[here])[:, :3])
        return found

    def of_faces(self, chosen: np.ndarray) -> Look:
        """Of some faces."""
        return replace(self, of_face=self.of_face[chosen], corners=self.corners[chosen])

    def only_image(self, uvs: np.ndarray) -> np.ndarray | None:
        """uint8 [H, W, 3]: the picture that every face shows, nothing else mixed in, by these uvs [F, 3, 2]; None where there is none."""
        used = np.unique(self.of_face)
        if len(used) != 1 or used[0] < 0:
            return None
        one = self.appearances[used[0]]
        if one.image is None or one.uvs is None or one.vertex is not None or np.abs(one.factor - 1).max() > 0 or one.cutoff > 0:
            return None
        return one.image[..., :3] if np.abs(one.uvs[self.corners] - uvs).max(initial=0) < SAME_PLACE else None


@dataclass
class Part:
    """A piece of a mesh with one material, placed in the scene, in the file's axes."""

    owner: int  # parts of one object have the same
    vertices: np.ndarray  # float64 [V, 3]
    faces: np.ndarray  # int64 [F, 3]
    appearance: Appearance | None = None
    uvs: np.ndarray | None = None  # float32 [V, 2], v up
    material: int = -1  # its number in the file, -1 without one
    object_name: str = ""
    material_name: str = ""


def corrupt(name: str, why: str) -> InputError:
    """The error for a file that is not what its name says."""
    return InputError("corrupt_file", f"'{name}' cannot be read: {why}.", "Export the file again, or open and save it in Blender.")


def too_many(name: str, count: int) -> InputError:
    """The error for a file of more triangles than are read."""
    return InputError("file_too_large", f"'{name}' holds {count} triangles; at most {LARGEST_MESH} are read.", "Decimate the mesh first.")


def is_default(colour: np.ndarray) -> bool:
    """Whether a linear base colour [3] is one that an application writes where nobody chose a colour."""
    return bool(np.ptp(colour) < 1e-3 and min(abs(float(colour[0]) - grey) for grey in DEFAULT_GREYS) < 1e-3)


def _texels(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Linear RGBA [N, 4] of an image at uvs [N, 2]; what a transparent texel holds does not mix into its neighbours' colour."""
    if image[..., 3].min() == 255:
        texels = sample_image(image[..., :3], places) / 255
        return np.concatenate([srgb_to_linear(texels), np.ones((len(places), 1))], axis=1)
    alpha = image[..., 3:] / np.float32(255)
    texels = sample_image(np.concatenate([image[..., :3] * alpha, alpha], axis=-1), places)
    colour = np.divide(texels[:, :3], texels[:, 3:], out=np.zeros((len(places), 3)), where=texels[:, 3:] > 0)
    return np.concatenate([srgb_to_linear(colour / 255), texels[:, 3:]], axis=1)


def _wrapped(values: np.ndarray, mode: str) -> np.ndarray:
    """One coordinate as a sampler wraps it; repeating is left to the sampling."""
    if mode == "clamp":
        return values.clip(0, 1)
    return 1 - np.abs(np.mod(values, 2) - 1) if mode == "mirror" else values


def _any_texel_above(alpha: np.ndarray, least: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """bool [F]: whether any texel under the bounding box of a face's uvs [F, 3, 2] has an alpha of at least `least` [F] (0..255)."""
    height, width = alpha.shape
    low, high = corners.min(axis=1), corners.max(axis=1)
    left, right = np.floor(low[:, 0] * width - 0.5).astype(int), np.ceil(high[:, 0] * width - 0.5).astype(int)
    top, bottom = np.floor((1 - high[:, 1]) * height - 0.5).astype(int), np.ceil((1 - low[:, 1]) * height - 0.5).astype(int)
    result = np.ones(len(corners), dtype=bool)
    within = (right - left < width) & (bottom - top < height)  # a face that holds the whole picture shows whatever it has
    for level in np.unique(least):
        chosen = np.flatnonzero(within & (least == level))
        seen = np.pad((np.tile(alpha, (2, 2)) >= level).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        x, y = left[chosen] % width, top[chosen] % height
        x1, y1 = x + right[chosen] - left[chosen] + 1, y + bottom[chosen] - top[chosen] + 1
        result[chosen] = seen[y1, x1] - seen[y, x1] - seen[y1, x] + seen[y, x] > 0
        result[~within & (least == level)] = bool((alpha >= level).any())
    return result
