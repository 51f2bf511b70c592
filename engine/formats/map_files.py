"""Maps as files: which of them share an image, and the bytes of each in the format that was asked for. numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.conventions import srgb_to_linear
from engine.formats.exr import encode_exr
from engine.formats.png import encode_png

SUFFIXES = {"png8": ".png", "png16": ".png", "exr": ".exr"}
"""Of each `map_format` of engine.job_fields."""
DTYPES: dict[str, type[np.generic]] = {"png8": np.uint8, "png16": np.uint16, "exr": np.float32}
"""What maps are baked as for each."""
ORM = ("occlusion", "roughness", "metallic")
"""Red, green and blue of the image that holds them."""
CODED = ("albedo",)
"""Maps whose values are sRGB-encoded; all others are numbers."""


def shares(image: np.ndarray) -> np.ndarray:
    """A map's values in 0..1 as floats, whatever holds them."""
    return image.astype(np.float32) / (np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """A map as uint8, rounded."""
    return image if image.dtype == np.uint8 else np.rint(shares(image).clip(0, 1) * 255).astype(np.uint8)


def packed(maps: Mapping[str, np.ndarray], packing: str) -> dict[str, np.ndarray]:
    """Maps [H, W, C] with occlusion, roughness and metallic as one "orm" [H, W, 3] where the packing says so and all are there."""
    if packing != "orm" or not all(kind in maps for kind in ORM):
        return dict(maps)
    rest = {kind: image for kind, image in maps.items() if kind not in ORM}
    return {**rest, "orm": np.concatenate([maps[kind] for kind in ORM], axis=2)}


def encode_map(kind: str, image: np.ndarray, map_format: str) -> bytes:
    """The file of one map [H, W, C], uint8, uint16 or float32; in EXR colours are linear, in PNG as they are."""
    if map_format != "exr":
        return encode_png(eight_bits(image) if map_format == "png8" else image)
    values = shares(image)
    return encode_exr(srgb_to_linear(values) if kind in CODED else values)
