"""Before and after in one picture: the sketch above, the result below, the same six views and light. Rendered by the engine itself."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras, orbit
from engine.conventions import SceneNormalization
from engine.errors import writing
from engine.formats.files import write_atomically
from engine.formats.gltf_write import vertex_normals
from engine.mesh import Mesh, Painted
from engine.render.base import Rasterizer, select_rasterizer
from engine.render.images import linear_to_srgb, srgb_to_linear
from engine.render.surface_ops import to_image
from engine.texture.artist import paint_between

AZIMUTHS = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
ELEVATION, DISTANCE = 18.0, 6.0  # degrees, engine units
MARGIN = 1.06
SUPERSAMPLE = 2
AMBIENT = 0.38
PLAIN = (0.62, 0.62, 0.62)  # of a mesh without colours
LABEL_HEIGHT = 22  # pixels


def write_contact_sheet(path: Path | str, sketch: Mesh, result: Mesh, painted: Sequence[Painted] = (), tile: int = 256,
                        others: Sequence[tuple[str, Sequence[Painted]]] = ()) -> None:  # fmt: skip
    """`contact_sheet` as a PNG file, whole or absent. InputError or JobError where it cannot be written."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(contact_sheet(sketch, result, painted, tile, others)).save(buffer, format="PNG")
    with writing(Path(path)):
        write_atomically(Path(path), buffer.getvalue())


def contact_sheet(sketch: Mesh, result: Mesh, painted: Sequence[Painted] = (), tile: int = 256,
                  others: Sequence[tuple[str, Sequence[Painted]]] = ()) -> np.ndarray:  # fmt: skip
    """uint8 [H, W, 3]: two labelled rows of six views of world-space meshes, framed alike.

    painted  the result's textures, by "albedo", for its uvs; without any its vertex colours are shown
    tile    side of one view in pixels
    others  further textures of the result, each with its name, in rows below
    """
    normalization = SceneNormalization.of_bounds(np.concatenate([sketch.vertices, result.vertices]))
    cameras = framed(normalization, AZIMUTHS, sketch, result)
    rows = [
        render_views(mesh, textures, normalization, cameras, tile)
        for mesh, textures in ((sketch, ()), (result, painted), *((result, one) for _, one in others))
    ]
    names = ["sketch", "refined" if _moved(sketch, result) else "textured", *(name for name, _ in others)]
    return _labelled([(row * 255).round().astype(np.uint8) for row in rows], names)


def _moved(sketch: Mesh, result: Mesh) -> bool:
    return sketch.vertices.shape != result.vertices.shape or not np.array_equal(sketch.vertices, result.vertices)


def framed(normalization: SceneNormalization, azimuths: Sequence[float], *meshes: Mesh) -> Cameras:
    """Cameras at these azimuths (degrees): the widest pictures that still hold every mesh in every view."""
    points = torch.from_numpy(np.concatenate([normalization.to_engine(mesh.vertices) for mesh in meshes]))
    clip = orbit(azimuths, ELEVATION, DISTANCE, 30.0).clip(points)
    reach = (clip[..., :2].abs() / clip[..., 3:]).max().item() * math.tan(math.radians(15.0))
    return orbit(azimuths, ELEVATION, DISTANCE, math.degrees(2 * math.atan(MARGIN * reach)))


def render_views(mesh: Mesh, painted: Sequence[Painted], normalization: SceneNormalization, cameras: Cameras, tile: int) -> np.ndarray:
    """float [B, tile, tile, 3], sRGB, over white: a world-space mesh with its textures, else its colours, else grey."""
    rasterizer = select_rasterizer(torch.device("cpu"))
    vertices = torch.from_numpy(normalization.to_engine(mesh.vertices))
    faces = torch.from_numpy(np.ascontiguousarray(mesh.faces, dtype=np.int32))
    pictures = []
    for index in range(len(cameras)):  # one by one: six views at once would only cost memory
        camera = cameras.select([index])
        position = camera.clip(vertices)
        rast, _ = rasterizer.rasterize(position, faces, (tile * SUPERSAMPLE, tile * SUPERSAMPLE))
        covered = (rast[..., 3:] > 0).float()
        light = srgb_to_linear(_albedo(mesh, painted, rasterizer, rast)) * _shade(mesh, rasterizer, rast, camera, faces)
        blended = rasterizer.antialias(torch.cat([light * covered, covered], dim=-1).contiguous(), rast, position, faces)
        image = to_image(blended, SUPERSAMPLE)[0].permute(1, 2, 0)
        pictures.append(linear_to_srgb((image[..., :3] + 1 - image[..., 3:]).clamp(0, 1)).numpy())
    return np.stack(pictures)


