"""OpenEXR files in memory: scanlines of half floats, zip-compressed. Standard library and numpy only.

Layout: OpenEXR file layout, version 2 (Academy Software Foundation). Values are linear: sRGB-encoded colours must be
decoded first.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_MAGIC, _VERSION = 20000630, 2
_HALF, _ZIP, _ROWS = 1, 3, 16
"""Pixel type, compression, and the rows of a block of that compression."""
_NAMES = {1: "Y", 3: "RGB", 4: "RGBA"}


def encode_exr(pixels: np.ndarray) -> bytes:
    """Floats [H, W, 1, 3 or 4], linear, row 0 at the top -> the bytes of an EXR file of half floats. ValueError for another shape."""
    if pixels.ndim != 3 or pixels.shape[2] not in _NAMES or 0 in pixels.shape:
        raise ValueError(f"expected [H, W, 1, 3 or 4], got {list(pixels.shape)}")
    height, width, _ = pixels.shape
    names = _NAMES[pixels.shape[2]]
    order = sorted(range(len(names)), key=lambda channel: names[channel])  # the format wants them by name
    planes = pixels.astype("<f2")[:, :, order].transpose(0, 2, 1)  # a row holds its channels one after another
    channels = b"".join(names[index].encode() + b"\0" + struct.pack("<iB3xii", _HALF, 0, 1, 1) for index in order) + b"\0"
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<ii", _MAGIC, _VERSION) + b"".join(
        [
            _attribute("channels", "chlist", channels),
            _attribute("compression", "compression", struct.pack("B", _ZIP)),
            _attribute("dataWindow", "box2i", box),
            _attribute("displayWindow", "box2i", box),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)),
            b"\0",
        ]
    )
    blocks = [_block(first, planes[first : first + _ROWS]) for first in range(0, height, _ROWS)]
    start = len(header) + 8 * len(blocks)
    offsets = np.cumsum([start, *(len(block) for block in blocks[:-1])]).astype("<u8")
    return header + offsets.tobytes() + b"".join(blocks)


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def _block(first: int, rows: np.ndarray) -> bytes:
    """Rows [R, C, W] from line `first`: bytes in two halves, each byte as its difference from the last, deflated; plain if less."""
    plain = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
    halves = np.concatenate([plain[0::2], plain[1::2]]).astype(np.int16)
    steps = np.concatenate([halves[:1], np.diff(halves) + 128]).astype(np.uint8)
    packed = zlib.compress(steps.tobytes(), 4)
    data = packed if len(packed) < plain.size else plain.tobytes()
    return struct.pack("<ii", first, len(data)) + data
