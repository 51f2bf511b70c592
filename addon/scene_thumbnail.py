"""Pictures of results: the preview that Blender keeps with an object, made of the engine's last picture of it."""

from __future__ import annotations

import bpy
import numpy as np

LARGEST = 128
CAN_HOLD = (4, 5, 0)
"""Blender 4.2 crashes some time after an object was given a preview without a window."""


def set_picture(obj: bpy.types.Object, strip: np.ndarray | None) -> None:
    """Give an object its preview: the first of the square pictures side by side in `strip`, uint8 [H, k H, 3], row 0 at the top.

    Without one Blender's own stays.
    """
    if strip is None or not strip.size or bpy.app.version < CAN_HOLD:
        return
    height, width, _ = strip.shape
    tile = strip[:, : min(height, width)]
    tile = tile[:: max(1, height // LARGEST), :: max(1, height // LARGEST)]
    tall, wide, _ = tile.shape
    pixels = np.ones((tall, wide, 4), np.float32)
    pixels[..., :3] = tile[::-1] / np.float32(255)
    preview = obj.preview_ensure()
    preview.image_size = (wide, tall)
    preview.image_pixels_float.foreach_set(pixels.ravel())


def icon_of(obj: bpy.types.Object) -> int:
    """The icon of an object's preview, 0 where it has none."""
    return 0 if obj.preview is None or not obj.preview.is_image_custom else obj.preview.icon_id