def _shade(mesh: Mesh, rasterizer: Rasterizer, rast: Tensor, camera: Cameras, faces: Tensor) -> Tensor:
    """Linear light [1, H, W, 1]: ambient, and one lamp above the camera's left shoulder; both sides of a face are lit alike."""
    normals, _ = rasterizer.interpolate(torch.from_numpy(vertex_normals(mesh.vertices, mesh.faces)), rast, faces)
    normals = functional.normalize(normals, dim=-1)
    right, up, back = camera.view[0, :3, :3]
    facing = torch.where((normals @ back)[..., None] < 0, -normals, normals)
    lamp = functional.normalize(0.75 * back + 0.6 * up - 0.45 * right, dim=0)
    return AMBIENT + (1 - AMBIENT) * (facing @ lamp)[..., None].clamp(min=0)


def _albedo(mesh: Mesh, painted: Sequence[Painted], rasterizer: Rasterizer, rast: Tensor) -> Tensor:
    """sRGB [1, H, W, 3] from the textures where there are any, else the artist's colours, else grey."""
    if painted and mesh.uvs is not None:
        corners = torch.arange(3 * len(mesh.faces), dtype=torch.int32).view(-1, 3)
        uvs, _ = rasterizer.interpolate(torch.from_numpy(mesh.uvs.reshape(-1, 2).astype(np.float32)), rast, corners)
        which = torch.zeros(len(mesh.faces) + 1, dtype=torch.int64)  # of a pixel's face, counted from 1
        for index, one in enumerate(painted):
            which[torch.from_numpy(one.faces) + 1] = index
        of_pixel = which[rast[..., 3].long()]
        seen = torch.zeros(*rast.shape[:3], 3)
        for index, one in enumerate(painted):
            upright = torch.from_numpy(np.ascontiguousarray(one.maps["albedo"][::-1, :, :3])).float().div(255)[None]
            seen = torch.where((of_pixel == index)[..., None], rasterizer.texture(upright, uvs.contiguous()), seen)
        return seen
    plain = torch.tensor(PLAIN).expand(*rast.shape[:3], 3)
    faces = torch.from_numpy(np.ascontiguousarray(mesh.faces, dtype=np.int32))
    if mesh.paint is not None:
        shown = rast[..., 3] > 0
        places = rasterizer.interpolate(torch.from_numpy(mesh.vertices), rast, faces)[0][shown]
        seen = plain.clone()
        seen[shown] = torch.from_numpy(paint_between(mesh, places.numpy()))
    elif mesh.colours is not None:
        seen = rasterizer.interpolate(torch.from_numpy(mesh.colours.astype(np.float32)), rast, faces)[0]
    else:
        return plain
    return torch.where(seen.isfinite(), seen, plain)


def _labelled(rows: list[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Tiles side by side, each row under its name."""
    from PIL import Image, ImageDraw, ImageFont

    count, tile = rows[0].shape[:2]
    sheet = Image.new("RGB", (count * tile, len(rows) * (tile + LABEL_HEIGHT)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = index * (tile + LABEL_HEIGHT)
        for view, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (view * tile, top + LABEL_HEIGHT))
            word = f"{name}, front" if view == 0 else f"{AZIMUTHS[view]:.0f}°" if AZIMUTHS[view] != 180 else "back"
            draw.text((view * tile + 8, top + 4), word, fill=(60, 60, 60), font=font)
    return np.asarray(sheet)
