"""Pictures as arrays: every picture that a user gives is opened here, turned upright and brought to 8 bits. numpy and Pillow only."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 16_384
MAX_PIXELS = 8192 * 8192
"""Of a picture; a few bytes of a file can announce far more."""


class UnreadableImage(Exception):
    """A picture that cannot be read; its text says why. `too_large` where it has more pixels than are read."""

    too_large = False


def open_image(data: bytes) -> Image.Image:
    """A picture in mode RGBA, 8 bits, turned as its EXIF orientation says. UnreadableImage for all that is none, or too large.

    16 and 32 bit greys are scaled (Pillow would clip them), floats are taken as 0..1; of animations it is the first frame.
    """
    from PIL import Image, ImageOps

    if data[:12] == b"\xabKTX 20\xbb\r\n\x1a\n":
        raise UnreadableImage("KTX2 pictures are not read here; export it as PNG, JPEG or WebP")
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(io.BytesIO(data)) as opened:
            if max(opened.size) > MAX_SIDE or opened.width * opened.height > MAX_PIXELS:
                limit = f"at most {MAX_SIDE} a side and {MAX_PIXELS // 10**6} million in all are read"
                failure = UnreadableImage(f"it is {opened.width} x {opened.height} pixels; {limit}")
                failure.too_large = True
                raise failure
            return ImageOps.exif_transpose(_eight_bits(opened)).convert("RGBA")
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, Image.DecompressionBombError) as error:
        raise UnreadableImage(str(error) or type(error).__name__) from error


def read_image(data: bytes) -> np.ndarray:
    """`open_image` as uint8 [H, W, 4], row 0 at the top, colour sRGB-encoded, alpha linear."""
    return np.asarray(open_image(data))


def sample_image(image: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear samples float64 [N, C] of an image [H, W, C] (row 0 at the top) at uvs [N, 2] (v up), wrapping."""
    height, width = image.shape[:2]
    x, y = uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    columns = [np.mod(left + offset, width).astype(np.int64) for offset in (0, 1)]
    rows = [np.mod(top + offset, height).astype(np.int64) for offset in (0, 1)]
    above = (1 - fx) * image[rows[0], columns[0]] + fx * image[rows[0], columns[1]]
    below = (1 - fx) * image[rows[1], columns[0]] + fx * image[rows[1], columns[1]]
    return (1 - fy) * above + fy * below


def _eight_bits(image: Image.Image) -> Image.Image:
    """The picture without more than 8 bits a channel."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float64)
    largest = 1.0 if image.mode == "F" else 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) <= 65535 else 2.0**31 - 1
    scaled = Image.fromarray(np.rint(np.nan_to_num(values / largest).clip(0, 1) * 255).astype(np.uint8))
    scaled.info, orientation = dict(image.info), image.getexif().get(0x0112)
    if orientation:
        scaled.getexif()[0x0112] = orientation
    return scaled
