"""The one place that states axes, spaces, row order, winding and colour encoding. Arrays are converted here, tensors in
`engine.render.images`.

World space     Blender's: right-handed, +Z up, metres; an object's front faces -Y.
Host space      What a host submits and gets back: world axes with an origin of its own. The add-on's is the centre of the sketch's
                bounding box (Reading.origin, float64), so that float32 loses nothing far from the world's; a file's is its own.
Engine space    World axes, moved and uniformly scaled from host space so that the sketch fits a cube of half-extent `FIT_EXTENT`
                around the origin; the working volume is [-1, 1]^3. See `SceneNormalization`.
Clip space      OpenGL's and nvdiffrast's: x right, y up, z in [-w, w], near plane at z = -w; right-handed eye looks along -Z.
Image tensors   [B, C, H, W] float32 in 0..1 with row 0 at the TOP. The rasterizer's buffers are [B, H, W, C] with row 0 at
                the BOTTOM (as nvdiffrast's); `engine.render.images.image_from_raster` is the only conversion.
UV              u right, v up, origin at the lower left (Blender's). Texture maps in memory are [H, W, C] with row 0 at the TOP,
                as in an image file; texel row r of H covers v = 1 - (r + 0.5) / H.
Faces           Triangles, int32, counter-clockwise seen from outside.
Colours         Albedo is stored sRGB-encoded in 0..1 (what an artist sees in a colour picker and a PNG holds);
                light adds up in linear space: `srgb_to_linear`, shade, `linear_to_srgb`.
glTF            +Y up, front +Z, v down, colours linear: converted on reading and writing only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.job_fields import LONGEST_SIDE

FIT_EXTENT = LONGEST_SIDE / 2
"""Half of the longest side of the sketch's bounding box in engine space; the rest of [-1, 1] is room to grow."""

GLTF_FROM_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32)
"""Rotation that takes world vectors (+Z up) to glTF vectors (+Y up)."""


_WORLD_FROM_UP = {
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "negative-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "negative-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "negative-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


@dataclass(frozen=True)
class SceneNormalization:
    """Similarity from world to engine space: engine = (world - centre) * scale. float64, so that returning is exact to 1e-6."""

    centre: tuple[float, float, float]
    scale: float

    @classmethod
    def of_bounds(cls, vertices: np.ndarray) -> SceneNormalization:
        """SceneNormalization that centres world-space vertices [V, 3] and scales the longest side to 2 * FIT_EXTENT."""
        points = np.asarray(vertices, dtype=np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        centre = (low + high) / 2
        return cls((float(centre[0]), float(centre[1]), float(centre[2])), float(2 * FIT_EXTENT / (high - low).max()))

    def to_engine(self, world: np.ndarray) -> np.ndarray:
        """[N, 3] world -> [N, 3] engine space, float32."""
        return ((np.asarray(world, dtype=np.float64) - np.asarray(self.centre)) * self.scale).astype(np.float32)

    def to_world(self, engine: np.ndarray) -> np.ndarray:
        """[N, 3] engine space -> [N, 3] world, float32."""
        return (np.asarray(engine, dtype=np.float64) / self.scale + np.asarray(self.centre)).astype(np.float32)


def srgb_to_linear(colours: np.ndarray) -> np.ndarray:
    """sRGB-encoded values, clipped to 0..1 -> linear float64 (IEC 61966-2-1)."""
    colours = np.clip(np.asarray(colours, dtype=np.float64), 0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light, clipped to 0..1 -> sRGB-encoded float64 (IEC 61966-2-1)."""
    light = np.clip(np.asarray(light, dtype=np.float64), 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def gltf_from_world(vectors: np.ndarray) -> np.ndarray:
    """[N, 3] world (+Z up) -> [N, 3] glTF (+Y up)."""
    return vectors @ GLTF_FROM_WORLD.T


def world_from_file(vectors: np.ndarray, up: str) -> np.ndarray:
    """[N, 3] of a file in which `up`, one of `engine.formats.UP_AXES`, points up -> [N, 3] world (+Z up). "y" is glTF's."""
    return vectors @ np.array(_WORLD_FROM_UP[up], dtype=vectors.dtype).T
