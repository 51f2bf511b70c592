"""PNG files in memory, for images that go over the wire. Standard library and numpy only: small jobs load no picture library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_ROWS_ABOVE = 2
"""The filter "up": each row as its difference from the row above."""


def encode_png(pixels: np.ndarray, level: int = 1) -> bytes:
    """uint8 or uint16 [H, W, 1, 3 or 4], row 0 at the top -> the bytes of a PNG of 8 or 16 bits (W3C PNG, third edition).

    ValueError for another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in _COLOUR_TYPES or pixels.dtype not in (np.uint8, np.uint16) or 0 in pixels.shape:
        raise ValueError(f"expected uint8 or uint16 [H, W, 1, 3 or 4], got {pixels.dtype} {list(pixels.shape)}")
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">"))).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _ROWS_ABOVE
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    body = zlib.compress(filtered.data, level)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
