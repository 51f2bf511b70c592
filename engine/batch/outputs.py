"""What is written for an item beside its .glb and report: pictures for the gallery, sheet, turntable, maps, and what Blender makes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import writing
from engine.formats.files import write_atomically

if TYPE_CHECKING:
    from engine.mesh import Mesh
    from engine.results import JobResult

OUTPUTS = {
    "glb": "the object with its texture; always written",
    "sheet": "NAME.png: six views before and after",
    "maps": "NAME_albedo.png: the textures as files",
    "turntable": "NAME.gif: the result, turning",
    "blend": "NAME.blend, through Blender",
    "usd": "NAME.usdc, through Blender",
}
BEFORE, AFTER = "before.jpg", "after.jpg"
"""The gallery's two pictures."""
SIDE, QUALITY = 320, 86  # pixels, per cent of JPEG's scale
AZIMUTH = 30.0
FRAMES, FRAME_MILLISECONDS, FRAME_SIDE = 24, 80, 256


def write_pictures(result: JobResult, sketch: Mesh, folder: Path) -> list[Path]:
    """before.jpg and after.jpg: the same view of both."""
    from engine.contact_sheet import framed, render_views
    from engine.conventions import SceneNormalization

    normalization = SceneNormalization.of_bounds(np.concatenate([sketch.vertices, result.mesh.vertices]))
    cameras = framed(normalization, (AZIMUTH,), sketch, result.mesh)
    paths = []
    for name, mesh, painted in ((BEFORE, sketch, []), (AFTER, result.mesh, result.painted)):
        paths.append(_save(folder / name, [render_views(mesh, painted, normalization, cameras, SIDE)[0]]))
    return paths


def write_turntable(result: JobResult, path: Path) -> Path:
    """A .gif of the result, once round."""
    from engine.contact_sheet import framed, render_views
    from engine.conventions import SceneNormalization

    normalization = SceneNormalization.of_bounds(result.mesh.vertices)
    azimuths = tuple(360.0 * frame / FRAMES for frame in range(FRAMES))
    cameras = framed(normalization, azimuths, result.mesh)
    return _save(path, list(render_views(result.mesh, result.painted, normalization, cameras, FRAME_SIDE)))


def write_maps(result: JobResult, folder: Path, name: str) -> list[Path]:
    """Each texture as NAME_MAP.png; of several materials or tiles as NAME_NUMBER_MATERIAL_MAP.png."""
    painted = result.painted
    paths = []
    for number, one in enumerate(painted, 1):
        material = "".join(letter if letter.isalnum() else "_" for letter in one.name)
        whose = name if len(painted) == 1 else f"{name}_{number}_{material}"
        for kind, image in sorted(one.maps.items()):
            paths.append(_save(folder / f"{whose}_{kind}.png", [image / 255.0]))
    return paths


def _save(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Pictures, float [H, W, 3] or [H, W] in 0..1, in the format of the file's name; whole or absent.

    InputError or JobError where it cannot be.
    """
    from PIL import Image

    pictures = [Image.fromarray((frame.squeeze() * 255).round().astype(np.uint8)) for frame in frames]
    buffer = io.BytesIO()
    if path.suffix == ".gif":
        pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=FRAME_MILLISECONDS, loop=0)
    elif path.suffix == ".jpg":
        pictures[0].save(buffer, format="JPEG", quality=QUALITY)
    else:
        pictures[0].save(buffer, format="PNG")
    with writing(path):
        write_atomically(path, buffer.getvalue())
    return path
